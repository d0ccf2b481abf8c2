"""Throughput and the estimated end.  Pure."""

from __future__ import annotations

from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_RECENT = 50


class Progress(NamedTuple):
    """How fast it goes.  None: not known."""

    per_hour: float | None
    mean_seconds: float | None
    seconds_left: float | None
    end_date: float | None
    """Unix seconds."""


def progress(ends: Sequence[float], lengths: Sequence[float], left: int | None, active: bool, now: float) -> Progress:
    """From what was done of late, pauses between reservations included.

    :param ends: dates at which combinations were done.
    :param lengths: how long they took, in seconds.
    :param left: how many are left.
    :param active: whether somebody works on it; else there is no end in sight.
    """
    mean = sum(lengths) / len(lengths) if lengths else None
    recent = sorted(ends)[-_RECENT:]
    rate = None
    if len(recent) > 1:
        until = max(recent[-1], now) if active else recent[-1]
        if until > recent[0]:
            rate = (len(recent) - 1) / (until - recent[0])
    seconds_left = left / rate if rate and left and active else 0.0 if left == 0 else None
    return Progress(rate * 3600 if rate is not None else None, mean, seconds_left, now + seconds_left if seconds_left else None)
