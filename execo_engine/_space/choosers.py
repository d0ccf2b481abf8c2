"""Tuples chosen from a sequence: the spaces of `itertools`, each item computed from its index."""

from __future__ import annotations

import math

from execo_engine._space.plain import plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

__all__ = ["Combinations", "Multisets", "Permutations"]


class _Chooser:
    """Of a sequence, tuples of r items."""

    def __init__(self, items: Iterable[Any], r: int | None) -> None:
        self._items = tuple(items)
        self._r = len(self._items) if r is None else r
        if self._r < 0:
            raise ValueError(f"{self._r} items")
        for item in self._items:
            try:
                hash(item)
            except TypeError:
                raise TypeError(f"{item!r} is not hashable: write a tuple or a HashableDict") from None

    def identity(self) -> Any:
        # The underscore is in the identities of plans that were saved.
        return [f"_{type(self).__name__}", self._r, [plain(item) for item in self._items]]

    def _places(self, item: object) -> list[int] | None:
        """The index of each item of a tuple; None if it is none of ours."""
        if not isinstance(item, tuple) or len(item) != self._r:
            return None
        try:
            return [self._items.index(one) for one in item]
        except ValueError:
            return None


class Permutations(_Chooser):
    @property
    def size(self) -> int:
        return math.perm(len(self._items), self._r)

    def item(self, index: int) -> tuple[Any, ...]:
        left = list(self._items)
        block = self.size
        found = []
        for _ in range(self._r):
            block //= len(left)
            place, index = divmod(index, block)
            found.append(left.pop(place))
        return tuple(found)

    def __contains__(self, item: object) -> bool:
        places = self._places(item)
        return places is not None and len(set(places)) == len(places)


class Combinations(_Chooser):
    @property
    def size(self) -> int:
        return math.comb(len(self._items), self._r)

    def item(self, index: int) -> tuple[Any, ...]:
        return tuple(self._items[place] for place in _unrank(len(self._items), self._r, index))

    def __contains__(self, item: object) -> bool:
        places = self._places(item)
        return places is not None and sorted(set(places)) == places


class Multisets(_Chooser):
    @property
    def size(self) -> int:
        return math.comb(len(self._items) + self._r - 1, self._r) if self._items else int(self._r == 0)

    def item(self, index: int) -> tuple[Any, ...]:
        # A multiset of r out of n is a combination of r out of n + r - 1, of which each place is less its own number.
        places = _unrank(len(self._items) + self._r - 1, self._r, index)
        return tuple(self._items[place - number] for number, place in enumerate(places))

    def __contains__(self, item: object) -> bool:
        places = self._places(item)
        return places is not None and sorted(places) == places


def _unrank(n: int, r: int, index: int) -> Iterator[int]:
    """The combination of r out of 0 to n - 1 at this place of the lexicographic order."""
    first = 0
    for left in range(r, 0, -1):
        # How many begin with `first`; from one to the next the binomial changes by a factor.
        block = math.comb(n - first - 1, left - 1)
        while index >= block:
            index -= block
            rest = n - first - 1
            block = block * (rest - left + 1) // rest
            first += 1
        yield first
        first += 1
