"""Shared connections: `control_persist`, on real sshd with its default of 10 sessions for each connection."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from connector import until, without_tty
from facts import alive, all_gone, wait_for
from gate import gate, silent_port
from interpreter import popen, run_script
from kinds import require_kind
from requirements import require

from execo import close_shared_connections
from execo._process.masters import LONGEST_PATH, masters
from execo._process.shared import ALONE, JOIN, MAKE, PATIENCE, WAIT, Slots, Way, client_words, way
from execo.action import Get, ParallelActions, Put, Remote
from execo.host import Host
from execo.localcluster import LocalCluster
from execo.process import PortForwarder, SerialSsh, SshProcess
from execo.ssh_utils import connection_failure, get_scp_command, get_ssh_command

QUIET: dict[str, Any] = {"nolog_exit_code": True, "nolog_timeout": True, "nolog_error": True}
WHICH = "echo ${SSH_CONNECTION% *}"         # ends in the port of the client: one for each connection
SESSIONS = 10


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Three hosts of one sshd, with its own limit of sessions."""
    require("ssh", "scp")
    require_kind("sshd")
    with LocalCluster(3, server="sshd") as made:
        limit_sessions(made, SESSIONS)
        yield made


def limit_sessions(cluster: LocalCluster, sessions: int) -> None:
    """Of connections from now on: each is served by an sshd that reads the file."""
    assert cluster.directory is not None
    config = cluster.directory / "sshd_config"
    lines = [line for line in config.read_text().splitlines() if not line.startswith("MaxSessions")]
    config.write_text("\n".join([*lines, f"MaxSessions {sessions}"]) + "\n")


@pytest.fixture
def params(cluster: LocalCluster) -> dict[str, Any]:
    return {**without_tty(cluster.connection_params), "control_persist": 60}


@pytest.fixture(autouse=True)
def _all_masters_end() -> Iterator[None]:
    yield
    found = directory()
    pids = masters_in(found) if found else []
    close_shared_connections()
    assert all_gone(pids)
    assert not found or not os.path.exists(found)


def directory() -> str:
    """Where the sockets are; "" if there are none."""
    return masters._directory.path if masters._directory else ""


def sockets() -> list[str]:
    return sorted(name for name in os.listdir(directory()) if name != "lock")


def masters_in(folder: str | Path) -> list[int]:
    """Pids of the masters that listen in this directory."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "cmdline").read_bytes().startswith(f"ssh: {folder}/".encode()):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def connections(action: Remote) -> set[str]:
    assert action.ok, [(process.exit_code, process.stderr) for process in action.processes if not process.ok]
    return {process.stdout.strip() for process in action.processes}


# which processes may share: text only

def way_of(address: str = "h", tool: str = "ssh", more: tuple[str, ...] = (), persist: int = 60, **params: Any) -> Way | None:
    command = (get_ssh_command if tool == "ssh" else get_scp_command)(connection_params=params)
    return way(tool, (command[0], *more, *command[1:]), address, persist, 10)


def name_of(*args: Any, **kwargs: Any) -> str:
    found = way_of(*args, **kwargs)
    assert found is not None
    return found.name


@pytest.mark.parametrize("alike", [
    {"tool": "scp"}, {"more": ("-T",)}, {"more": ("-tt", "-q")}, {"more": ("-o", "RequestTTY=force")}, {"more": ("-v",)},
])
def test_what_has_no_say_in_the_connection_shares_it(alike: dict[str, Any]) -> None:
    assert name_of(**alike) == name_of()


def test_a_port_is_the_same_for_both_clients() -> None:
    assert name_of(more=("-p", "2222")) == name_of(more=("-p2222",)) == name_of(tool="scp", more=("-P", "2222"))
    assert name_of(more=("-p", "2222")) != name_of(tool="scp", more=("-p", "2222"))       # of scp it keeps the times


@pytest.mark.parametrize("other", [
    {"address": "g"}, {"address": "u@h"}, {"user": "u"}, {"port": 2222}, {"keyfile": "k"}, {"more": ("-A",)}, {"more": ("-J", "g")},
    {"more": ("-F", "config")}, {"more": ("-o", "ProxyCommand=nc g")}, {"persist": 61}, {"ssh": "oarsh"}, {"connect_timeout": 3},
    {"host_keys": "strict"}, {"tool": "scp", "more": ("-S", "oarsh")},
])
def test_another_way_to_connect_is_another_connection(other: dict[str, Any]) -> None:
    assert name_of(**other) != name_of()


@pytest.mark.parametrize("more", [("-L", "1:h:1"), ("-NR1:h:1",), ("-D", "1080"), ("-o", "LocalForward 1 h:1"),
                                  ("-o", "remoteforward=1 h:1"), ("-W", "h:1")])
def test_what_forwards_has_a_connection_of_its_own(more: tuple[str, ...]) -> None:
    assert way_of(more=more) is None


@pytest.mark.parametrize("more", [("-o", "ControlPath=none"), ("-oControlMaster=auto",), ("-o", "controlpersist 5"), ("-S", "x"), ("-M",)])
def test_masters_of_the_users_own_beside_ours_are_refused(more: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="control_persist shares connections, but the options of ssh have their own"):
        way_of(more=more)


def test_a_dead_link_is_seen_unless_the_user_has_said_how() -> None:
    found, own = way_of(), way_of(more=("-o", "serverAliveInterval=3"))
    assert found is not None
    assert own is not None
    assert "ServerAliveInterval=15" in client_words(MAKE, found, "s")
    assert not any("ServerAlive" in word for word in (*client_words(MAKE, own, "s"), *client_words(JOIN, found, "s")))
    assert client_words(ALONE, found, "") == ("-o", "ControlMaster=no", "-o", "ControlPath=none")


@pytest.mark.parametrize("wrong", [-1, "-3", "soon", "", float("inf"), float("nan"), True, False, [60], 1 << 31])
def test_a_duration_that_is_none_is_refused_at_construction(wrong: Any) -> None:
    params = {"control_persist": wrong}
    for construct in (lambda: SshProcess("true", "h", params), lambda: Remote("true", ["h"], params), lambda: Put("h", "f", "t", params),
                      lambda: Get("h", "f", "t", params), lambda: SerialSsh("h", "/dev/ttyS0", 9600, params)):
        with pytest.raises(ValueError, match="control_persist: expected a duration of 0 or more, found"):
            construct()


@pytest.mark.parametrize(("words", "told"), [
    ("mux_client_request_session: read from master failed: Broken pipe", False),
    ("mux_client_request_session: read from master failed: Broken pipe\nssh: connect to host h port 22: Connection refused", True),
    ("muxclient: master hello exchange failed\nssh: connect to host h port 22: Connection refused", True),
    ("mux_client_request_session: session request failed: Session open refused by peer\nConnection reset by h port 22", True),
    ("mux_client_request_session: master returned nonsense\nssh: connect to host h port 22: Connection refused", False),
])
def test_only_words_said_before_there_is_a_session_go_with_a_failed_connection(words: str, told: bool) -> None:
    for stderr_is_local in (True, False):
        assert (connection_failure(255, True, words, "h", stderr_is_local) is not None) == told


@pytest.mark.parametrize("wrong", [0, -1, "10", 1.5, True, None])
def test_a_number_of_sessions_that_is_none_is_refused_at_construction(wrong: Any) -> None:
    with pytest.raises(ValueError, match="control_sessions: expected a number of sessions, 1 or more, found"):
        SshProcess("true", "h", {"control_persist": 1, "control_sessions": wrong})


# slots: no process

class Waiter:
    def _on_turn(self) -> None:
        raise AssertionError("the caller tells them")


def take(slots: Slots, up: set[str], room: int = 3, now: float = 0.0, may_wait: bool = True) -> tuple[str, str, Any, Any]:
    holder = Waiter()
    to_do, slot = slots.take(holder, room, now, up.__contains__, may_wait)
    return to_do, slot.name if slot else "", holder, slot


def test_one_makes_the_master_and_those_that_fit_wait_for_it() -> None:
    slots = Slots("w")
    assert [take(slots, set())[:2] for _ in range(7)] == [
        (MAKE, "w.0"), (WAIT, "w.0"), (WAIT, "w.0"), (MAKE, "w.1"), (WAIT, "w.1"), (WAIT, "w.1"), (MAKE, "w.2")]


def test_a_master_has_no_more_sessions_than_room_and_room_again_when_one_ends() -> None:
    slots = Slots("w")
    up = {"w.0"}
    _, _, first, slot = take(slots, set())
    assert [take(slots, up)[:2] for _ in range(2)] == [(JOIN, "w.0")] * 2
    assert take(slots, up)[:2] == (MAKE, "w.1")
    assert slot.leave(first, False) == []
    assert take(slots, up)[:2] == (JOIN, "w.0")


def test_the_end_of_the_maker_lets_the_others_go_and_none_waits_twice() -> None:
    slots = Slots("w")
    _, _, maker, slot = take(slots, set())
    waiter = take(slots, set())[2]
    assert slot.leave(maker, True) == [waiter]
    assert take(slots, set(), may_wait=False)[0] == ALONE
    assert take(slots, {"w.0"}, may_wait=False)[:2] == (JOIN, "w.0")


def test_nobody_waits_for_one_that_does_not_come_to_an_end() -> None:
    slots = Slots("w")
    take(slots, set())
    assert take(slots, set(), now=PATIENCE)[:2] == (MAKE, "w.1")


def test_sessions_that_sshd_may_still_count_take_room_until_the_master_ends() -> None:
    slots = Slots("w")
    up = {"w.0"}
    _, _, first, slot = take(slots, set(), room=1)
    slot.leave(first, True)
    assert take(slots, up, room=1)[:2] == (MAKE, "w.1")
    assert take(slots, set(), room=1)[:2] == (MAKE, "w.0")


# with real ssh

def test_all_processes_to_a_host_share_one_connection(cluster: LocalCluster, params: dict[str, Any], tmp_path: Path) -> None:
    first = connections(Remote(WHICH, cluster.hosts, params).run(60))
    assert len(first) == 3
    assert connections(Remote(WHICH, cluster.hosts, {**cluster.connection_params, "control_persist": 60}).run(60)) == first    # with -tt
    (tmp_path / "f").write_text("x" * 100000)
    assert Put(cluster.hosts, tmp_path / "f", str(tmp_path / "there-{{{host}}}"), params).run(60).ok
    assert Get(cluster.hosts, str(tmp_path / "there-{{{host}}}"), str(tmp_path / "back-{{{host}}}"), params).run(60).ok
    assert [path.read_text() for path in tmp_path.glob("back-*")] == ["x" * 100000] * 3
    assert len(sockets()) == 3
    assert os.stat(directory()).st_mode & 0o777 == 0o700
    assert max(len(f"{directory()}/{name}") for name in sockets()) <= LONGEST_PATH
    assert len(connections(Remote(WHICH, cluster.hosts, cluster.connection_params).run(60)) & first) == 0


@pytest.mark.parametrize("off", [None, 0, "0"])
def test_none_and_zero_do_not_share(cluster: LocalCluster, params: dict[str, Any], off: Any) -> None:
    before = directory()
    assert len(connections(Remote(WHICH, [cluster.hosts[0]] * 2, {**params, "control_persist": off}).run(60))) == 2
    assert directory() == before


def test_a_copy_may_be_the_first_and_a_duration_may_have_any_spelling(
        cluster: LocalCluster, params: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    params["control_persist"] = "0:01:00"
    assert Put(cluster.hosts[0], tmp_path / "f", str(tmp_path / "there"), params).run(60).ok
    assert len(sockets()) == 1
    assert Remote(WHICH, [cluster.hosts[0]], params).run(60).ok
    assert len(sockets()) == 1


def test_a_crowd_on_one_host_shares_few_connections_and_nobody_is_refused(cluster: LocalCluster, params: dict[str, Any]) -> None:
    # All are there at once: each ends only when all have begun.
    with tempfile.TemporaryDirectory() as folder:
        together = f"touch {folder}/$$; while [ $(ls {folder} | wc -l) -lt 25 ]; do sleep 0.05; done; {WHICH}"
        crowd = Remote(together, [cluster.hosts[0]] * 25, params).run(60)
        assert len(connections(crowd)) == 3
    assert {process.stderr for process in crowd.processes} == {""}
    assert len(sockets()) == 3


def test_more_sessions_than_the_server_allows_still_all_run(cluster: LocalCluster, params: dict[str, Any], tmp_path: Path) -> None:
    limit_sessions(cluster, 2)
    try:
        crowd = Remote(f"echo run >> {tmp_path}/{{{{range(6)}}}}; sleep 0.5", [cluster.hosts[0]] * 6, params).run(60)
        assert crowd.ok
        assert [len((tmp_path / str(i)).read_text().split()) for i in range(6)] == [1] * 6
        assert "Session open refused by peer" in "".join(process.stderr for process in crowd.processes)
        within = Remote("sleep 0.2", [cluster.hosts[1]] * 6, {**params, "control_sessions": 2}).run(60)
        assert within.ok
        assert {process.stderr for process in within.processes} == {""}
    finally:
        limit_sessions(cluster, SESSIONS)


def test_a_window_keeps_its_width_while_some_wait_for_a_master(cluster: LocalCluster, params: dict[str, Any]) -> None:
    action = Remote(WHICH, [cluster.hosts[0]] * 30, params, fanout=5).run(60)
    assert len(connections(action)) == 1
    assert len(sockets()) == 1


def test_a_master_that_talks_holds_nobody_up(cluster: LocalCluster, params: dict[str, Any]) -> None:
    params["ssh_options"] = ("-v", *params["ssh_options"])          # it keeps the standard error of the process that made it
    for _ in range(3):
        begin = time.monotonic()
        process = SshProcess("echo out", cluster.hosts[0], params).run(60)
        assert time.monotonic() - begin < 20
        assert (process.ok, process.stdout) == (True, "out\n")
    assert len(masters_in(directory())) == 1


def test_output_is_complete_and_the_end_is_at_once(cluster: LocalCluster, params: dict[str, Any]) -> None:
    for _ in range(2):              # the one that makes the master, and one that uses it
        begin = time.monotonic()
        process = SshProcess("seq 200000; echo error >&2; cat; exit 3", cluster.hosts[0], params, **QUIET).start()
        process.write("to the end")
        process.close_stdin()
        process.wait(60)
        assert time.monotonic() - begin < 20
        assert process.exit_code == 3
        assert process.stdout == "".join(f"{i}\n" for i in range(1, 200001)) + "to the end"
        assert process.stderr == "error\n"
    assert len(masters_in(directory())) == 1


def test_a_terminal_is_there_through_a_shared_connection_too(cluster: LocalCluster, params: dict[str, Any]) -> None:
    SshProcess("true", cluster.hosts[0], params).run(60)
    process = SshProcess("test -t 0 && test -t 1 && echo terminal", cluster.hosts[0],
                         {**cluster.connection_params, "control_persist": 60}).run(60)
    assert process.stdout.strip() == "terminal"
    assert len(sockets()) == 1


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGKILL])
def test_killing_the_process_that_made_the_master_ends_no_other(cluster: LocalCluster, params: dict[str, Any], sig: int) -> None:
    params = {**cluster.connection_params, "control_persist": 60}
    first = SshProcess("echo begun $$; sleep 60", cluster.hosts[0], params, **QUIET).start()
    assert first.expect(r"begun \d+\s", timeout=30)[0] == 0
    other = SshProcess("echo begun; read line; echo got $line", cluster.hosts[0], params).start()
    assert other.expect("begun", timeout=30)[0] == 0
    assert len(sockets()) == 1
    first.kill(sig).wait(30)
    assert all_gone([int(first.stdout.split()[1])])         # its terminal has gone
    other.write("it\n")
    assert other.wait(30).ok
    assert "got it" in other.stdout


def test_killing_one_that_connects_or_waits_leaves_the_others_their_turn(cluster: LocalCluster, params: dict[str, Any]) -> None:
    with silent_port() as port:
        silent = {**params, **cluster.connection_params, "port": port, "connect_timeout": 2}
        maker, waiter, last = (SshProcess("true", "127.0.0.1", silent, **QUIET).start() for _ in range(3))
        until(lambda: maker.pid and waiter._place and last._place)
        assert waiter.pid is None
        waiter.kill().wait(10)
        assert (waiter.started, waiter.killed) == (False, True)
        maker.kill().wait(10)
        assert last.wait(30).unreachable
        assert last.connect_timeouted


def test_a_host_that_cannot_be_reached_is_told_as_without_sharing(cluster: LocalCluster, params: dict[str, Any]) -> None:
    params.update(cluster.connection_params)
    with gate(cluster.hosts[0].address, params["port"]) as closed, silent_port() as port:
        refused = Remote("true", [Host("127.0.0.1", port=closed.port)] * 4, params, process_args=QUIET)
        silent = Remote("true", [Host("127.0.0.1", port=port)] * 4, {**params, "connect_timeout": 1}, process_args=QUIET)
        begin = time.monotonic()
        ParallelActions([refused, silent]).run(60)
        assert time.monotonic() - begin < 15            # twice the timeout: once for the one that makes the master, once for all others
    assert [process.unreachable for process in refused.processes + silent.processes] == [True] * 8
    assert [process.connect_timeouted for process in silent.processes] == [True] * 4


def test_a_host_that_comes_later_is_reached_by_all_and_no_command_runs_twice(
        cluster: LocalCluster, params: dict[str, Any], tmp_path: Path) -> None:
    retrying = {**params, "connect_retries": 20, "connect_retry_delay": 0.1}
    with gate(cluster.hosts[0].address, params["port"]) as late:
        action = Remote(f"echo run >> {tmp_path}/{{{{range(5)}}}}", [Host("127.0.0.1", port=late.port)] * 5, retrying).start()
        until(lambda: any(process._try for process in action.processes))
        late.open()
        assert action.wait(60).ok
        close_shared_connections()          # before the gate closes
    assert [(tmp_path / str(i)).read_text() for i in range(5)] == ["run\n"] * 5


@pytest.mark.parametrize("command", ["exit 255", "echo 'mux_client_request_session: read from master failed: Broken pipe' >&2; exit 255"])
def test_a_command_that_ends_with_255_is_never_run_twice(
        cluster: LocalCluster, params: dict[str, Any], tmp_path: Path, command: str) -> None:
    for number in (1, 2):
        process = SshProcess(f"echo run >> {tmp_path}/runs; {command}", cluster.hosts[0],
                             {**params, "connect_retries": 3, "connect_retry_delay": 0.01}, **QUIET).run(60)
        assert (process.exit_code, process.unreachable) == (255, False)
        assert (tmp_path / "runs").read_text() == "run\n" * number


def test_a_master_that_was_killed_is_replaced(cluster: LocalCluster, params: dict[str, Any], tmp_path: Path) -> None:
    before = connections(Remote(WHICH, cluster.hosts[0], params).run(60))
    running = SshProcess(f"echo run >> {tmp_path}/runs; echo begun; sleep 60", cluster.hosts[0],
                         {**params, "connect_retries": 3}, **QUIET).start()
    assert running.expect("begun", timeout=30)[0] == 0
    (master,) = masters_in(directory())
    os.kill(master, signal.SIGKILL)                 # its socket stays
    running.wait(30)
    assert (running.exit_code, running.unreachable) == (255, False)
    assert (tmp_path / "runs").read_text() == "run\n"
    assert len(sockets()) == 1
    crowd = Remote(WHICH, [cluster.hosts[0]] * 5, params).run(60)
    after = connections(crowd)
    assert len(after) == 1
    assert after != before
    assert {process.stderr for process in crowd.processes} == {""}


def test_a_server_that_ends_the_connection_is_connected_to_again(cluster: LocalCluster, params: dict[str, Any]) -> None:
    server = SshProcess("echo $PPID", cluster.hosts[0], params).run(60)
    (master,) = masters_in(directory())
    os.kill(int(server.stdout), signal.SIGKILL)     # the sshd of this connection
    assert all_gone([master])
    again = SshProcess("echo $PPID", cluster.hosts[0], params).run(60)
    assert again.ok
    assert again.stderr == ""
    assert again.stdout != server.stdout


def test_a_frozen_server_is_left_and_no_command_is_run_twice(cluster: LocalCluster, params: dict[str, Any], tmp_path: Path) -> None:
    params["ssh_options"] = ("-o", "ServerAliveInterval=1", "-o", "ServerAliveCountMax=1", *params["ssh_options"])
    server = int(SshProcess("echo $PPID", cluster.hosts[0], params).run(60).stdout)
    os.kill(server, signal.SIGSTOP)
    try:
        process = SshProcess(f"echo run >> {tmp_path}/runs", cluster.hosts[0], params).run(30)
        assert process.ok
    finally:
        os.kill(server, signal.SIGCONT)
    assert all_gone([server])                       # it has read all that the old master had sent
    assert (tmp_path / "runs").read_text() == "run\n"


def test_a_frozen_host_that_then_refuses_is_unreachable(cluster: LocalCluster, params: dict[str, Any]) -> None:
    alive_options = ("-o", "ServerAliveInterval=1", "-o", "ServerAliveCountMax=1")
    with gate(cluster.hosts[0].address, params["port"]) as opened:
        opened.open()
        params = {**params, "port": opened.port, "ssh_options": (*alive_options, *params["ssh_options"], "-o", "LogLevel=INFO")}
        server = int(SshProcess("echo $PPID", "127.0.0.1", params).run(60).stdout)
        os.kill(server, signal.SIGSTOP)
        try:
            opened._socket.shutdown(socket.SHUT_RDWR)
            process = SshProcess("true", "127.0.0.1", params, **QUIET).run(30)
        finally:
            os.kill(server, signal.SIGCONT)
        assert process.unreachable
        assert process.connection_failure is not None
        assert "Connection refused" in process.connection_failure.message
        assert "mux_client_request_session: read from master failed" in process.stderr


def test_the_address_is_rewritten_before_it_is_shared(cluster: LocalCluster, params: dict[str, Any], tmp_path: Path) -> None:
    address = cluster.hosts[0].address
    rewriting = {**params, "host_rewrite_func": lambda name: address}
    assert connections(Remote(WHICH, ["a", "b"], rewriting).run(60)) == connections(Remote(WHICH, [address], params).run(60))
    (tmp_path / "f").write_text("x")
    assert Put("c", tmp_path / "f", str(tmp_path / "there"), rewriting).run(60).ok
    assert len(sockets()) == 1


def test_killed_commands_without_terminal_do_not_use_up_the_sessions_of_the_server(cluster: LocalCluster, params: dict[str, Any]) -> None:
    for _ in range(2):              # as many as a connection has sessions
        action = Remote("echo begun; sleep 20", [cluster.hosts[0]] * 5, params, process_args=QUIET).start()
        assert all(process.expect("begun", timeout=30)[0] == 0 for process in action.processes)
        action.kill().wait(30)
    process = SshProcess("true", cluster.hosts[0], params).run(60)
    assert process.ok
    assert process.stderr == ""


def test_a_forwarder_has_its_own_connection_and_its_port_closes_with_it(cluster: LocalCluster, params: dict[str, Any]) -> None:
    SshProcess("true", cluster.hosts[0], params).run(60)
    with PortForwarder(cluster.hosts[0], cluster.hosts[1].address, params["port"], connection_params=params, **QUIET) as forwarder:
        with socket.create_connection(("127.0.0.1", forwarder.local_port), 20) as connection:
            assert connection.recv(4) == b"SSH-"
        assert len(sockets()) == 1
    forwarder.wait(30)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", forwarder.local_port), 20)


def test_a_serial_line_shares(cluster: LocalCluster, params: dict[str, Any]) -> None:
    SshProcess("true", cluster.hosts[0], params).run(60)
    line, slave = os.openpty()
    try:
        with SerialSsh(cluster.hosts[0], os.ttyname(slave), 9600, connection_params=params, **QUIET).start() as process:
            process.write("to the device\n")
            assert b"to the device" in os.read(line, 100)
            assert len(sockets()) == 1
    finally:
        os.close(line)
        os.close(slave)


def test_a_long_or_strange_temporary_directory_does_no_harm(
        cluster: LocalCluster, params: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("long" * 30, "%h $x"):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / name))
        assert len(connections(Remote(WHICH, [cluster.hosts[0]] * 3, params).run(60))) == 1
        assert not directory().startswith(str(tmp_path))
        close_shared_connections()


def test_a_directory_that_was_removed_is_made_again(cluster: LocalCluster, params: dict[str, Any]) -> None:
    SshProcess("true", cluster.hosts[0], params).run(60)
    lost = masters_in(directory())
    shutil.rmtree(directory())
    assert len(connections(Remote(WHICH, [cluster.hosts[0]] * 2, params).run(60))) == 1
    for pid in lost:
        os.kill(pid, signal.SIGTERM)


def test_without_any_directory_each_connects_for_itself(
        cluster: LocalCluster, params: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("execo._process.masters._bases", list)
    assert len(connections(Remote(WHICH, [cluster.hosts[0]] * 2, params).run(60))) == 2
    assert not directory()


# the end

def test_closing_ends_idle_masters_now_and_busy_ones_with_their_last_process(cluster: LocalCluster, params: dict[str, Any]) -> None:
    running = SshProcess("echo begun; read line; echo got $line", cluster.hosts[0], params).start()
    assert running.expect("begun", timeout=30)[0] == 0
    (busy,) = masters_in(directory())
    Remote("true", cluster.hosts[1:], params).run(60)
    closed = directory()
    idle = [pid for pid in masters_in(closed) if pid != busy]
    assert len(idle) == 2
    close_shared_connections()
    assert all_gone(idle)
    assert not os.path.exists(closed)
    assert alive(busy)
    assert SshProcess("true", cluster.hosts[0], params).run(60).ok         # on a new one
    running.write("it\n")
    assert running.wait(30).ok
    assert running.stdout == "begun\ngot it\n"
    assert all_gone([busy])
    close_shared_connections()
    close_shared_connections()


def test_closing_while_one_connects_does_not_fail_it(cluster: LocalCluster, params: dict[str, Any]) -> None:
    with gate(cluster.hosts[0].address, params["port"]) as late:
        late._socket.listen(16)             # connected, and not served yet
        process, other = (SshProcess("echo done", "127.0.0.1", {**params, "port": late.port}).start() for _ in range(2))
        until(lambda: process.pid and other._place)
        closed = directory()
        close_shared_connections()
        assert os.path.exists(closed)
        late._run(late._accept)
        assert [one.wait(60).stdout for one in (process, other)] == ["done\n"] * 2
        assert wait_for(lambda: not os.path.exists(closed))
        close_shared_connections()


CRASH = """
import sys
from execo import SshProcess, close_shared_connections
from execo.conductor import the_conductor
params = {"port": int(sys.argv[1]), "control_persist": 60}
processes = [SshProcess("true", "127.0.0.1", params, nolog_error=True).start() for _ in range(4)]
while not all(process._place for process in processes):
    pass
the_conductor._loop.post(None)
print(*[process.wait(30).error for process in processes])
"""


def test_a_crash_of_the_io_thread_leaves_nobody_waiting_for_a_master() -> None:
    with silent_port() as port:
        assert "True True True True" in run_script(CRASH, port).splitlines()


SCRIPT = """
import os, sys, time
from execo import *
from execo._process.masters import masters
address, port, key, config, end = sys.argv[1:]
params = {"ssh_options": ("-F", config), "port": int(port), "keyfile": key, "control_persist": 1}
configuration["kill_childs_at_end"] = end != "keep"
running = SshProcess("echo begun; sleep 2; echo over > %s/over" % os.path.dirname(config), address, params).start()
running.expect("begun")
print(masters._directory.path, flush=True)
sys.stdin.read()
if end == "fork" and os.fork() == 0:
    assert SshProcess("true", address, params).run().ok
    sys.exit()
if end == "fork":
    os.wait()
    assert os.path.exists(masters._directory.path) and len(os.listdir(masters._directory.path)) == 2
    assert SshProcess("true", address, params).run().ok
"""


def script(cluster: LocalCluster, tmp_path: Path, end: str) -> tuple[Any, str, int]:
    """A program that goes on when its input ends, the directory of its sockets, and its master, over which a command runs."""
    import subprocess

    assert cluster.directory is not None
    config = tmp_path / "ssh_config"
    config.write_text((cluster.directory / "ssh_config").read_text())
    python = popen(SCRIPT, cluster.hosts[0].address, cluster.connection_params["port"], cluster.connection_params["keyfile"], config, end,
                   stdin=subprocess.PIPE)
    assert python.stdout is not None
    found = python.stdout.readline().strip()
    assert found.startswith("/")
    (master,) = masters_in(found)
    return python, found, master


@pytest.mark.parametrize("end", ["end", "fork"])
def test_nothing_is_left_at_the_end_of_the_program(cluster: LocalCluster, tmp_path: Path, end: str) -> None:
    python, found, master = script(cluster, tmp_path, end)
    with python:
        python.communicate(timeout=60)
    assert python.returncode == 0
    assert not os.path.exists(found)
    assert all_gone([master])
    assert not (tmp_path / "over").exists()


def test_commands_that_are_kept_at_the_end_keep_their_connection(cluster: LocalCluster, tmp_path: Path) -> None:
    python, found, master = script(cluster, tmp_path, "keep")
    with python:
        python.communicate(timeout=60)
    assert not os.path.exists(found)
    assert alive(master)
    assert wait_for((tmp_path / "over").exists)
    assert all_gone([master])


def test_what_a_killed_program_leaves_ends_by_itself_and_the_next_one_removes_it(
        cluster: LocalCluster, params: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    living, kept, _ = script(cluster, tmp_path, "end")
    with living:
        python, found, master = script(cluster, tmp_path, "end")
        with python:
            python.kill()
        assert all_gone([master])           # control_persist is over
        monkeypatch.setattr(masters, "_swept", False)
        SshProcess("true", cluster.hosts[0], params)
        assert not os.path.exists(found)
        assert os.path.exists(kept)
        living.communicate("", timeout=60)
    assert not os.path.exists(kept)
