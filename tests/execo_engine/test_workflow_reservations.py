"""Campaigns and their reservations: refused, deployed in part, too short, ended too early."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
from campaigns import Campaign, counts, reasons, run

from execo import Host, Process
from execo_engine._workflow.stint import Stint
from execo_engine.testbeds import StaticTestbed
from execo_engine.workflow import ReservationOver


def test_what_never_fits_is_skipped_with_the_reason_and_the_rest_is_done(tmp_path: Path) -> None:
    class Sized(Campaign):
        def hosts_needed(self, combination: Any) -> int:
            return int(combination["size"])

    campaign = run(Sized(), tmp_path)
    assert counts(tmp_path)["done"] == 4
    assert len(campaign.begun) == 4
    assert set(reasons(tmp_path, "todo")) == {"it needs 3 hosts, a reservation has 2"}


def test_declared_durations_decide_what_begins_before_the_end(tmp_path: Path) -> None:
    class Declared(Campaign):
        reservations = 0

        def duration(self, combination: Any) -> Any:
            return {1: 0.1, 2: "0:00:50", 3: 120}[combination["size"]]

        def prepare(self, hosts: list[Host]) -> None:
            self.reservations += 1

    campaign = Declared()
    campaign.testbed = StaticTestbed(["h1"], walltime=60)
    run(campaign, tmp_path)
    assert [one["size"] for one in campaign.begun] == [1, 2, 1, 2]      # they end at once; one after the other, in order
    assert set(reasons(tmp_path, "todo")) == {"it takes 120 s, a reservation 60 s"}


class Refusing(StaticTestbed):
    """Gives hosts at the fourth request only."""

    def __init__(self, refusals: int) -> None:
        super().__init__(["h1"])
        self.left = refusals
        self.released = 0

    def wait(self, timeout: float | None = None) -> bool:
        if self.left:
            self.left -= 1
            raise RuntimeError("no nodes today")
        return True

    def release(self) -> None:
        self.released += 1
        super().release()


def test_a_reservation_that_is_refused_is_asked_for_again(tmp_path: Path) -> None:
    campaign = Campaign()
    campaign.testbed = Refusing(3)
    run(campaign, tmp_path)
    assert len(campaign.begun) == 6
    assert campaign.testbed.released == 4


def test_a_testbed_that_always_refuses_ends_the_campaign_with_what_it_said(tmp_path: Path) -> None:
    campaign = Campaign()
    campaign.testbed = Refusing(100)
    campaign.max_refusals = 3
    with pytest.raises(RuntimeError, match=r"3 reservations in a row could not be used; the last: RuntimeError: no nodes today"):
        run(campaign, tmp_path)
    assert counts(tmp_path)["todo"] == 6
    assert campaign.testbed.released == 3


def test_only_hosts_that_were_deployed_are_used(tmp_path: Path) -> None:
    class Deploying(StaticTestbed):
        deployments = 0

        def deploy(self) -> list[Host]:
            self.deployments += 1
            if self.deployments == 1:
                raise OSError("no environment of this name")
            return self.hosts[1:]

    campaign = Campaign()
    campaign.testbed = Deploying("h[1-3]")
    run(campaign, tmp_path)
    assert campaign.testbed.deployments == 2
    assert {row["run.host"] for row in campaign.results.rows()} == {"h2", "h3"}


@pytest.mark.parametrize(("left", "in_time", "looked"), [([5, 4], True, 1), ([1, -1], False, 1), ([0], False, 0), ([None, None], True, 1)])
def test_a_failure_counts_only_if_the_reservation_goes_on_after_it(
        left: list[float | None], in_time: bool, looked: int, tmp_path: Path) -> None:
    ends: SimpleQueue[Stint | None] = SimpleQueue()
    looks: list[Stint] = []

    def fail(stint: Stint) -> None:
        raise OSError("the host is gone")

    tidied: list[Stint] = []
    Stint("combination", [], tmp_path, 1).start(fail, lambda: left.pop(0), ends, looks.append, tidied.append)
    stint = ends.get(timeout=30)
    assert stint is not None
    assert len(tidied) == in_time
    assert (stint.in_time, stint.reason, len(looks), left) == (in_time, "OSError: the host is gone", looked, [])


def test_an_error_of_prepare_gives_the_hosts_back_and_is_tried_again(tmp_path: Path) -> None:
    class Preparing(Campaign):
        calls = 0

        def prepare(self, hosts: list[Host]) -> None:
            self.calls += 1
            if self.calls == 1:
                raise OSError("no space left there")

    campaign = Preparing()
    campaign.testbed = Refusing(0)
    run(campaign, tmp_path)
    assert (campaign.calls, campaign.testbed.released, len(campaign.begun)) == (2, 2, 6)


def test_a_mistake_in_the_script_is_told_at_once_and_leaves_nothing_in_progress(tmp_path: Path) -> None:
    class Wrong(Campaign):
        def choose_hosts(self, combination: Any, free: list[Host]) -> list[Host]:
            return [Host("elsewhere")]

    campaign = Wrong()
    campaign.testbed = Refusing(0)
    with pytest.raises(ValueError, match="which is not free"):
        run(campaign, tmp_path)
    assert counts(tmp_path)["todo"] == 6
    assert campaign.testbed.released == 1


def test_a_combination_that_outlives_its_reservation_returns_and_one_that_needs_all_of_it_fails(tmp_path: Path) -> None:
    class Long(Campaign):
        def measure(self, combination: Any, hosts: list[Host], directory: Path) -> Any:
            if combination["size"] == 1:
                Process("sleep 100").run()          # ended with the reservation, and `ok` then, for it was killed
            return {"ok": True}

    campaign = Long()
    campaign.parameters = {"size": [1, 2]}
    campaign.max_attempts = 2
    campaign.testbed = StaticTestbed(["h1", "h2"], walltime=1)
    begin = time.monotonic()
    run(campaign, tmp_path)
    assert time.monotonic() - begin < 30
    assert [one["size"] for one in campaign.begun].count(1) == 2
    [reason] = reasons(tmp_path, "failed")
    assert re.fullmatch(r"it was not done after [\d.]+s, when the reservation ended", str(reason))
    assert [row["size"] for row in campaign.results.rows()] == [2]


def test_a_combination_may_ask_whether_to_go_on(tmp_path: Path) -> None:
    class Polite(Campaign):
        raised: list[BaseException]

        def measure(self, combination: Any, hosts: list[Host], directory: Path) -> Any:
            if len(self.begun) > 1:
                return {}
            try:
                while True:
                    self.check(combination)
                    time.sleep(0.01)
            except ReservationOver as over:
                self.raised = [over]
                raise

    campaign = Polite()
    campaign.parameters = {"size": [1]}
    campaign.testbed = StaticTestbed(["h1"], walltime=0.5)
    run(campaign, tmp_path)
    assert len(campaign.raised) == 1
    assert counts(tmp_path)["done"] == 1


def test_a_thread_that_nothing_ends_does_not_hold_up_the_campaign(tmp_path: Path) -> None:
    stuck = threading.Event()

    class Deaf(Campaign):
        tidied = 0

        def tidy_up(self, combination: Any, hosts: list[Host]) -> None:
            self.tidied += 1

        def measure(self, combination: Any, hosts: list[Host], directory: Path) -> Any:
            if len(self.begun) == 1:
                threads.append(threading.current_thread())
                stuck.wait(60)
                return {"late": True}
            stuck.set()
            threads[0].join(60)         # it ends while the next reservation lasts
            return {"late": False}

    campaign = Deaf()
    campaign.parameters = {"size": [1]}
    campaign.testbed = StaticTestbed(["h1"], walltime=0.3)
    campaign.end_timeout = 0.2
    threads: list[threading.Thread] = []
    try:
        run(campaign, tmp_path)
        assert counts(tmp_path)["done"] == 1
    finally:
        stuck.set()
    assert [row["late"] for row in campaign.results.rows()] == [False]
    assert campaign.tidied == 1         # for its hosts are another's by now
