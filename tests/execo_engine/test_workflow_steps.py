"""What a campaign notes of its steps, and what it does with hosts before and after them."""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execo import Host
from execo_engine._workflow.steps import Coverage, Steps, read_steps
from execo_engine.testbeds import StaticTestbed
from execo_engine.workflow import SweepEngine


@pytest.mark.parametrize(("spans", "length"), [
    ([], 0), ([(1, 3)], 2), ([(1, 3), (5, 6)], 3),
    ([(2, 3), (1, 4)], 3), ([(1, 3), (2, 5)], 4), ([(1, 3), (3, 4)], 3), ([(1, 2), (3, 4), (5, 6), (0, 7)], 7),
])
def test_time_that_two_steps_share_counts_once(spans: list[tuple[float, float]], length: float) -> None:
    coverage = Coverage()
    for span in spans:
        coverage.add(*span)
    assert coverage.length() == length


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)), max_size=30))
def test_what_is_settled_counts_as_before(begins: list[tuple[int, int]]) -> None:
    spans = sorted(((begin, begin + length) for begin, length in begins), key=lambda span: span[1])
    coverage = Coverage()
    for number, span in enumerate(spans):
        coverage.add(*span)
        coverage.settle(min((begin for begin, _ in spans[number + 1:]), default=99))
    assert coverage.length() == len({second for span in spans for second in range(*span)})
    assert len(coverage) == 0 or not spans


def test_steps_that_have_ended_are_not_kept(tmp_path: Path) -> None:
    steps = Steps(str(tmp_path))
    with steps.step(None, "whole"):
        for _ in range(100):
            with steps.step(None, "short"):
                pass
    assert len(steps._coverage) <= 1
    assert list(steps.totals()["steps"]) == ["short"]


def test_of_a_step_with_others_inside_only_these_count(tmp_path: Path) -> None:
    steps = Steps(str(tmp_path))
    with steps.step({"a": 1}, "whole"):
        with steps.step({"a": 1}, "first"):
            pass
        with pytest.raises(OSError, match="full"), steps.step({"a": 1}, "second"):
            raise OSError("full")
    with steps.step(None, "alone"):
        pass
    assert list(steps.totals()["steps"]) == ["first", "second", "alone"]
    lines = read_steps(tmp_path)
    assert [(line["step"], line["combination"] is None, line["error"]) for line in lines] == [
        ("first", False, None), ("second", False, "OSError('full')"), ("whole", False, None), ("alone", True, None)]
    assert len({line["combination"] for line in lines[:3]}) == 1
    with (tmp_path / "steps.jsonl").open("a") as file:
        file.write('{"step": "cut sh')
    assert read_steps(tmp_path) == lines
    with Steps(str(tmp_path)).step(None, "next run"):
        pass
    assert [line["step"] for line in read_steps(tmp_path)] == ["first", "second", "whole", "alone", "next run"]
    assert read_steps(tmp_path / "nowhere") == []


def test_a_step_that_cannot_be_noted_does_not_disturb_what_it_does(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    steps = Steps(str(tmp_path))
    (tmp_path / "steps.jsonl").symlink_to("/dev/full")
    with caplog.at_level(logging.WARNING), steps.step(None, "measure"):
        pass
    assert "No space left on device" in caplog.text
    assert list(steps.totals()["steps"]) == ["measure"]


def test_steps_of_several_threads_do_not_count_as_nested(tmp_path: Path) -> None:
    steps = Steps(str(tmp_path))
    meeting = threading.Barrier(2, timeout=30)

    def work(name: str) -> None:
        with steps.step(None, name):
            meeting.wait()

    threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(steps.totals()["steps"]) == ["a", "b"]


class Campaign(SweepEngine):
    parameters: Any = range(2)
    check_hosts = False
    retry_delay = 0.01

    def __init__(self) -> None:
        super().__init__()
        self.testbed = StaticTestbed("h[1-3]")
        self.cleaned: list[list[str]] = []

    def prepare(self, hosts: list[Host]) -> None:
        del hosts[0]

    def clean_up(self, hosts: list[Host]) -> None:
        self.cleaned.append([host.address for host in hosts])

    def run_combination(self, combination: Any, hosts: list[Host], directory: Path) -> Any:
        with self.step(combination, "work"):
            return {"host": hosts[0].address}


def test_hosts_that_prepare_takes_out_are_not_used_and_the_others_cleaned_up(tmp_path: Path) -> None:
    campaign = Campaign()
    campaign.start(["-c", str(tmp_path), "-l", "ERROR"])
    assert {row["host"] for row in campaign.results.rows()} <= {"h2", "h3"}
    assert campaign.cleaned == [["h2", "h3"]]
    names = [line["step"] for line in read_steps(tmp_path)]
    assert (names[:4], names[-2:]) == (["reserve", "deploy", "describe", "prepare"], ["clean up", "release"])
    assert sorted(names[4:-2]) == ["run", "run", "work", "work"]
    noted = json.loads((tmp_path / "notebook.json").read_text())["steps"]
    assert set(noted["steps"]) == {*names} - {"run"}
    assert 0 <= noted["other"] <= noted["wall"]


def test_a_campaign_of_which_prepare_takes_all_hosts_gives_up(tmp_path: Path) -> None:
    class None_(Campaign):
        max_refusals = 2

        def prepare(self, hosts: list[Host]) -> None:
            hosts.clear()

    campaign = None_()
    with pytest.raises(RuntimeError, match="none of the hosts of the reservation could be prepared"):
        campaign.start(["-c", str(tmp_path), "-l", "CRITICAL"])
    assert campaign.cleaned == []


def test_hosts_are_cleaned_up_after_a_mistake_and_after_a_signal(tmp_path: Path) -> None:
    class Mistaken(Campaign):
        def choose_hosts(self, combination: Any, free: list[Host]) -> list[Host]:
            raise NameError("chose")

    mistaken = Mistaken()
    with pytest.raises(NameError):
        mistaken.start(["-c", str(tmp_path / "1"), "-l", "CRITICAL"])
    assert mistaken.cleaned == [["h2", "h3"]]

    class Stopped(Campaign):
        def run_combination(self, combination: Any, hosts: list[Host], directory: Path) -> Any:
            os.kill(os.getpid(), signal.SIGTERM)
            return {}

    stopped = Stopped()
    with pytest.raises(SystemExit):
        stopped.start(["-c", str(tmp_path / "2"), "-l", "CRITICAL"])
    assert stopped.cleaned == [["h2", "h3"]]


def test_hosts_whose_time_is_over_are_not_touched(tmp_path: Path) -> None:
    class Late(Campaign):
        parameters: Any = range(1)

        def run_combination(self, combination: Any, hosts: list[Host], directory: Path) -> Any:
            if not self.cleaned and self.testbed.walltime:
                self.testbed._end = 0.0         # the reservation is over now
                self.testbed.walltime = None    # and the next one has no end
            return {}

    late = Late()
    late.testbed = StaticTestbed("h[1-3]", walltime=60)
    late.start(["-c", str(tmp_path), "-l", "CRITICAL"])
    assert late.cleaned == [["h2", "h3"]]
    assert [line["step"] for line in read_steps(tmp_path)].count("reserve") == 2
