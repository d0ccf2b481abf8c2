"""The hosts of a LocalCluster, through the real ssh and scp: one suite for all servers."""

from __future__ import annotations

import contextlib
import os
import secrets
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from kinds import KINDS, require_kind
from requirements import require

from execo.host import Host
from execo.localcluster import LocalCluster
from execo.ssh_utils import get_scp_command, get_ssh_command

pytestmark = pytest.mark.requires("ssh")
_T = TypeVar("_T")
TOKEN = "LOCALCLUSTER_TEST"


@pytest.fixture(scope="module", params=list(KINDS))
def cluster(request: pytest.FixtureRequest) -> Iterator[LocalCluster]:
    require_kind(request.param)
    with LocalCluster(2, **KINDS[request.param]) as cluster:
        yield cluster


def ssh_command(cluster: LocalCluster, command: str, host: str | None = None, tty: bool = False) -> list[str]:
    params = dict(cluster.connection_params)
    if not tty:
        params["ssh_options"] = tuple(option for option in params["ssh_options"] if option != "-tt")
    return [*get_ssh_command(connection_params=params), host or cluster.hosts[0].address, command]


def ssh(cluster: LocalCluster, command: str, stdin: bytes = b"", **where: Any) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(ssh_command(cluster, command, **where), input=stdin, capture_output=True, timeout=60)


def scp(cluster: LocalCluster, *arguments: str) -> None:
    command = [*get_scp_command(connection_params=cluster.connection_params), *arguments]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def running_with(token: str) -> list[int]:
    """Pids of the processes that have the token in their environment; a zombie shows none."""
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if f"{TOKEN}={token}\0".encode() in environ.read_bytes():
                found.append(int(environ.parent.name))
    return found


def wait_for(condition: Callable[[], _T], seconds: float = 15) -> _T:
    """The first true value of the condition, or its last one."""
    deadline = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return value


@pytest.mark.parametrize("kind", KINDS)
def test_twenty_hosts_answer_at_once(kind: str) -> None:
    require_kind(kind)
    with LocalCluster(20, **KINDS[kind]) as cluster:
        assert all(isinstance(host, Host) for host in cluster.hosts)
        assert len({host.address for host in cluster.hosts}) == 20
        started = [
            subprocess.Popen(
                ssh_command(cluster, "echo $SSH_CONNECTION", host.address),
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )
            for host in cluster.hosts
        ]
        answers = [(*process.communicate(timeout=60), process.returncode) for process in started]
    assert [(err, code) for _, err, code in answers] == [("", 0)] * 20
    assert len({out.split()[2] for out, *_ in answers}) == 20


@pytest.mark.parametrize(
    ("command", "code"),
    [("true", 0), ("exit 3", 3), ("exit 255", 255), ("no-such-command-here", 127), ("kill -9 $$", 255)],
)
def test_exit_codes(cluster: LocalCluster, command: str, code: int) -> None:
    assert ssh(cluster, command).returncode == code


def test_output_is_that_of_the_command_alone(cluster: LocalCluster) -> None:
    done = ssh(cluster, "printf 'a\\nb'; printf '\\377' >&2; exit 4")
    assert (done.stdout, done.stderr, done.returncode) == (b"a\nb", b"\xff", 4)


def test_names_and_second_host(cluster: LocalCluster) -> None:
    first, second = (ssh(cluster, "echo $SSH_CONNECTION", host=name).stdout.split()[2] for name in cluster.names)
    assert [first.decode(), second.decode()] == [host.address for host in cluster.hosts]


def test_environment_is_that_of_a_session(cluster: LocalCluster) -> None:
    lines = ssh(cluster, "env").stdout.decode().splitlines()
    environment = dict(line.split("=", 1) for line in lines if "=" in line)
    user = cluster.connection_params["user"]
    assert environment["USER"] == environment["LOGNAME"] == user
    assert environment["HOME"] == environment["PWD"] == os.path.expanduser(f"~{user}")
    assert {"/usr/bin", "/bin"} <= set(environment["PATH"].split(":"))
    assert int(environment.get("SHLVL", 1)) <= 2
    known = {"SHELL", "LANG", "LC_ALL", "SSH_CLIENT", "SSH_CONNECTION", "SHLVL", "_", "MAIL", "TZ", "OLDPWD"}
    assert set(environment) - {"USER", "LOGNAME", "HOME", "PWD", "PATH"} <= known


def test_input_larger_than_any_buffer_comes_back(cluster: LocalCluster) -> None:
    data = os.urandom(1 << 16) * 100
    done = ssh(cluster, "cat; echo end >&2", stdin=data)
    assert (done.stdout == data, done.stderr, done.returncode) == (True, b"end\n", 0)


def test_a_command_that_reads_nothing_ends(cluster: LocalCluster) -> None:
    assert ssh(cluster, "exec <&-; exit 5", stdin=b"x" * (1 << 20)).returncode == 5


def test_lines_go_to_and_fro_while_the_command_runs(cluster: LocalCluster) -> None:
    command = ssh_command(cluster, "while read l; do echo got $l; done; echo end")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for line in (b"one\n", b"two\n"):
            process.stdin.write(line)
            assert process.stdout.readline() == b"got " + line
        process.stdin.close()
        assert process.stdout.read() == b"end\n"
    assert process.returncode == 0


def test_terminal(cluster: LocalCluster) -> None:
    done = ssh(cluster, "tty; test -t 0 && test -t 2 && exec 3<>/dev/tty && echo $TERM x; exit 6", tty=True)
    lines = done.stdout.decode().splitlines(keepends=True)
    assert lines[0].startswith("/dev/pts/")
    assert lines[1].endswith("x\r\n")
    assert done.returncode == 6


def test_ctrl_c_reaches_the_command_through_the_terminal(cluster: LocalCluster) -> None:
    command = ssh_command(cluster, "trap 'exit 7' INT; echo ready; sleep 60", tty=True)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\r\n"
        # What the command prints in answer may be lost: the terminal sends the signal, then drops its output.
        process.stdin.write(b"\x03")
    assert process.returncode == 7


def test_losing_the_connection_hangs_up_the_terminal(cluster: LocalCluster) -> None:
    token = secrets.token_hex(8)
    assert left_after_loss(cluster, token, f"export {TOKEN}={token}; echo ready; sleep 300", tty=True) == []


def test_paramiko_kills_what_ignores_the_hang_up() -> None:
    require("paramiko")
    with LocalCluster(1, server="paramiko") as cluster:
        for tty in (False, True):
            token = secrets.token_hex(8)
            command = f"trap '' HUP; export {TOKEN}={token}; echo ready; sleep 300"
            assert left_after_loss(cluster, token, command, tty) == []


def left_after_loss(cluster: LocalCluster, token: str, command: str, tty: bool) -> list[int]:
    """What still runs a while after the client of the command was killed."""
    arguments = ssh_command(cluster, command, tty=tty)
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
        assert client.stdout is not None
        assert client.stdout.readline().strip() == b"ready"
        started = wait_for(lambda: running_with(token))
        client.kill()
    wait_for(lambda: not running_with(token))
    return [pid for pid in running_with(token) if pid in started]


def tree(root: Path) -> dict[str, tuple[int, int, bytes | None]]:
    """{name: (mode, date, content)} of all below."""
    return {
        str(path.relative_to(root)): (
            path.stat().st_mode, int(path.stat().st_mtime), path.read_bytes() if path.is_file() else None,
        )
        for path in sorted(root.rglob("*"))
    }


@pytest.mark.parametrize("protocol", ["-s", "-O"], ids=["sftp", "rcp"])
def test_scp_keeps_a_folder_as_it_is(cluster: LocalCluster, tmp_path: Path, protocol: str) -> None:
    source = tmp_path / "source"
    (source / "sub folder" / "empty").mkdir(parents=True)
    (source / "sub folder" / "run me").write_bytes(b"#!/bin/sh\n")
    (source / "sub folder" / "run me").chmod(0o750)
    (source / "large").write_bytes(os.urandom(3_000_001))
    (source / "nothing").write_bytes(b"")
    (source / "nothing").chmod(0o400)
    for path in [*source.rglob("*")][::-1]:
        os.utime(path, (1_000_000_000, 1_234_567_890))
    host = cluster.hosts[1].address
    scp(cluster, protocol, str(source), f"{host}:{tmp_path}/there")
    scp(cluster, protocol, f"{host}:{tmp_path}/there", str(tmp_path / "back"))
    assert len(tree(source)) == 5
    assert tree(tmp_path / "there") == tree(tmp_path / "back") == tree(source)


@pytest.mark.parametrize("protocol", ["-s", "-O"], ids=["sftp", "rcp"])
def test_scp_over_a_longer_file_and_to_a_missing_folder(cluster: LocalCluster, tmp_path: Path, protocol: str) -> None:
    (tmp_path / "short").write_bytes(b"short")
    (tmp_path / "long").write_bytes(b"longer than that")
    scp(cluster, protocol, str(tmp_path / "short"), f"{cluster.hosts[0].address}:{tmp_path}/long")
    assert (tmp_path / "long").read_bytes() == b"short"
    command = get_scp_command(connection_params=cluster.connection_params)
    target = f"{cluster.hosts[0].address}:{tmp_path}/no/such/folder/x"
    failed = subprocess.run([*command, protocol, str(tmp_path / "short"), target], capture_output=True, timeout=60)
    assert failed.returncode != 0
    assert b"No such file" in failed.stderr


def test_ports_are_forwarded(cluster: LocalCluster) -> None:
    # The server runs on the host itself, which has a network of its own in the case of namespaces.
    server = "import socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True);"
    server += "c = s.accept()[0]; c.sendall(b'hello ' + c.recv(100)); c.close()"
    command = ssh_command(cluster, f'{shlex.quote(sys.executable)} -c "{server}"')
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as listening:
        assert listening.stdout is not None
        port = int(listening.stdout.readline())
        *forward, host, _ = ssh_command(cluster, "")
        done = subprocess.run(
            [*forward, "-W", f"127.0.0.1:{port}", host], input=b"world", capture_output=True, timeout=60
        )
    assert done.stdout == b"hello world"


def test_a_refused_forward_says_so(cluster: LocalCluster) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    *forward, host, _ = ssh_command(cluster, "")
    done = subprocess.run([*forward, "-W", f"127.0.0.1:{port}", host], input=b"", capture_output=True, timeout=60)
    assert done.returncode != 0


@pytest.mark.parametrize("kind", ["sshd", "paramiko"])
def test_a_hundred_connections_at_once(kind: str) -> None:
    require_kind(kind)
    with LocalCluster(4, **KINDS[kind]) as cluster:
        clients = [
            subprocess.Popen(
                ssh_command(cluster, "echo here; read line; echo $line", cluster.hosts[i % 4].address),
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0,
            )
            for i in range(100)
        ]
        assert [client.stdout.readline() for client in clients if client.stdout] == [b"here\n"] * 100
        answers = [client.communicate(b"%d\n" % i, timeout=60)[0] for i, client in enumerate(clients)]
    assert answers == [b"%d\n" % i for i in range(100)]


def test_only_the_key_of_the_cluster_opens_it(cluster: LocalCluster, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")], check=True)
    options = "-F none -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o IdentitiesOnly=yes"
    command = ["ssh", *options.split(), "-i", str(tmp_path / "key"), "-p", str(cluster.connection_params["port"])]
    user = cluster.connection_params["user"]
    done = subprocess.run([*command, f"{user}@{cluster.hosts[0].address}", "true"], capture_output=True, timeout=60)
    assert done.returncode == 255
    assert b"Permission denied" in done.stderr


@pytest.mark.requires("namespaces")
def test_namespaces_isolate_network_names_and_processes() -> None:
    with LocalCluster(3, isolation="namespaces") as cluster, LocalCluster(1, isolation="namespaces") as other:
        assert len({host.address for host in cluster.hosts + other.hosts}) == 4
        for i, name in enumerate(cluster.names):
            command = "hostname; cat /proc/1/comm; getent hosts node-3; ls /proc | grep -c '^[0-9]'; cat /proc/net/dev"
            lines = ssh(cluster, command, host=cluster.hosts[i].address).stdout.decode().splitlines()
            assert lines[:2] == [name, "sshd"]
            assert lines[2].split() == [cluster.hosts[2].address, "node-3"]
            assert int(lines[3]) < 15
            assert sorted(line.split(":")[0].strip() for line in lines[6:]) == ["eth0", "lo"]
        hosts = cluster._namespace_hosts
        assert [(host.name, host.address) for host in hosts] == [
            (name, host.address) for name, host in zip(cluster.names, cluster.hosts, strict=True)
        ]
        assert [Path(f"/proc/{host.pid}/comm").read_text() for host in hosts] == ["sshd\n"] * 3
