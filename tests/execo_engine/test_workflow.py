"""Campaigns in this interpreter: what runs where and when, how it ends, what is recorded."""

from __future__ import annotations

import json
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from campaigns import Campaign, counts, end_combinations, reasons, run

from execo import Host, Process
from execo.log import logger as execo_logger
from execo_engine.sweep import ParameterSpace, SweepDirectory
from execo_engine.testbeds import StaticTestbed


def test_each_combination_is_run_once_and_recorded(tmp_path: Path) -> None:
    campaign = run(Campaign(), tmp_path)
    assert len(campaign.begun) == len(set(campaign.begun)) == 6
    assert counts(tmp_path) == {"total": 6, "todo": 0, "inprogress": 0, "done": 6, "skipped": 0, "failed": 0}
    rows = campaign.results.rows()
    assert sorted((row["kind"], row["size"], row["double"]) for row in rows) == [(k, s, 2 * s) for k in "ab" for s in (1, 2, 3)]
    assert {row["run.host"] for row in rows} <= {"h1", "h2"}
    notebook = json.loads((tmp_path / "notebook.json").read_text())
    assert (notebook["seed"], notebook["order"], notebook["testbed"]) == (0, "plan", "StaticTestbed(2 hosts)")
    assert notebook["combinations"]["done"] == 6
    assert notebook["outcome"]["kind"] == "ok"


def test_a_campaign_that_is_continued_runs_only_what_is_left(tmp_path: Path) -> None:
    run(Campaign(), tmp_path)
    again = Campaign()
    again.parameters = {"kind": ["a", "b"], "size": [1, 2, 3, 4]}
    run(again, tmp_path)
    assert sorted(one["kind"] for one in again.begun) == ["a", "b"]
    assert {one["size"] for one in again.begun} == {4}


def test_combinations_run_at_once_on_hosts_of_their_own(tmp_path: Path) -> None:
    class Pairs(Campaign):
        meeting = threading.Barrier(2, timeout=30)
        used: list[tuple[str, ...]] = []  # noqa: RUF012

        def hosts_needed(self, combination: Any) -> int:
            return 2

        def measure(self, combination: Any, hosts: list[Host], directory: Path) -> Any:
            self.used.append(tuple(host.address for host in hosts))
            self.meeting.wait()                 # passes only if two are here at once

    campaign = Pairs()
    campaign.testbed = StaticTestbed("h[1-5]")
    run(campaign, tmp_path)
    assert set(campaign.used) == {("h1", "h2"), ("h3", "h4")}
    assert len(campaign.used) == 6


def test_a_failure_is_tried_again_and_then_put_aside_with_its_reason(tmp_path: Path) -> None:
    class Failing(Campaign):
        def measure(self, combination: Any, hosts: list[Host], directory: Path) -> Any:
            if combination["size"] == 2:
                raise ValueError(f"no {combination['kind']}")
            return {}

    campaign = run(Failing(), tmp_path)
    assert len(campaign.begun) == 4 + 2 * 3
    assert counts(tmp_path) == {"total": 6, "todo": 0, "inprogress": 0, "done": 4, "skipped": 0, "failed": 2}
    assert sorted(map(str, reasons(tmp_path, "failed"))) == ["ValueError: no a", "ValueError: no b"]
    reports = [file.read_text() for file in tmp_path.glob("combinations/*/failure.txt")]
    assert len(reports) == 2
    assert all("in measure" in report for report in reports)


def test_what_is_logged_while_a_combination_runs_is_in_its_folder(tmp_path: Path) -> None:
    class Talking(Campaign):
        meeting = threading.Barrier(2, timeout=30)

        def measure(self, combination: Any, hosts: list[Host], directory: Path) -> Any:
            if combination["size"] < 3:
                self.meeting.wait()
                execo_logger.warning("it is %s", combination["size"])

    campaign = Talking()
    campaign.parameters = {"size": [1, 2, 3]}
    run(campaign, tmp_path)
    logs = {folder.name[:6]: (folder / "log.txt").read_text() if (folder / "log.txt").exists() else None
            for folder in (tmp_path / "combinations").iterdir()}
    assert {name: text and text.rstrip().endswith(f"WARNING: it is {name[-1]}") and text.count("\n") for name, text in logs.items()} == {
        "size-1": 1, "size-2": 1, "size-3": None}


@pytest.mark.parametrize(("value", "reason"), [
    (3, "run_combination returned a int: expected {name: value} or None"),
    ({"x": object()}, "TypeError"),
])
def test_what_cannot_be_recorded_is_a_failure_that_says_so(value: object, reason: str, tmp_path: Path) -> None:
    campaign = Campaign()
    campaign.parameters = {"size": [1]}
    campaign.measure = lambda *_: value  # type: ignore[method-assign]
    campaign.max_attempts = None
    run(campaign, tmp_path)
    [found] = reasons(tmp_path, "failed")
    assert str(found).startswith(reason)
    assert campaign.results.read() == []


def test_what_is_tidied_up_costs_no_result_and_its_hosts_are_nobody_elses(tmp_path: Path) -> None:
    class Tidy(Campaign):
        parameters: Any = ParameterSpace({"size": [1, 2, 3]})
        threads: dict[Any, int] = {}  # noqa: RUF012
        busy: set[str] = set()  # noqa: RUF012
        max_attempts = None

        def measure(self, combination: Any, hosts: list[Host], directory: Path) -> Any:
            assert hosts[0].address not in self.busy
            self.busy.add(hosts[0].address)
            self.threads[combination] = threading.get_ident()
            return {"double": 2} if combination["size"] < 3 else 1 / 0

        def tidy_up(self, combination: Any, hosts: list[Host]) -> None:
            assert self.threads[combination] == threading.get_ident()
            self.busy.remove(hosts[0].address)
            if combination["size"] == 2:
                raise OSError("the broom is broken")

    campaign = Tidy()
    campaign.start(["-c", str(tmp_path), "-l", "WARNING"])
    assert (counts(tmp_path)["done"], counts(tmp_path)["failed"]) == (2, 1)
    assert reasons(tmp_path, "failed") == ["ZeroDivisionError: division by zero"]
    assert campaign.busy == set()
    (log,) = tmp_path.glob("combinations/size-2*/log.txt")
    assert "the broom is broken" in log.read_text()


@pytest.mark.parametrize("deaf", [False, True])
def test_a_result_is_kept_when_the_campaign_stops_while_it_is_tidied_up(deaf: bool, tmp_path: Path) -> None:
    freed = threading.Event()

    class Stopped(Campaign):
        parameters: Any = ParameterSpace({"size": [1]})
        end_timeout = 0.2 if deaf else 30

        def tidy_up(self, combination: Any, hosts: list[Host]) -> None:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
            if deaf:
                freed.wait(60)
            else:
                Process("sleep 1000").run()

    before = set(threading.enumerate())
    campaign = Stopped()
    try:
        with pytest.raises(SystemExit):
            run(campaign, tmp_path)
    finally:
        freed.set()
    end_combinations(before)
    assert counts(tmp_path)["done"] == 1
    assert [row["double"] for row in campaign.results.rows()] == [2]


def test_a_result_is_on_the_disk_while_its_hosts_are_tidied_up(tmp_path: Path) -> None:
    class Slow(Campaign):
        parameters: Any = ParameterSpace({"size": [1]})
        found: list[dict[str, int]] = []  # noqa: RUF012

        def tidy_up(self, combination: Any, hosts: list[Host]) -> None:
            end = time.monotonic() + 30
            while counts(tmp_path)["done"] == 0 and time.monotonic() < end:
                time.sleep(0.01)
            self.found.append({"done": counts(tmp_path)["done"], "rows": len(self.results.rows())})

    campaign = Slow()
    run(campaign, tmp_path)
    assert campaign.found == [{"done": 1, "rows": 1}]


@pytest.mark.parametrize(("name", "value"), [("parameters", None), ("testbed", "node-1")])
def test_a_campaign_without_parameters_or_testbed_says_which(name: str, value: object, tmp_path: Path) -> None:
    campaign = Campaign()
    setattr(campaign, name, value)
    with pytest.raises(TypeError, match=rf"^Campaign.{name}: expected .*, found "):
        run(campaign, tmp_path)


def test_a_claim_that_was_taken_by_others_leaves_no_result(tmp_path: Path) -> None:
    class Robbed(Campaign):
        def measure(self, combination: Any, hosts: list[Host], directory: Path) -> Any:
            if len(self.begun) == 1:
                # An administrator takes it back, and another worker has done it since.
                with SweepDirectory(str(tmp_path / "sweep"), write=True) as sweep:
                    sweep.cancel(sweep.records("inprogress"))
                other = type(self.sweeper)(str(tmp_path / "sweep"), [combination])
                assert other.get_next() == combination
            return {"n": len(self.begun)}

    campaign = Robbed()
    campaign.parameters = {"size": [1]}
    campaign.testbed = StaticTestbed(["h1"])        # no second host, on which the campaign itself would be the quicker one
    run(campaign, tmp_path)
    assert campaign.results.read() == []
    assert counts(tmp_path)["inprogress"] == 1


def test_many_short_combinations_cost_little_beside_themselves(tmp_path: Path) -> None:
    """What the workflow adds to each, beside three records on the disk: a thread and a queue."""
    campaign = Campaign()
    campaign.parameters = {"size": list(range(200))}
    begin = time.monotonic()
    run(campaign, tmp_path)
    assert counts(tmp_path)["done"] == 200
    assert time.monotonic() - begin < 60
