"""The pure parts of the workflow: durations, what fits, forecasts, the plan in words, the run that is replayed."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execo_engine._workflow.durations import Durations
from execo_engine._workflow.plan import describe_parameters, describe_time
from execo_engine._workflow.replay import earlier_run
from execo_engine._workflow.schedule import Forecast, Need, Room, fits, forecast, obstacle
from execo_engine.sweep import HashableDict, ParameterSpace, sweep


def test_nothing_is_known_of_the_first_combination() -> None:
    assert Durations().estimate(HashableDict(size=1)) is None
    assert Durations().bound is None


def test_the_parameter_that_decides_alone_is_found() -> None:
    durations = Durations()
    for combination in sweep({"size": [1, 100], "method": ["a", "b", "c"]}):
        durations.add(combination, float(combination["size"]))
    assert durations.estimate(HashableDict(size=1, method="a")) == 1
    assert durations.estimate(HashableDict(size=100, method="a")) == 100
    assert durations.estimate(HashableDict(size=1000, method="a")) == 100
    assert durations.bound == 100


def test_one_sample_of_a_value_is_not_believed() -> None:
    durations = Durations()
    durations.add(HashableDict(size=1, other=1), 5)
    durations.add(HashableDict(size=2, other=2), 50)
    assert durations.estimate(HashableDict(size=1, other=3)) == 50


def test_a_combination_that_was_cut_off_needs_more_than_it_had() -> None:
    durations = Durations()
    durations.add("short", 1)
    durations.add_at_least("long", 30)
    durations.add_at_least("long", 20)
    assert (durations.estimate("long"), durations.estimate("other"), durations.bound) == (30, 1, 30)
    durations.add("long", 40)
    assert durations.estimate("long") == 40


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.floats(0, 1e6)), min_size=1))
def test_no_estimate_is_longer_than_the_bound(samples: list[tuple[int, int, float]]) -> None:
    durations = Durations()
    for a, b, seconds in samples:
        durations.add(HashableDict(a=a, b=b), seconds)
    bound = durations.bound
    assert bound is not None
    for a in range(5):
        for b in range(5):
            estimate = durations.estimate(HashableDict(a=a, b=b))
            assert estimate is not None
            assert estimate <= bound


@pytest.mark.parametrize(("need", "room", "may"), [
    (Need(1, None, False), Room(1, None, True), True),
    (Need(2, None, False), Room(1, None, True), False),         # too few hosts
    (Need(1, 10, True), Room(1, 10, False), True),              # declared: to the second
    (Need(1, 10, True), Room(1, 9.9, True), False),             # declared: believed from the beginning on
    (Need(1, 10, False), Room(1, 10.5, False), False),          # learnt: with a margin
    (Need(1, 10, False), Room(1, 11, False), True),
    (Need(1, 10, False), Room(1, 5, True), True),               # learnt: it may be wrong, so it is tried
    (Need(1, None, False), Room(1, 0.5, False), True),          # nothing known: tried
    (Need(1, None, False), Room(1, 0, True), False),            # over
    (Need(1, 10, True), Room(1, None, False), True),            # without end
])
def test_what_may_begin(need: Need, room: Room, may: bool) -> None:
    assert fits(need, room) is may


@pytest.mark.parametrize(("need", "why"), [
    (Need(4, 3600, True), ""),
    (Need(5, 3600, True), "it needs 5 hosts, a reservation has 4"),
    (Need(1, 3601, True), "it takes 3601 s, a reservation 3600 s"),
    (Need(1, 3601, False), ""),
])
def test_what_never_fits_is_told_with_numbers(need: Need, why: str) -> None:
    assert obstacle(need, 4, 3600) == why
    assert obstacle(need, None, None) == ""


@pytest.mark.parametrize(("needs", "n_hosts", "walltime", "found"), [
    ([], 4, 10, Forecast(0, 0, 0)),
    ([(1, 3)] * 4, 4, 10, Forecast(3, 1, 0)),
    ([(1, 3)] * 5, 4, 10, Forecast(6, 1, 0)),
    ([(1, 3)] * 5, 1, 10, Forecast(9 + 6, 2, 0)),               # three fit a job of 10 s
    ([(4, 3), (1, 1)], 4, None, Forecast(4, 1, 0)),
    ([(3, 5), (2, 5), (1, 5)], 4, 10, Forecast(10, 1, 0)),      # the third goes beside the first
    ([(9, 1), (1, 11), (1, 1)], 4, 10, Forecast(1, 1, 2)),
])
def test_a_forecast_by_hand(needs: list[tuple[int, float]], n_hosts: int, walltime: float | None, found: Forecast) -> None:
    assert forecast(needs, n_hosts, walltime) == found


@given(st.lists(st.tuples(st.integers(1, 4), st.floats(0.1, 10)), max_size=40))
def test_a_forecast_is_never_shorter_than_the_work(needs: list[tuple[int, float]]) -> None:
    found = forecast(needs, 4, 10)
    work = sum(hosts * seconds for hosts, seconds in needs)
    assert found.impossible == 0
    assert work / 4 - 1e-6 <= found.seconds <= sum(seconds for _, seconds in needs) + 1e-6
    assert found.seconds <= found.reservations * 10 + 1e-6


def test_a_plan_names_its_parameters_also_if_nobody_could_list_it() -> None:
    text = describe_parameters("Compress", ParameterSpace({"method": ["gzip", "xz"], "level": range(20)}), 3)
    assert text.splitlines() == [
        "Compress: 40 combinations, 3 of them are finished", "  method: gzip, xz", "  level: 0, 1, 2, 3, 4, 5, 6, 7, ... (20 values)"]
    huge = ParameterSpace({f"p{number}": range(10) for number in range(150)})
    assert describe_parameters("Huge", huge).startswith("Huge: 1e+150 combinations\n")


@pytest.mark.parametrize(("finished", "seconds", "says"), [
    (set(), 10, "about 50s on 4 hosts, in 1 reservation"),
    (set(range(20)), 10, "nothing is left to do"),
    (set(), None, "no duration is declared, and none is learnt yet: run a few, and ask again with -c DIR"),
    (set(), 100, "about 0s on 4 hosts, in 0 reservations; 20 combinations do not fit a reservation"),
])
def test_a_plan_says_how_long_it_may_take(finished: set[int], seconds: float | None, says: str) -> None:
    assert describe_time(range(20), finished, lambda _: Need(1, seconds, True), 4, 60) == says


def test_a_replayed_run_gives_order_hosts_and_seed() -> None:
    records = [SimpleNamespace(combination="b", start_date=2.0), SimpleNamespace(combination="c", start_date=1.0),
               SimpleNamespace(combination="never begun", start_date=None)]
    results = [SimpleNamespace(directory="combinations/c-1", host="node-7"),
               SimpleNamespace(directory="combinations/b-2", host=["node-1", "node-7"])]
    found = earlier_run(records, results, {"seed": 42})
    assert found.seed == 42
    assert found.sorted(["a", "b", "c"]) == ["c", "b", "a"]
    assert found.hosts == ["node-7", "node-1"]
    assert found.placement == {"c-1": ["node-7"], "b-2": ["node-1", "node-7"]}
