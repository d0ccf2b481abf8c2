"""`Remote` and `TaktukRemote` are one thing to a script: the same tests for both.

What differs, and why:

* A host that cannot be reached: ssh is a process, so it has its exit code, 255; TakTuk has no process then, so it is an `error` with its
  `error_reason`.  Both are `unreachable`, with the same `connection_failure`.
* `pid`: that of the ssh client here; by TakTuk that of the command on its host.
* A terminal: the default ssh options ask for one (``-tt``), which merges standard error and gives CR LF; TakTuk has none.  The tests take
  the option out.
* The shell: ssh leaves the command to the login shell of the user; TakTuk to /bin/sh.
* A command that leaves a child which holds its standard output: by TakTuk it ends when that child closes it.  See test_taktuk.py.
* `kill` reaches the ssh client at once, by TakTuk the command on its host: one that ignores SIGTERM goes on until SIGKILL.
"""

from __future__ import annotations

import hashlib
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from connector import until, without_tty
from requirements import require
from taktuk import HERE

from execo import STDERR, Host, Remote, Report, TaktukRemote, configuration
from execo.action import ActionLifecycleHandler
from execo.localcluster import LocalCluster
from execo.process import ProcessLifecycleHandler, ProcessOutputHandler, SshProcess, TaktukProcess

SECONDS = 30
QUIET = {"nolog_exit_code": True, "nolog_error": True, "nolog_timeout": True, "nolog_expect_fail": True, "nolog_write_error": True}


class Way:
    """One of the two."""

    def __init__(self, remote: Any, process: Any, params: dict[str, Any]) -> None:
        self.remote_class = remote
        self.process_class = process
        self.params = params
        self.is_taktuk = remote is TaktukRemote

    def call(self, cmd: Any, hosts: int, **process_args: Any) -> tuple[Any, ...]:
        """Arguments of the class: who calls it itself is where the names in the command are looked for."""
        return cmd, [f"h{n}" for n in range(hosts)], self.params, {**QUIET, **process_args}

    def remote(self, cmd: Any, hosts: Any = 2, **kwargs: Any) -> Any:
        names = [f"h{n}" for n in range(hosts)] if isinstance(hosts, int) else hosts
        args = {**QUIET, **kwargs.pop("process_args", {})}
        return self.remote_class(cmd, names, {**self.params, **kwargs.pop("params", {})}, args, **kwargs)

    def process(self, cmd: Any, host: Any = "h0", **kwargs: Any) -> Any:
        return self.process_class(cmd, host, self.params, **{**QUIET, **kwargs})


@pytest.fixture(params=["Remote", "TaktukRemote"])
def way(request: pytest.FixtureRequest) -> Way:
    if request.param == "Remote":
        return Way(Remote, SshProcess, {"ssh": HERE["taktuk_connector"], "ssh_options": ()})
    require("taktuk", "perl")
    return Way(TaktukRemote, TaktukProcess, HERE)


@pytest.fixture(params=["Remote", "TaktukRemote"])
def real(request: pytest.FixtureRequest, ssh_hosts: LocalCluster) -> Way:
    """With real ssh."""
    if request.param == "Remote":
        return Way(Remote, SshProcess, without_tty(ssh_hosts.connection_params))
    require("taktuk", "perl")
    return Way(TaktukRemote, TaktukProcess, ssh_hosts.connection_params)


def outputs(action: Any) -> list[str]:
    return [process.stdout for process in action.processes]


def facts(action: Any, *names: str) -> list[Any]:
    return [tuple(getattr(process, name) for name in names) for process in action.processes]


# output and outcome

def test_output_exit_codes_and_substitution(way: Way) -> None:
    letters = ["a", "b"]                    # noqa: F841    # named in the command
    action = way.remote_class(*way.call("echo {{{host}}} {{letters}}; echo e{{letters}} >&2; exit {{[0, 3, 255]}}", 3)).run(SECONDS)
    assert facts(action, "stdout", "stderr", "exit_code", "ok", "error") == [
        ("h0 a\n", "ea\n", 0, True, False), ("h1 b\n", "eb\n", 3, False, False), ("h2 a\n", "ea\n", 255, False, False)]
    assert [process.host for process in action.processes] == [Host("h0"), Host("h1"), Host("h2")]
    assert (action.ended, action.ok, action.finished_ok) == (True, False, False)
    assert action.unreachable_processes == []


def test_a_process_alone(way: Way) -> None:
    with way.process("echo out; echo err >&2; exit 4") as process:
        process.run(SECONDS)
    assert (process.stdout, process.stderr, process.exit_code, process.host) == ("out\n", "err\n", 4, Host("h0"))


def test_death_by_a_signal(way: Way) -> None:
    action = way.remote("kill -{{['KILL', 'TERM', 'USR1']}} $$", 3).run(SECONDS)
    assert facts(action, "exit_code", "killed", "ok") == [(-9, False, False), (-15, False, False), (-signal.SIGUSR1, False, False)]


def test_the_raw_status_by_configuration(way: Way) -> None:
    configuration["raw_exit_code"] = True
    assert facts(way.remote("exit 3").run(SECONDS), "exit_code") == [(768,)] * 2


def test_a_missing_command(way: Way) -> None:
    action = way.remote("no-such-command-here").run(SECONDS)
    assert facts(action, "exit_code", "error") == [(127, False)] * 2
    assert all("not found" in process.stderr for process in action.processes)


@pytest.mark.parametrize("cmd", [("echo", "a  b"), ["echo", "a  b"], "echo a  b"])
def test_words_of_a_command_are_joined_and_seen_by_the_shell(way: Way, cmd: Any) -> None:
    assert outputs(way.remote(cmd).run(SECONDS)) == ["a b\n"] * 2


COMMANDS = {
    "quotes": """printf '%s|' "a  b" 'c$d' "it's" "*" \\;""",
    "brackets": "echo '[' ']' ' ] ' '-]' '-[' '{' '}' '(' ')' ] [ -] -[",
    "a bracket alone": "echo ] ; echo -] ; echo [ x ]",
    "escapes": "echo '%' '%%' %] '!' '!!' %s",
    "lines": "echo one\necho two\n\necho three # a comment\n",
    "here document": "cat <<'END'\na ] b ; c\n  $d\nEND\n",
    "trailing blank": "echo x ",
    "trailing backslash": "echo 'x\\' y\\\\",
    "tabs and carriage returns": "printf '%s' 'a\tb\rc'",
    "variables": "x=3; echo $x ${x} $((x + 1)) `echo y` $(echo z)",
    "leading blanks": "   \n echo x",
    "a builtin": "exit 0",
    "words of TakTuk": "echo 'broadcast exec [ x ]; quit'",
    "non-ASCII": "echo 'é ☃ \udcff'",
    "subshell": "(echo a; echo b) | sort -r; { echo c; }",
    "semicolons": "echo a;echo b;;" [:-1],
    "control characters": "printf %s '\x01\x1b\x7f'",
    "long": "echo " + "x" * 30_000,
}


def test_commands_with_any_character(way: Way) -> None:
    commands = list(COMMANDS.values())
    action = way.remote_class(*way.call("{{commands}}", len(commands))).run(SECONDS)
    for name, command, process in zip(COMMANDS, commands, action.processes, strict=True):
        expected = subprocess.run(["sh", "-c", command.encode("utf-8", "surrogateescape")], capture_output=True).stdout
        assert (name, process.stdout_bytes, process.exit_code) == (name, expected, 0)


def test_an_empty_command_does_nothing(way: Way) -> None:
    assert facts(way.remote(" ").run(SECONDS), "stdout", "exit_code") == [("", 0)] * 2


@pytest.mark.parametrize("cmd", ["printf 'no newline'", "printf 'a\\n\\n\\nb'", "printf '\\377\\376\\000\\001x\\r\\n\\r'", "true", "echo",
                                 "printf '\\n\\n'"])
def test_output_byte_for_byte(way: Way, cmd: str) -> None:
    expected = subprocess.run(["sh", "-c", cmd], capture_output=True).stdout
    action = way.remote(f"{cmd}; {cmd} >&2").run(SECONDS)
    assert facts(action, "stdout_bytes", "stderr_bytes", "exit_code") == [(expected, expected, 0)] * 2


def test_much_output(way: Way) -> None:
    action = way.remote("yes 0123456789abcde | head -c 10000000", 1).run(60)
    assert action.processes[0].stdout == "0123456789abcde\n" * 625_000


def test_a_very_long_line(way: Way) -> None:
    action = way.remote("head -c 3000000 /dev/zero | tr '\\0' x; echo end", 1).run(60)
    assert action.processes[0].stdout == "x" * 3_000_000 + "end\n"


def test_output_of_both_streams_is_not_captured_if_not_wanted(way: Way) -> None:
    action = way.remote("echo a; echo b >&2", process_args={"default_stdout_handler": False, "default_stderr_handler": False}).run(SECONDS)
    assert facts(action, "stdout", "stderr", "exit_code") == [("", "", 0)] * 2


# hosts

def test_no_host_ends_at_once(way: Way) -> None:
    action = way.remote("true", []).run(SECONDS)
    assert (action.finished_ok, action.processes) == (True, [])
    assert action.reset().run(SECONDS).finished_ok


def test_duplicates_of_a_host_are_kept(way: Way) -> None:
    assert outputs(way.remote("echo {{[1, 2, 3]}} {{{host}}}", ["h", "h", "i"]).run(SECONDS)) == ["1 h\n", "2 h\n", "3 i\n"]


def test_a_single_string_is_one_host_and_a_set_is_expanded(way: Way) -> None:
    assert outputs(way.remote("echo {{{host}}}", "h").run(SECONDS)) == ["h\n"]
    assert outputs(way.remote("echo {{{host}}}", "h[1-3]").run(SECONDS)) == ["h1\n", "h2\n", "h3\n"]


def test_hosts_with_their_own_users(way: Way) -> None:
    hosts = [Host("a", user="x"), Host("b"), Host("c", user="y"), Host("d", user="x")]
    assert outputs(way.remote("echo $EXECO_LOGIN", hosts).run(SECONDS)) == ["x\n", "\n", "y\n", "x\n"]
    assert outputs(way.remote("echo $EXECO_LOGIN", hosts, params={"user": "z"}).run(SECONDS)) == ["x\n", "z\n", "y\n", "x\n"]


def test_several_ports_and_keys(way: Way) -> None:
    hosts = [Host("a", port=1), Host("b", keyfile="/k"), Host("c"), Host("d", port=1), Host("e", port=2, keyfile="/k")]
    assert outputs(way.remote("echo {{{host}}}", hosts).run(SECONDS)) == [f"{name}\n" for name in "abcde"]


def test_setting_the_hosts_takes_effect_at_reset(way: Way) -> None:
    action = way.remote("echo {{{host}}}")
    action.hosts = ["other"]
    assert outputs(action.run(SECONDS)) == ["h0\n", "h1\n"]
    assert outputs(action.reset().run(SECONDS)) == ["other\n"]


@pytest.mark.parametrize("fanout", [1, 3, None])
def test_fanout(way: Way, fanout: int | None) -> None:
    assert outputs(way.remote("echo {{{host}}}", 7, fanout=fanout).run(SECONDS)) == [f"h{n}\n" for n in range(7)]


def test_a_host_that_cannot_be_reached(way: Way) -> None:
    action = way.remote("echo here", ["h0", "down", "denied", "h1"]).run(SECONDS)
    assert facts(action, "stdout", "ok", "unreachable") == [
        ("here\n", True, False), ("", False, True), ("", False, True), ("here\n", True, False)]
    failures = [process.connection_failure for process in action.processes[1:3]]
    assert [failure.retryable for failure in failures] == [True, False]
    assert failures[0].message == "ssh: connect to host down port 22: Connection refused"
    assert "Connection refused" in action.processes[1].stderr
    assert action.unreachable_processes == action.processes[1:3]
    assert action.failed_processes == action.processes[1:3]
    if way.is_taktuk:
        assert [str(process.error_reason).partition(":")[0] for process in action.processes[1:3]] == ["taktuk connection failed"] * 2
        assert all(isinstance(process.error_reason, ConnectionError) and process.exit_code is None for process in action.processes[1:3])
    else:
        assert facts(action, "exit_code", "error")[1:3] == [(255, False)] * 2


def test_all_hosts_are_down(way: Way) -> None:
    action = way.remote("echo here", ["down1", "down2", "down3"]).run(SECONDS)
    assert facts(action, "ended", "ok", "unreachable") == [(True, False, True)] * 3


def test_retries_of_a_connection(way: Way, tmp_path: Path) -> None:
    tries = tmp_path / "tries"
    connector = tmp_path / "connector"
    connector.write_text(f"""#!/bin/sh
        echo x >> {tries}
        if [ $(wc -l < {tries}) -le 2 ]; then echo "ssh: connect to host h0 port 22: Connection refused" >&2; exit 255; fi
        exec {HERE["taktuk_connector"]} "$@"
        """)
    connector.chmod(0o755)
    params = {"ssh": str(connector), "taktuk_connector": str(connector), "connect_retry_delay": 0.01}
    assert not way.remote("echo ok", 1, params={**params, "connect_retries": 1}).run(SECONDS).ok
    tries.unlink()
    action = way.remote("echo ok", 1, params={**params, "connect_retries": 2}).run(SECONDS)
    assert (action.finished_ok, outputs(action)) == (True, ["ok\n"])
    assert tries.read_text() == "x\n" * 3


# life

def test_start_twice_and_wait_before_the_start(way: Way) -> None:
    action = way.remote("true")
    with pytest.raises(ValueError, match="not started"):
        action.wait()
    with pytest.raises(ValueError, match="not started"):
        action.processes[0].wait()
    action.start()
    with pytest.raises(ValueError, match="only once"):
        action.start()
    assert action.wait(SECONDS).finished_ok
    assert action.stats()["start_date"] <= action.stats()["end_date"]


def test_wait_with_a_timeout_does_not_kill(way: Way) -> None:
    action = way.remote("read x; echo $x").start()
    assert not action.wait(0.1).ended
    assert all(not process.ended for process in action.processes)
    action.write("go\n")
    assert outputs(action.wait(SECONDS)) == ["go\n"] * 2


def test_events_of_a_process(way: Way) -> None:
    action = way.remote("read x", 1)
    process = action.processes[0]
    assert not process.started_event.is_set()
    action.start()
    assert process.started_event.wait(SECONDS)
    assert process.running
    assert not process.ended_event.is_set()
    action.close_stdin()
    assert process.ended_event.wait(SECONDS)
    action.wait(SECONDS)
    assert (process.start_date <= process.end_date, process.running) == (True, False)


def test_lifecycle_handlers(way: Way) -> None:
    told = []

    class OfProcess(ProcessLifecycleHandler):
        def start(self, process: Any) -> None:
            told.append("process start")

        def end(self, process: Any) -> None:
            told.append(f"process end {process.exit_code}")

        def reset(self, process: Any) -> None:
            told.append("process reset")

    class OfAction(ActionLifecycleHandler):
        def start(self, action: Any) -> None:
            told.append("action start")

        def end(self, action: Any) -> None:
            told.append(f"action end {action.ended}")

        def reset(self, action: Any) -> None:
            told.append("action reset")

    action = way.remote("exit 2", 1, process_args={"lifecycle_handlers": [OfProcess()]}, lifecycle_handlers=[OfAction()])
    action.run(SECONDS)
    until(lambda: len(told) == 4)
    assert (told[:2], sorted(told[2:])) == (["action start", "process start"], ["action end False", "process end 2"])
    action.reset()
    assert told[4:] == ["action reset"]


def test_output_handlers_get_lines(way: Way) -> None:
    got = []

    class Lines(ProcessOutputHandler):
        def read_line(self, process: Any, stream: int, line: str) -> None:
            got.append((process.host.address, stream, line))

    action = way.remote("echo a; echo b; printf c; echo d >&2", process_args={"stdout_handlers": [Lines()], "stderr_handlers": [Lines()]})
    action.run(SECONDS)
    for host in ("h0", "h1"):
        assert [line for name, stream, line in got if (name, stream) == (host, 1)] == ["a", "b", "c"]
        assert [line for name, stream, line in got if (name, stream) == (host, 2)] == ["d"]


def test_output_files_are_substituted(way: Way, tmp_path: Path) -> None:
    names = ["x", "y"]                      # noqa: F841    # named in the command
    way.remote_class(*way.call("echo out {{{host}}}; echo err >&2", 2, stdout_handlers=[f"{tmp_path}/{{{{{{host}}}}}}.{{{{names}}}}"],
                               stderr_handlers=str(tmp_path / "{{names}}.err"))).run(SECONDS)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "h0.x": "out h0\n", "h1.y": "out h1\n", "x.err": "err\n", "y.err": "err\n"}


def test_a_failing_handler_harms_nobody(way: Way) -> None:
    class Failing(ProcessOutputHandler):
        def read(self, process: Any, stream: int, string: str, eof: bool = False, error: bool = False) -> None:
            raise RuntimeError("on purpose")

    assert way.remote("echo a", process_args={"stdout_handlers": [Failing()]}).run(SECONDS).finished_ok


def test_reset_and_run_again(way: Way) -> None:
    values = ["old"]
    action = way.remote_class(*way.call("echo {{values}}", 2))
    values[:] = ["new", "newer"]
    first = action.processes
    assert outputs(action.run(SECONDS)) == ["old\n"] * 2
    assert outputs(action.reset().run(SECONDS)) == ["new\n", "newer\n"]
    assert action.processes[0] is not first[0]


def test_reset_while_it_runs(way: Way) -> None:
    action = way.remote("echo {{['a', 'b']}}; exec sleep 300").start()
    action.expect("^[ab]$", timeout=SECONDS)
    action.reset()
    assert facts(action, "started", "stdout") == [(False, "")] * 2


def test_retry_failed_runs_only_what_failed(way: Way, tmp_path: Path) -> None:
    action = way.remote(f"echo x >> {tmp_path}/{{{{{{host}}}}}}; test {{{{{{host}}}}}} != h1 -o -e {tmp_path}/ready", 3).run(SECONDS)
    assert [process.ok for process in action.processes] == [True, False, True]
    (tmp_path / "ready").touch()
    assert action.retry_failed(SECONDS).finished_ok
    assert [(tmp_path / name).read_text().count("x") for name in ("h0", "h1", "h2")] == [1, 2, 1]


def test_gather(way: Way) -> None:
    action = way.remote("echo {{['a', 'b', 'b']}}; echo e >&2", 3).run(SECONDS)
    assert action.gather() == [([Host("h1"), Host("h2")], "b\n"), ([Host("h0")], "a\n")]
    assert action.gather(STDERR) == [([Host("h0"), Host("h1"), Host("h2")], "e\n")]


def test_stats_and_report(way: Way) -> None:
    action = way.remote("exit {{[0, 1, 0]}}", ["h0", "h1", "down"], name="mine").run(SECONDS)
    stats = action.stats()
    assert {key: stats[key] for key in ("name", "num_processes", "num_started", "num_ended", "num_ok", "num_finished_ok", "num_timeouts",
                                        "num_forced_kills", "num_non_zero_exit_codes", "unreachable")} == {
        "name": "mine", "num_processes": 3, "num_started": 3, "num_ended": 3, "num_ok": 1, "num_finished_ok": 1, "num_timeouts": 0,
        "num_forced_kills": 0, "num_non_zero_exit_codes": 2, "unreachable": 1}
    assert stats["num_errors"] == int(way.is_taktuk)
    assert stats["start_date"] <= stats["end_date"]
    assert "mine" in Report(action).to_string()


def test_text(way: Way) -> None:
    action = way.remote_class("true", ["h"], {"user": "u"}, {"timeout": 3})
    name = way.remote_class.__name__
    assert repr(action) == f"{name}('true', [Host('h')], connection_params={{'user': 'u'}}, process_args={{'timeout': 3}})"
    assert action.name == "true"
    assert "exit_code=None" in str(action.processes[0])
    assert way.process("true").dump().endswith("\nstdout:\n\nstderr:\n")


# killing and time

def test_kill_all(way: Way) -> None:
    action = way.remote("echo ready; exec sleep 300").start()
    action.expect("ready", timeout=SECONDS)
    action.kill().wait(SECONDS)
    assert facts(action, "ended", "killed", "forced_kill", "exit_code", "ok") == [(True, True, False, -15, True)] * 2


def test_kill_one(way: Way) -> None:
    action = way.remote("echo ready; read x; echo got $x").start()
    action.expect("ready", timeout=SECONDS)
    action.processes[0].kill().wait(SECONDS)
    assert facts(action, "ended", "killed") == [(True, True), (False, False)]
    action.processes[1].write("mail\n")
    action.wait(SECONDS)
    assert action.processes[1].stdout == "ready\ngot mail\n"


def test_a_signal_that_is_trapped(way: Way) -> None:
    action = way.remote("trap 'echo caught; exit 7' {{['TERM', 'USR1']}}; echo ready; while :; do sleep 0.02; done").start()
    action.expect("ready", timeout=SECONDS)
    action.processes[0].kill()
    action.processes[1].kill(signal.SIGUSR1)
    action.wait(SECONDS)
    assert facts(action, "stdout", "exit_code", "killed", "ok") == [("ready\ncaught\n", 7, True, True)] * 2


def test_a_process_that_ignores_signals_is_killed_by_force(way: Way) -> None:
    action = way.remote("trap '' TERM; echo ready; while :; do sleep 0.02; done").start()
    action.expect("ready", timeout=SECONDS)
    for process in action.processes:
        process.kill(auto_force_kill_timeout=0.3)
    action.wait(SECONDS)
    assert facts(action, "exit_code", "killed", "forced_kill") == [(-9, True, True)] * 2


def test_kill_before_and_after_does_nothing(way: Way) -> None:
    action = way.remote("true")
    assert action.kill() is action
    assert not action.processes[0].killed
    action.run(SECONDS).kill()
    assert not action.processes[0].killed


def test_kill_right_after_the_start(way: Way) -> None:
    action = way.remote("exec sleep 300", 5).start().kill().wait(SECONDS)
    assert facts(action, "ended", "killed", "ok") == [(True, True, True)] * 5


def test_a_timeout(way: Way) -> None:
    action = way.remote("exec sleep {{[0, 300]}}", process_args={"timeout": SECONDS})
    action.processes[1].timeout = "1.5"
    action.run(SECONDS)
    assert facts(action, "timeouted", "killed", "ok", "error") == [(False, False, True, False), (True, True, False, False)]
    assert action.timeouted_processes == action.processes[1:]
    assert action.processes[1].timeout_date == pytest.approx(action.processes[1].start_date + 1.5, abs=0.5)
    action = way.remote("exec sleep 300", process_args={"timeout": 1, "ignore_timeout": True}).run(SECONDS)
    assert action.ok


def test_a_timeout_while_it_connects(way: Way) -> None:
    action = way.remote("echo here", ["h0", "mute"], process_args={"timeout": 1}).run(SECONDS)
    assert facts(action, "ended")[1] == (True,)
    assert facts(action, "timeouted", "killed", "ok")[1] == (True, True, False)
    assert action.ended


def test_an_idle_timeout(way: Way) -> None:
    action = way.remote("for i in 1 2 3; do echo $i; sleep 0.4; done; exec sleep {{[0, 300]}}", process_args={"idle_timeout": SECONDS})
    action.processes[1].idle_timeout = 1
    action.run(SECONDS)
    assert facts(action, "idle_timeouted", "timeouted", "ok") == [(False, False, True), (True, False, False)]


def test_the_context_manager_kills(way: Way) -> None:
    with way.remote("exec sleep 300") as action:
        assert not action.started
        action.start()
    assert facts(action.wait(SECONDS), "killed") == [(True,)] * 2
    with way.process("exec sleep 300") as process:
        process.start()
    assert process.wait(SECONDS).killed


# flags

@pytest.mark.parametrize(("cmd", "args", "expected"), [
    ("exit 1", {}, False), ("exit 1", {"ignore_exit_code": True}, True), ("exit 1", {"ignore_error": True}, False)])
def test_ignored_failures(way: Way, cmd: str, args: dict[str, Any], expected: bool) -> None:
    action = way.remote(cmd, process_args=args).run(SECONDS)
    assert (action.ok, action.finished_ok) == (expected, expected)


def test_an_ignored_connection_failure(way: Way) -> None:
    action = way.remote("true", ["down"], process_args={"ignore_error": True, "ignore_exit_code": True}).run(SECONDS)
    assert action.ok


@pytest.mark.parametrize("quiet", [True, False])
def test_failures_are_logged_unless_told_not_to(way: Way, quiet: bool, caplog: pytest.LogCaptureFixture) -> None:
    args = {"nolog_exit_code": quiet, "nolog_error": quiet}
    way.remote("exit {{[3, 0]}}", ["h0", "down"], process_args=args).run(SECONDS)
    warnings = [record for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == (0 if quiet else 2)


# standard input and expect

def test_writing_to_all_and_to_one(way: Way) -> None:
    action = way.remote("read a; read b; echo $a $b; cat").start()
    action.write("all\n")
    action.processes[0].write("one\n")
    print("two", file=action.processes[1])
    action.write(b"\xff\x00 % ] ; \n\n")
    assert action.close_stdin() is action
    assert [process.stdout_bytes for process in action.wait(SECONDS).processes] == [
        b"all one\n\xff\x00 % ] ; \n\n", b"all two\n\xff\x00 % ] ; \n\n"]
    assert action.finished_ok


def test_writing_right_after_the_start(way: Way) -> None:
    action = way.remote("cat").start()
    for n in range(100):
        action.write(f"{n}\n")
    action.close_stdin()
    assert outputs(action.wait(SECONDS)) == ["".join(f"{n}\n" for n in range(100))] * 2


def test_writing_much(way: Way) -> None:
    data = bytes(range(256)) * 4000
    action = way.remote("sha256sum | cut -c-64; wc -c < /dev/null").start()
    action.write(data)
    action.close_stdin().wait(60)
    assert outputs(action) == [hashlib.sha256(data).hexdigest() + "\n0\n"] * 2


def test_writing_before_the_start_and_after_the_end(way: Way) -> None:
    action = way.remote("true", 1)
    process = action.processes[0]
    with pytest.raises(ValueError, match="not started"):
        process.write("x")
    action.run(SECONDS)
    process.write("x")
    assert process.write_error
    assert not process.ok


def test_expect_and_answer(way: Way) -> None:
    action = way.remote("printf 'name? '; read n; echo hello $n; read x").start()
    assert [index for _, index, _ in action.expect(["nothing", r"name\? $"], timeout=SECONDS)] == [1, 1]
    action.write("you\n")
    assert [match.group(1) for _, _, match in action.expect("^hello (.*)$", timeout=SECONDS)] == ["you", "you"]
    assert action.expect("nothing", timeout=0)[0] == (action.processes[0], None, None)
    assert facts(action, "expect_fail", "ok") == [(True, False)] * 2
    action.write("end\n")
    action.wait(SECONDS)
    assert action.processes[0].expect("hello|nothing", timeout=0, backtrack=True) == (None, None)


def test_expect_ends_with_the_process(way: Way) -> None:
    action = way.remote("echo no", 1, process_args={"ignore_expect_fail": True}).start()
    assert action.processes[0].expect("yes", timeout=SECONDS) == (None, None)
    assert action.wait(SECONDS).ok


def test_expect_in_another_thread_on_standard_error(way: Way) -> None:
    action = way.remote("read x; echo $x >&2; read y", 1).start()
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(action.processes[0].expect("go+", timeout=SECONDS, stream=STDERR)[0]))
    thread.start()
    action.write("goo\n")
    thread.join(SECONDS)
    action.close_stdin().wait(SECONDS)
    assert found == [0]


# real ssh

def test_real_hosts_answer(real: Way, ssh_hosts: LocalCluster) -> None:
    hosts = ssh_hosts.hosts[:8]
    action = real.remote("echo $SSH_CONNECTION; cat; echo err >&2; exit {{[0, 3]}}", hosts).start()
    action.write("mail\n")
    action.close_stdin().wait(60)
    assert [out.split()[2] for out in outputs(action)] == [host.address for host in hosts]
    assert [out.splitlines()[1] for out in outputs(action)] == ["mail"] * 8
    assert facts(action, "stderr", "exit_code") == [("err\n", 0), ("err\n", 3)] * 4


def test_real_commands_are_killed(real: Way, ssh_hosts: LocalCluster, tmp_path: Path) -> None:
    hosts = ssh_hosts.hosts[:3]
    action = real.remote(f"echo $$ > {tmp_path}/{{{{{{host}}}}}}; echo ready; exec cat", hosts).start()
    action.expect("ready", timeout=60)
    action.kill().wait(SECONDS)
    assert facts(action, "killed", "ok") == [(True, True)] * 3
    pids = [(tmp_path / host.address).read_text().strip() for host in hosts]

    def running(pid: str) -> bool:
        try:
            return Path(f"/proc/{pid}/comm").read_text() == "cat\n"
        except OSError:
            return False

    until(lambda: not any(map(running, pids)))


def test_users_keys_and_ports_of_real_hosts(real: Way, ssh_hosts: LocalCluster) -> None:
    params = ssh_hosts.connection_params
    one, two, three = ssh_hosts.hosts[:3]
    hosts = [Host(one.address, user=params["user"], port=params["port"], keyfile=params["keyfile"]), two,
             Host(three.address, user="nobody-of-this-name")]
    action = real.remote("whoami", hosts).run(60)
    assert outputs(action) == [f"{params['user']}\n", f"{params['user']}\n", ""]
    failed = action.processes[2]
    assert (failed.ok, failed.unreachable, failed.connection_failure.retryable) == (False, True, False)
    assert "Permission denied" in failed.stderr


def test_real_hosts_that_do_not_exist(real: Way, ssh_hosts: LocalCluster) -> None:
    start = time.monotonic()
    action = real.remote("echo here", [ssh_hosts.hosts[0], "no-such-host.invalid", ssh_hosts.hosts[1]]).run(60)
    assert outputs(action) == ["here\n", "", "here\n"]
    assert action.processes[1].unreachable
    assert not action.processes[1].connection_failure.retryable
    assert time.monotonic() - start < 40


@pytest.fixture(autouse=True)
def _kill_timeout() -> None:
    configuration["kill_timeout"] = 3
