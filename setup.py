"""Install the three packages of this repository from their folders: `pip install .`

The umbrella holds no code.  It names the folders by URL, so that nothing named execo is looked up in a registry.
"""

import sys
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).resolve().parent
PACKAGES = (("execo", "execo"), ("execo-engine", "execo_engine"), ("execo-g5k", "execo_g5k"))

if {"install", "develop"} & set(sys.argv[1:]):
    sys.exit("run `pip install .`, or `make develop` for an editable install")
setup(
    name="execo-suite",
    version="3.0.0+remake",
    description="execo, execo_engine and execo_g5k, from one source tree",
    license="MIT",
    license_files=["LICENSE"],
    python_requires=">=3.10",
    packages=[],
    py_modules=[],
    install_requires=[f"{name} @ {(HERE / folder).as_uri()}" for name, folder in PACKAGES],
)
