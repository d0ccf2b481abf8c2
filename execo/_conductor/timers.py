"""Calls at monotonic deadlines.

A heap of (deadline, ticket, timer): the ticket is unique, so equal deadlines never compare timers.  Cancelling only marks the
timer, which costs nothing; the heap is rebuilt when most of it is cancelled, so that a hundred thousand short processes with a
long timeout leave nothing behind.  Owned by one thread.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable


class Timer:
    """One call to come; `cancel` it through the `Timers` that made it."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[[], None] | None) -> None:
        self.call = call


class Timers:
    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._ticket = 0
        self._cancelled = 0

    def __len__(self) -> int:
        return len(self._heap) - self._cancelled

    def at(self, deadline: float, call: Callable[[], None]) -> Timer:
        """Have `call` returned by `due` from `deadline` on (seconds of one monotonic clock; may be infinite)."""
        timer = Timer(call)
        self._ticket += 1
        heapq.heappush(self._heap, (deadline, self._ticket, timer))
        return timer

    def cancel(self, timer: Timer) -> None:
        """Drop it; nothing if it is due or cancelled already."""
        if timer.call is None:
            return
        timer.call = None
        self._cancelled += 1
        if self._cancelled > 64 and self._cancelled * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].call is not None]
            heapq.heapify(self._heap)
            self._cancelled = 0

    def next_deadline(self) -> float | None:
        heap = self._heap
        while heap and heap[0][2].call is None:
            heapq.heappop(heap)
            self._cancelled -= 1
        return heap[0][0] if heap else None

    def due(self, now: float) -> list[Callable[[], None]]:
        """The calls whose deadline has come, earliest first, same deadlines in the order they were set."""
        calls = []
        while (deadline := self.next_deadline()) is not None and deadline <= now:
            timer = heapq.heappop(self._heap)[2]
            if timer.call is not None:
                calls.append(timer.call)
                timer.call = None
        return calls
