"""Calls at deadlines."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from execo._conductor.timers import Timers


def names(timers: Timers, now: float) -> list[object]:
    return [call() for call in timers.due(now)]         # type: ignore[func-returns-value]


def set_timer(timers: Timers, deadline: float, name: object):
    return timers.at(deadline, lambda: name)            # type: ignore[arg-type,return-value]


def test_calls_come_in_the_order_of_their_deadlines_and_not_before():
    timers = Timers()
    for deadline in (3.0, 1.0, 2.0):
        set_timer(timers, deadline, deadline)
    assert timers.next_deadline() == 1.0
    assert names(timers, 0.9) == []
    assert names(timers, 2.0) == [1.0, 2.0]
    assert names(timers, 10.0) == [3.0]
    assert timers.next_deadline() is None


def test_equal_deadlines_come_in_the_order_in_which_they_were_set():
    timers = Timers()
    for number in range(100):
        set_timer(timers, 5.0, number)
    assert names(timers, 5.0) == list(range(100))


def test_a_cancelled_call_never_comes_and_cancelling_twice_does_nothing():
    timers = Timers()
    first, _ = set_timer(timers, 1.0, "first"), set_timer(timers, 2.0, "second")
    timers.cancel(first)
    timers.cancel(first)
    assert len(timers) == 1
    assert timers.next_deadline() == 2.0
    assert names(timers, 9.0) == ["second"]
    assert len(timers) == 0


def test_cancelling_what_was_due_does_nothing():
    timers = Timers()
    due = set_timer(timers, 1.0, "due")
    set_timer(timers, 2.0, "later")
    assert names(timers, 1.0) == ["due"]
    timers.cancel(due)
    assert len(timers) == 1


def test_an_infinite_deadline_never_comes():
    timers = Timers()
    set_timer(timers, math.inf, "never")
    assert names(timers, 1e300) == []


def test_a_hundred_thousand_cancelled_timers_leave_nothing_behind():
    timers = Timers()
    keep = set_timer(timers, 1e6, "kept")
    for number in range(100_000):
        timers.cancel(set_timer(timers, 1e9 + number, "cancelled"))
    assert len(timers._heap) < 1000
    assert len(timers) == 1
    assert keep.call is not None


@given(st.lists(st.tuples(st.floats(0, 10), st.booleans())), st.floats(0, 10))
def test_due_gives_exactly_what_is_due_and_was_not_cancelled(entries, now):
    timers = Timers()
    for number, (deadline, cancelled) in enumerate(entries):
        timer = set_timer(timers, deadline, number)
        if cancelled:
            timers.cancel(timer)
    kept = [(deadline, number) for number, (deadline, cancelled) in enumerate(entries) if not cancelled]
    assert names(timers, now) == [number for deadline, number in sorted(kept) if deadline <= now]
    assert len(timers) == sum(deadline > now for deadline, _ in kept)
