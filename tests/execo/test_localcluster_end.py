"""Nothing survives a LocalCluster, however it ends."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from kinds import KINDS, require_kind

from execo._localcluster import tools
from execo.localcluster import LocalCluster
from execo.ssh_utils import get_ssh_command

pytestmark = pytest.mark.requires("ssh")
_T = TypeVar("_T")
TOKEN = "LOCALCLUSTER_TEST"
# Each is run in a session, and each would run for a long time.  The last replaces itself all the time, some minutes at most: were it
# to survive a failed test, nobody could find it.
STUBBORN = {
    "setsid": "setsid sleep 1000 </dev/null >/dev/null 2>&1 &",
    "nohup": "nohup sleep 1000 </dev/null >/dev/null 2>&1 &",
    "ignoring": "(trap '' TERM HUP INT; setsid sh -c 'while :; do sleep 1000; done' </dev/null >/dev/null 2>&1 &)",
    "double fork": "(setsid sh -c 'sleep 1000 & (sleep 1000 &) ; exit' </dev/null >/dev/null 2>&1 &)",
    "relay": """export LEFT=9999 RELAY='sleep 0.01; LEFT=$((LEFT-1)); [ $LEFT = 0 ] || sh -c "$RELAY" & exit';"""
    """ setsid sh -c "$RELAY" </dev/null >/dev/null 2>&1 &""",
}


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    require_kind(request.param)
    return str(request.param)


@pytest.fixture
def token() -> Iterator[str]:
    """Marks all processes of a test; the test has failed if it must kill one here."""
    token = secrets.token_hex(8)
    yield token
    for pid in running_with(token):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def running_with(token: str) -> list[int]:
    """Pids of the processes that have the token in their environment; a zombie shows none."""
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if f"{TOKEN}={token}\0".encode() in environ.read_bytes():
                found.append(int(environ.parent.name))
    return found


def wait_for(condition: Callable[[], _T], seconds: float = 20) -> _T:
    """The first true value of the condition, or its last one."""
    deadline = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return value


def ssh(cluster: LocalCluster, command: str) -> str:
    arguments = [*get_ssh_command(connection_params=cluster.connection_params), cluster.hosts[0].address, command]
    done = subprocess.run(arguments, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def start_stubborn(cluster: LocalCluster, token: str) -> None:
    for command in STUBBORN.values():
        # The shell must not end before the new session is there: with a terminal, its end is a hang-up.
        ssh(cluster, f"trap '' HUP; export {TOKEN}={token}; {command}\nsleep 0.1")
    assert len(running_with(token)) >= 5


OWNER = """
import json, os, sys, time
sys.path[:0] = {path!r}
from execo.localcluster import LocalCluster
with LocalCluster(2, **json.loads(sys.argv[1])) as cluster:
    print(json.dumps([str(cluster.directory), cluster._supervisor.pid]), flush=True)
    sys.stdin.readline()
    {end}
"""
ENDS = {
    "end": "pass",
    "exception": "1 / 0",
    "sys.exit": "sys.exit(3)",
    "os._exit": "os._exit(3)",
    "SIGKILL": "os.kill(os.getpid(), 9)",
    "SIGTERM": "os.kill(os.getpid(), 15)",
    # The child outlives its parent; neither its end nor its life may matter.
    "fork": "pid = os.fork(); pid or (cluster.stop(), os.setsid(), os.close(1), os.close(2), time.sleep(60)); os._exit(0)",
}


@contextlib.contextmanager
def owner(kind: str, token: str, end: str) -> Iterator[tuple[subprocess.Popen[str], LocalCluster, int]]:
    """An interpreter that owns a cluster and goes on to its end when it reads a line; the cluster; its supervisor."""
    script = OWNER.format(path=[path for path in sys.path if path], end=ENDS[end])
    process = subprocess.Popen(
        [sys.executable, "-c", script, json.dumps(KINDS[kind])],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, f"{TOKEN}_OWNER": token},
    )
    with process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        directory, supervisor = json.loads(line)
        yield process, LocalCluster.attach(directory), supervisor
        process.kill()


def running_of_owner(token: str) -> list[int]:
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if f"{TOKEN}_OWNER={token}\0".encode() in environ.read_bytes():
                found.append(int(environ.parent.name))
    return found


def test_stop_returns_when_nothing_is_left(kind: str, token: str) -> None:
    with LocalCluster(2, **KINDS[kind]) as cluster:
        directory = cluster.directory
        assert directory is not None
        assert directory.stat().st_mode & 0o777 == 0o700
        start_stubborn(cluster, token)
    assert running_with(token) == []
    assert not directory.exists()


@pytest.mark.parametrize("end", ENDS)
def test_nothing_survives_the_owner(kind: str, token: str, end: str) -> None:
    with owner(kind, token, end) as (process, cluster, _):
        start_stubborn(cluster, token)
        process.communicate("go\n", timeout=30)
        directory = cluster.directory
        assert directory is not None
        assert wait_for(lambda: not running_with(token) and not directory.exists()), running_with(token)
        left = wait_for(lambda: len(running_of_owner(token)) <= (end == "fork")) and running_of_owner(token)
        for pid in left or []:           # the forked child
            os.kill(pid, signal.SIGKILL)
        assert len(left or []) == (end == "fork")


@pytest.mark.parametrize("which", ["outer", "inner", "server"])
def test_sigkill_of_a_supervisor_ends_all(kind: str, token: str, which: str) -> None:
    with LocalCluster(2, **KINDS[kind]) as cluster:
        assert cluster._supervisor is not None
        start_stubborn(cluster, token)
        outer = cluster._supervisor.pid
        inner = only_child(outer)
        directory = cluster.directory
        assert directory is not None
        os.kill({"outer": outer, "inner": inner, "server": only_child(inner)}[which], signal.SIGKILL)
        assert wait_for(lambda: not running_with(token) and not directory.exists()), running_with(token)


def only_child(pid: int) -> int:
    """The first child; orphans come later."""
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def test_signals_to_its_group_do_not_end_it(kind: str) -> None:
    with LocalCluster(1, **KINDS[kind]) as cluster:
        assert cluster._supervisor is not None
        assert os.getpgid(cluster._supervisor.pid) == cluster._supervisor.pid
        for sig in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
            os.kill(cluster._supervisor.pid, sig)
        assert "here" in ssh(cluster, "echo here")
        # and commands do not inherit that; above 31 are those that the C library keeps for itself
        assert int(ssh(cluster, "grep SigIgn /proc/self/status").split()[1], 16) & 0x7FFFFFFF == 0


def test_clusters_side_by_side(kind: str) -> None:
    with LocalCluster(3, **KINDS[kind]) as first:
        with LocalCluster(3, **KINDS[kind]) as second:
            assert not {host.address for host in first.hosts} & {host.address for host in second.hosts}
            assert first.directory != second.directory
            ssh(second, "true")
        ssh(first, "true")


def test_a_cluster_can_be_started_again(kind: str) -> None:
    cluster = LocalCluster(1, **KINDS[kind])
    assert "not running" in repr(cluster)
    cluster.stop()
    for _ in range(2):
        assert cluster.start() is cluster.start()
        ssh(cluster, "true")
        assert str(cluster.directory) in repr(cluster)
        cluster.stop()
        assert (cluster.directory, cluster.hosts, cluster.connection_params) == (None, [], {})


@pytest.mark.requires("namespaces")
def test_no_network_device_route_or_namespace_is_left() -> None:
    def devices() -> set[str]:
        return {name for name in os.listdir("/sys/class/net") if name.startswith("lc")}

    def routes(network: str) -> list[str]:
        shown = subprocess.run([str(tools.find_tool("ip")), "route"], capture_output=True, text=True, check=True)
        return [line for line in shown.stdout.splitlines() if network in line]

    with LocalCluster(2, isolation="namespaces") as cluster:
        network = cluster.hosts[0].address.rpartition(".")[0] + "."
        [device] = {line.split(" dev ")[1].split()[0] for line in routes(network)}
        assert device in devices()
        switch = cluster._namespace_hosts[0].switch
        assert os.readlink(f"/proc/{switch}/ns/net") != os.readlink("/proc/self/ns/net")
    assert device not in devices()
    assert routes(network) == []
