"""The fixtures that watch the other tests, run on tests that misbehave."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import execo

TESTS = Path(__file__).resolve().parent
EXECO = Path(execo.__file__).resolve().parent

MISBEHAVING = '''
import os, subprocess, threading
import pytest
import execo.config
import leaks
from requirements import REQUIREMENTS, Requirement, require

leaks.SETTLE_SECONDS = 0.5

REQUIREMENTS["moon"] = Requirement(lambda: False, "no moon: make night")

def test_leaves_a_descriptor():
    os.open("/etc/passwd", os.O_RDONLY)

def test_leaves_a_pipe():
    os.pipe()

def test_leaves_a_child():
    CHILDREN.append(subprocess.Popen(["sleep", "60"]))

def test_leaves_a_thread():
    threading.Thread(target=STOP.wait, name="left").start()

def test_thread_that_ends_soon():
    threading.Timer(0.2, str).start()

@pytest.mark.leaks("on purpose")
def test_leaves_a_descriptor_on_purpose():
    os.open("/etc/passwd", os.O_RDONLY)

def test_changes_the_configuration():
    execo.config.configuration["moon"] = "full"
    execo.config.default_connection_params.clear()

def test_sees_no_change():
    assert "moon" not in execo.config.configuration
    assert execo.config.default_connection_params

@pytest.mark.requires("moon")
def test_marked():
    raise AssertionError("must not run")

def test_asks():
    require("moon")

def test_asks_for_what_nobody_knows():
    with pytest.raises(LookupError, match="unknown requirement 'mon'"):
        require("mon")

CHILDREN = []
STOP = threading.Event()

@pytest.fixture(scope="module", autouse=True)
def tidy():
    yield
    STOP.set()
    for child in CHILDREN:
        child.kill()
        child.wait()
'''


def _run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    shutil.copy(TESTS / "conftest.py", folder)
    shutil.copytree(TESTS / "helpers", folder / "helpers", dirs_exist_ok=True)
    (folder / "pytest.ini").write_text(
        "[pytest]\npythonpath = helpers\naddopts = --import-mode=importlib -p no:cacheprovider\n"
        "markers =\n    leaks(reason)\n    requires(*names)\n"
    )
    (folder / "test_misbehaving.py").write_text(MISBEHAVING)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("EXECO_", "PYTEST_"))}
    clean["PYTHONPATH"] = str(EXECO.parent)             # the execo that is being tested, installed or not
    return subprocess.run([sys.executable, "-m", "pytest", "-rE", *arguments], cwd=folder, env=clean | environment,
                          stdin=subprocess.DEVNULL, text=True, capture_output=True)


def test_what_a_test_leaves_behind_is_an_error_of_that_test(tmp_path: Path) -> None:
    done = _run(tmp_path)
    assert re.findall(r"^ERROR \S+::(\w+)", done.stdout, re.MULTILINE) == [
        "test_leaves_a_descriptor", "test_leaves_a_pipe", "test_leaves_a_child", "test_leaves_a_thread",
    ]
    for line in ("1 x descriptor of /etc/passwd", "2 x descriptor of pipe", "thread left"):
        assert line in done.stdout.splitlines()
    assert re.search(r"^child \d+: state S, sleep 60", done.stdout, re.MULTILINE)
    assert "9 passed, 2 skipped, 4 errors" in done.stdout


@pytest.mark.parametrize("parallel", [[], ["-n", "2"]], ids=["alone", "parallel"])
def test_a_reason_to_skip_is_said_once(parallel: list[str], tmp_path: Path) -> None:
    skip_file = tmp_path / "skipped"
    done = _run(tmp_path, "-k", "marked or asks", *parallel, EXECO_SKIP_FILE=str(skip_file))
    assert done.returncode == 0
    assert done.stdout.splitlines().count("skipped 2: no moon: make night") == 1
    assert skip_file.read_text() == "skipped 2: no moon: make night\n"


@pytest.mark.parametrize("parallel", [[], ["-n", "2"]], ids=["alone", "parallel"])
def test_a_skip_fails_the_run_where_none_is_allowed(parallel: list[str], tmp_path: Path) -> None:
    assert _run(tmp_path, "-k", "marked", *parallel, EXECO_NO_SKIP="1").returncode == pytest.ExitCode.TESTS_FAILED
    assert _run(tmp_path, "-k", "sees", *parallel, EXECO_NO_SKIP="1").returncode == pytest.ExitCode.OK


def test_a_run_that_demands_installed_copies_refuses_a_source_tree(tmp_path: Path) -> None:
    for package in ("execo", "execo_engine", "execo_g5k"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
    done = _run(tmp_path, "-k", "sees", EXECO_INSTALLED="1", PYTHONPATH=str(tmp_path))
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert f"execo is {tmp_path / 'execo'}" in done.stderr
