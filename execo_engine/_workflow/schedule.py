"""What may begin now, and when all will be done.  Pure."""

from __future__ import annotations

import heapq
import math
from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MARGIN = 1.1
"""A combination begins if there is time for its estimate times this."""


class Need(NamedTuple):
    """What a combination needs."""

    hosts: int
    seconds: float | None
    """None: not known."""
    declared: bool
    """By the researcher; else learnt."""


class Room(NamedTuple):
    """What there is."""

    free: int
    """Hosts."""
    seconds: float | None
    """Until the reservation ends; None: no end."""
    fresh: bool
    """No combination has ended in this reservation yet."""


def has_time(seconds: float | None, declared: bool, room: Room) -> bool:
    """Is there time for a combination that takes so many seconds?

    A learnt duration can be wrong, and only another try can tell; so at the beginning of a reservation it forbids nothing.
    """
    if room.seconds is None:
        return True
    if room.seconds <= 0:
        return False
    if seconds is None or (room.fresh and not declared):
        return True
    return seconds * (1.0 if declared else MARGIN) <= room.seconds


def fits(need: Need, room: Room) -> bool:
    """May it begin now?"""
    return need.hosts <= room.free and has_time(need.seconds, need.declared, room)


def obstacle(need: Need, n_hosts: int | None, walltime: float | None) -> str:
    """Why it can never begin in a reservation of so many hosts and seconds; '' if it can."""
    if n_hosts is not None and need.hosts > n_hosts:
        return f"it needs {need.hosts} hosts, a reservation has {n_hosts}"
    if need.declared and need.seconds is not None and walltime is not None and need.seconds > walltime:
        return f"it takes {need.seconds:g} s, a reservation {walltime:g} s"
    return ""


class Forecast(NamedTuple):
    """How a campaign will go."""

    seconds: float
    """Of use of the testbed: without waiting for reservations."""
    reservations: int
    impossible: int
    """Combinations that do not fit a reservation."""


def forecast(needs: Sequence[tuple[int, float]], n_hosts: int, walltime: float | None) -> Forecast:
    """Go through the campaign as it will be run: at each end, the first that fits begins.

    :param needs: (hosts, seconds) of each combination, in order.
    """
    possible = [need for need in needs if need[0] <= n_hosts and (walltime is None or need[1] <= walltime)]
    waiting: list[tuple[int, float]] = possible
    total, reservations = 0.0, 0
    while waiting:
        used, waiting = _one_reservation(waiting, n_hosts, math.inf if walltime is None else walltime)
        total += used
        reservations += 1
    return Forecast(total, reservations, len(needs) - len(possible))


def _one_reservation(waiting: Iterable[tuple[int, float]], n_hosts: int, walltime: float) -> tuple[float, list[tuple[int, float]]]:
    """(seconds until the last end, those that did not fit)."""
    left = list(waiting)
    running: list[tuple[float, int]] = []
    now, free = 0.0, n_hosts
    while True:
        later: list[tuple[int, float]] = []
        for place, need in enumerate(left):
            if free == 0:
                later += left[place:]
                break
            if need[0] <= free and now + need[1] <= walltime:
                free -= need[0]
                heapq.heappush(running, (now + need[1], need[0]))
            else:
                later.append(need)
        left = later
        if not running:
            return now, left
        now, given_back = heapq.heappop(running)
        free += given_back
