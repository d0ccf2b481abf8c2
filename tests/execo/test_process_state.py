"""The facts of a process, and the steps of its life."""

from __future__ import annotations

import pytest

from execo._process.state import ProcessState


def state(**facts) -> ProcessState:
    state = ProcessState()
    state.name = "name"
    for fact, value in facts.items():
        setattr(state, fact, value)
    return state


def test_the_usual_life():
    life = state()
    assert life._state_requested()
    assert not life._state_requested()
    assert not life.started
    life._state_started(12, 100.0)
    assert (life.running, life.pid, life.start_date) == (True, 12, 100.0)
    life._state_ended(3 << 8, 101.0)
    assert (life.running, life.exit_code, life.end_date, life.ok) == (False, 3, 101.0, False)
    life._state_reset()
    assert vars(life) == {"name": "name"}


@pytest.mark.parametrize("step", [
    lambda life: life._state_ended(0, 2.0),
    lambda life: (life._state_started(1, 1.0), life._state_started(1, 1.0)),
    lambda life: (life._state_started(1, 1.0), life._state_ended(0, 2.0), life._state_ended(0, 2.0)),
    lambda life: (life._state_failed(OSError(), 1.0), life._state_failed(OSError(), 1.0)),
    lambda life: (life._state_failed(OSError(), 1.0), life._state_started(1, 1.0)),
    lambda life: (life._state_cancelled(1.0), life._state_cancelled(1.0)),
    lambda life: (life._state_cancelled(1.0), life._state_failed(OSError(), 1.0)),
])
def test_an_impossible_step_is_refused(step):
    with pytest.raises(ValueError, match="name"):
        step(state())


@pytest.mark.parametrize("facts, ok", [
    ({}, True),
    ({"started": True}, True),
    ({"expect_fail": True}, False),
    ({"expect_fail": True, "ignore_expect_fail": True}, True),
    ({"write_error": True}, False),
    ({"write_error": True, "ignore_write_error": True}, True),
    ({"ended": True, "exit_code": 0}, True),
    ({"ended": True, "exit_code": 1}, False),
    ({"ended": True, "exit_code": 1, "ignore_exit_code": True}, True),
    ({"ended": True, "exit_code": -15, "killed": True}, True),
    ({"ended": True, "exit_code": -15}, False),
    ({"ended": True, "exit_code": -15, "killed": True, "timeouted": True}, False),
    ({"ended": True, "exit_code": -15, "killed": True, "timeouted": True, "ignore_timeout": True}, True),
    ({"ended": True, "exit_code": -15, "killed": True, "idle_timeouted": True}, False),
    ({"ended": True, "exit_code": -15, "killed": True, "idle_timeouted": True, "ignore_timeout": True}, True),
    ({"ended": True, "error": True}, False),
    ({"ended": True, "error": True, "ignore_error": True}, False),      # exit_code is None
    ({"ended": True, "error": True, "ignore_error": True, "ignore_exit_code": True}, True),
])
def test_ok(facts, ok):
    assert state(**facts).ok is ok


@pytest.mark.parametrize("facts, warns", [
    ({"exit_code": 0}, False),
    ({"exit_code": 1}, True),
    ({"exit_code": 1, "nolog_exit_code": True}, False),
    ({"exit_code": -15, "killed": True}, False),
    ({"exit_code": None, "error": True}, True),
    ({"exit_code": None, "error": True, "nolog_error": True}, True),
    ({"exit_code": None, "error": True, "nolog_error": True, "nolog_exit_code": True}, False),
    ({"exit_code": -15, "killed": True, "timeouted": True}, True),
    ({"exit_code": -15, "killed": True, "timeouted": True, "nolog_timeout": True}, False),
    ({"exit_code": -15, "killed": True, "idle_timeouted": True}, True),
])
def test_an_end_that_deserves_a_warning(facts, warns):
    assert bool(state(**facts).deserves_warning) is warns


def test_stats_count_one_process_and_its_outcome():
    life = state(started=True, ended=True, exit_code=-15, killed=True, timeouted=True, start_date=1.0, end_date=2.0)
    stats = life.stats()
    counts = {key: value for key, value in stats.items() if isinstance(value, int) and value}
    assert counts == {"num_processes": 1, "num_started": 1, "num_ended": 1, "num_timeouts": 1, "num_non_zero_exit_codes": 1}
    assert (stats["name"], stats["start_date"], stats["end_date"]) == ("name", 1.0, 2.0)
