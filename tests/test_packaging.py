"""What the three packages and the umbrella contain, and where an installation takes them from.

The installations know one index only, on the loopback, which serves decoys named like the packages: a registry has
another project called execo, and anybody could upload the other names.
"""

from __future__ import annotations

import configparser
import email
import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Iterator
from email.message import Message
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path

import pytest
from decoy_index import DecoyIndex, serve, write_wheel

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("execo", "execo_engine", "execo_g5k")
VERSION = "3.0.0+remake"
LITERAL = re.compile(r"\d+\.\d+\.\d+\+remake")
DECOYS = [("execo", "2.8.2"), ("execo", "3.0.0"), ("execo", "99.0"), ("execo-engine", "99.0"),
          ("execo-g5k", "99.0"), ("execo-suite", "99.0")]
THIRD_PARTY = [("requests", "2.99"), ("simplejson", "3.99")]

pytestmark = pytest.mark.skipif(
    not (ROOT / "execo" / "pyproject.toml").exists(), reason="no source tree around the tests: run them in a clone"
)


# The source tree

@pytest.mark.parametrize("file", [
    "setup.py", "CITATION.cff", "execo_engine/setup.py", "execo_g5k/setup.py",
    *(f"{package}/{name}" for package in PACKAGES for name in ("pyproject.toml", "_version.py")),
])
def test_the_version_is_one_number_in_the_repository(file: str) -> None:
    found = LITERAL.findall((ROOT / file).read_text(encoding="utf-8"))
    assert found, f"no version in {file}"
    assert set(found) == {VERSION}


@pytest.mark.parametrize("package", PACKAGES)
def test_the_list_of_packages_is_the_folders_that_hold_python(package: str) -> None:
    folder = ROOT / package
    with_python = {file.parent.relative_to(ROOT).as_posix().replace("/", ".") for file in folder.rglob("*.py")}
    text = (folder / "pyproject.toml").read_text(encoding="utf-8")
    listed = re.search(r"^packages = \[([^]]*)\]", text, re.MULTILINE)
    assert listed is not None
    assert set(re.findall(r'"([^"]+)"', listed[1])) == with_python


@pytest.mark.parametrize("package", PACKAGES)
def test_no_file_at_the_top_of_a_package_hides_a_standard_module_from_its_build(package: str) -> None:
    names = {path.stem for path in (ROOT / package).iterdir()
             if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert not names & sys.stdlib_module_names


@pytest.mark.parametrize("package", PACKAGES)
def test_builds_go_outside_of_the_package(package: str) -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / package / "setup.cfg")
    assert config["build"]["build_base"] == f"../build/{package}"


def test_the_setup_files_of_the_siblings_differ_only_by_name_and_third_parties() -> None:
    engine = (ROOT / "execo_engine" / "setup.py").read_text(encoding="utf-8")
    g5k = (ROOT / "execo_g5k" / "setup.py").read_text(encoding="utf-8")
    assert engine == g5k.replace("execo_g5k", "execo_engine").replace('"requests>=2.28", ', "")


# Builds

@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone in a folder with a space and an accent, which a URL must quote."""
    target = tmp_path_factory.mktemp("clone of é") / "execo"
    target.mkdir()
    ignore = shutil.ignore_patterns("*.egg-info", "__pycache__", "build")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, target / package, ignore=ignore)
    for file in ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, target / file)
    return target


@pytest.fixture(scope="module")
def build_tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PYTHONPATH with this interpreter's setuptools, so that no build asks an index for it."""
    spec = find_spec("setuptools")
    if spec is None or spec.origin is None:
        pytest.skip("no setuptools: pip install 'execo[test]'")
    site = Path(spec.origin).parent.parent
    folder = tmp_path_factory.mktemp("tools")
    for path in [*site.glob("setuptools*"), *site.glob("_distutils_hack"), *site.glob("pkg_resources")]:
        (folder / path.name).symlink_to(path)
    return folder


def _build(kind: str, folder: Path, target: Path, environment: dict[str, str]) -> Path:
    code = f"import sys; from setuptools import build_meta; print(build_meta.build_{kind}(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(target)], cwd=folder, env=environment, text=True, capture_output=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return target / done.stdout.splitlines()[-1]


def _unpack(sdist: Path, target: Path) -> None:
    with tarfile.open(sdist) as archive:
        if hasattr(tarfile, "data_filter"):             # older micro versions have none, newer ones warn without it
            archive.extraction_filter = tarfile.data_filter
        archive.extractall(target)


@pytest.fixture(scope="module")
def dist(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make wheels` makes: the three sdists, and a wheel from each sdist."""
    folder = tmp_path_factory.mktemp("dist")
    for package in PACKAGES:
        sdist = _build("sdist", clone / package, folder, dict(os.environ))
        unpacked = tmp_path_factory.mktemp("unpacked")
        _unpack(sdist, unpacked)
        _build("wheel", next(unpacked.iterdir()), folder, dict(os.environ))
    return folder


def _wheel(dist: Path, package: str) -> Path:
    return dist / f"{package}-{VERSION}-py3-none-any.whl"


def _metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return email.message_from_string(archive.read(name).decode())


@pytest.mark.parametrize("package", PACKAGES)
def test_a_wheel_made_from_the_sdist_holds_the_package_and_nothing_else(package: str, dist: Path) -> None:
    folder = ROOT / package
    files = [file for pattern in ("*.py", "*.pl", "*.sh") for file in folder.rglob(pattern)]
    expected = {f"{package}/{file.relative_to(folder).as_posix()}" for file in files}
    expected.add(f"{package}/py.typed")
    with zipfile.ZipFile(_wheel(dist, package)) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == expected - {f"{package}/setup.py"}


@pytest.mark.parametrize(("package", "needs"), [
    ("execo", []),
    ("execo_engine", [f"execo=={VERSION}", "simplejson>=3.17"]),
    ("execo_g5k", [f"execo=={VERSION}", "requests>=2.28", "simplejson>=3.17"]),
])
def test_the_metadata_of_a_wheel_pins_the_sibling(package: str, needs: list[str], dist: Path) -> None:
    metadata = _metadata(_wheel(dist, package))
    assert sorted(need for need in metadata.get_all("Requires-Dist", []) if "extra ==" not in need) == needs
    assert metadata["Requires-Python"] == ">=3.10"
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Version"] == VERSION


def test_execo_has_the_extras_localcluster_and_test(dist: Path) -> None:
    assert {"localcluster", "test"} <= set(_metadata(_wheel(dist, "execo")).get_all("Provides-Extra", []))


# Installations

@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DecoyIndex]:
    folder = tmp_path_factory.mktemp("index")
    for name, version in [*DECOYS, *THIRD_PARTY]:
        write_wheel(folder, name, version)
    with serve(folder) as served:
        yield served


class Environment:
    """A fresh virtual environment that knows the index of decoys only."""

    def __init__(self, folder: Path, index: DecoyIndex, build_tools: Path) -> None:
        self.folder = folder
        self.index = index
        venv.create(folder, with_pip=False, symlinks=True)
        self._python = folder / "bin" / "python"
        self._environment = {name: value for name, value in os.environ.items()
                             if not name.startswith(("PIP_", "PYTHON", "VIRTUAL_ENV"))}
        self._environment |= {
            "PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": index.url, "PIP_CACHE_DIR": str(folder / "cache"),
            "PIP_NO_BUILD_ISOLATION": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1",
            "PYTHONPATH": str(build_tools), "PYTHONDONTWRITEBYTECODE": "1",
            "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1",
        }

    def try_pip(self, *arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run this interpreter's pip on the environment; the index forgets what it was asked before."""
        self.index.asked.clear()
        command = [sys.executable, "-m", "pip", "--python", str(self._python), *map(str, arguments)]
        return subprocess.run(command, cwd=cwd, env=self._environment, text=True, capture_output=True)

    def pip_install(self, *arguments: str | Path, cwd: Path | None = None) -> None:
        done = self.try_pip("install", "--no-compile", *arguments, cwd=cwd)
        assert done.returncode == 0, done.stdout + done.stderr

    def asked_for_execo(self) -> list[str]:
        return [name for name in self.index.asked if name.startswith("execo")]

    def versions(self) -> dict[str, str]:
        """{name: version} of what is installed and called execo-something."""
        found = distributions(path=[str(site) for site in self.folder.glob("lib/python*/site-packages")])
        named = {one.metadata["Name"].replace("_", "-"): one.version for one in found}
        return {name: version for name, version in named.items() if name.startswith("execo")}

    def module_file(self, name: str, cwd: Path) -> Path:
        """Where `import NAME` finds it, with no source tree in the current folder."""
        done = subprocess.run([str(self._python), "-I", "-c", f"import {name}; print({name}.__file__)"],
                              cwd=cwd, text=True, capture_output=True)
        assert done.returncode == 0, done.stderr
        return Path(done.stdout.strip())


@pytest.fixture
def environment(tmp_path: Path, index: DecoyIndex, build_tools: Path) -> Environment:
    return Environment(tmp_path / "environment", index, build_tools)


@pytest.mark.parametrize(("folders", "installed"), [
    (["./execo"], ["execo"]),
    (["./execo_engine"], ["execo", "execo-engine"]),
    (["./execo_g5k"], ["execo", "execo-g5k"]),
    (["./execo_g5k", "./execo_engine"], ["execo", "execo-engine", "execo-g5k"]),
    (["./execo", "./execo_engine", "./execo_g5k"], ["execo", "execo-engine", "execo-g5k"]),
    (["."], ["execo", "execo-engine", "execo-g5k", "execo-suite"]),
])
def test_an_installation_in_a_clone_takes_the_siblings_from_the_clone(
    folders: list[str], installed: list[str], clone: Path, environment: Environment, tmp_path: Path
) -> None:
    environment.pip_install(*folders, cwd=clone)
    assert environment.asked_for_execo() == []
    assert environment.versions() == dict.fromkeys(installed, VERSION)
    assert environment.module_file("execo", tmp_path).is_relative_to(environment.folder)


def test_the_umbrella_installs_from_its_sdist(clone: Path, environment: Environment, tmp_path: Path) -> None:
    environment.pip_install(_build("sdist", clone, tmp_path, dict(os.environ)))
    assert environment.asked_for_execo() == []
    assert environment.versions() == dict.fromkeys(["execo", "execo-engine", "execo-g5k", "execo-suite"], VERSION)


def test_the_index_would_have_given_the_decoys(environment: Environment, tmp_path: Path) -> None:
    environment.pip_install("execo", "execo-engine")
    assert environment.versions() == {"execo": "99.0", "execo-engine": "99.0"}
    assert environment.module_file("execo", tmp_path).name == "execo.py"


def test_an_installation_in_a_clone_replaces_the_execo_of_a_registry(
    clone: Path, environment: Environment, tmp_path: Path
) -> None:
    environment.pip_install("execo==2.8.2")
    environment.pip_install("./execo_engine", cwd=clone)
    assert environment.versions() == {"execo": VERSION, "execo-engine": VERSION}
    assert environment.module_file("execo", tmp_path).name == "__init__.py"


def test_editable_installs_of_the_three_see_the_clone(clone: Path, environment: Environment, tmp_path: Path) -> None:
    environment.pip_install("-e", "./execo", "-e", "./execo_engine", "-e", "./execo_g5k", cwd=clone)
    assert environment.asked_for_execo() == []
    for package in PACKAGES:
        assert environment.module_file(package, tmp_path).parent == clone / package


def test_an_editable_sibling_stays_editable_when_another_follows(
    clone: Path, environment: Environment, tmp_path: Path
) -> None:
    environment.pip_install("-e", "./execo", cwd=clone)
    environment.pip_install("-e", "./execo_engine", cwd=clone)
    assert environment.module_file("execo", tmp_path).parent == clone / "execo"


@pytest.mark.parametrize("what", ["editable", "wheel", "sdist"])
def test_without_its_sibling_at_hand_a_package_refuses_the_decoys(
    what: str, clone: Path, dist: Path, environment: Environment
) -> None:
    arguments = {"editable": ["-e", "./execo_engine"], "wheel": [_wheel(dist, "execo_engine")],
                 "sdist": [dist / f"execo_engine-{VERSION}.tar.gz"]}[what]
    done = environment.try_pip("install", *arguments, cwd=clone)
    assert done.returncode != 0
    assert f"No matching distribution found for execo=={VERSION}" in done.stderr
    assert environment.versions() == {}


@pytest.mark.parametrize("kind", ["whl", "tar.gz"])
def test_wheels_and_sdists_find_their_siblings_beside_them(
    kind: str, dist: Path, environment: Environment, tmp_path: Path
) -> None:
    # The index is at hand, with its decoys: the pin decides.
    files = [next(dist.glob(f"{package}-*.{kind}")) for package in ("execo_engine", "execo_g5k")]
    environment.pip_install("--find-links", dist, *files)
    assert environment.versions() == {"execo": VERSION, "execo-engine": VERSION, "execo-g5k": VERSION}
    assert environment.module_file("execo", tmp_path).name == "__init__.py"


def test_wheels_install_without_any_index(
    dist: Path, index: DecoyIndex, environment: Environment, tmp_path: Path
) -> None:
    third_party = tmp_path / "third party"
    third_party.mkdir()
    for name, version in THIRD_PARTY:
        write_wheel(third_party, name, version)
    links = ["--find-links", dist, "--find-links", third_party]
    environment.pip_install("--no-index", *links, "execo-engine", "execo-g5k")
    assert environment.index.asked == []
    assert environment.versions() == {"execo": VERSION, "execo-engine": VERSION, "execo-g5k": VERSION}


def test_a_folder_named_execo_beside_an_unpacked_sdist_is_not_taken(
    dist: Path, clone: Path, tmp_path: Path
) -> None:
    shutil.copytree(clone / "execo", tmp_path / "execo")
    _unpack(dist / f"execo_engine-{VERSION}.tar.gz", tmp_path)
    wheel = _build("wheel", tmp_path / f"execo_engine-{VERSION}", tmp_path, dict(os.environ))
    assert f"execo=={VERSION}" in _metadata(wheel).get_all("Requires-Dist", [])
