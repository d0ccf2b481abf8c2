"""TakTuk trees of real ssh connections between hosts that crash, freeze, or lose their links."""

from __future__ import annotations

import ipaddress
import logging
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from connector import until
from interpreter import popen
from requirements import require

from execo import Remote, TaktukRemote, configuration
from execo.localcluster import LocalCluster, LocalHost

NEEDS = ("taktuk", "perl", "ssh", "sshd", "namespaces", "nft", "tc")
pytestmark = pytest.mark.requires(*NEEDS)
SECONDS = 60
QUIET = {"nolog_exit_code": True, "nolog_error": True, "nolog_timeout": True, "nolog_write_error": True}
SHORT = ("-o", "ConnectTimeout=3", "-o", "ServerAliveInterval=1", "-o", "ServerAliveCountMax=2")


@pytest.fixture(scope="module")
def running() -> Iterator[LocalCluster]:
    require(*NEEDS)
    with LocalCluster(5, "namespaces") as cluster:
        yield cluster


@pytest.fixture
def cluster(running: LocalCluster) -> Iterator[LocalCluster]:
    configuration["kill_timeout"] = 3
    yield running
    for host in running.hosts:
        host.mend()
    until(lambda: not commands(running))


def commands(cluster: LocalCluster) -> list[str]:
    """What runs on the hosts beside sshd."""
    return [line for host in cluster.hosts for line in host.run_inside(["ps", "-A", "-o", "comm="]).stdout.split()
            if line in ("sleep", "perl", "cat", "sh", "ssh")]


def params(cluster: LocalCluster, *connector: str, chain: bool = False, **more: Any) -> dict[str, Any]:
    given = cluster.connection_params
    return {**given, "taktuk_connector_options": (*connector, *given["taktuk_connector_options"]),
            "taktuk_options": ("-s", "-d", "1") if chain else ("-s",), **more}


def remote(cmd: str, cluster: LocalCluster, *connector: str, chain: bool = False, hosts: Any = None, **more: Any) -> TaktukRemote:
    return TaktukRemote(cmd, cluster.hosts if hosts is None else hosts, params(cluster, *connector, chain=chain, **more), QUIET)


def order(action: Any, cluster: LocalCluster) -> list[int]:
    """The places of the hosts in a chain, first that next to us: each prints ``client ADDRESS`` of who connected to it."""
    action.expect("client", timeout=SECONDS)
    addresses = [host.address for host in cluster.hosts]
    parent = [process.stdout.split()[1] for process in action.processes]
    chain = [next(place for place, address in enumerate(parent) if address not in addresses)]
    while len(chain) < len(addresses):
        chain.append(parent.index(addresses[chain[-1]]))
    return chain


ASK = "echo client ${SSH_CLIENT%% *}; read x; echo got $x"


def reason(process: Any) -> str:
    assert isinstance(process.error_reason, ConnectionError), process
    return str(process.error_reason)


def outcome(action: Any) -> list[str]:
    return ["ok" if process.ok else reason(process) for process in action.processes]


# an inner node dies

def test_crash_of_an_inner_node_is_an_error_of_those_below(cluster: LocalCluster) -> None:
    action = remote(ASK, cluster, chain=True).start()
    chain = order(action, cluster)
    cluster.hosts[chain[2]].crash()
    for place in chain[2:]:
        process = action.processes[place].wait(SECONDS)
        assert reason(process).startswith("taktuk connection lost")
        assert (process.ok, process.exit_code) == (False, None)
    assert not any(action.processes[place].ended for place in chain[:2])
    for place in chain[:2]:
        action.processes[place].write("mail\n")
    action.wait(SECONDS)
    assert [action.processes[place].stdout.splitlines()[1] for place in chain[:2]] == ["got mail"] * 2
    assert [action.processes[place].ok for place in chain] == [True, True, False, False, False]


def test_crash_before_the_commands_start_and_each_runs_once(cluster: LocalCluster, tmp_path: Path) -> None:
    chain = order(probe := remote(ASK, cluster, chain=True).start(), cluster)
    probe.write("end\n")
    probe.wait(SECONDS)
    inner, below, last = (cluster.hosts[chain[place]] for place in (1, 2, 4))
    # Nothing starts anywhere before all hosts have answered: one that is frozen holds all.
    frozen = last.freeze()
    action = remote(f"echo ran >> {tmp_path}/{{{{{{host}}}}}}", cluster, chain=True).start()
    until(lambda: "perl" in below.run_inside(["ps", "-A", "-o", "comm="]).stdout.split(), SECONDS)
    inner.crash()
    frozen.undo()
    action.wait(SECONDS)
    assert [process.ok for process in action.processes] == [host is not inner for host in cluster.hosts], outcome(action)
    assert reason(action.processes[chain[1]]).startswith("taktuk connection ")
    ran = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert ran == {host.address: "ran\n" for host in cluster.hosts if host is not inner}


# links

def test_a_link_that_is_down_for_ten_seconds_harms_nobody(cluster: LocalCluster) -> None:
    action = remote("echo client ${SSH_CLIENT%% *}; while read x; do echo got $x; done", cluster, chain=True).start()
    chain = order(action, cluster)
    with cluster.hosts[chain[1]].cut():
        action.write("one\n")
        time.sleep(10)
        assert not any(process.ended for process in action.processes)
    action.write("two\n")
    action.close_stdin().wait(SECONDS)
    assert outcome(action) == ["ok"] * 5
    assert [process.stdout.splitlines()[1:] for process in action.processes] == [["got one", "got two"]] * 5


def test_a_link_that_stays_down_is_an_error_in_time(cluster: LocalCluster) -> None:
    action = remote(ASK, cluster, *SHORT, chain=True).start()
    chain = order(action, cluster)
    cluster.hosts[chain[3]].cut()
    start = time.monotonic()
    for place in chain[3:]:
        assert reason(action.processes[place].wait(SECONDS)).startswith("taktuk connection lost")
    assert time.monotonic() - start < 20
    action.write("mail\n")
    action.wait(SECONDS)
    assert [action.processes[place].ok for place in chain] == [True, True, True, False, False]


def test_kill_of_a_host_that_is_cut_off_ends(cluster: LocalCluster) -> None:
    action = remote("echo client ${SSH_CLIENT%% *}; exec sleep 300", cluster, chain=True).start()
    chain = order(action, cluster)
    with cluster.hosts[chain[4]].cut():
        start = time.monotonic()
        action.kill().wait(SECONDS)
        assert action.ended
        assert [action.processes[place].exit_code for place in chain[:4]] == [-15] * 4
        assert action.processes[chain[4]].killed
        assert time.monotonic() - start < 45


# sshd

def test_hosts_that_refuse_or_keep_silent(cluster: LocalCluster) -> None:
    refusing, dropping, frozen = cluster.hosts[1:4]
    refusing.reject(22)
    dropping.drop(22)
    frozen.freeze()
    start = time.monotonic()
    action = remote("echo here", cluster, *SHORT).run(SECONDS)
    assert time.monotonic() - start < 30
    assert [process.stdout for process in action.processes] == ["here\n", "", "", "", "here\n"]
    for process, words in zip(action.processes[1:4], ("refused", "timed out", "timed out"), strict=True):
        assert reason(process).startswith("taktuk connection failed: ")
        assert words in reason(process)
        assert (process.unreachable, process.connect_timeouted) == (True, words == "timed out")


def test_a_host_that_comes_back_is_reached_by_a_retry(cluster: LocalCluster) -> None:
    fault = cluster.hosts[2].reject(22)
    action = remote("echo here", cluster, connect_retries=20, connect_retry_delay=0.2).start()
    until(lambda: all(process.ended for place, process in enumerate(action.processes) if place != 2), SECONDS)
    assert not action.processes[2].ended
    fault.undo()
    assert outcome(action.wait(SECONDS)) == ["ok"] * 5
    assert action.processes[2].stdout == "here\n"


@pytest.mark.parametrize("kind", [Remote, TaktukRemote])
def test_a_server_that_takes_few_connections_at_once_is_met_with_patience(kind: Any, caplog: pytest.LogCaptureFixture) -> None:
    with LocalCluster(1, "namespaces", sshd_options={"MaxStartups": "10:30:100"}) as one:      # the default of sshd
        caplog.set_level(logging.INFO, "execo")
        hosts = more_addresses(one.hosts[0], 100)
        # The default options of ssh ask for a terminal: without one what ssh says cannot be told from what the command says.
        action = kind("echo here", hosts, params(one), QUIET, fanout=100).run(120)
        failed = [process.stderr for process in action.processes if not process.ok]
        assert action.finished_ok, failed
        assert all(process.stdout.split() == ["here"] for process in action.processes)
        said = [record.getMessage() for record in caplog.records if "MaxStartups" in record.getMessage()]
        assert len(said) <= 10, said
        assert said or kind is TaktukRemote     # which opens fewer at a time, and may be refused nothing


def more_addresses(host: LocalHost, number: int) -> list[str]:
    """Further addresses of this host, in its own network."""
    _, device, _, own, *_ = host.run_inside("ip -o -4 addr show scope global").stdout.split()
    network = ipaddress.ip_interface(own).network
    addresses = [str(network.network_address + 100 + n) for n in range(number)]
    host.run_inside("; ".join(f"ip addr add {address}/{network.prefixlen} dev {device}" for address in addresses))
    assert all(ipaddress.ip_address(address) in network for address in addresses)
    return addresses


# ends

def test_a_daemon_lives_and_a_command_that_holds_its_output_is_killed(cluster: LocalCluster) -> None:
    action = remote("setsid sleep 300 >/dev/null 2>&1 </dev/null & echo $!", cluster, hosts=cluster.hosts[:2]).run(SECONDS)
    assert outcome(action) == ["ok"] * 2
    for host, process in zip(cluster.hosts[:2], action.processes, strict=True):
        assert host.run_inside(["kill", process.stdout.strip()]).returncode == 0
    action = remote("sleep 300 & echo started", cluster, hosts=cluster.hosts[:2]).start()
    action.expect("started", timeout=SECONDS)
    assert not action.wait(0.5).ended
    action.kill().wait(SECONDS)
    assert [process.killed for process in action.processes] == [True, True]
    until(lambda: not commands(cluster))


def test_kill_during_the_start_leaves_nothing(cluster: LocalCluster) -> None:
    for pause in (0.0, 0.3, 0.6, 0.9, 1.2):
        action = remote("exec sleep 300", cluster, chain=pause == 0.6).start()
        action.wait(pause)
        action.kill().wait(SECONDS)
        assert all(process.killed and process.ended for process in action.processes)
        until(lambda: not commands(cluster), 20)


SCRIPT = """
    import ast, sys
    from execo import TaktukRemote
    hosts, params = ast.literal_eval(sys.argv[1]), ast.literal_eval(sys.argv[2])
    action = TaktukRemote("trap '' HUP; echo ready; while :; do sleep 300; done", hosts, params).start()
    action.expect("ready", timeout=60)
    print("running", flush=True)
    action.wait()
    """


@pytest.mark.parametrize("chain", [False, True])
def test_python_is_killed_and_no_host_keeps_a_command(cluster: LocalCluster, chain: bool) -> None:
    given = {key: value for key, value in params(cluster, chain=chain).items() if isinstance(value, (str, int, tuple))}
    with popen(SCRIPT, repr([host.address for host in cluster.hosts]), repr(given), stderr=subprocess.DEVNULL) as python:
        assert python.stdout is not None
        assert python.stdout.readline() == "running\n"
        assert commands(cluster).count("sleep") == 5
        python.send_signal(signal.SIGKILL)
        python.wait(SECONDS)
    until(lambda: not commands(cluster), 30)
