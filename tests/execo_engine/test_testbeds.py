"""The testbeds: each gives hosts, says how long they are there, and takes them back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from requirements import require
from slurm import PrivateSlurm

from execo import Host, Remote
from execo.localcluster import LocalCluster
from execo_engine._testbeds.slurm import parse_granted, parse_time_left, parse_usable
from execo_engine.sweep import SweepDirectory
from execo_engine.testbeds import ClusterTestbed, SlurmTestbed, StaticTestbed
from execo_engine.workflow import SweepEngine

if TYPE_CHECKING:
    from execo_engine.testbeds import Testbed  # pytest would take it for a test


def wait_until_over(testbed: Testbed, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while (left := testbed.time_left()) is None or left > 0:
        assert time.monotonic() < deadline
        time.sleep(0.02)                # a protocol that is asked


# Static

def test_static_hosts_are_there_at_once_and_for_ever() -> None:
    testbed = StaticTestbed(["b", "a", "b", "c"])
    assert (testbed.hosts, testbed.time_left(), testbed.n_hosts) == ([], 0, 3)
    testbed.reserve()
    assert testbed.wait(0)
    assert testbed.hosts == [Host("b"), Host("a"), Host("c")]
    assert testbed.time_left() is None
    testbed.release()
    testbed.release()
    assert testbed.hosts == []
    testbed.reserve(["c", "unknown", "a"])
    assert testbed.hosts == [Host("c"), Host("a"), Host("b")]


def test_static_hosts_may_have_an_end() -> None:
    testbed = StaticTestbed("node-[1-3]", walltime="0:0:2")
    testbed.reserve()
    left = testbed.time_left()
    assert left is not None
    assert 0 < left <= 2
    assert len(testbed.hosts) == 3


def test_no_hosts_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one host"):
        StaticTestbed([])


# LocalCluster

@pytest.mark.requires("ssh", "sshd")
def test_the_hosts_of_a_cluster_go_away_at_the_end_of_the_job() -> None:
    testbed = ClusterTestbed(2, walltime=1)
    assert testbed.time_left() == 0
    testbed.reserve()
    assert testbed.wait()
    try:
        assert [host.address for host in testbed.hosts] == ["node-1", "node-2"]
        quiet = {"nolog_exit_code": True, "nolog_error": True}
        assert Remote("true", testbed.hosts, testbed.connection_params).run().ok
        asleep = Remote("sleep 1000", testbed.hosts, testbed.connection_params, process_args=quiet).run(20)
        assert asleep.ended
        assert not asleep.ok
        wait_until_over(testbed)
    finally:
        testbed.release()
    assert testbed.hosts == []


@pytest.mark.requires("ssh", "sshd")
def test_a_cluster_can_be_reserved_again_and_released_before_its_end() -> None:
    testbed = ClusterTestbed(1, walltime=1000)
    for _ in range(2):
        testbed.reserve()
        with pytest.raises(RuntimeError, match="has a reservation already"):
            testbed.reserve()
        testbed.wait()
        left = testbed.time_left()
        assert left is not None
        assert 900 < left <= 1000
        testbed.release()
    with pytest.raises(RuntimeError, match="no reservation to wait for"):
        testbed.wait()


@pytest.mark.parametrize(("arguments", "error"), [
    ((0,), ValueError), ((2, -1), ValueError), ((2, "soon"), ValueError), (("2",), TypeError),
])
def test_a_wrong_cluster_is_refused_where_it_is_made(arguments: tuple[Any, ...], error: type[Exception]) -> None:
    with pytest.raises(error):
        ClusterTestbed(*arguments)


# Slurm: what its commands print

@pytest.mark.parametrize(("text", "seconds"), [
    ("0:00", 0), ("1:30", 90), ("59:59\n", 3599), ("1:00:00", 3600), ("2-03:04:05", 183845), ("12", 12), ("UNLIMITED", None),
])
def test_the_time_left_that_squeue_prints(text: str, seconds: float | None) -> None:
    assert parse_time_left(text) == seconds


@pytest.mark.parametrize("text", ["", "INVALID", "NOT_SET", "1:2:3:4", "slurm_load_jobs error"])
def test_other_texts_are_no_time_left(text: str) -> None:
    with pytest.raises(ValueError, match="time left: expected"):
        parse_time_left(text)


def test_a_grant_is_read_from_what_the_allocation_prints() -> None:
    assert parse_granted("") is None
    assert parse_granted("Welcome\nexeco-job 17 node-[1-2,4]\n") == (17, ["node-1", "node-2", "node-4"])


def test_nodes_that_are_down_are_not_usable() -> None:
    text = "n1 idle\nn2 down\nn3 allocated\nn4 idle*\nn5 drained\nn6 mixed\nn7 unknown\n"
    assert parse_usable(text) == {"n1", "n3", "n6"}


def test_the_request_names_what_is_wanted() -> None:
    command = SlurmTestbed(3, "1:30:01", partition="main", options=["--exclusive"], name="campaign").command(["n1", "n2"])
    assert command[:-3] == ["salloc", "--no-bell", "--kill-command=TERM", "--job-name=campaign", "--nodes=3", "--time=91",
                            "--partition=main", "--nodelist=n1,n2", "--exclusive"]


@pytest.mark.parametrize(("arguments", "error"), [((0, 60), ValueError), ((1, 0), ValueError), ((1, None), ValueError),
                                                  ((1, 60, None, "--exclusive"), TypeError)])
def test_a_wrong_slurm_testbed_is_refused_where_it_is_made(arguments: tuple[Any, ...], error: type[Exception]) -> None:
    with pytest.raises(error):
        SlurmTestbed(*arguments)


def test_without_slurm_a_reservation_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"no salloc in PATH: .*slurm-client"):
        SlurmTestbed(1, 60).reserve()


# Slurm itself

@pytest.fixture(scope="module")
def private_slurm() -> Iterator[PrivateSlurm]:
    require("slurm")
    with PrivateSlurm(3) as running:
        yield running


@pytest.fixture
def slurm(private_slurm: PrivateSlurm, monkeypatch: pytest.MonkeyPatch) -> PrivateSlurm:
    for name, value in private_slurm.environment.items():
        monkeypatch.setenv(name, value)
    return private_slurm


def jobs(slurm: PrivateSlurm) -> list[str]:
    """Names of those that are pending or run."""
    return slurm.run("squeue", "-h", "-t", "PENDING,RUNNING", "-o", "%j").split()


def test_slurm_gives_a_job_and_takes_it_back(slurm: PrivateSlurm) -> None:
    testbed = SlurmTestbed(2, "0:0:90", name="two")
    testbed.reserve()
    try:
        assert testbed.wait(30)
        assert [host.address for host in testbed.hosts] == ["node-1", "node-2"]
        left = testbed.time_left()
        assert left is not None
        assert 60 < left <= 120
        assert jobs(slurm) == ["two"]
    finally:
        testbed.release()
    assert jobs(slurm) == []
    assert (testbed.hosts, testbed.time_left()) == ([], 0)


def test_the_same_nodes_are_given_again_where_they_can_be(slurm: PrivateSlurm) -> None:
    testbed = SlurmTestbed(1, 60)
    testbed.reserve(["gone", "node-3"])
    try:
        assert testbed.wait(30)
        assert [host.address for host in testbed.hosts] == ["node-3"]
    finally:
        testbed.release()


def test_a_job_that_waits_is_withdrawn(slurm: PrivateSlurm) -> None:
    first, second = SlurmTestbed(3, 60, name="first"), SlurmTestbed(3, 60, options=["--exclusive"], name="second")
    first.options.append("--exclusive")
    first.reserve()
    try:
        assert first.wait(30)
        second.reserve()
        assert not second.wait(0.5)
        assert second.hosts == []
        second.release()
        assert jobs(slurm) == ["first"]
    finally:
        second.release()
        first.release()


def test_the_end_of_a_job_before_its_time_is_seen(slurm: PrivateSlurm) -> None:
    testbed = SlurmTestbed(1, 600)
    testbed.reserve()
    try:
        assert testbed.wait(30)
        slurm.run("scancel", str(testbed.job_id))
        wait_until_over(testbed)
    finally:
        testbed.release()


@pytest.mark.parametrize(("options", "said"), [
    ({"partition": "nowhere"}, "Invalid partition name"), ({"options": ["--nonsense"]}, "unrecognized option"),
])
def test_a_refusal_of_slurm_is_an_error_with_its_words(options: dict[str, Any], said: str, slurm: PrivateSlurm) -> None:
    testbed = SlurmTestbed(1, 60, **options)
    testbed.reserve()
    try:
        with pytest.raises(RuntimeError, match=said):
            testbed.wait(30)
    finally:
        testbed.release()


def test_slurm_gets_the_nodes_back_from_a_program_that_is_killed(slurm: PrivateSlurm) -> None:
    script = """
import time
from execo_engine.testbeds import SlurmTestbed
testbed = SlurmTestbed(1, 600, name="killed")
testbed.reserve()
testbed.wait()
print("here", flush=True)
time.sleep(100)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == b"here\n"
        assert jobs(slurm) == ["killed"]
        program.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 30
    while jobs(slurm):
        assert time.monotonic() < deadline
        time.sleep(0.05)                # Slurm is asked


@pytest.mark.requires("ssh", "sshd")
def test_a_campaign_on_slurm_outlives_a_job_that_is_cancelled(slurm: PrivateSlurm, tmp_path: Path) -> None:
    cancelled: list[int] = []

    class Campaign(SweepEngine):
        parameters = {"size": list(range(8))}  # noqa: RUF012

        def run_combination(self, combination: Any, hosts: list[Host], directory: Path) -> dict[str, Any]:
            if combination["size"] == 4 and not cancelled:
                cancelled.append(self.testbed.job_id)
                slurm.run("scancel", str(self.testbed.job_id))
                wait_until_over(self.testbed)
            remote = Remote(f"echo {combination['size']}", hosts, self.connection_params).run()
            return {"said": int(remote.processes[0].stdout)}

    # The nodes of this Slurm have the names that the hosts of a cluster have.
    with LocalCluster(3) as cluster:
        campaign = Campaign()
        campaign.testbed = SlurmTestbed(3, 600, connection_params=cluster.connection_params)
        campaign.start(["-c", str(tmp_path), "-l", "ERROR"])
    assert len(cancelled) == 1
    with SweepDirectory(str(tmp_path / "sweep")) as sweep:
        assert sweep.counts()["done"] == 8
    assert sorted(row["said"] for row in campaign.results.rows()) == list(range(8))
    assert jobs(slurm) == []
