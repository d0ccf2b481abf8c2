"""Daemons on real hosts: they outlive us, are found again, and nobody else is ever signalled."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from facts import alive, all_gone, wait_for
from interpreter import environment
from requirements import require

from execo import STDERR, Host
from execo._action.daemon_script import checked_name, parse_answer, script_command
from execo.daemon import Daemons, DaemonStatus, find_daemon, start_daemon
from execo.localcluster import LocalCluster

LONG = "exec sleep 1000"


class Place:
    """Where the daemons of one test are: some hosts that share this machine, and a private directory."""

    def __init__(self, cluster: LocalCluster, directory: Path) -> None:
        self.hosts = cluster.hosts
        self.directory = directory
        self.keywords: dict[str, Any] = {"connection_params": cluster.connection_params, "directory": str(directory)}

    def start(self, cmd: str, number: int = 1, name: str = "job") -> Daemons:
        return start_daemon(cmd, self.hosts[:number], name, **self.keywords)

    def find(self, number: int = 1, name: str = "job") -> Daemons:
        return find_daemon(name, self.hosts[:number], **self.keywords)

    def pids(self) -> list[int]:
        return [int(file.read_text().split()[1]) for file in self.directory.glob("*/id")]


@pytest.fixture
def place(ssh_hosts: LocalCluster, tmp_path: Path) -> Iterator[Place]:
    place = Place(ssh_hosts, tmp_path / "daemons")
    yield place
    for name in (file.parent.name for file in place.directory.glob("*/id")):
        assert find_daemon(name, place.hosts[:1], **place.keywords).stop(0)[0].state in ("ended", "lost")


def group(pid: int) -> list[int]:
    """The living processes of this process group."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == pid and fields[0] not in "ZX":
            found.append(int(stat.parent.name))
    return found


def test_a_daemon_is_started_found_read_and_stopped(place: Place) -> None:
    started = place.start("echo 'it''s' {{{host}}}; echo wrong >&2; exec sleep 1000", 2, "job-{{{host}}}")
    assert started.ok
    assert started.names == [f"job-{host.address}" for host in place.hosts[:2]]
    found = place.find(2, "job-{{{host}}}")
    assert found.ok
    assert found.statuses == started.statuses
    assert wait_for(lambda: found.logs(STDERR) == ["wrong\n"] * 2)
    assert found.logs() == [f"its {host.address}\n" for host in place.hosts[:2]]
    pids = [status.pid for status in found.statuses]
    assert sorted(pid or 0 for pid in pids) == sorted(place.pids())
    stopped = found.stop()
    assert [(status.state, status.exit_code) for status in stopped] == [("ended", 143)] * 2
    assert all_gone(place.pids(), 0)
    assert not found.ok
    assert found.failed == stopped
    assert "ended, exit code 143" in stopped[0].reason
    assert found.stop() == stopped
    assert [status.state for status in found.remove()] == ["none", "none"]
    assert list(place.directory.iterdir()) == []


def test_it_leads_a_session_of_its_own_and_its_files_are_private(place: Place) -> None:
    pid = place.start(LONG).statuses[0].pid
    assert pid is not None
    assert os.getsid(pid) == os.getpgid(pid) == pid
    assert [oct(path.stat().st_mode & 0o777) for path in (place.directory, place.directory / "job")] == ["0o700"] * 2
    assert {oct(path.stat().st_mode & 0o777) for path in (place.directory / "job").iterdir()} == {"0o600"}
    assert not list(place.directory.glob("*.lock"))


def test_its_signals_umask_and_directory_are_those_of_a_command(place: Place) -> None:
    place.start("umask; pwd; grep SigIgn /proc/self/status; readlink /proc/self/fd/0; exec sleep 1000")
    assert wait_for(lambda: len(place.find().logs()[0].splitlines()) == 4)
    umask, folder, ignored, stdin = place.find().logs()[0].splitlines()
    plain = subprocess.run(["sh", "-c", "umask"], capture_output=True, text=True).stdout.strip()
    assert (umask, folder, stdin) == (plain, pwd.getpwuid(os.getuid()).pw_dir, "/dev/null")
    assert int(ignored.split()[1], 16) & (1 << signal.SIGINT - 1 | 1 << signal.SIGTERM - 1) == 0


def test_it_outlives_the_script_that_was_killed(place: Place) -> None:
    script = f"""
import os, signal
from execo import start_daemon
print(start_daemon({LONG!r}, {place.hosts[0].address!r}, "job", **{place.keywords!r}).ok, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, env=environment())
    assert (done.stdout, done.returncode) == ("True\n", -9)
    assert place.find().ok
    assert place.find().statuses[0].pid == place.pids()[0]


def test_a_name_that_is_taken_is_a_value_and_leaves_the_other_alone(place: Place) -> None:
    place.start(LONG)
    pid, = place.pids()
    second = start_daemon("echo second", [place.hosts[0], Host("127.0.0.1", port=1)], "job", **place.keywords)
    taken, unreachable = second.statuses
    assert (taken.state, taken.pid, taken.reason) == ("taken", pid, f"a daemon 'job' runs there already, pid {pid}")
    assert unreachable.state == "error"
    assert "unreachable: ssh: connect to host 127.0.0.1 port 1: Connection refused" in unreachable.reason
    assert second.stop() == [taken, unreachable]            # it has started none
    assert alive(pid)
    assert [status.state for status in second.failed] == ["taken", "error"]


def test_the_exit_code_is_kept_until_the_name_is_used_again(place: Place) -> None:
    place.start("echo first; exit 5")
    assert wait_for(lambda: place.find().statuses[0].state == "ended")
    assert place.find().statuses[0].exit_code == 5
    assert place.start(LONG).ok
    assert place.find().logs() == [""]
    assert place.find().remove()[0].state == "running"      # it is not removed
    assert place.find().ok


def test_what_ignores_sigterm_is_killed_with_its_whole_group(place: Place) -> None:
    place.start("trap '' TERM; sleep 1000 & sleep 1000; sleep 1000; wait")
    pid, = place.pids()
    wait_for(lambda: len(group(pid)) >= 4)
    members = group(pid)
    assert len(members) >= 4                                # supervisor, shell, two sleeps
    assert place.find().stop(1)[0].exit_code == 137
    assert all_gone(members, 0)


def test_what_a_daemon_left_in_its_group_is_found_and_stopped(place: Place) -> None:
    place.start("sleep 1000 & echo $!")
    assert wait_for(lambda: place.find().statuses[0].state == "ended")
    left = int(place.find().logs()[0])
    assert alive(left)
    assert place.start("true").statuses[0].state == "taken"
    assert place.find().stop()[0].exit_code == 0
    assert all_gone([left], 0)


def test_after_a_kill_of_its_supervisor_it_is_lost_and_the_rest_can_be_stopped(place: Place) -> None:
    place.start("sleep 1000; true")
    pid, = place.pids()
    wait_for(lambda: len(group(pid)) >= 3)
    members = group(pid)
    os.kill(pid, signal.SIGKILL)
    assert all_gone([pid])
    assert place.find().statuses[0].state == "lost"
    assert place.find().stop()[0].exit_code == 143
    assert all_gone(members, 0)


@pytest.mark.parametrize("spoiled", ["start time", "boot"])
def test_a_pid_that_belongs_to_another_process_now_is_never_signalled(place: Place, spoiled: str) -> None:
    place.start("exit 0")
    wait_for(lambda: place.find().statuses[0].state == "ended")
    (place.directory / "job" / "exit").unlink()
    with subprocess.Popen(["sleep", "1000"], start_new_session=True) as innocent:
        boot, _, ticks, *rest = (place.directory / "job" / "id").read_text().split()
        if spoiled == "boot":
            ticks = Path(f"/proc/{innocent.pid}/stat").read_text().rpartition(")")[2].split()[19]
            boot = "another"
        (place.directory / "job" / "id").write_text(" ".join([boot, str(innocent.pid), ticks, *rest]) + "\n")
        assert place.find().statuses[0].state == "lost"
        assert place.find().stop(0)[0].state == "lost"
        assert alive(innocent.pid)
        assert place.start("exit 0").ok                     # nor does it keep the name
        assert innocent.poll() is None
        innocent.kill()


def test_of_many_that_start_it_at_once_one_does(place: Place) -> None:
    started: list[Daemons] = []
    threads = [threading.Thread(target=lambda: started.append(place.start(LONG))) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(daemons.statuses[0].state for daemons in started) == ["running"] + ["taken"] * 4
    assert len(place.pids()) == 1


def test_the_lock_of_one_that_was_killed_does_not_stay(place: Place) -> None:
    place.directory.mkdir(mode=0o700)
    (place.directory / "job.lock").mkdir()
    (place.directory / "job.lock" / "id").write_text("another 1 1\n")
    (place.directory / "job").mkdir()
    assert place.start(LONG).ok
    assert not (place.directory / "job.lock").exists()


def test_a_command_of_words_and_no_hosts(place: Place) -> None:
    assert start_daemon(["exec", "sleep", "1000"], place.hosts[:1], "job", **place.keywords).ok
    nobody = start_daemon("true", [], "job", **place.keywords)
    assert (nobody.ok, nobody.statuses, nobody.stop(), nobody.logs()) == (True, [], [], [])


def test_a_directory_that_others_can_enter_is_refused(place: Place) -> None:
    place.directory.mkdir(mode=0o755)
    status = place.start(LONG).statuses[0]
    assert (status.state, status.reason) == ("error", f"the directory {place.directory} is open to others")
    place.directory.rmdir()


def test_tail_gives_the_last_lines_and_follows(place: Place) -> None:
    fifo = place.directory.parent / "fifo"
    os.mkfifo(fifo)
    daemons = place.start(f"seq 20; cat {fifo}; sleep 1; echo end")
    assert wait_for(lambda: daemons.tail(3).processes[0].stdout == "18\n19\n20\n")
    following = daemons.tail(2, follow=True)
    assert following.expect("20", timeout=20)[0][1] == 0
    fifo.write_text("more\n")
    following.wait(60)
    assert following.ended
    assert following.processes[0].stdout == "19\n20\nmore\nend\n"
    assert daemons.status()[0].exit_code == 0


def test_the_end_of_a_follower_leaves_the_daemon_alone(place: Place) -> None:
    daemons = place.start("echo here; exec sleep 1000")
    following = daemons.tail(follow=True)
    assert following.expect("here", timeout=20)[0][1] == 0
    following.kill()
    following.wait(20)
    assert daemons.status()[0].running
    tails = f"{place.directory}/job/stdout".encode()
    assert wait_for(lambda: not any(tails in command(pid) for pid in map(int, filter(str.isdigit, os.listdir("/proc")))))


def command(pid: int) -> bytes:
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return b""
    return b" ".join(arguments) if arguments[0] == b"tail" else b""


def test_a_daemon_that_is_not_there(place: Place) -> None:
    nothing = place.find()
    assert (nothing.statuses[0].state, nothing.statuses[0].reason) == ("none", "there is no daemon 'job'")
    assert nothing.logs() == [""]
    tail = nothing.tail()
    assert not tail.ok
    assert tail.processes[0].stderr == "no daemon job on this host\n"
    assert nothing.stop()[0].state == "none"
    assert repr(nothing) == "<Daemons('job' on 1 hosts: 1 none)>"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "-x", "a b", "a\n", "é", "x" * 201, "a;b"])
def test_bad_names_are_told_at_once(name: str) -> None:
    with pytest.raises(ValueError, match="name of a daemon: expected"):
        start_daemon("true", "h0", name)


def test_bad_arguments_are_told_at_once(place: Place) -> None:
    with pytest.raises(ValueError, match="expected a command, found ' '"):
        place.start(" ")
    nothing = place.find()
    with pytest.raises(ValueError, match="lines: expected a number, 0 or more, found -1"):
        nothing.tail(-1)
    with pytest.raises(ValueError, match="timeout: expected a duration, found None"):
        nothing.stop(None)


@pytest.mark.parametrize("shell", ["sh", "dash", "bash", "zsh", "fish", "tcsh", "busybox"])
@pytest.mark.parametrize("tool", ["perl", "setsid"])
def test_any_shell_and_either_tool(shell: str, tool: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None or shutil.which(tool) is None:
        pytest.skip(f"no {shell} or no {tool}")
    path = os.environ["PATH"]
    if tool == "setsid":
        (tmp_path / "perl").write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / "perl").chmod(0o755)
        path = f"{tmp_path}:{path}"

    def ask(*arguments: str) -> DaemonStatus:
        start = [shell, "sh", "-c"] if shell == "busybox" else [shell, "-c"]
        done = subprocess.run([*start, script_command(arguments[0], "job", str(tmp_path / "d"), *arguments[1:])], timeout=60,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              env={**os.environ, "PATH": path, "SHELL": "/bin/sh"})
        return parse_answer(Host("h0"), "job", done.stdout, done.stderr)

    started = ask("start", "printf %s\\\\n it\\'s '\\a'; exec sleep 1000")
    try:
        assert started.running, started
        assert started.pid is not None
        assert os.getsid(started.pid) == started.pid
        assert wait_for((tmp_path / "d" / "job" / "stdout").read_text) == "it's\n\\a\n"
        assert ask("start", "true").state == "taken"
        assert ask("status") == started
    finally:
        stopped = ask("stop", "5")
    assert stopped.exit_code == 143
    assert not alive(started.pid)
    assert ask("remove").state == "none"


def test_answers_are_read_amid_other_text() -> None:
    host = Host("h0")
    assert parse_answer(host, "x", "Welcome\r\nexeco-daemon started 12 34\r\n", "") == DaemonStatus(host, "x", "running", 12, 34)
    ended = parse_answer(host, "x", "execo-daemon ended 12 34 5\n", "")
    assert (ended.state, ended.pid, ended.start_date, ended.exit_code) == ("ended", 12, 34, 5)
    error = parse_answer(host, "x", "execo-daemon error - - - cannot write in /a b\n", "")
    assert (error.state, error.pid, error.reason) == ("error", None, "cannot write in /a b")
    assert parse_answer(host, "x", "nothing", "exit code 1").reason == "exit code 1"
    assert parse_answer(host, "x", "", "").reason == "no answer"
    assert checked_name("a.b-c_1@x") == "a.b-c_1@x"


def test_hosts_have_daemons_of_their_own_and_lose_them_in_a_crash() -> None:
    require("namespaces", "sshd", "ssh")
    with LocalCluster(2, "namespaces") as cluster:
        daemons = start_daemon(LONG, cluster.hosts, f"test-{os.getpid()}", cluster.connection_params)
        try:
            assert daemons.ok
            cluster.hosts[0].crash()
            cluster.hosts[0].boot()
            assert [status.state for status in daemons.status()] == ["lost", "running"]
            with cluster.hosts[1].reject(22):
                lost, unreachable = daemons.stop()
            assert (lost.state, unreachable.state) == ("lost", "error")
            assert "refused" in unreachable.reason
            assert [status.state for status in daemons.stop()] == ["lost", "ended"]
        finally:
            assert [status.state for status in daemons.remove()] == ["none", "none"]


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    require("namespaces", "sshd", "ssh")
    (tmp_path / "full").mkdir()
    with LocalCluster(1, "namespaces") as cluster, cluster.hosts[0].tmpfs(str(tmp_path / "full"), "16k"):
        host = cluster.hosts[0]
        host.run_inside(f"mkdir -m 700 {tmp_path}/full/d; head -c 100000 /dev/zero >{tmp_path}/full/zeros")
        daemons = start_daemon(LONG, host, "job", cluster.connection_params, f"{tmp_path}/full/d")
        assert daemons.statuses[0].state == "error"
        assert "cannot write in" in daemons.statuses[0].reason
        assert "sleep 1000" not in host.run_inside(["ps", "-A", "-o", "args"]).stdout
