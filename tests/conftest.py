"""For all tests: nothing is left behind, the configuration is restored, and what was skipped is said in one line each.

Environment: EXECO_NO_SKIP=1 makes any skip a failure; EXECO_INSTALLED=1 demands that installed copies are tested;
EXECO_SKIP_FILE names a file to which the lines about skips are appended.
"""

from __future__ import annotations

import copy
import importlib
import logging
import os
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from leaks import Snapshot, left_behind
from requirements import require as _require

# The user's own ~/.execo.conf.py must not reach the tests, nor the processes that they start.
_HOME = tempfile.mkdtemp(prefix="execo-tests-home-")
os.environ["HOME"] = _HOME
_SKIPS = pytest.StashKey[Counter[str]]()
# What is ignored here (nohup, a background job of sh) would be ignored by all that the tests start.
for _ignored in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(_ignored) == signal.SIG_IGN:
        signal.signal(_ignored, signal.default_int_handler if _ignored == signal.SIGINT else signal.SIG_DFL)


def _found(package: str) -> Path:
    # Without importing it: a package that cannot be imported is for its tests to tell.
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise pytest.UsageError(f"no package {package}: `make develop`, or run in the root of the source tree")
    return Path(spec.origin).resolve()


def pytest_configure(config: pytest.Config) -> None:
    if find_spec("hypothesis") is not None:
        from hypothesis import settings

        settings.register_profile("here", deadline=None)        # how long an example takes says how busy the machine is
        settings.load_profile("here")
    if os.environ.get("EXECO_INSTALLED") != "1":
        return
    for name in ("execo", "execo_engine", "execo_g5k"):
        found = _found(name)
        if not found.is_relative_to(Path(sys.prefix).resolve()):
            raise pytest.UsageError(f"EXECO_INSTALLED=1, but {name} is {found}, not a copy installed in {sys.prefix}")


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(_HOME, ignore_errors=True)


def pytest_report_header(config: pytest.Config) -> str:
    return f"execo: {_found('execo').parent}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with long tests come first, then those with many: so no worker is left alone with a long one at the end."""
    weights: Counter[Path] = Counter()
    for item in items:
        needed = {name for marker in item.iter_markers("requires") for name in marker.args}
        weights[item.path] += 1000 if item.get_closest_marker("timeout") or "qemu" in needed else 1
    items.sort(key=lambda item: -weights[item.path])


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("requires"):
        _require(*marker.args)


@pytest.fixture(scope="session")
def require() -> Callable[..., None]:
    """`require("sshd")`, for what cannot import `requirements`."""
    return _require


@pytest.fixture(autouse=True)
def _nothing_is_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.node.get_closest_marker("leaks"):
        yield
        return
    before = Snapshot.take()
    yield
    if left := left_behind(before):
        pytest.fail("left behind by this test:\n" + "\n".join(left), pytrace=False)


@pytest.fixture(autouse=True)
def _configuration_is_restored() -> Iterator[None]:
    config = importlib.import_module("execo.config")
    dicts: list[dict[str, Any]] = [config.configuration, config.default_connection_params]
    saved = copy.deepcopy(dicts)
    yield
    for live, value in zip(dicts, saved, strict=True):
        if live != value:
            live.clear()
            live.update(value)


@pytest.fixture(autouse=True)
def _log_levels_are_restored() -> Iterator[None]:
    """An engine that was started with -l leaves its level to the program, which goes on with another test here."""
    loggers = [logging.getLogger(name) for name in ("execo", "execo.engine")]
    levels = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, levels, strict=True):
        if level or logger.name != "execo":     # that of execo is set when it is imported, which may have been in this test
            logger.setLevel(level)


def _skip_reasons(config: pytest.Config) -> Counter[str]:
    reporter: Any = config.pluginmanager.get_plugin("terminalreporter")
    reasons: Counter[str] = Counter()
    for report in reporter.stats.get("skipped", []) if reporter else []:
        if isinstance(report.longrepr, tuple):          # (file, line, reason)
            reasons[report.longrepr[2].removeprefix("Skipped: ")] += 1
    return reasons


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workerinput"):          # the controller of the parallel run sees all reports
        return
    reasons = session.config.stash[_SKIPS] = _skip_reasons(session.config)
    if reasons and os.environ.get("EXECO_NO_SKIP") == "1" and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    lines = [f"skipped {number}: {reason}" for reason, number in sorted(config.stash.get(_SKIPS, Counter()).items())]
    if not lines:
        return
    terminalreporter.section("skipped, and how to get it", "-")
    for line in lines:
        terminalreporter.line(line)
    if os.environ.get("EXECO_NO_SKIP") == "1":
        terminalreporter.line("EXECO_NO_SKIP=1: a skip is a failure", red=True)
    if name := os.environ.get("EXECO_SKIP_FILE"):
        with Path(name).open("a") as file:
            file.write("".join(line + "\n" for line in lines))
