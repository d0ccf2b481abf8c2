"""`ParameterSpace`: the combinations of a sweep as a sequence that nobody has to hold in memory."""

from __future__ import annotations

import json

from execo_engine._space.choosers import Combinations, Multisets, Permutations
from execo_engine._space.draw import Draw
from execo_engine._space.product import Levels, Product
from execo_engine._space.sizes import in_short, indices, numbers_below
from execo_engine._space.views import Chosen, Replicated, Shuffled, Slice, Where
from execo_engine._sweep.digest import blake2b

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any, overload

    from execo_engine._space.source import Source

__all__ = ["ParameterSpace"]

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
        self._source: Source = Product.of(parameters, ())

    @classmethod
    def _on(cls, source: Source) -> ParameterSpace:
        space = cls.__new__(cls)
        space._source = source
        return space

    @classmethod
    def permutations(cls, items: Iterable[Any], r: int | None = None) -> ParameterSpace:
        """Tuples of r of the items (None: of all), in all orders, as `itertools.permutations`."""
        return cls._on(Permutations(items, r))

    @classmethod
    def combinations(cls, items: Iterable[Any], r: int) -> ParameterSpace:
        """Tuples of r of the items, in their order, as `itertools.combinations`."""
        return cls._on(Combinations(items, r))

    @classmethod
    def multisets(cls, items: Iterable[Any], r: int) -> ParameterSpace:
        """Tuples of r items, each any number of times, in their order, as `itertools.combinations_with_replacement`."""
        return cls._on(Multisets(items, r))

    @classmethod
    def of(cls, sequence: Any) -> ParameterSpace:
        """Of any object with a `size` (or a length) and an item at each index from 0."""
        return sequence if isinstance(sequence, ParameterSpace) else cls._on(Levels(sequence, "the sequence"))

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
            return ParameterSpace._on(Slice(self._source, *indices(index, size)))
        place = index + size if index < 0 else index
        if not 0 <= place < size:
            raise IndexError(f"index {index} of a space of {size} combinations")
        return self._source.item(place)

    def __iter__(self) -> Iterator[Any]:
        if isinstance(self._source, Where):
            yield from self._source.walk()
            return
        for place in range(self.size) if self.size < 1 << 63 else numbers_below(self.size):
            yield self._source.item(place)

    def __contains__(self, item: object) -> bool:
        return item in self._source

    def __repr__(self) -> str:
        size = "?" if isinstance(self._source, Where) and not self._source.counted else self.size
        return f"<ParameterSpace of {size if isinstance(size, str) or size < 10**12 else f'{in_short(size)}'} combinations>"

    def sample(self, n: int, seed: int | str) -> ParameterSpace:
        """n different combinations, drawn at random: the same ones for the same seed, on any machine and with any Python.

        :raises ValueError: if there are fewer.
        """
        if n < 0:
            raise ValueError(f"a sample of {n} combinations")
        draw = Draw(seed)
        if isinstance(self._source, Where) and not self._source.countable:
            return ParameterSpace._on(Chosen(self._source.base, self._source.draw(n, draw)))
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
        return ParameterSpace._on(Chosen(self._source, chosen))

    def shuffled(self, seed: int | str) -> ParameterSpace:
        """All combinations, in a random order: the same for the same seed, on any machine and with any Python."""
        size = self.size
        if size <= _SHUFFLED_IN_MEMORY:
            return ParameterSpace._on(Chosen(self._source, self.sample(size, seed)._chosen()))
        return ParameterSpace._on(Shuffled(self._source, seed))

    def _chosen(self) -> Sequence[int]:
        assert isinstance(self._source, Chosen)
        return self._source.places

    def replicated(self, n: int, name: str = "replicate") -> ParameterSpace:
        """Each combination n times, with the number (from 0) as a parameter more; all of them once, then again.

        Combinations that are no dicts become (combination, number).

        :raises ValueError: if the combinations have a parameter of this name.
        """
        if n < 1:
            raise ValueError(f"{n} replicates")
        return ParameterSpace._on(Replicated(self._source, n, name))

    def where(self, predicate: Callable[[Any], bool]) -> ParameterSpace:
        """Those for which the predicate is true.

        It is asked when it must: to count them, or to find one by its index, all are gone through, once, which is refused above
        10,000,000.  `sample` and iteration do without.
        """
        return ParameterSpace._on(Where(self._source, predicate))


ParameterSpace.__module__ = "execo_engine.sweep"
