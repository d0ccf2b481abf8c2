"""Faults on the hosts of a LocalCluster with namespaces, as the real ssh sees them."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from facts import wait_for
from requirements import require

from execo._localcluster import faults, tools
from execo.localcluster import LocalCluster, LocalHost
from execo.ssh_utils import get_ssh_command

ns = pytest.mark.requires("ssh", "sshd", "namespaces", "nft", "tc")


@pytest.fixture(scope="module")
def running() -> Iterator[LocalCluster]:
    require("ssh", "sshd", "namespaces", "nft", "tc")
    with LocalCluster(2, "namespaces") as cluster:
        yield cluster


@pytest.fixture
def cluster(running: LocalCluster) -> Iterator[LocalCluster]:
    yield running
    for host in running.hosts:
        host.mend()


def command(cluster: LocalCluster, to: str, what: str) -> list[str]:
    params = dict(cluster.connection_params)
    params["ssh_options"] = ("-o", "ConnectTimeout=2", *(option for option in params["ssh_options"] if option != "-tt"))
    return [*get_ssh_command(connection_params=params), to, what]


def ssh(cluster: LocalCluster, to: LocalHost | str, what: str = "echo here") -> str:
    """What it prints, and why it failed."""
    address = to if isinstance(to, str) else to.address
    done = subprocess.run(command(cluster, address, what), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    return done.stdout + done.stderr


def test_a_host_that_was_cut_is_silent_until_it_is_mended(cluster: LocalCluster) -> None:
    first, second = cluster.hosts
    with first.cut() as fault:
        assert fault.in_force
        failed = ssh(cluster, first)
        assert "timed out" in failed or "No route to host" in failed
        assert first.run_inside("hostname").stdout == "node-1\n"
        assert ssh(cluster, second) == "here\n"
    assert not fault.in_force
    assert ssh(cluster, first) == "here\n"
    first.cut()
    first.mend()
    assert ssh(cluster, first) == "here\n"


def test_dropped_packets_time_out_and_other_ports_do_not_suffer(cluster: LocalCluster) -> None:
    host = cluster.hosts[0]
    with host.drop(port=22):
        assert "timed out" in ssh(cluster, host)
    with host.drop(port=23):
        assert ssh(cluster, host) == "here\n"
    with host.drop():
        assert "timed out" in ssh(cluster, host)
    assert ssh(cluster, host) == "here\n"


def test_rejected_connections_are_refused_and_open_ones_are_broken(cluster: LocalCluster) -> None:
    host = cluster.hosts[0]
    arguments = command(cluster, host.address, "echo ready; cat")
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        assert client.stdout.readline() == b"ready\n"
        with host.reject(port=22):
            assert "refused" in ssh(cluster, host)
            client.stdin.write(b"x\n")
            assert client.wait(20) == 255
    with host.reject():
        assert "refused" in ssh(cluster, host)
    assert ssh(cluster, host) == "here\n"


def test_a_frozen_host_accepts_and_does_not_answer_until_it_thaws(cluster: LocalCluster) -> None:
    host = cluster.hosts[0]
    stopped = "sleep 99 & p=$!; kill -STOP $p; until ps -o stat= -p $p | grep -q T; do sleep 0.01; done; echo $p"
    arguments = command(cluster, host.address, stopped + "; read l; ps -o stat= -p $p; kill -9 $p; echo $l")
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        assert client.stdout.readline().strip().isdigit()
        host.freeze()
        assert "banner exchange" in ssh(cluster, host)
        assert "ssh" in host.run_inside(["ps", "-A"]).stdout
        client.stdin.write(b"mail\n")
        host.thaw()
        assert client.stdout.readline().startswith(b"T")        # stopped before we froze the host, and left so
        assert client.stdout.readline() == b"mail\n"
    assert ssh(cluster, host) == "here\n"


def test_a_crash_ends_all_and_a_boot_makes_the_host_anew(cluster: LocalCluster) -> None:
    host = cluster.hosts[0]
    first_process = "cut -d' ' -f 22 /proc/1/stat"          # when it was started
    before = host.run_inside(first_process).stdout
    arguments = command(cluster, host.address, "echo ready; sleep 1000")
    with subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == b"ready\n"
        host.drop(port=23)
        crash = host.crash()
        assert client.wait(20) == 255
    with pytest.raises(RuntimeError, match="node-1 is down"):
        host.run_inside("true")
    with pytest.raises(RuntimeError, match="node-1 is down"):
        host.cut()
    assert "here" not in ssh(cluster, host)
    host.boot()
    assert not crash.in_force
    assert ssh(cluster, host) == "here\n"
    assert "execo" not in host.run_inside("nft list ruleset").stdout
    assert host.run_inside("hostname").stdout == "node-1\n"
    assert int(host.run_inside(first_process).stdout) > int(before)
    with pytest.raises(RuntimeError, match="node-1 is not down"):
        host.boot()
    with host.crash():
        pass
    assert ssh(cluster, cluster.names[1], f"ssh -F {cluster.directory}/ssh_config node-1 hostname") == "node-1\n"


def test_hosts_that_boot_together_do_not_suffer_from_each_other(cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    booted: list[str] = []

    def fail() -> None:
        raise OSError("no link")

    first, second = cluster.hosts
    monkeypatch.setattr(first, "_after_boot", fail)
    monkeypatch.setattr(second, "_after_boot", lambda: booted.append(second.name))
    for host in cluster.hosts:
        host.crash()
    with pytest.raises(OSError, match=r"^node-1: no link$"):
        LocalHost.boot_all(cluster.hosts)
    assert booted == ["node-2"]
    assert [ssh(cluster, host) for host in cluster.hosts] == ["here\n"] * 2


def test_after_a_power_failure_nobody_hears_of_the_host(cluster: LocalCluster) -> None:
    host = cluster.hosts[0]
    arguments = command(cluster, host.address, "echo ready; sleep 1000")
    with subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == b"ready\n"
        host.cut()
        host.crash()
        with pytest.raises(subprocess.TimeoutExpired):
            client.wait(0.5)
        client.kill()
    host.mend()
    assert ssh(cluster, host) == "here\n"


def test_a_slow_link_is_slow_in_both_directions(cluster: LocalCluster) -> None:
    host = cluster.hosts[0]
    for what, stdin in (("head -c 15000 /dev/zero | wc -c; head -c 15000 /dev/zero", b""), ("wc -c", bytes(15000))):
        with host.slow("64kbit"):
            start = time.monotonic()
            done = subprocess.run(command(cluster, host.address, what), input=stdin, capture_output=True, timeout=60)
            assert done.stdout.startswith(b"15000\n")
            assert time.monotonic() - start > 1         # 15000 bytes take 1.9 s, of which the bucket gives some at once
    assert "tbf" not in host.run_inside("tc qdisc").stdout


def test_a_delayed_link_is_late_and_carries_everything(cluster: LocalCluster) -> None:
    host = cluster.hosts[0]
    with host.delay(0.05), cluster.hosts[1].delay(0.001):
        start = time.monotonic()
        assert ssh(cluster, host) == "here\n"
        assert time.monotonic() - start > 0.3           # a handshake of TCP and the key exchange take three round trips at least
        done = subprocess.run(command(cluster, host.address, "tee /dev/stderr"), input=bytes(300_000), capture_output=True, timeout=60)
        assert (len(done.stdout), len(done.stderr)) == (300_000, 300_000)
        with host.cut():
            failed = ssh(cluster, host)
            assert "timed out" in failed or "No route to host" in failed
        assert ssh(cluster, host) == "here\n"
        host.crash()
    assert "here" not in ssh(cluster, host)
    host.boot()
    assert ssh(cluster, host) == "here\n"
    assert ssh(cluster, cluster.hosts[1]) == "here\n"


def test_a_tmpfs_is_small_and_seen_by_its_host_only(cluster: LocalCluster, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with cluster.hosts[0].tmpfs(str(tmp_path), "64k"):
        assert "No space left" in ssh(cluster, cluster.hosts[0], f"ls {tmp_path}; head -c 100000 /dev/zero >{tmp_path}/large")
        assert ssh(cluster, cluster.hosts[1], f"ls {tmp_path}") == "file\n"
    assert ssh(cluster, cluster.hosts[0], f"ls {tmp_path}") == "file\n"


def test_a_fault_cannot_be_had_twice_and_undoing_it_twice_is_harmless(cluster: LocalCluster) -> None:
    host = cluster.hosts[0]
    fault = host.drop(22)
    with pytest.raises(RuntimeError, match="node-1 has this fault already: drop 22"):
        host.drop(22)
    assert repr(fault) == "<Fault drop 22 of node-1>"
    with host.drop(23), host.reject(22), host.slow("1mbit"):
        pass
    fault.undo()
    fault.undo()
    assert repr(fault) == "<Fault drop 22 of node-1, undone>"
    assert host.run_inside("nft list tables").stdout == ""
    host.thaw()


def test_bad_arguments_are_told_and_leave_nothing(cluster: LocalCluster, tmp_path: Path) -> None:
    host = cluster.hosts[0]
    for act, message in (
        (lambda: host.drop(0), "port: expected 1 to 65535, or None for all traffic, found 0"),
        (lambda: host.reject(99999), "found 99999"),
        (lambda: host.slow("fast"), "rate: expected 1kbit to 10gbit, .* found 'fast'"),
        (lambda: host.slow(12), "found 12"),
        (lambda: host.delay(-1), "more than 0 and at most 60 seconds, found -1"),
        (lambda: host.tmpfs("relative", 1), "absolute path of a directory, found 'relative'"),
        (lambda: host.tmpfs(str(tmp_path), "much"), "size: .* found 'much'"),
    ):
        with pytest.raises(ValueError, match=message):
            act()
    assert host._faults == {}


def test_run_inside_ends_what_takes_too_long(cluster: LocalCluster) -> None:
    host = cluster.hosts[0]
    assert host.run_inside(["cat"], input="text").stdout == "text"
    assert host.run_inside("echo no >&2; exit 3").returncode == 3
    with pytest.raises(subprocess.TimeoutExpired):
        host.run_inside("exec sleep 4242", timeout=0.5)
    assert wait_for(lambda: "4242" not in host.run_inside(["ps", "-A", "-o", "args"]).stdout)


def test_faults_reach_the_hosts_of_an_attached_cluster(cluster: LocalCluster) -> None:
    assert cluster.directory is not None
    attached = LocalCluster.attach(cluster.directory)
    with attached.hosts[1].reject(22):
        assert "refused" in ssh(cluster, cluster.hosts[1])
    assert ssh(cluster, cluster.hosts[1]) == "here\n"


@ns
def test_a_cluster_ends_with_all_its_faults_in_force() -> None:
    with LocalCluster(6, "namespaces") as cluster:
        first, *others = cluster.hosts
        inits = [host.pid for host in cluster._namespace_hosts]
        for host, fault in zip(others, ("cut", "drop", "reject", "freeze", "crash"), strict=True):
            getattr(host, fault)()
        delayed = first.delay(0.01)
    assert not any(Path(f"/proc/{pid}").exists() for pid in inits)
    delayed.__exit__(None, None, None)
    with pytest.raises(RuntimeError, match="the cluster of node-1 has ended"):
        first.cut()


@ns
def test_a_crash_in_a_block_that_ends_with_the_cluster_raises_nothing() -> None:
    with LocalCluster(1, "namespaces") as cluster, cluster.hosts[0].crash():
        cluster.stop()


@pytest.mark.requires("ssh", "sshd")
def test_without_namespaces_a_fault_says_what_it_needs() -> None:
    if problem := tools.sshd_problem(tools.find_tool("sshd")):
        pytest.skip(f"sshd cannot serve this user: {problem}")
    with LocalCluster(1, server="sshd") as cluster:
        for method in ("crash", "boot", "cut", "mend", "drop", "reject", "freeze"):
            with pytest.raises(NotImplementedError, match=r"node-1 need LocalCluster\(n, isolation='namespaces'\)"):
                getattr(cluster.hosts[0], method)()


@ns
def test_sshd_options_win_over_ours() -> None:
    with LocalCluster(1, "namespaces", sshd_options={"MaxStartups": "10:30:100", "LogLevel": "VERBOSE"}) as cluster:
        shown = cluster.hosts[0].run_inside(f"$(command -v sshd || echo /usr/sbin/sshd) -T -f {cluster.directory}/sshd_config").stdout
    assert {"maxstartups 10:30:100", "loglevel VERBOSE"} <= set(shown.splitlines())


def test_bad_sshd_options_are_told() -> None:
    with pytest.raises(ValueError, match="MaxStartups needs isolation='namespaces'"):
        LocalCluster(1, server="sshd", sshd_options={"MaxStartups": 10})
    with pytest.raises(ValueError, match="need server='sshd', found 'paramiko'"):
        LocalCluster(1, server="paramiko", sshd_options={"LogLevel": "DEBUG"})
    with pytest.raises(ValueError, match="found 'Log Level'"):
        LocalCluster(1, server="sshd", sshd_options={"Log Level": "DEBUG"})


@pytest.mark.parametrize(("rate", "bits"), [(64000, 64000), ("64kbit", 64000), ("1.5 mbit", 1500000), ("2gbit", 2 * 10**9)])
def test_rates(rate: int | str, bits: int) -> None:
    assert faults.parse_rate(rate) == bits


@pytest.mark.parametrize(("size", "number"), [(4096, 4096), ("64k", 65536), ("10M", 10 << 20), ("1gb", 1 << 30)])
def test_sizes(size: int | str, number: int) -> None:
    assert faults.parse_size(size) == number
