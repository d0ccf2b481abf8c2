"""How long a combination will take, from those that are done.  Pure."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable
    from typing import Any


class Durations:
    """Durations of past combinations.

    The estimate for a combination is the smallest of: the longest of all, and, for each of its values, the longest with this value.  So it
    is too long rather than too short, and one parameter that decides alone (a size, a number of iterations) is found.
    """

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self.longest: float | None = None
        """Of all, in seconds; None as long as none is known."""
        self._longest_with: dict[Hashable, tuple[int, float]] = {}
        self._at_least: dict[Hashable, float] = {}

    def add(self, combination: Any, seconds: float) -> None:
        """It took so long."""
        self.count += 1
        self.total += seconds
        self.longest = max(seconds, self.longest or 0.0)
        for value in _values(combination):
            count, longest = self._longest_with.get(value, (0, 0.0))
            self._longest_with[value] = count + 1, max(longest, seconds)
        self._at_least.pop(combination, None)

    def add_at_least(self, combination: Hashable, seconds: float) -> None:
        """It had not ended after so long."""
        self._at_least[combination] = max(seconds, self._at_least.get(combination, 0.0))

    def estimate(self, combination: Any) -> float | None:
        """Seconds; None if nothing is known."""
        found = self.longest
        for value in _values(combination):
            # One sample says little about a value, unless there are no others.
            count, longest = self._longest_with.get(value, (0, 0.0))
            if count > 1 and found is not None:
                found = min(found, longest)
        tried = self._at_least.get(combination)
        return found if tried is None else max(tried, found or 0.0)

    @property
    def bound(self) -> float | None:
        """No estimate is longer; None if nothing is known, or nothing about some."""
        if self.longest is None:
            return None
        return max([self.longest, *self._at_least.values()])


def _values(combination: Any) -> Iterable[Hashable]:
    return combination.items() if isinstance(combination, dict) else ()
