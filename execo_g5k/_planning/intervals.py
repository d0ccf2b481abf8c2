"""Algebra of intervals: lists of pairs (start, end), of which the end is not part.  Pure."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TypeAlias

    Interval: TypeAlias = tuple[float, float]


def merged(intervals: Iterable[Interval]) -> list[Interval]:
    """The same dates, as intervals that are sorted and neither meet nor touch; those that are empty or reversed hold no date."""
    result: list[Interval] = []
    last_start = last_end = float("-inf")
    for start, end in sorted(intervals):
        if end <= start:
            continue
        if start > last_end or not result:
            last_start, last_end = start, end
            result.append((start, end))
        elif end > last_end:
            last_end = end
            result[-1] = (last_start, end)
    return result


def truncated(intervals: Iterable[Interval], start: float, end: float) -> list[Interval]:
    """What of each interval is between two dates."""
    return [(max(a, start), min(b, end)) for a, b in intervals if a < end and b > start and a < b and start < end]


def complement(intervals: Iterable[Interval], start: float, end: float) -> list[Interval]:
    """The dates between `start` and `end` that are in none of the intervals."""
    free = []
    at = start
    for a, b in merged(truncated(intervals, start, end)):
        if a > at:
            free.append((at, a))
        at = b
    if at < end:
        free.append((at, end))
    return free


def busy_and_free(intervals: Iterable[Interval], start: float, end: float) -> dict[str, list[Interval]]:
    """An element of a planning: between two dates, busy in these intervals."""
    busy = merged(truncated(intervals, start, end))
    free = []
    at = start
    for a, b in busy:
        if a > at:
            free.append((at, a))
        at = b
    if at < end:
        free.append((at, end))
    return {"busy": busy, "free": free}
