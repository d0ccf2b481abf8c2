"""The statistics and their table; the layouts are those of execo 2.8."""

from __future__ import annotations

import re
from typing import Any

import pytest
from connector import LOCAL
from hypothesis import given
from hypothesis import strategies as st

from execo import Process, Remote
from execo.config import configuration
from execo.report import Report

HEADER = (
    "Name                            start               end                 total  \n"
    " length         startd ended  error  timout fkilld expfld wrterr ret!=0 ok     \n"
)
WIDE_HEADER = (
    "Name                            start               end                 length         "
    "startd ended  error  timout fkilld expfld wrterr ret!=0 ok     total  \n"
)


class Counted:
    """Anything with statistics."""

    def __init__(self, name: str, **stats: Any) -> None:
        self.given = {**Report.empty_stats(), "name": name, "num_processes": 1, "num_ok": 1, **stats}

    def stats(self) -> dict[str, Any]:
        return self.given


def ran(name: str, start: float = 1600000000, **stats: Any) -> Counted:
    return Counted(name, **{"start_date": start, "end_date": start, "num_started": 1, "num_ended": 1, **stats})


def dates_hidden(text: str) -> str:
    return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "DDDD-DD-DD TT:TT:TT", text)


def test_layout_before_anything_has_started() -> None:
    report = Report([Counted("first"), Counted("second")])
    total = (
        "Report                          None                None                2      \n"
        "                0      0      0      0      0      0      0      0      2      \n"
    )
    dashes = "-" * 79 + "\n"
    assert report.to_string() == (
        HEADER + dashes
        + "first                           None                None                1      \n"
        + "                0      0      0      0      0      0      0      0      1      \n"
        + "second                          None                None                1      \n"
        + "                0      0      0      0      0      0      0      0      1      \n"
        + dashes + total
    )  # fmt: skip
    assert report.to_string(brief=True) == HEADER + dashes + total


def test_wide_layout() -> None:
    total = "Report                          None                None                               " + "0      " * 10
    assert Report().to_string(wide=True, brief=True) == WIDE_HEADER + "-" * 157 + "\n" + total + "\n"
    assert Report().to_string(wide=True) == Report().to_string(wide=True, brief=True)
    second = "-" * 158 + "\n"
    assert second in Report([Counted("x")]).to_string(wide=True)


def test_layout_after_a_run_in_order_of_start_with_children() -> None:
    parent = ran("par", 1600000002, sub_stats=[ran("sub").stats()])
    report = Report([parent, ran("second", 1600000001, num_ok=0, num_non_zero_exit_codes=1), ran("x" * 40)])
    line = " 0s             1      1      0      0      0      0      0      0      1      \n"
    dates = "DDDD-DD-DD TT:TT:TT DDDD-DD-DD TT:TT:TT"
    assert dates_hidden(report.to_string()) == (
        HEADER + "-" * 79 + "\n"
        + f"{'x' * 31} {dates} 1      \n" + line
        + f"second                          {dates} 1      \n"
        + " 0s             1      1      0      0      0      0      0      1      0      \n"
        + f"par                             {dates} 1      \n" + line
        + f"  sub                           {dates} 1      \n" + line
        + "-" * 79 + "\n"
        + f"Report                          {dates} 3      \n"
        + " 2s             3      3      0      0      0      0      0      1      2      \n"
    )  # fmt: skip


def test_entries_that_have_not_started_come_last() -> None:
    lines = Report([Counted("waits"), ran("runs")]).to_string(wide=True).splitlines()
    assert [line.split()[0] for line in lines[2:4]] == ["runs", "waits"]


def test_extra_line_only_for_what_is_not_zero() -> None:
    entry = ran("remote", num_ok=0, unreachable=2, idle_timeouts=3)
    report = Report([ran("good"), entry, ran("par", 1600000001, sub_stats=[ran("sub", connect_timeouts=1).stats()])])
    extra = [line for line in report.to_string().splitlines() if ": " in line]
    assert extra == ["  unreachable: 2, idle timeouts: 3", "    connect timeouts: 1", "  unreachable: 2, idle timeouts: 3"]
    assert report.stats()["unreachable"] == 2


def test_statistics_made_by_others_may_lack_the_new_counts() -> None:
    foreign = ran("foreign")
    for key in ("connect_timeouts", "idle_timeouts", "unreachable"):
        del foreign.given[key]
    report = Report([foreign, ran("ours", unreachable=1)])
    assert report.stats()["unreachable"] == 1
    assert "foreign" in report.to_string()


def test_failures_are_coloured_and_nothing_else() -> None:
    configuration["color_mode"] = True
    failed, good = ran("b", num_ok=0), ran("a")
    assert "\033[31m\033[1m" in Report(failed).to_string(brief=True)
    assert "\033[" not in Report(good).to_string()
    partly = Report([failed, good]).to_string().splitlines()
    assert partly[-1].startswith("\033[35m")


def test_keys_are_those_of_the_contract_and_three_more() -> None:
    assert sorted(Report.empty_stats()) == sorted(
        "name start_date end_date num_processes num_started num_ended num_errors num_timeouts num_forced_kills"
        " num_non_zero_exit_codes num_expect_fail num_write_error num_ok num_finished_ok sub_stats"
        " connect_timeouts idle_timeouts unreachable".split()
    )
    assert Report.empty_stats()["sub_stats"] is not Report.empty_stats()["sub_stats"]


dates = st.one_of(st.none(), st.floats(0, 1e10))


@given(st.lists(st.tuples(dates, dates, st.integers(0, 9))))
def test_totals_are_sums_from_first_start_to_last_end(parts: list[tuple[float | None, float | None, int]]) -> None:
    given_ = [Counted("x", start_date=s, end_date=e, num_processes=n).stats() for s, e, n in parts]
    total = Report.aggregate_stats(given_)
    starts = [start for start, _, _ in parts if start is not None]
    ends = [end for _, end, _ in parts]
    assert total["num_processes"] == sum(n for _, _, n in parts)
    assert total["start_date"] == (min(starts) if starts else None)
    assert total["end_date"] == (None if None in ends or not ends else max(end for end in ends if end is not None))
    assert total["sub_stats"] == given_


def test_statistics_are_taken_when_added() -> None:
    one = ran("one")
    report = Report(one)
    report.name = "mine"
    one.given = {**one.given, "num_ok": 0}
    assert (report.stats()["num_ok"], report.stats()["name"], report.name) == (1, "mine", "mine")
    whole = Report([report, ran("two")])
    assert whole.stats()["num_processes"] == 2
    assert [entry["name"] for entry in whole.stats()["sub_stats"]] == ["mine", "two"]


def test_what_has_no_statistics_is_refused_and_nothing_is_added() -> None:
    report = Report()
    with pytest.raises(TypeError, match="3"):
        report.add([ran("x"), 3])  # type: ignore[list-item]  # refused at run time
    assert report.stats()["sub_stats"] == []


def test_text_of_a_report() -> None:
    report = Report([ran("x")])
    assert repr(report) == "<Report(<1 entries>, name='Report')>"
    assert str(report).startswith("<Report(<1 entries>, name='Report', start_date=2020-09-13 ")
    assert "num_ok=1" in str(report)


def test_the_hosts_of_an_action_by_outcome() -> None:
    action = Remote("exit {{[0, 3, 0, 0]}}", "node-[1-8]", LOCAL, {"nolog_exit_code": True})
    action.run()
    assert action.stats()["outcomes"] == {"ok": ["node-1", "node-3", "node-4", "node-5", "node-7", "node-8"],
                                          "exit code 3": ["node-2", "node-6"]}
    report = Report(action)
    lines = report.to_string(folded=True).splitlines()
    at = next(number for number, line in enumerate(lines) if "exit code 3" in line)
    assert lines[at:at + 2] == ["  exit code 3 (2): node-[2,6]", "  ok (6): node-[1,3-5,7-8]"]
    assert [line for line in lines if line not in lines[at:at + 2]] == report.to_string().splitlines()


@pytest.mark.parametrize(("command", "options", "outcome"), [
    ("true", {}, "ok"),
    ("exit 3", {"ignore_exit_code": True}, "ok"),
    ("exit 3", {}, "exit code 3"),
    ("kill -9 $$", {}, "signal 9"),
    ("sleep 60", {"timeout": 0.1}, "timeout"),
])
def test_the_outcome_of_a_process(command: str, options: dict[str, Any], outcome: str) -> None:
    process = Process(command, shell=True, **options)
    assert process.outcome == "not started"
    process.nolog_exit_code = process.nolog_timeout = True
    assert process.run().outcome == outcome


def test_other_outcomes_of_a_process() -> None:
    missing = Process("/no/such/program", nolog_error=True, nolog_exit_code=True).run()
    assert missing.outcome == "error"
    process = Process("cat", nolog_expect_fail=True).start()
    process.expect("never", timeout=0.01)
    assert process.outcome == "running"
    process.close_stdin().wait()
    assert process.outcome == "expect failed"
