"""Which `execo` execo_engine asks for; everything else is in pyproject.toml.

The registry has another project named execo, so the sibling comes from the clone whenever there is one:

- installed from a clone (`pip install ./execo_engine`): the folder beside this one, by its URL;
- in sdists, the wheels made from them, and editable installs: exactly this version, whose local part (`+remake`)
  no release of a registry can carry.
"""

import sys
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).resolve().parent
SIBLING = HERE.parent / "execo"
PINNED = "execo==3.0.0+remake"


def execo_requirement() -> str:
    from_sdist = (HERE / "PKG-INFO").exists()
    # For pip an editable folder and the URL of the same folder are a conflict, so editable installs of both need the
    # pin.  Only the name of the hook, an argument that the front end gave to this interpreter, tells that it is one.
    editable = any("build_editable" in argument for argument in sys.orig_argv)
    in_clone = (SIBLING / "pyproject.toml").is_file() and (SIBLING / "_version.py").is_file()
    if from_sdist or editable or "sdist" in sys.argv or not in_clone:
        return PINNED
    return f"execo @ {SIBLING.as_uri()}"


setup(
    script_name="setup.py",             # so that the wheel does not take this file for a module of the package
    install_requires=[execo_requirement(), "simplejson>=3.17"],
)
