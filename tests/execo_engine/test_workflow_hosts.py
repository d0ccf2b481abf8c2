"""Campaigns on real hosts: they go away with their jobs, die, or never answer."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from campaigns import Campaign, counts, run
from facts import all_gone

from execo import Host, Remote, TaktukRemote
from execo.localcluster import LocalCluster, LocalHost
from execo_engine.testbeds import ClusterTestbed, StaticTestbed


class Remotely(Campaign):
    check_hosts = True
    command = "echo $$"

    def measure(self, combination: Any, hosts: list[Host], directory: Path) -> Any:
        remote = Remote(self.command.format(**combination), hosts, self.connection_params, process_args={"nolog_exit_code": True}).run()
        if not remote.ok:
            raise RuntimeError(f"exit code {remote.processes[0].exit_code}")
        return {"said": remote.processes[0].stdout.strip()}


@pytest.mark.requires("ssh", "sshd")
def test_a_campaign_outlives_its_jobs_whose_hosts_go_away(tmp_path: Path) -> None:
    reservations: list[float] = []

    class Jobs(Remotely):
        command = "sleep 0.6; echo {size}"

        def duration(self, combination: Any) -> Any:
            return 0.1                      # too little, so that the end of a job finds some at work

        def prepare(self, hosts: list[Host]) -> None:
            reservations.append(time.monotonic())

    campaign = Jobs()
    campaign.parameters = {"size": list(range(12))}
    campaign.testbed = ClusterTestbed(3, walltime=3)
    campaign.max_attempts = 10
    run(campaign, tmp_path)
    assert counts(tmp_path)["done"] == 12
    rows = campaign.results.rows()
    assert sorted(int(row["said"]) for row in rows) == list(range(12))
    assert all(row["said"] == str(row["size"]) for row in rows)
    assert len(reservations) >= 2
    assert set(json.loads((tmp_path / "notebook.json").read_text())["hosts"]) == {"node-1", "node-2", "node-3"}


@pytest.mark.requires("ssh", "sshd", "taktuk")
def test_commands_of_a_tree_end_with_their_reservation(tmp_path: Path) -> None:
    class Trees(Campaign):
        def measure(self, combination: Any, hosts: list[Host], directory: Path) -> Any:
            if len(self.begun) == 1:
                remote = TaktukRemote("echo $$; exec sleep 100", hosts, self.connection_params).start()
                began.append(int(remote.expect(r"^(\d+)$", 30)[0][2][1]))       # type: ignore[index]
                left[0] = 0.0
                remote.wait()
            return {"ok": True}

    class Ending(StaticTestbed):
        def reserve(self, prefer: Any = ()) -> None:
            super().reserve(prefer)
            left[0] = 60.0

        def time_left(self) -> float | None:
            return left[0]

    left, began = [60.0], list[int]()
    with LocalCluster(1) as cluster:
        campaign = Trees()
        campaign.parameters = {"size": [1]}
        campaign.testbed = Ending(cluster.hosts, connection_params=cluster.connection_params)
        run(campaign, tmp_path)
        assert counts(tmp_path)["done"] == 1
        assert len(campaign.begun) == 2
        assert all_gone(began)


@pytest.mark.requires("ssh", "namespaces")
def test_a_host_that_dies_is_left_alone_and_its_combination_done_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crashed = threading.Event()
    monkeypatch.setattr("execo_engine._workflow.answers.CONNECT_SECONDS", 2)

    class Crashing(Remotely):
        command = "sleep 0.3; echo {size}"

        def measure(self, combination: Any, hosts: list[Host], directory: Path) -> Any:
            if hosts[0].address != "node-2" or crashed.is_set():
                return super().measure(combination, hosts, directory)
            with Remote("echo here; sleep 1000", hosts, self.connection_params, process_args={"nolog_exit_code": True}).start() as remote:
                remote.expect("here")
                crashed.set()
                host = self.testbed.cluster.hosts[1]
                assert isinstance(host, LocalHost)
                host.crash()
                remote.wait()
            raise RuntimeError("it has crashed")

    campaign = Crashing()
    campaign.testbed = ClusterTestbed(2, isolation="namespaces")
    run(campaign, tmp_path)
    assert crashed.is_set()
    assert counts(tmp_path)["done"] == 6
    assert {row["run.host"] for row in campaign.results.rows()} == {"node-1"}
    assert len(campaign.begun) == 7


@pytest.mark.requires("ssh", "sshd")
def test_hosts_that_do_not_answer_from_the_beginning_are_left_alone(tmp_path: Path) -> None:
    campaign = Remotely()
    real = ClusterTestbed(1)
    real.reserve()
    real.wait()
    try:
        campaign.testbed = StaticTestbed(["nobody.invalid", *real.hosts], connection_params=real.connection_params)
        run(campaign, tmp_path)
    finally:
        real.release()
    assert {row["run.host"] for row in campaign.results.rows()} == {"node-1"}
    assert len(campaign.begun) == 6
