"""Commands of many hosts that begin at one date."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from connector import hosts, until, without_tty
from requirements import require

from execo import Get, Put, Remote, RemoteSerial, Report, SequentialActions
from execo._action.quoting import quoted
from execo._action.release import PROBES, Gate, clock, wrapped
from execo._action.start_at import SynchronizedTaktukProcess, skew
from execo.localcluster import LocalCluster

TOKEN = "secret-0123"
needs_perl = pytest.mark.requires("perl")
SHIFTS = {"h0": 0.0, "h1": 3600.25, "h2": -86400.5}


@pytest.fixture
def shifted(tmp_path: Path) -> dict[str, Any]:
    """Connection params of hosts that have each a clock of their own, as perl and `date +%s.%N` tell it, and no perl on h3 to h9."""
    (tmp_path / "Shift.pm").write_text(
        "package Shift; use Time::HiRes; no warnings; my $true = \\&Time::HiRes::time;"
        "*Time::HiRes::time = sub { $true->() + $ENV{SHIFT} }; 1;")
    (tmp_path / "no").mkdir()
    (tmp_path / "no" / "perl").write_text("#!/bin/sh\nexit 2\n")
    (tmp_path / "no" / "perl").chmod(0o755)
    cases = " ".join(f"{host}) SHIFT={shift};;" for host, shift in SHIFTS.items())
    connector = (f"case $1 in {cases} h[3-9]) PATH={tmp_path}/no:$PATH;; dead) exec sleep 100;; lost) echo greeting; exit 255;; esac; "
                 f'export SHIFT PATH PERL5OPT=-MShift PERL5LIB={tmp_path}; eval "$2"')
    return {"ssh": "sh", "ssh_options": ("-c", connector, "connector")}


def later(seconds: float) -> float:
    """A date for which a quiet machine is ready so many seconds before; a busy one gets more time."""
    begin = time.monotonic()
    subprocess.run(["sh", "-c", "perl -MTime::HiRes -e 0 || :"], stderr=subprocess.DEVNULL)
    return time.time() + seconds * min(20.0, max(1.0, (time.monotonic() - begin) / 0.05))


def soon(cluster: LocalCluster, number: int) -> float:
    """A date by which so many hosts can be connected, on a machine as busy as it is now."""
    begin = time.monotonic()
    Remote("true", cluster.hosts[:number], cluster.connection_params).run()
    return time.time() + 3 + 3 * (time.monotonic() - begin)


# the gate, which knows no clock


def gate_after_hello(kind: bytes, start_at: float = 100.0) -> Gate:
    gate = Gate(TOKEN, start_at, measure_before=6.0)
    assert gate.receive(b"motd\n" + TOKEN.encode() + b" hello " + kind + b"\r\n", 90.0) == b"motd\n"
    return gate


def tell(gate: Gate, text: str, now: float) -> bytes:
    return gate.receive(f"{TOKEN} {text}\n".encode(), now)


def test_a_gate_waits_measures_and_releases_at_the_date_of_the_other_clock() -> None:
    gate = gate_after_hello(b"perl")
    assert gate.step(90.0) == (b"", 94.0)
    for i in range(PROBES):
        assert gate.step(94.0 + i / 10) == (f"{TOKEN} probe\n".encode(), None)
        assert gate.step(94.05 + i / 10) == (b"", None)
        assert tell(gate, f"time {1094.02 + i / 10}", 94.0 + i / 10 + 0.04 + (0.1 if i % 2 else 0)) == b""
    assert gate.offset == pytest.approx(1000.0)
    assert gate.error == pytest.approx(0.02)
    assert gate.step(95.0) == (f"{TOKEN} go 1100.000000\n".encode(), None)
    assert gate.released
    assert gate.step(95.0) == (b"", None)
    assert gate.receive(f"{TOKEN} start 1100.001\nout".encode() + TOKEN.encode(), 100.1) == b"out" + TOKEN.encode()
    assert gate.open
    assert gate.start_date == pytest.approx(100.001)


def test_a_gate_in_a_hurry_asks_less_often() -> None:
    gate = gate_after_hello(b"perl", 99.0)
    gate.step(98.0)
    tell(gate, "time 98.1", 98.2)
    assert gate.step(98.2)[0].split()[1] == b"probe"
    tell(gate, "time 98.4", 98.6)
    assert gate.step(98.6) == (f"{TOKEN} go 99.000000\n".encode(), None)


def test_without_perl_the_release_itself_is_sent_at_the_date_less_its_way() -> None:
    gate = gate_after_hello(b"sh", 99.0)
    for _ in range(PROBES):
        assert gate.step(98.0)[0].split()[1] == b"probe"
        tell(gate, "time 1098", 98.2)
    assert gate.step(98.2) == (f"{TOKEN} ready\n".encode(), 98.2)
    now, again = gate.step(98.2)
    assert now == b""
    assert again == pytest.approx(98.9)
    assert not gate.released
    assert gate.step(98.91) == (f"{TOKEN} go\n".encode(), None)
    tell(gate, "start 1099", 99.1)
    assert gate.start_date == pytest.approx(99.0)
    assert gate.error == pytest.approx(0.6)             # seconds only: half of one more


def test_a_gate_understands_pieces_of_any_length_and_keeps_what_is_not_its_own() -> None:
    text = f"secret-01x{TOKEN} hello perl\r\nno end: {TOKEN} time 1.5\n{TOKEN} probe\r\n{TOKEN} start 2\nsecret-0".encode()
    for size in range(1, len(text)):
        gate = Gate(TOKEN, 100.0)
        gate.offset = gate.error = 0.0
        passed = b"".join(gate.receive(text[i:i + size], 1.0) for i in range(0, len(text), size))
        assert passed + gate.rest() == b"secret-01xno end: secret-0"
        assert gate.open


def test_what_a_gate_held_back_is_not_lost_with_the_connection() -> None:
    gate = Gate(TOKEN, 100.0)
    assert gate.receive(b"bash: not found\nsecr", 1.0) == b"bash: not found\n"
    assert gate.rest() == b"secr"
    assert gate.rest() == b""


def test_the_clock_is_that_of_the_shortest_round_trip() -> None:
    assert clock([(10.0, 12.0, 50.0), (20.0, 20.5, 30.25), (30.0, 31.0, 0.0)]) == (10.0, 0.25)


def test_skew() -> None:
    assert skew([]) is None
    assert skew([None]) is None
    assert skew([3.0, None, 1.5]) == 1.5


# the wrapper, by hand


def run_wrapper(tmp_path: Path, lines: str, command: str = "echo ran") -> tuple[list[str], int]:
    done = subprocess.run(["sh", "-c", wrapped(command, TOKEN)], input=lines, capture_output=True, text=True, timeout=30, cwd=tmp_path)
    assert done.stderr == ""
    return done.stdout.splitlines(), done.returncode


@needs_perl
def test_a_wrapper_that_hears_of_the_date_too_late_runs_nothing(tmp_path: Path) -> None:
    out, code = run_wrapper(tmp_path, f"{TOKEN} probe\n{TOKEN} go 1\n")
    assert [line.split()[:2] for line in out] == [[TOKEN, "hello"], [TOKEN, "time"], [TOKEN, "late"]]
    assert code == 255


@needs_perl
def test_a_wrapper_whose_connection_ends_runs_nothing(tmp_path: Path) -> None:
    for lines in ("", f"{TOKEN} go {later(1000)}\n"):
        assert run_wrapper(tmp_path, lines) == ([f"{TOKEN} hello perl"], 255)


@pytest.mark.parametrize("word", ["", "a b", "it's", "'", "\\", "\\'", "a\\\\'b", '"$HOME" `x` !x *', "\\n", "%", "a;b&c|d"])
@pytest.mark.parametrize("shell", ["sh", "dash", "bash", "zsh", "fish", "tcsh"])
def test_any_shell_reads_a_quoted_word(shell: str, word: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell}")
    done = subprocess.run([shell, "-c", f"/usr/bin/printf %s {quoted(word)}"], capture_output=True, text=True, timeout=30)
    assert (done.stdout, done.stderr) == (word, "")


@needs_perl
@pytest.mark.parametrize("shell", ["sh", "bash", "dash", "zsh", "fish", "tcsh"])
def test_any_login_shell_runs_the_wrapper(shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell}")
    done = subprocess.run([shell, "-c", wrapped("exit 3", TOKEN)], input="", capture_output=True, text=True, timeout=30, cwd=tmp_path)
    assert (done.stdout, done.stderr, done.returncode) == (f"{TOKEN} hello perl\n", "", 255)


# many hosts


@needs_perl
def test_hosts_with_different_clocks_start_at_one_date(shifted: dict[str, Any]) -> None:
    action = Remote("date +%s.%N; cat; echo 'it''s' \"$0\" >&2; exit 3", ["h0", "h1", "h2", "h3"], shifted, start_at=later(2),
                    process_args={"ignore_exit_code": True, "nolog_exit_code": True})
    action.start()
    action.write("text\0\n")
    action.processes[0].write("more\n")
    action.close_stdin()
    action.wait()
    assert action.ok
    assert [process.exit_code for process in action.processes] == [3] * 4
    for process, shift in zip(action.processes, [*SHIFTS.values(), 0.0], strict=True):
        date, _, rest = process.stdout.partition("\n")
        assert rest == "text\0\nmore\n" if process.host.address == "h0" else "text\0\n"
        assert process.stderr == f"its {os.environ.get('SHELL', '/bin/sh')}\n"
        assert abs(process.clock_offset - shift) <= process.clock_error + 0.001
        assert process.name.startswith("date")
        assert float(date) >= action.start_at - process.clock_error - 0.001
        assert process.command_start_date >= action.start_at - 2 * process.clock_error - 0.001
        assert process.start_date < action.start_at
    assert action.start_skew is not None
    assert f"start skew: {action.start_skew:.6f}s" in Report(action).to_string()


@needs_perl
def test_hosts_that_are_not_ready_are_errors_and_the_others_start(shifted: dict[str, Any]) -> None:
    action = Remote("echo ran", ["h0", "dead", "lost"], shifted, start_at=later(2),
                    process_args={"nolog_error": True, "nolog_exit_code": True})
    action.start()
    action.write("never read\n")
    action.wait()
    ready, dead, lost = action.processes
    assert ready.ok
    assert ready.stdout == "ran\n"
    assert (dead.error, dead.ok, dead.stdout) == (True, False, "")
    assert str(dead.error_reason) == "not started: at start_at, it was not connected"
    assert (lost.error, lost.stdout, lost.exit_code) == (True, "greeting\n", 255)
    assert str(lost.error_reason) == "not started: the connection ended before start_at"
    assert dead.command_start_date is None
    assert action.start_skew == 0.0
    with pytest.raises(ValueError, match=r"start_at: .* has passed"):
        action.retry_failed()


@needs_perl
def test_a_command_that_is_killed_while_it_waits_never_runs(shifted: dict[str, Any], tmp_path: Path) -> None:
    action = Remote(f"touch {tmp_path}/ran", ["h0"], shifted, start_at=later(600))
    action.start()
    until(lambda: action.processes[0]._gate.kind)
    action.kill()
    action.wait(20)
    assert action.processes[0].killed
    assert action.processes[0].error_reason is None
    assert not (tmp_path / "ran").exists()


@needs_perl
def test_timeouts_begin_with_the_command(shifted: dict[str, Any]) -> None:
    action = Remote("exec sleep 100", ["h0", "h3"], shifted, start_at=later(2), process_args={"timeout": 0.5, "nolog_timeout": True})
    action.run()
    for process in action.processes:
        assert process.timeouted
        assert process.end_date >= action.start_at + 0.4
        assert process.timeout_date >= action.start_at + 0.5


@needs_perl
def test_an_action_can_be_run_again_at_a_new_date(shifted: dict[str, Any]) -> None:
    action = Remote("echo ran", ["h0", "h1"], shifted, start_at=later(2)).run()
    first = [process.command_start_date for process in action.processes]
    with pytest.raises(ValueError, match="has passed"):
        action.reset().start()
    action.start_at = later(2)
    action.run()
    assert action.ok
    assert min(process.command_start_date for process in action.processes) > max(first)
    assert [process.stdout for process in action.processes] == ["ran\n"] * 2


@needs_perl
def test_output_handlers_and_expect_see_the_command_only(shifted: dict[str, Any], tmp_path: Path) -> None:
    action = Remote("echo first; read x; echo $x", ["h0", "h3"], shifted, start_at=later(2),
                    process_args={"stdout_handlers": str(tmp_path / "{{{host}}}")})
    action.start()
    assert [index for _, index, _ in action.expect("first", timeout=20)] == [0, 0]
    action.write("second\n")
    action.wait()
    assert {file.name: file.read_text() for file in tmp_path.glob("h*")} == dict.fromkeys(["h0", "h3"], "first\nsecond\n")


def test_bad_dates_and_bad_companions_are_told_at_once(shifted: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"start_at: 1000 has passed"):
        Remote("true", "h0", shifted, start_at=1000)
    with pytest.raises(ValueError, match="not a date: 'tomorrow'"):
        Remote("true", "h0", shifted, start_at="tomorrow")
    action = Remote("true", hosts(3), shifted, start_at=later(600), fanout=2)
    with pytest.raises(ValueError, match="start_at needs all connections at once, but fanout=2 for 3 hosts"):
        action.start()
    assert not action.started
    assert "start_at=" in repr(action)
    for make in (lambda: Put("h0", [str(tmp_path)], start_at=later(600)), lambda: Get("h0", ["x"], start_at=later(600)),
                 lambda: RemoteSerial("h0", "/dev/null", 9600, start_at=later(600))):
        with pytest.raises(TypeError, match="has no start_at"):
            make()


@needs_perl
def test_a_sequence_that_comes_to_it_too_late_is_not_ok(shifted: dict[str, Any]) -> None:
    quiet = {"nolog_error": True, "nolog_exit_code": True}
    second = Remote("true", ["h0", "h1"], shifted, start_at=time.time() + 1, process_args=quiet)
    sequence = SequentialActions([Remote("sleep 1.2", "h0", shifted), second]).run(30)
    assert sequence.ended
    assert not sequence.ok
    assert [str(process.error_reason) for process in second.processes] == ["not started: at start_at, it was not connected"] * 2


@needs_perl
def test_twenty_hosts_with_and_without_terminal(ssh_hosts: LocalCluster) -> None:
    for params, number in ((ssh_hosts.connection_params, 4), (without_tty(ssh_hosts.connection_params), 20)):
        date = soon(ssh_hosts, number)
        action = Remote("read line; echo got $line; test -t 0; echo $?", ssh_hosts.hosts[:number], params, start_at=date)
        action.start()
        action.write("mail\n")
        action.wait()
        assert action.ok, action.processes[0].dump()
        terminal = "-tt" in params["ssh_options"]
        out = ["mail", "got mail", "0"] if terminal else ["got mail", "1"]
        assert [process.stdout.splitlines() for process in action.processes] == [out] * number
        assert action.start_skew is not None
        assert all(process.clock_error > 0 for process in action.processes)


def test_a_host_that_cannot_be_reached_says_why(ssh_hosts: LocalCluster) -> None:
    params = {**ssh_hosts.connection_params, "port": 1}
    action = Remote("true", ssh_hosts.hosts[:1], params, start_at=later(60), process_args={"nolog_exit_code": True}).run()
    process, = action.processes
    assert process.unreachable
    assert not process.error
    assert time.time() < action.start_at


@pytest.mark.requires("taktuk", "perl")
def test_a_command_waits_in_a_taktuk_tree_too(ssh_hosts: LocalCluster) -> None:
    process = SynchronizedTaktukProcess("read x; echo got $x; exit 3", ssh_hosts.hosts[0], ssh_hosts.connection_params,
                                        ignore_exit_code=True, nolog_exit_code=True)
    with pytest.raises(ValueError, match="start_at is not set"):
        process.start()
    process.start_at = soon(ssh_hosts, 1)
    process.start()
    process.write("mail\n")
    process.wait()
    assert (process.stdout, process.exit_code, process.ok) == ("got mail\n", 3, True)
    assert process.command_start_date is not None
    assert process.command_start_date >= process.start_at - 0.1


@needs_perl
def test_a_host_that_freezes_before_the_date_does_not_hold_the_others() -> None:
    require("namespaces", "sshd", "ssh")
    with LocalCluster(2, "namespaces") as cluster:
        cluster.hosts[0].freeze()
        args = {"nolog_error": True, "nolog_exit_code": True}
        action = Remote("hostname", cluster.hosts, cluster.connection_params, process_args=args, start_at=later(5)).run()
        frozen, other = action.processes
        assert "not started: at start_at" in str(frozen.error_reason)
        assert other.stdout.strip() == "node-2"
