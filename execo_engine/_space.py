"""`ParameterSpace`: the combinations of a sweep as a sequence that nobody has to hold in memory."""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from itertools import accumulate

from execo_engine._sweep.codec import Codec
from execo_engine._sweep.combinations import HashableDict
from execo_engine._sweep.digest import blake2b

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any, Protocol, overload

    class _Source(Protocol):
        @property
        def size(self) -> int: ...
        def item(self, index: int) -> Any: ...
        def __contains__(self, item: object) -> bool: ...
        def identity(self) -> Any: ...

__all__ = ["ParameterSpace"]

_COUNTABLE = 10_000_000
_SHUFFLED_IN_MEMORY = 1 << 16


class ParameterSpace:
    """All combinations of parameters, in the order of `sweep`, computed when they are asked for::

        space = ParameterSpace({"size": range(1, 1_000_001), "mode": {"sync": {"kind": ["read", "write"]}, "async": {"depth": [1, 8]}}})
        space.size, space[12345], space.sample(100, seed=1)

    :param parameters: as of `sweep`.  The values of a factor may be anything with a length (or `size`) and items, another space too.
    :raises ValueError: for a factor without values.
    :raises TypeError: for a value that is not hashable.

    `size` is any integer, `len` only works below 2**63.  Give it to `ParamSweeper` as it is.  Any thread may call any method.
    """

    def __init__(self, parameters: Mapping[Any, Any]) -> None:
        self._source: _Source = _Product.of(parameters, ())

    @classmethod
    def _on(cls, source: _Source) -> ParameterSpace:
        space = cls.__new__(cls)
        space._source = source
        return space

    @classmethod
    def permutations(cls, items: Iterable[Any], r: int | None = None) -> ParameterSpace:
        """Tuples of r of the items (None: of all), in all orders, as `itertools.permutations`."""
        return cls._on(_Permutations(items, r))

    @classmethod
    def combinations(cls, items: Iterable[Any], r: int) -> ParameterSpace:
        """Tuples of r of the items, in their order, as `itertools.combinations`."""
        return cls._on(_Combinations(items, r))

    @classmethod
    def multisets(cls, items: Iterable[Any], r: int) -> ParameterSpace:
        """Tuples of r items, each any number of times, in their order, as `itertools.combinations_with_replacement`."""
        return cls._on(_Multisets(items, r))

    @classmethod
    def of(cls, sequence: Any) -> ParameterSpace:
        """Of any object with a `size` (or a length) and an item at each index from 0."""
        return sequence if isinstance(sequence, ParameterSpace) else cls._on(_Levels(sequence, "the sequence"))

    @property
    def size(self) -> int:
        """How many combinations there are.

        :raises ValueError: if `where` would have to count too many.
        """
        return self._source.size

    @property
    def identity(self) -> str:
        """The same for the same space, in any process."""
        text = json.dumps(self._source.identity(), sort_keys=True, separators=(",", ":"))
        return f"space-{blake2b(text.encode(), digest_size=16).hexdigest()}"

    def __len__(self) -> int:
        return self.size

    def __bool__(self) -> bool:
        return next(iter(self), self) is not self

    if TYPE_CHECKING:
        @overload
        def __getitem__(self, index: int) -> Any: ...
        @overload
        def __getitem__(self, index: slice) -> ParameterSpace: ...

    def __getitem__(self, index: int | slice) -> Any:
        """One combination, or for a slice a space."""
        size = self.size
        if isinstance(index, slice):
            return ParameterSpace._on(_Slice(self._source, *_indices(index, size)))
        place = index + size if index < 0 else index
        if not 0 <= place < size:
            raise IndexError(f"index {index} of a space of {size} combinations")
        return self._source.item(place)

    def __iter__(self) -> Iterator[Any]:
        if isinstance(self._source, _Where):
            yield from self._source.walk()
            return
        for place in range(self.size) if self.size < 1 << 63 else _count(self.size):
            yield self._source.item(place)

    def __contains__(self, item: object) -> bool:
        return item in self._source

    def __repr__(self) -> str:
        size = "?" if isinstance(self._source, _Where) and not self._source.counted else self.size
        return f"<ParameterSpace of {size if isinstance(size, str) or size < 10**12 else f'{_float(size)}'} combinations>"

    def sample(self, n: int, seed: int | str) -> ParameterSpace:
        """n different combinations, drawn at random: the same ones for the same seed, on any machine and with any Python.

        :raises ValueError: if there are fewer.
        """
        if n < 0:
            raise ValueError(f"a sample of {n} combinations")
        draw = _Draw(seed)
        if isinstance(self._source, _Where) and not self._source.countable:
            return ParameterSpace._on(_Chosen(self._source.base, self._source.draw(n, draw)))
        size = self.size
        if n > size:
            raise ValueError(f"a sample of {n} out of {size} combinations")
        # The first n of a shuffle, of which only what was swapped is kept.
        swapped: dict[int, int] = {}
        chosen = []
        for place in range(n):
            other = place + draw.below(size - place)
            chosen.append(swapped.get(other, other))
            swapped[other] = swapped.get(place, place)
        return ParameterSpace._on(_Chosen(self._source, chosen))

    def shuffled(self, seed: int | str) -> ParameterSpace:
        """All combinations, in a random order: the same for the same seed, on any machine and with any Python."""
        size = self.size
        if size <= _SHUFFLED_IN_MEMORY:
            return ParameterSpace._on(_Chosen(self._source, self.sample(size, seed)._chosen()))
        return ParameterSpace._on(_Shuffled(self._source, seed))

    def _chosen(self) -> Sequence[int]:
        assert isinstance(self._source, _Chosen)
        return self._source.places

    def replicated(self, n: int, name: str = "replicate") -> ParameterSpace:
        """Each combination n times, with the number (from 0) as a parameter more; all of them once, then again.

        Combinations that are no dicts become (combination, number).

        :raises ValueError: if the combinations have a parameter of this name.
        """
        if n < 1:
            raise ValueError(f"{n} replicates")
        return ParameterSpace._on(_Replicated(self._source, n, name))

    def where(self, predicate: Callable[[Any], bool]) -> ParameterSpace:
        """Those for which the predicate is true.

        It is asked when it must: to count them, or to find one by its index, all are gone through, once, which is refused above
        10,000,000.  `sample` and iteration do without.
        """
        return ParameterSpace._on(_Where(self._source, predicate))


ParameterSpace.__module__ = "execo_engine.sweep"


def _float(size: int) -> str:
    digits = str(size)
    return f"{digits[0]}.{digits[1:4]}e{len(digits) - 1}"


def _count(size: int) -> Iterator[int]:
    place = 0
    while place < size:
        yield place
        place += 1


def _indices(index: slice, size: int) -> tuple[int, int, int]:
    """(first, step, number), for sizes that `range` can be made of; its length may be too large for `len`."""
    start, stop, step = index.indices(size)
    return start, step, max(0, (stop - start + step - (1 if step > 0 else -1)) // step)


class _Draw:
    """Random integers from a seed.  Its own: what `random` draws from a seed may change with Python."""

    def __init__(self, seed: int | str) -> None:
        self._key = blake2b(f"{type(seed).__name__}:{seed}".encode(), digest_size=32).digest()
        self._counter = 0

    def _bits(self, number: int) -> int:
        size = (number + 7) // 8
        found = b""
        while len(found) < size:
            found += blake2b(self._counter.to_bytes(16, "big"), key=self._key).digest()
            self._counter += 1
        return int.from_bytes(found[:size], "big") >> (8 * size - number)

    def below(self, limit: int) -> int:
        """Of 0 to limit - 1, each as likely."""
        if limit == 1:
            return 0
        number = (limit - 1).bit_length()
        while (found := self._bits(number)) >= limit:
            pass
        return found


def _plain(value: Any) -> Any:
    """Something JSON that tells values apart, for identities."""
    try:
        return Codec().key(value).decode()
    except TypeError:
        return repr(value)


class _Levels:
    """The values of a factor, or any sequence."""

    size: int

    def __init__(self, values: Any, what: str) -> None:
        if hasattr(values, "size") and not callable(values.size):
            size, self._at = int(values.size), values.__getitem__
        elif isinstance(values, range):         # may have more than len can say
            self._at = values.__getitem__
            size = max(0, (values.stop - values.start + values.step - (1 if values.step > 0 else -1)) // values.step)
        else:
            try:
                size = len(values)
            except TypeError:
                raise TypeError(f"{what} has {values!r} for values: that has no length") from None
            if not hasattr(values, "__getitem__") or isinstance(values, dict):
                values = list(values)
            self._at = values.__getitem__
        self._values = values
        self.size = size
        if size == 0:
            raise ValueError(f"{what} has no values")
        if isinstance(values, (list, tuple)):
            for value in values:
                try:
                    hash(value)
                except TypeError:
                    raise TypeError(f"{what} has the value {value!r}, which is not hashable: write a tuple or a HashableDict") from None

    def item(self, index: int) -> Any:
        return self._at(index)

    def __contains__(self, item: object) -> bool:
        return item in self._values

    def identity(self) -> Any:
        if isinstance(self._values, range):
            return ["range", str(self._values)]
        found = getattr(self._values, "identity", None)
        if found is not None:
            return found
        if self.size > 1_000_000:
            return [type(self._values).__qualname__, self.size, _plain(self._at(0)), _plain(self._at(self.size - 1))]
        return [_plain(self._at(place)) for place in range(self.size)]


class _Nested:
    """A factor of which each value has parameters of its own: pieces of combinations."""

    def __init__(self, name: Any, levels: dict[Any, Any], path: tuple[Any, ...]) -> None:
        self.name = name
        self._values = list(levels)
        self._products = [_Product.of(inner, (*path, name, value)) for value, inner in levels.items()]
        self._ends = list(accumulate(product.size for product in self._products))
        self.size = self._ends[-1]

    def piece(self, index: int) -> dict[Any, Any]:
        which = bisect_right(self._ends, index)
        before = self._ends[which - 1] if which else 0
        return {self.name: self._values[which], **self._products[which].pieces(index - before)}

    def names_of(self, combination: Mapping[Any, Any]) -> set[Any] | None:
        """Those that the piece in a combination has; None if there is no such piece."""
        for value, product in zip(self._values, self._products, strict=True):
            if combination.get(self.name) == value and (found := product.names_of(combination)) is not None:
                return {self.name, *found}
        return None

    def identity(self) -> Any:
        return [[_plain(value), product.identity()] for value, product in zip(self._values, self._products, strict=True)]


class _Factor:
    def __init__(self, name: Any, levels: Any, path: tuple[Any, ...]) -> None:
        self.name = name
        self._levels = _Levels(levels, "the factor " + " > ".join(map(repr, (*path, name))))
        self.size = self._levels.size

    def piece(self, index: int) -> dict[Any, Any]:
        return {self.name: self._levels.item(index)}

    def names_of(self, combination: Mapping[Any, Any]) -> set[Any] | None:
        return {self.name} if self.name in combination and combination[self.name] in self._levels else None

    def identity(self) -> Any:
        return self._levels.identity()


class _Product:
    """The combinations of a description; the last factor varies fastest."""

    size: int

    def __init__(self, factors: Sequence[_Factor | _Nested]) -> None:
        self._factors = factors
        self.size = math.prod(factor.size for factor in factors)
        self._backwards = list(reversed(factors))

    @classmethod
    def of(cls, parameters: Any, path: tuple[Any, ...]) -> _Product:
        if not hasattr(parameters, "items"):
            where = " > ".join(map(repr, path)) or "a space"
            raise TypeError(f"{where} is described by a dict of names and values, not by {parameters!r}")
        factors: list[_Factor | _Nested] = []
        for name, levels in parameters.items():
            if isinstance(levels, dict) and levels:
                factors.append(_Nested(name, levels, path))
            else:
                factors.append(_Factor(name, levels, path))
        return cls(factors)

    def pieces(self, index: int) -> dict[Any, Any]:
        found = []
        for factor in self._backwards:
            index, place = divmod(index, factor.size)
            found.append(factor.piece(place))
        combination: dict[Any, Any] = {}
        for piece in reversed(found):
            combination.update(piece)
        return combination

    def item(self, index: int) -> HashableDict:
        return HashableDict(self.pieces(index))

    def names_of(self, combination: Mapping[Any, Any]) -> set[Any] | None:
        names: set[Any] = set()
        for factor in self._factors:
            found = factor.names_of(combination)
            if found is None:
                return None
            names |= found
        return names

    def __contains__(self, item: object) -> bool:
        return isinstance(item, dict) and self.names_of(item) == set(item)

    def identity(self) -> Any:
        return [[_plain(factor.name), factor.identity()] for factor in self._factors]


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
        return [type(self).__name__, self._r, [_plain(item) for item in self._items]]

    def _places(self, item: object) -> list[int] | None:
        """The index of each item of a tuple; None if it is none of ours."""
        if not isinstance(item, tuple) or len(item) != self._r:
            return None
        try:
            return [self._items.index(one) for one in item]
        except ValueError:
            return None


class _Permutations(_Chooser):
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


class _Combinations(_Chooser):
    @property
    def size(self) -> int:
        return math.comb(len(self._items), self._r)

    def item(self, index: int) -> tuple[Any, ...]:
        return tuple(self._items[place] for place in _unrank(len(self._items), self._r, index))

    def __contains__(self, item: object) -> bool:
        places = self._places(item)
        return places is not None and sorted(set(places)) == places


class _Multisets(_Chooser):
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


class _Chosen:
    """Some places of another source, in some order."""

    def __init__(self, base: _Source, places: Sequence[int]) -> None:
        self._base, self.places = base, places
        self.size = len(places)

    def item(self, index: int) -> Any:
        return self._base.item(self.places[index])

    def __contains__(self, item: object) -> bool:
        return item in self._base and any(self._base.item(place) == item for place in self.places)

    def identity(self) -> Any:
        places = blake2b(",".join(map(str, self.places)).encode(), digest_size=16).hexdigest()
        return ["chosen", self._base.identity(), self.size, places]


class _Slice:
    def __init__(self, base: _Source, first: int, step: int, size: int) -> None:
        self._base, self._first, self._step, self.size = base, first, step, size

    def item(self, index: int) -> Any:
        return self._base.item(self._first + index * self._step)

    def __contains__(self, item: object) -> bool:
        return item in self._base and any(self.item(place) == item for place in range(self.size))

    def identity(self) -> Any:
        return ["slice", self._base.identity(), self._first, self._step, self.size]


class _Shuffled:
    """A permutation of any size that is computed, not stored: a Feistel network, walked until the result is in range."""

    _ROUNDS = 6

    def __init__(self, base: _Source, seed: int | str) -> None:
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


class _Replicated:
    def __init__(self, base: _Source, number: int, name: str) -> None:
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


class _Where:
    """Those of another source that satisfy a predicate."""

    def __init__(self, base: _Source, predicate: Callable[[Any], bool]) -> None:
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
                raise ValueError(f"where() of {_float(self.base.size)} combinations has no size that could be counted: take a sample, or "
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
        for place in _count(self.base.size):
            if self._predicate(combination := self.base.item(place)):
                yield combination

    def draw(self, n: int, draw: _Draw) -> list[int]:
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
