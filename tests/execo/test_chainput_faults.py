"""ChainPut when hosts fail in the middle: what must not happen is that one of them holds up, or harms, the others."""

from __future__ import annotations

import errno
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from facts import wait_for
from requirements import require

from execo import ChainPut, Process
from execo.localcluster import LocalCluster

HOSTS = 5
SIZE = 40_000_000
SLOW = "40mbit"         # of the uplink: what arrives takes some seconds, so that it can be met half-way
QUIET = {"nolog_error": True}


@pytest.fixture(scope="module")
def running() -> Iterator[LocalCluster]:
    require("ssh", "sshd", "perl", "namespaces", "tc", "nft")
    with LocalCluster(HOSTS, isolation="namespaces") as cluster:
        yield cluster


class Chain:
    """A transfer to hosts that share their files: each has a directory of its own."""

    def __init__(self, cluster: LocalCluster, folder: Path) -> None:
        self.cluster = cluster
        self.hosts = cluster.hosts
        self.source = folder / "file"
        self.content = os.urandom(SIZE)
        self.source.write_bytes(self.content)
        self.places = [folder / "hosts" / host.address for host in cluster.hosts]
        for place in self.places:
            place.mkdir(parents=True)
        location = f"{folder}/hosts/{{{{{{host}}}}}}"
        self.action = ChainPut(cluster.hosts, self.source, location, cluster.connection_params, process_args=QUIET)

    def with_params(self, **params: object) -> ChainPut:
        self.action.connection_params = {**self.cluster.connection_params, **params}
        return self.action

    def partial(self, i: int) -> Path | None:
        """What host i has of the file."""
        return next(iter(self.places[i].glob(".execo-chain-*/0")), None)

    def received(self, i: int) -> int:
        """Bytes: what is not written yet is a hole."""
        part = self.partial(i)
        try:
            return part.stat().st_blocks * 512 if part is not None else 0
        except FileNotFoundError:
            return 0

    def wait_for_half(self, i: int) -> None:
        assert wait_for(lambda: self.received(i) > SIZE // 2)
        assert not self.action.processes[i].ended

    def assert_arrived(self, *but: int) -> None:
        for i, (place, process) in enumerate(zip(self.places, self.action.processes, strict=True)):
            if i in but:
                assert not process.ok, process
                assert not (place / "file").exists()
            else:
                assert process.finished_ok, process
                assert (place / "file").read_bytes() == self.content
                assert [path.name for path in place.iterdir()] == ["file"]


@pytest.fixture
def chain(running: LocalCluster, tmp_path: Path) -> Iterator[Chain]:
    made = Chain(running, tmp_path)
    yield made
    if made.action.started:
        made.action.kill().wait(30)
    for host in running.hosts:
        host.mend()


def pids_that_write(path: Path) -> set[int]:
    """Processes that have it open."""
    found = set()
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            for fd in os.listdir(f"/proc/{name}/fd"):
                if os.readlink(f"/proc/{name}/fd/{fd}") == str(path):
                    found.add(int(name))
        except OSError:             # it has ended
            continue
    return found


@pytest.mark.parametrize("full", [HOSTS - 1, 1], ids=["last", "middle"])
def test_a_full_disk_is_an_error_of_its_host(chain: Chain, full: int) -> None:
    with chain.hosts[full].tmpfs(str(chain.places[full]), "1m"):
        chain.action.run(60)
        chain.assert_arrived(full)
        reason = chain.action.processes[full].error_reason
        assert isinstance(reason, OSError)
        assert reason.errno == errno.ENOSPC
        assert chain.hosts[full].run_inside(["ls", "-A", str(chain.places[full])]).stdout == ""
    assert chain.action.failed_processes == [chain.action.processes[full]]


def test_a_slow_host_delays_nobody_and_still_gets_its_file(chain: Chain) -> None:
    middle = chain.action.processes[2]
    slow = chain.hosts[2].slow("64kbit")
    chain.action.start()
    others = [process for process in chain.action.processes if process is not middle]
    assert wait_for(lambda: all(process.ended for process in others), 60)
    assert all(process.ok for process in others)
    assert not middle.ended
    before = chain.received(2)
    assert wait_for(lambda: chain.received(2) > before or middle.ended, 30)         # it is still fed
    slow.undo()
    chain.action.wait(60)
    chain.assert_arrived()


def test_a_host_that_crashes_half_way_is_skipped(chain: Chain) -> None:
    for host in chain.hosts:
        host.slow(SLOW)
    chain.action.start()
    chain.wait_for_half(2)
    chain.hosts[2].crash()
    chain.action.wait(90)
    chain.assert_arrived(2)
    assert isinstance(chain.action.processes[2].error_reason, Exception)


def test_a_host_that_falls_silent_half_way_is_skipped(chain: Chain) -> None:
    """Its link is down: nobody is told."""
    for host in chain.hosts:
        host.slow(SLOW)
    action = chain.with_params(chainput_nc_server_timeout=8)
    action.start()
    chain.wait_for_half(1)
    chain.hosts[1].cut()
    action.wait(90)
    chain.assert_arrived(1)
    assert isinstance(action.processes[1].error_reason, TimeoutError)


def test_a_frozen_host_is_skipped_and_given_up(chain: Chain) -> None:
    for host in chain.hosts:
        host.slow(SLOW)
    action = chain.with_params(chainput_nc_server_timeout=8)
    action.start()
    chain.wait_for_half(2)
    chain.hosts[2].freeze()
    action.wait(90)
    chain.assert_arrived(2)
    assert isinstance(action.processes[2].error_reason, TimeoutError)
    chain.hosts[2].thaw()
    assert wait_for(lambda: chain.partial(2) is None)           # it finds that nobody waits for it


def test_a_hop_that_is_killed_half_way_is_skipped(chain: Chain) -> None:
    for host in chain.hosts:
        host.slow(SLOW)
    chain.action.start()
    chain.wait_for_half(0)
    part = chain.partial(0)
    assert part is not None
    pids = pids_that_write(part)
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    chain.action.wait(90)
    chain.assert_arrived(0)
    assert wait_for(lambda: chain.partial(0) is None)


def test_hosts_that_cannot_reach_each_other_are_fed_by_the_head(chain: Chain) -> None:
    port = chain.hosts[1].run_inside("nft 'add table inet t; add chain inet t o { type filter hook output priority 0; };"
                                     " add rule inet t o tcp flags & (syn | ack) == syn reject with tcp reset'")
    assert port.returncode == 0, port.stderr
    try:
        chain.action.run(90)
    finally:
        chain.hosts[1].run_inside("nft delete table inet t")
    chain.assert_arrived()


def port_of(cluster: LocalCluster, i: int) -> int:
    """The port above those of servers on which a hop listens."""
    lines = cluster.hosts[i].run_inside("cat /proc/net/tcp6 /proc/net/tcp").stdout.splitlines()
    ports = [int(line.split()[1].rpartition(":")[2], 16) for line in lines if re.search(r" 0A ", line)]
    return next((port for port in ports if port > 1024), 0)


def test_strangers_are_refused_and_disturb_nothing(chain: Chain, caplog: pytest.LogCaptureFixture) -> None:
    for host in chain.hosts:
        host.slow(SLOW)
    chain.action.start()
    chain.wait_for_half(1)
    address = (chain.hosts[1].address, port_of(chain.cluster, 1))
    strangers = []
    for words in [b"", b"GET / HTTP/1.0\r\n\r\n", b"0" * 64 + b" 99999 10 10".ljust(63) + b"\n", os.urandom(500), *[b""] * 100]:
        stranger = socket.create_connection(address, 5)
        strangers.append(stranger)
        if words:
            stranger.sendall(words)
    for stranger in strangers[1:4]:
        stranger.settimeout(20)
        try:
            assert stranger.recv(100) == b""
        except ConnectionResetError:
            pass
    chain.action.wait(60)
    chain.assert_arrived()
    for stranger in strangers:
        stranger.close()
    assert f"{chain.hosts[1].address} refused" in caplog.text
    assert "wrong token" in caplog.text


def test_a_file_that_is_damaged_on_its_disk_is_fetched_again(chain: Chain, caplog: pytest.LogCaptureFixture) -> None:
    for host in chain.hosts:
        host.slow(SLOW)
    chain.action.start()
    chain.wait_for_half(2)
    part = chain.partial(2)
    assert part is not None
    with open(part, "r+b") as file:
        file.seek(1000)
        file.write(b"damaged")
    chain.action.wait(90)
    chain.assert_arrived()
    assert f"{chain.hosts[2].address} begins anew, for its files were damaged" in caplog.text


def test_a_file_that_is_damaged_each_time_is_an_error(chain: Chain) -> None:
    for host in chain.hosts:
        host.slow(SLOW)
    action = chain.with_params(chainput_host_retry=0)
    action.start()
    chain.wait_for_half(4)
    part = chain.partial(4)
    assert part is not None
    with open(part, "r+b") as file:
        file.write(b"damaged")
    action.wait(90)
    chain.assert_arrived(4)
    reason = action.processes[4].error_reason
    assert isinstance(reason, OSError)
    assert reason.errno == errno.EBADMSG
    assert "SHA-256" in str(reason)


def test_below_a_dead_node_of_a_taktuk_tree_the_hops_are_started_again(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    require("taktuk")
    monkeypatch.setattr("execo._action.chain.FLAT", 1)
    for host in chain.hosts:
        host.slow(SLOW)
    action = chain.with_params(taktuk_options=("-s", "-d", "1"))        # each connects to the next
    action.start()
    chain.wait_for_half(4)
    chain.hosts[1].crash()
    action.wait(100)
    chain.assert_arrived(1)


def test_the_source_changes_while_it_is_sent(chain: Chain) -> None:
    for host in chain.hosts:
        host.slow(SLOW)
    chain.action.start()
    chain.wait_for_half(0)
    os.truncate(chain.source, 10)
    chain.action.wait(60)
    assert chain.action.ended
    assert not any(process.ok for process in chain.action.processes)
    assert wait_for(lambda: not any(any(place.iterdir()) for place in chain.places))


def test_all_hosts_fail_in_bounded_time(chain: Chain) -> None:
    for host in chain.hosts:
        host.slow("1mbit")
    action = chain.with_params(chainput_nc_server_timeout=4)
    begin = time.monotonic()
    action.start()
    assert wait_for(lambda: chain.received(0) > 100_000)
    for host in chain.hosts:
        host.cut()
    action.wait(60)
    assert action.ended
    assert time.monotonic() - begin < 50
    assert not any(process.ok for process in action.processes)


def test_the_head_is_killed(chain: Chain) -> None:
    for host in chain.hosts:
        host.slow(SLOW)
    chain.action.start()
    chain.wait_for_half(0)
    heads = [process for process in running_processes() if process.name == "ChainPut: the sender"]
    assert len(heads) == 1
    heads[0].kill(9)
    chain.action.wait(60)
    assert chain.action.ended
    assert not any(process.ok for process in chain.action.processes)
    assert "the sender" in str(chain.action.processes[0].error_reason)


def running_processes() -> list[Process]:
    from execo.conductor import the_conductor

    return [process for process in the_conductor.processes() if isinstance(process, Process)]
