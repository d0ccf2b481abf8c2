"""The algebra of intervals, against a model that looks at each second."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execo_g5k._planning.intervals import busy_and_free, complement, merged, truncated

LAST = 30
Interval = tuple[float, float]
INTERVALS = st.lists(st.tuples(st.integers(0, LAST), st.integers(0, LAST)), max_size=8)


def seconds(intervals: list[Interval]) -> set[int]:
    """Those that are inside."""
    return {second for second in range(LAST) for start, end in intervals if start <= second < end}


def is_tidy(intervals: list[Interval]) -> bool:
    """Sorted, none empty, and a gap between any two."""
    return all(start < end for start, end in intervals) and all(a[1] < b[0] for a, b in pairwise(intervals))


@given(INTERVALS)
def test_merging_keeps_each_date_and_leaves_gaps(intervals: list[Interval]) -> None:
    before = list(intervals)
    result = merged(intervals)
    assert seconds(result) == seconds(intervals)
    assert is_tidy(result)
    assert intervals == before


@given(INTERVALS, st.integers(0, LAST), st.integers(0, LAST))
def test_truncation_keeps_the_dates_of_the_range(intervals: list[Interval], start: int, end: int) -> None:
    result = truncated(intervals, start, end)
    assert seconds(result) == seconds(intervals) & set(range(start, end))
    assert all(start <= a < b <= end for a, b in result)


@given(INTERVALS, st.integers(0, LAST), st.integers(0, LAST))
def test_the_complement_is_the_rest_of_the_range(intervals: list[Interval], start: int, end: int) -> None:
    result = complement(intervals, start, end)
    assert seconds(result) == set(range(start, end)) - seconds(intervals)
    assert is_tidy(result)


@given(INTERVALS, st.integers(0, LAST), st.integers(0, LAST))
def test_an_element_is_busy_or_free_at_each_date_of_its_range(intervals: list[Interval], start: int, end: int) -> None:
    element = busy_and_free(intervals, start, end)
    assert is_tidy(element["busy"])
    assert is_tidy(element["free"])
    assert seconds(element["busy"]) == seconds(intervals) & set(range(start, end))
    assert element["free"] == complement(intervals, start, end)


@pytest.mark.parametrize(
    ("intervals", "result"),
    [
        ([(0, 100), (50, 150)], [(0, 150)]),        # the last pair too
        ([(50, 150), (0, 100), (400, 500)], [(0, 150), (400, 500)]),
        ([(0, 100), (100, 150)], [(0, 150)]),
        ([(0, 500), (10, 20)], [(0, 500)]),
        ([(20, 10), (5, 5)], []),
        ([], []),
    ],
)
def test_merging_by_hand(intervals: list[Interval], result: list[Interval]) -> None:
    assert merged(intervals) == result


def test_busy_until_the_end_leaves_nothing_free() -> None:
    assert busy_and_free([(0, 100), (50, 150)], 0, 120) == {"busy": [(0, 120)], "free": []}
