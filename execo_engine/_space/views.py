"""Other orders and choices of the combinations of a source."""

from __future__ import annotations

from execo_engine._space.sizes import in_short, numbers_below
from execo_engine._sweep.combinations import HashableDict
from execo_engine._sweep.digest import blake2b

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from execo_engine._space.draw import Draw
    from execo_engine._space.source import Source

__all__ = ["Chosen", "Replicated", "Shuffled", "Slice", "Where"]

_COUNTABLE = 10_000_000


class Chosen:
    """Some places of another source, in some order."""

    def __init__(self, base: Source, places: Sequence[int]) -> None:
        self._base, self.places = base, places
        self.size = len(places)

    def item(self, index: int) -> Any:
        return self._base.item(self.places[index])

    def __contains__(self, item: object) -> bool:
        return item in self._base and any(self._base.item(place) == item for place in self.places)

    def identity(self) -> Any:
        places = blake2b(",".join(map(str, self.places)).encode(), digest_size=16).hexdigest()
        return ["chosen", self._base.identity(), self.size, places]


class Slice:
    def __init__(self, base: Source, first: int, step: int, size: int) -> None:
        self._base, self._first, self._step, self.size = base, first, step, size

    def item(self, index: int) -> Any:
        return self._base.item(self._first + index * self._step)

    def __contains__(self, item: object) -> bool:
        return item in self._base and any(self.item(place) == item for place in range(self.size))

    def identity(self) -> Any:
        return ["slice", self._base.identity(), self._first, self._step, self.size]


class Shuffled:
    """A permutation of any size that is computed, not stored: a Feistel network, walked until the result is in range."""

    _ROUNDS = 6

    def __init__(self, base: Source, seed: int | str) -> None:
        self._base, self._seed = base, seed
        self.size = base.size
        self._half = max(1, ((self.size - 1).bit_length() + 1) // 2)
        self._mask = (1 << self._half) - 1
        self._bytes = (self._half + 7) // 8
        key = blake2b(f"{type(seed).__name__}:{seed}".encode(), digest_size=32).digest()
        self._keys = [blake2b(bytes([number]), key=key, digest_size=32).digest() for number in range(self._ROUNDS)]

    def _mix(self, key: bytes, half: int) -> int:
        data = half.to_bytes(self._bytes, "big")
        found = b""
        for number in range((self._bytes + 63) // 64):
            found += blake2b(bytes([number]) + data, key=key).digest()
        return int.from_bytes(found[:self._bytes], "big") & self._mask

    def item(self, index: int) -> Any:
        while True:
            left, right = index >> self._half, index & self._mask
            for key in self._keys:
                left, right = right, left ^ self._mix(key, right)
            index = left << self._half | right
            if index < self.size:
                return self._base.item(index)

    def __contains__(self, item: object) -> bool:
        return item in self._base

    def identity(self) -> Any:
        return ["shuffled", self._base.identity(), str(self._seed)]


class Replicated:
    def __init__(self, base: Source, number: int, name: str) -> None:
        self._base, self._number, self._name = base, number, name
        self._once = base.size
        self.size = self._once * number

    def item(self, index: int) -> Any:
        replicate, place = divmod(index, self._once)
        combination = self._base.item(place)
        if not isinstance(combination, dict):
            return combination, replicate
        if self._name in combination:
            raise ValueError(f"{combination!r} has a parameter {self._name!r} already: give replicated() another name")
        return HashableDict(combination, **{self._name: replicate})

    def __contains__(self, item: object) -> bool:
        if isinstance(item, dict):
            rest = HashableDict(item)
            replicate = rest.pop(self._name, None)
            return isinstance(replicate, int) and 0 <= replicate < self._number and rest in self._base
        return isinstance(item, tuple) and len(item) == 2 and item[1] in range(self._number) and item[0] in self._base

    def identity(self) -> Any:
        return ["replicated", self._base.identity(), self._number, self._name]


class Where:
    """Those of another source that satisfy a predicate."""

    def __init__(self, base: Source, predicate: Callable[[Any], bool]) -> None:
        self.base, self._predicate = base, predicate
        self._found: list[int] | None = None

    @property
    def counted(self) -> bool:
        return self._found is not None

    @property
    def countable(self) -> bool:
        return self.base.size <= _COUNTABLE

    def _places(self) -> list[int]:
        if self._found is None:
            if not self.countable:
                raise ValueError(f"where() of {in_short(self.base.size)} combinations has no size that could be counted: take a sample, or "
                                 "go through it")
            self._found = [place for place in range(self.base.size) if self._predicate(self.base.item(place))]
        return self._found

    @property
    def size(self) -> int:
        return len(self._places())

    def item(self, index: int) -> Any:
        return self.base.item(self._places()[index])

    def walk(self) -> Iterator[Any]:
        if self._found is not None:
            yield from map(self.base.item, self._found)
            return
        for place in numbers_below(self.base.size):
            if self._predicate(combination := self.base.item(place)):
                yield combination

    def draw(self, n: int, draw: Draw) -> list[int]:
        """n different places of the base, by trying."""
        chosen: dict[int, None] = {}
        size = self.base.size
        misses = 0
        while len(chosen) < n:
            place = draw.below(size)
            if place not in chosen and self._predicate(self.base.item(place)):
                chosen[place] = None
                misses = 0
            elif (misses := misses + 1) > 1_000_000:
                raise ValueError(f"only {len(chosen)} of {n} combinations were found: the predicate is true too seldom to draw at random")
        return list(chosen)

    def __contains__(self, item: object) -> bool:
        return item in self.base and bool(self._predicate(item))

    def identity(self) -> Any:
        # A predicate has no identity that another process could compare, what it lets through has.
        return ["where", self.base.identity(), self._places() if self.countable else getattr(self._predicate, "__qualname__", "?")]
