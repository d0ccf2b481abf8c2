"""The combinations of a description: names and values, of which some have parameters of their own."""

from __future__ import annotations

import math
from bisect import bisect_right
from itertools import accumulate

from execo_engine._space.plain import plain
from execo_engine._sweep.combinations import HashableDict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

__all__ = ["Levels", "Product"]


class Levels:
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
            return [type(self._values).__qualname__, self.size, plain(self._at(0)), plain(self._at(self.size - 1))]
        return [plain(self._at(place)) for place in range(self.size)]


class Nested:
    """A factor of which each value has parameters of its own: pieces of combinations."""

    def __init__(self, name: Any, levels: dict[Any, Any], path: tuple[Any, ...]) -> None:
        self.name = name
        self._values = list(levels)
        self._products = [Product.of(inner, (*path, name, value)) for value, inner in levels.items()]
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
        return [[plain(value), product.identity()] for value, product in zip(self._values, self._products, strict=True)]


class Factor:
    def __init__(self, name: Any, levels: Any, path: tuple[Any, ...]) -> None:
        self.name = name
        self._levels = Levels(levels, "the factor " + " > ".join(map(repr, (*path, name))))
        self.size = self._levels.size

    def piece(self, index: int) -> dict[Any, Any]:
        return {self.name: self._levels.item(index)}

    def names_of(self, combination: Mapping[Any, Any]) -> set[Any] | None:
        return {self.name} if self.name in combination and combination[self.name] in self._levels else None

    def identity(self) -> Any:
        return self._levels.identity()


class Product:
    """The combinations of a description; the last factor varies fastest."""

    size: int

    def __init__(self, factors: Sequence[Factor | Nested]) -> None:
        self._factors = factors
        self.size = math.prod(factor.size for factor in factors)
        self._backwards = list(reversed(factors))

    @classmethod
    def of(cls, parameters: Any, path: tuple[Any, ...]) -> Product:
        if not hasattr(parameters, "items"):
            where = " > ".join(map(repr, path)) or "a space"
            raise TypeError(f"{where} is described by a dict of names and values, not by {parameters!r}")
        factors: list[Factor | Nested] = []
        for name, levels in parameters.items():
            if isinstance(levels, dict) and levels:
                factors.append(Nested(name, levels, path))
            else:
                factors.append(Factor(name, levels, path))
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
        return [[plain(factor.name), factor.identity()] for factor in self._factors]
