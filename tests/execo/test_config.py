"""The dictionaries of execo.config, the user's file, colours, and what an import does."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from execo import config
from execo.exception import ActionsFailed, ProcessesFailed

ROOT = Path(config.__file__).resolve().parents[1]


def run_python(code: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    variables |= {"PYTHONPATH": str(ROOT), "HOME": str(home), **environment}
    return subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, timeout=30)


def test_connection_params_overlay_each_other_and_are_never_the_same_object() -> None:
    config.default_connection_params["user"] = "changed"
    assert config.make_connection_params()["user"] == "changed"
    assert config.make_connection_params() is not config.default_connection_params
    assert config.make_connection_params(None, {})["user"] is None
    both = config.make_connection_params({"user": "u", "extra": 1}, {"user": "d", "port": 3})
    assert (both["user"], both["port"], both["extra"]) == ("u", 3, 1)


def test_factory_params_have_exactly_the_keys_of_the_contract() -> None:
    assert sorted(config.make_default_connection_params()) == sorted(
        "chainput_chain_retry chainput_host_retry chainput_nc_client_timeout chainput_nc_server_timeout"
        " chainput_try_delay forwarding_timeout host_rewrite_func keyfile nc port pty scp scp_options ssh ssh_options"
        " taktuk taktuk_connector taktuk_connector_options taktuk_options user".split()
    )
    assert "fanout" not in config.configuration
    assert "raw_exit_code" not in config.configuration


def test_user_file_overlays_both_dicts_at_import(tmp_path: Path) -> None:
    (tmp_path / ".execo.conf.py").write_text(
        "from execo.config import DETAIL, TAKTUK\n"
        "configuration = {'log_level': DETAIL, 'remote_tool': TAKTUK}\n"
        "default_connection_params = {'user': 'root'}\n"
    )
    done = run_python(
        "from execo import config, log\n"
        "c = config.configuration\n"
        "print(log.logger.level, c['remote_tool'], c['kill_timeout'], config.default_connection_params['user'])",
        tmp_path,
    )
    assert (done.stdout, done.stderr) == ("15 2 60 root\n", "")


def test_mistake_in_the_user_file_is_reported_and_what_came_before_is_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "conf.py"
    file.write_text("mine = {'a': 1}\nraise RuntimeError('oops')\nother = {'b': 2}\n")
    mine: dict[str, int] = {}
    other: dict[str, int] = {}
    config.load_configuration(str(file), ((mine, "mine"), (other, "other")))
    assert (mine, other) == ({"a": 1}, {})
    assert capsys.readouterr().err == f"ERROR while reading config file {file}:\nRuntimeError: oops\n"


@pytest.mark.parametrize("text", ["mine = 3\n", "mine = ]\n", "mine = None\n", "import no_such_module_at_all\n"])
def test_broken_user_file_is_reported_and_changes_nothing(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "conf.py"
    file.write_text(text)
    mine = {"a": 1}
    config.load_configuration(str(file), ((mine, "mine"),))
    assert mine == {"a": 1}
    assert str(file) in capsys.readouterr().err


def test_missing_user_file_is_no_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.load_configuration(str(tmp_path / "absent"), (({}, "mine"),))
    assert capsys.readouterr().err == ""


def test_user_config_filename_needs_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somewhere")
    assert config.get_user_config_filename() == "/somewhere/.execo.conf.py"
    monkeypatch.delenv("HOME")
    assert config.get_user_config_filename() is None


def test_checktty_knows_a_terminal() -> None:
    master, slave = os.openpty()
    try:
        with os.fdopen(slave, "w") as terminal:
            assert config.checktty(terminal) is True
    finally:
        os.close(master)
    closed = io.StringIO()
    closed.close()
    assert [config.checktty(other) for other in (None, io.StringIO(), closed)] == [False] * 3


@pytest.mark.parametrize("no_color, coloured", [(None, True), ("", True), ("1", False)])
def test_color_mode_on_a_terminal_honours_no_color(no_color: str | None, coloured: bool, tmp_path: Path) -> None:
    master, slave = os.openpty()
    variables = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    variables |= {"PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    if no_color is not None:
        variables["NO_COLOR"] = no_color
    code = "import sys; from execo.config import configuration; sys.exit(10 + configuration['color_mode'])"
    try:
        done = subprocess.run([sys.executable, "-c", code], env=variables, stdout=slave, stderr=slave, timeout=30)
    finally:
        os.close(master)
        os.close(slave)
    assert done.returncode == 10 + coloured


def test_user_file_may_override_no_color(tmp_path: Path) -> None:
    (tmp_path / ".execo.conf.py").write_text("configuration = {'color_mode': True}\n")
    done = run_python("from execo.log import style; print(style.emph('x'))", tmp_path, NO_COLOR="1")
    assert done.stdout == "\033[36mx\033[m\n"


def test_base_modules_load_no_heavy_module_and_start_no_thread(tmp_path: Path) -> None:
    done = run_python(
        "import logging, os, sys, types; before = set(sys.modules)\n"
        # Without what the package itself loads.
        "execo = sys.modules['execo'] = types.ModuleType('execo')\n"
        "execo.__path__ = [os.path.join(os.environ['PYTHONPATH'], 'execo')]\n"
        "import execo.config, execo.log, execo.time_utils, execo.utils, execo.host, execo.substitutions\n"
        "import execo.ssh_utils, execo.report, execo.exception, threading\n"
        "heavy = {'typing', 'dataclasses', 'inspect', 'subprocess', 'random', 'datetime', 'getpass', 'socket'}\n"
        "print(threading.active_count(), sorted(heavy & (set(sys.modules) - before)))",
        tmp_path,
    )
    assert (done.stdout, done.stderr) == ("1 []\n", "")


class Dumped:
    """What an exception needs of a process."""

    def dump(self) -> str:
        return "<process>\nstdout:\n"

    def __reduce__(self) -> Any:
        raise TypeError("cannot pickle a lock")


def test_failures_tell_their_processes_or_actions() -> None:
    process = Dumped()
    failed = ProcessesFailed([process])
    assert failed.processes == [process]
    assert str(failed) == "<ProcessesFailed> - failed process(es):\n <process>\nstdout:\n\n"
    actions = ActionsFailed(["one", "two"])
    assert actions.actions == ["one", "two"]
    assert str(actions) == "<ActionsFailed> - failed action(s):\n one\n two\n"


@pytest.mark.parametrize("failed", [ProcessesFailed([Dumped()]), ActionsFailed([1])])
def test_pickled_failure_keeps_its_text(failed: Exception) -> None:
    import pickle

    copied = pickle.loads(pickle.dumps(failed))
    again = pickle.loads(pickle.dumps(copied))
    assert type(again) is type(failed)
    assert str(again) == str(copied) == str(failed)
