"""Connections that cannot be made: tried again when that can help, told apart, and no command is run twice."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from connector import LOCAL, hosts, until, without_tty
from gate import Gate, gate, silent_port

from execo.action import Get, Put, Remote
from execo.host import Host
from execo.localcluster import LocalCluster
from execo.log import logger
from execo.process import ProcessOutputHandler, SshProcess
from execo.report import Report

QUIET: dict[str, Any] = {"nolog_exit_code": True, "nolog_timeout": True, "nolog_error": True}
REFUSED = "ssh: connect to host h port 22: Connection refused"


def failing(folder: Path, times: int, **params: Any) -> dict[str, Any]:
    """A connector to host `h` that fails so many times like an ssh that is refused, then runs the command here."""
    script = f'echo try >> {folder}/tries; if [ $(wc -l < {folder}/tries) -le {times} ]; then echo "{REFUSED}" >&2; exit 255; fi; eval "$2"'
    return {**LOCAL, "ssh_options": ("-c", script, "connector"), "connect_retries": 5, "connect_retry_delay": 0.01, **params}


def tries(folder: Path) -> int:
    return len((folder / "tries").read_text().splitlines())


class Retries(logging.Handler):
    """Calls a function with the number of each retry that is logged."""

    def __init__(self, function: Callable[[int], None]) -> None:
        super().__init__()
        self.function = function
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().startswith("no connection to"):
            self.messages.append(record.getMessage())
            self.function(len(self.messages))


@pytest.fixture
def retries() -> Iterator[Retries]:
    handler = Retries(lambda number: None)
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


@pytest.fixture
def closed_gate(ssh_hosts: LocalCluster) -> Iterator[Gate]:
    with gate(ssh_hosts.hosts[0].address, ssh_hosts.connection_params["port"]) as made:
        yield made


@pytest.fixture
def longest_pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The longest pause that full jitter allows, each time."""
    pauses: list[float] = []

    def uniform(low: float, high: float) -> float:
        assert low == 0
        pauses.append(high)
        return high

    monkeypatch.setattr(random, "uniform", uniform)
    return pauses


# with real ssh

def test_a_port_that_opens_later_is_reached(ssh_hosts: LocalCluster, closed_gate: Gate, retries: Retries, tmp_path: Path) -> None:
    retries.function = lambda number: closed_gate.open() if number == 2 else None
    params = {**without_tty(ssh_hosts.connection_params), "port": closed_gate.port, "connect_retries": 4, "connect_retry_delay": 0.2}
    process = SshProcess(f"echo run >> {tmp_path}/runs; cat", "127.0.0.1", params).start()
    process.write("written ")
    process.write("before\n")
    process.close_stdin()
    assert process.wait(60).finished_ok
    assert process.stdout == "written before\n"
    assert (tmp_path / "runs").read_text() == "run\n"
    assert (process.unreachable, process.connection_failure, process.connect_timeouted) == (False, None, False)
    assert closed_gate.accepted == 1
    assert len(retries.messages) == 2
    assert "Connection refused), try 2 of 5 in" in retries.messages[0]


def test_a_copy_to_a_port_that_opens_later(ssh_hosts: LocalCluster, closed_gate: Gate, retries: Retries, tmp_path: Path) -> None:
    retries.function = lambda number: closed_gate.open() if number == 1 else None
    params = {**ssh_hosts.connection_params, "connect_retries": 3, "connect_retry_delay": 0.2}
    (tmp_path / "f").write_text("x")
    host = Host("127.0.0.1", port=closed_gate.port)
    assert Put(host, tmp_path / "f", str(tmp_path / "there"), params).run(60).finished_ok
    assert (tmp_path / "there").read_text() == "x"
    assert Get(host, str(tmp_path / "there"), str(tmp_path / "back"), params).run(60).finished_ok
    assert len(retries.messages) == 1


@pytest.mark.parametrize("tty", [True, False])
@pytest.mark.parametrize("output", ["", "echo out;", "echo err >&2;", f"echo {REFUSED!r} >&2;",
                                    "echo 'ssh: connect to host elsewhere port 22: Connection refused' >&2;"])
def test_a_command_that_ends_with_255_is_never_run_twice(any_hosts: LocalCluster, tmp_path: Path, tty: bool, output: str) -> None:
    params = any_hosts.connection_params if tty else without_tty(any_hosts.connection_params)
    process = SshProcess(f"echo run >> {tmp_path}/runs; {output} exit 255", any_hosts.hosts[0],
                         {**params, "connect_retries": 3, "connect_retry_delay": 0.01}, **QUIET).run(60)
    assert process.exit_code == 255
    assert not process.unreachable
    assert (tmp_path / "runs").read_text() == "run\n"


@pytest.mark.parametrize("options", [("-t",), ("-T", "-tt", "-T"), ("-tt", "-T"), ("-T",)])
def test_options_that_give_no_terminal_after_all_do_not_deceive(ssh_hosts: LocalCluster, tmp_path: Path, options: tuple[str, ...]) -> None:
    params = without_tty(ssh_hosts.connection_params)
    params = {**params, "ssh_options": (*params["ssh_options"], *options), "connect_retries": 3, "connect_retry_delay": 0.01}
    process = SshProcess(f"echo run >> {tmp_path}/runs; echo 'lost connection' >&2; echo '{REFUSED}' >&2; exit 255", ssh_hosts.hosts[0],
                         params, **QUIET).run(60)
    assert (process.exit_code, process.unreachable) == (255, False)
    assert (tmp_path / "runs").read_text() == "run\n"


def test_a_refused_login_is_not_tried_again(ssh_hosts: LocalCluster, retries: Retries, tmp_path: Path) -> None:
    params = {**ssh_hosts.connection_params, "keyfile": None, "connect_retries": 3}
    no_keys = ("-F", "none", "-o", "IdentityAgent=none", "-o", "IdentityFile=none", "-o", "IdentitiesOnly=yes")
    params["ssh_options"] = (*no_keys, *params["ssh_options"][2:])
    process = SshProcess("true", ssh_hosts.hosts[0], params, **QUIET).run(60)
    assert process.unreachable
    assert not process.connect_timeouted
    assert process.connection_failure is not None
    assert "Permission denied" in process.connection_failure.message
    assert retries.messages == []


def test_an_unknown_name_is_not_tried_again(ssh_hosts: LocalCluster, retries: Retries) -> None:
    process = SshProcess("true", "no-such-host.invalid", {**ssh_hosts.connection_params, "connect_retries": 1, "connect_retry_delay": 0.01},
                         **QUIET).run(60)
    assert process.unreachable
    assert process.connection_failure is not None
    # a machine without any resolver says "Temporary failure", which may pass
    assert len(retries.messages) == ("Temporary failure" in process.connection_failure.message)


def test_a_listener_that_never_answers_runs_into_the_connect_timeout(ssh_hosts: LocalCluster) -> None:
    with silent_port() as port:
        params = {**ssh_hosts.connection_params, "port": port, "connect_timeout": 0.5}
        action = Remote("true", "127.0.0.1", params, process_args=QUIET)
        begin = time.monotonic()
        action.run(60)
        assert time.monotonic() - begin < 20
    process = action.processes[0]
    assert (process.unreachable, process.connect_timeouted, process.timeouted, process.idle_timeouted) == (True, True, False, False)
    assert action.unreachable_processes == [process]
    stats = action.stats()
    assert (stats["connect_timeouts"], stats["unreachable"], stats["idle_timeouts"], stats["num_timeouts"]) == (1, 1, 0, 0)
    assert "unreachable: 1, connect timeouts: 1" in Report([action]).to_string()


def test_the_three_clocks_have_each_their_outcome(ssh_hosts: LocalCluster) -> None:
    # Without a terminal ssh must name the host, else the command could have said so; at LogLevel ERROR it does not.
    params = without_tty(ssh_hosts.connection_params)
    params["ssh_options"] += ("-o", "LogLevel=INFO")
    with silent_port() as port:
        action = Remote("{{['true', 'sleep 60', 'while :; do echo tick; sleep 0.1; done']}}",
                        [Host("127.0.0.1", port=port), *ssh_hosts.hosts[:2]], {**params, "connect_timeout": 1}, process_args=QUIET)
        unconnected, idle, late = action.processes
        idle.idle_timeout = "1.5"
        late.idle_timeout = 60
        late.timeout = 2
        action.run(60)
    assert [(process.connect_timeouted, process.idle_timeouted, process.timeouted) for process in action.processes] == [
        (True, False, False), (False, True, False), (False, False, True)]
    assert action.timeouted_processes == [idle, late]
    assert action.unreachable_processes == [unconnected]
    assert action.failed_processes == action.processes
    stats = action.stats()
    assert [stats[count] for count in ("connect_timeouts", "idle_timeouts", "num_timeouts", "unreachable")] == [1, 1, 1, 1]
    assert "unreachable: 1, connect timeouts: 1, idle timeouts: 1" in Report([action]).to_string()


def test_output_keeps_an_idle_clock_from_ending(ssh_hosts: LocalCluster) -> None:
    process = SshProcess("for i in 1 2 3 4 5 6; do echo $i; sleep 0.4; done", ssh_hosts.hosts[0], without_tty(ssh_hosts.connection_params),
                         idle_timeout=2).run(60)
    assert process.finished_ok
    assert process.end_date is not None
    assert process.start_date is not None
    assert process.end_date - process.start_date > 2.2


# with a connector that fails so many times

@pytest.mark.parametrize("times", [1, 3])
def test_input_arrives_once_after_several_tries(tmp_path: Path, times: int) -> None:
    process = SshProcess("cat", "h", failing(tmp_path, times)).start()
    for i in range(5):
        process.write(f"{i}\n")
    process.close_stdin()
    assert process.wait(30).finished_ok
    assert process.stdout == "0\n1\n2\n3\n4\n"
    assert tries(tmp_path) == times + 1


def test_input_written_between_two_tries_keeps_its_order(tmp_path: Path, retries: Retries, longest_pauses: list[float]) -> None:
    between = threading.Event()
    retries.function = lambda number: between.set() if number == 1 else None
    process = SshProcess("cat", "h", failing(tmp_path, 2, connect_retry_delay=0.1)).start()
    process.write("first\n")
    assert between.wait(20)
    process.write("second\n")
    process.write("third\n")
    process.close_stdin()
    assert process.wait(30).finished_ok
    assert process.stdout == "first\nsecond\nthird\n"


def test_more_input_than_a_pipe_holds_is_no_write_error_while_tries_are_left(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    process = SshProcess("wc -c", "h", failing(tmp_path, 2)).start()
    process.write("x" * 1_000_000)
    process.close_stdin()
    assert process.wait(30).finished_ok
    assert process.stdout.strip() == "1000000"
    assert not process.write_error
    assert "cannot write" not in caplog.text


def test_input_that_no_try_took_is_a_write_error(tmp_path: Path) -> None:
    process = SshProcess("cat", "h", failing(tmp_path, 9, connect_retries=1), nolog_write_error=True, **QUIET).start()
    process.write("x" * 1_000_000)
    assert process.wait(30).ended
    assert (process.write_error, process.unreachable, process.ok) == (True, True, False)


def test_a_command_that_has_read_its_input_is_not_run_again(tmp_path: Path) -> None:
    params = failing(tmp_path, 0)
    process = SshProcess(f"cat > /dev/null; echo '{REFUSED}' >&2; exit 255", "h", params, **QUIET).start()
    process.write("x" * 200_000)
    process.close_stdin()
    process.wait(30)
    assert (process.exit_code, tries(tmp_path)) == (255, 1)


def test_tries_are_counted_and_the_last_failure_is_told(tmp_path: Path, retries: Retries) -> None:
    action = Remote("true", "h", failing(tmp_path, 99, connect_retries=3), process_args=QUIET).run(30)
    process = action.processes[0]
    assert tries(tmp_path) == 4
    assert [message.partition("), ")[2].partition(" in")[0] for message in retries.messages] == ["try 2 of 4", "try 3 of 4", "try 4 of 4"]
    assert (process.exit_code, process.unreachable, process.connect_timeouted, process.ok) == (255, True, False, False)
    assert f"unreachable='{REFUSED}'" in str(process)
    assert action.unreachable_processes == action.failed_processes == [process]
    assert action.stats()["unreachable"] == 1
    assert "unreachable: 1" in Report([action]).to_string()


def test_by_default_nothing_is_tried_again(tmp_path: Path) -> None:
    params = failing(tmp_path, 99)
    del params["connect_retries"]
    process = SshProcess("true", "h", params, **QUIET).run(30)
    assert (process.unreachable, tries(tmp_path)) == (True, 1)


def test_pauses_are_jittered_doubled_and_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ceilings: list[float] = []

    def uniform(low: float, high: float) -> float:
        assert low == 0
        ceilings.append(high)
        return 0.0

    monkeypatch.setattr(random, "uniform", uniform)
    SshProcess("true", "h", failing(tmp_path, 12, connect_retries=12, connect_retry_delay="0.5")).run(30)
    assert ceilings == [0.5, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60]


def test_the_timeout_covers_all_tries(tmp_path: Path, longest_pauses: list[float]) -> None:
    process = SshProcess("true", "h", failing(tmp_path, 10**6, connect_retries=10**6, connect_retry_delay=0.1), timeout=0.5, **QUIET)
    begin = time.monotonic()
    process.run(30)
    assert 0.5 <= time.monotonic() - begin < 10
    assert (process.timeouted, process.killed, process.ok, process.unreachable, process.exit_code) == (True, True, False, True, 255)
    assert tries(tmp_path) < 6


def test_kill_during_the_pause_ends_at_once_and_runs_nothing(tmp_path: Path, longest_pauses: list[float], retries: Retries) -> None:
    paused = threading.Event()
    retries.function = lambda number: paused.set()
    eofs: list[tuple[int, bool]] = []

    class Ends(ProcessOutputHandler):
        def read(self, process: Any, stream: int, string: str, eof: bool, error: bool) -> None:
            if eof or error:
                eofs.append((stream, eof))

    process = SshProcess(f"touch {tmp_path}/ran", "h", failing(tmp_path, 1, connect_retry_delay=50), stdout_handlers=[Ends()],
                         stderr_handlers=[Ends()]).start()
    assert paused.wait(20)
    begin = time.monotonic()
    assert process.kill().wait(20).ended
    assert time.monotonic() - begin < 10
    assert (process.killed, process.unreachable, process.exit_code, process.started) == (True, True, 255, True)
    assert sorted(eofs) == [(1, True), (2, True)]
    assert process.expect("x", timeout=None) == (None, None)
    assert not (tmp_path / "ran").exists()
    assert process.reset().run(30).finished_ok


@pytest.mark.parametrize("times", [0, 2, 99])
def test_handlers_see_one_end_of_each_stream(tmp_path: Path, times: int) -> None:
    seen: list[tuple[int, str, bool]] = []

    class Note(ProcessOutputHandler):
        def read(self, process: Any, stream: int, string: str, eof: bool, error: bool) -> None:
            seen.append((stream, string, eof))

    process = SshProcess("echo out", "h", failing(tmp_path, times), stdout_handlers=[Note()], stderr_handlers=[Note()], **QUIET).run(30)
    for stream in (1, 2):
        ends = [eof for at, _, eof in seen if at == stream]
        assert ends.count(True) == 1
        assert ends[-1]
    assert process.ok == (times < 99)


def test_an_expect_waits_over_the_tries_and_ends_with_the_last(tmp_path: Path) -> None:
    process = SshProcess("echo here; cat", "h", failing(tmp_path, 2)).start()
    assert process.expect("here", timeout=30)[0] == 0
    process.close_stdin()
    assert process.wait(30).finished_ok
    hopeless = SshProcess("echo here", "h", failing(tmp_path, 99, connect_retries=1), nolog_expect_fail=True, **QUIET)
    assert hopeless.start().expect("here", timeout=None) == (None, None)
    hopeless.wait(30)


def test_an_expect_ends_when_nothing_can_be_started_or_is_cancelled(tmp_path: Path) -> None:
    missing = SshProcess("x", "h", {"ssh": "/no/such/ssh", "connect_retries": 3}, nolog_expect_fail=True, **QUIET)
    results: list[Any] = []
    waiter = threading.Thread(target=lambda: results.append(missing.expect("x", timeout=100)))
    waiter.start()
    until(lambda: missing._expecters)
    missing.start()
    waiter.join(20)
    assert results == [(None, None)]
    action = Remote("cat", hosts(2), {**LOCAL, "connect_retries": 3}, fanout=1, process_args={"nolog_expect_fail": True}).start()
    waiting = action.processes[1]
    waiter = threading.Thread(target=lambda: results.append(waiting.expect("x", timeout=None)))
    waiter.start()
    until(lambda: waiting._expecters)
    action.kill().wait(20)
    waiter.join(20)
    assert results == [(None, None)] * 2


def test_tries_with_fanout_keep_their_place(tmp_path: Path) -> None:
    refuse = 'echo "ssh: connect to host $1 port 22: Connection refused" >&2; exit 255'
    script = f'echo x >> {tmp_path}/$1; [ $(wc -l < {tmp_path}/$1) -gt 1 ] || {{ {refuse}; }}; eval "$2"'
    params = {**LOCAL, "ssh_options": ("-c", script, "connector"), "connect_retries": 1, "connect_retry_delay": 0.05}
    action = Remote("echo {{{host}}}", hosts(6), params, fanout=2).run(60)
    assert action.finished_ok
    assert [process.stdout for process in action.processes] == [f"{host}\n" for host in hosts(6)]


def test_forty_refused_at_once_and_killed_all_end(tmp_path: Path) -> None:
    script = 'echo "ssh: connect to host $1 port 22: Connection refused" >&2; exit 255'
    params = {**LOCAL, "ssh_options": ("-c", script, "connector"), "connect_retries": 10**6, "connect_retry_delay": 0.05}
    logger.setLevel("WARNING")
    try:
        action = Remote("x", hosts(40), params, process_args=QUIET).start()
        until(lambda: all(process.started for process in action.processes))
        assert action.kill().wait(30).ended
    finally:
        logger.setLevel("INFO")
    assert all(process.killed for process in action.processes)


@pytest.mark.parametrize(("key", "value"), [
    ("connect_retries", -1), ("connect_retries", True), ("connect_retries", "3"), ("connect_retries", 1.5), ("connect_retries", None),
    ("connect_retry_delay", -1), ("connect_retry_delay", "soon"), ("connect_retry_delay", float("nan")),
    ("connect_retry_delay", float("inf")), ("connect_retry_delay", None), ("connect_timeout", -1), ("connect_timeout", "soon"),
])
def test_bad_values_are_refused_at_once(key: str, value: Any) -> None:
    for make in (lambda: Remote("true", "h", {key: value}), lambda: Put("h", "f", "t", {key: value})):
        with pytest.raises(ValueError):
            make()
