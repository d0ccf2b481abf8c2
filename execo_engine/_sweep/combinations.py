"""Combinations of parameters from a description of a sweep.  Pure."""

from __future__ import annotations

import math

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

__all__ = ["HashableDict", "geom", "igeom", "sweep"]


class HashableDict(dict):  # type: ignore[type-arg]  # scripts write HashableDict(...), never HashableDict[str, int]
    """A dict that can be in a set: one combination of parameters.  Do not change it once it is.

    Keys must be sortable and values hashable, else `hash` raises TypeError.
    """

    __slots__ = ()      # a million of them: no second dict in each

    def __hash__(self) -> int:  # type: ignore[override]  # dict says None
        return hash(tuple(sorted(self.items())))


def geom(range_min: float, range_max: float, num_steps: int) -> list[float]:
    """`num_steps` numbers in geometric progression, from `range_min` to `range_max`.

    :raises ZeroDivisionError: for a progression that begins at 0.
    :raises ValueError: for a negative number of steps, or limits of different signs.
    """
    if num_steps < 0 or num_steps != int(num_steps):
        raise ValueError(f"a number of steps is 0, 1, 2 ..., not {num_steps!r}")
    if num_steps == 0:
        return []
    if num_steps == 1:
        return [float(range_min)]
    ratio = range_max / range_min
    if ratio < 0:
        raise ValueError(f"no geometric progression goes from {range_min!r} to {range_max!r}: their signs differ")
    factor = math.pow(ratio, 1 / (num_steps - 1))
    # The last one is the limit itself, not the limit but for a rounding error.
    return [*(range_min * math.pow(factor, step) for step in range(int(num_steps) - 1)), float(range_max)]


def igeom(range_min: float, range_max: float, num_steps: int) -> list[int]:
    """The integers nearest to `geom`, sorted, each once: they may be fewer than `num_steps`."""
    return sorted({round(number) for number in geom(range_min, range_max, num_steps)})


def sweep(parameters: Mapping[Any, Any]) -> list[HashableDict]:
    """All combinations of the values of parameters.

    :param parameters: {name: values}, or {name: {value: parameters}}: those are swept with this value only.

    The first name varies slowest.  A name without values is left out; without any name there is one, empty, combination.

        >>> sweep({"disk": ["ssd", "hdd"], "net": {"tcp": {"window": [1, 2]}, "udp": {}}})[0]
        {'disk': 'ssd', 'net': 'tcp', 'window': 1}
    """
    names = tuple(parameters)
    plain = all(not isinstance(levels, dict) for levels in parameters.values())
    if plain:
        return list(_product(names, parameters))
    found = [HashableDict()]
    for name, levels in parameters.items():
        if variants := list(_variants(name, levels)):
            found = [HashableDict(one, **variant) if _all_strings(variant) else HashableDict({**one, **variant})
                     for one in found for variant in variants]
    return found


def _all_strings(variant: dict[Any, Any]) -> bool:
    return all(type(name) is str for name in variant)


def _variants(name: Any, levels: Any) -> Iterator[dict[Any, Any]]:
    """What the name adds to a combination, for each of its values."""
    if not isinstance(levels, dict):
        len(levels)                     # a generator would be empty for the next combination
        yield from ({name: value} for value in levels)
        return
    for value, inner in levels.items():
        for combination in sweep(inner):
            yield {name: value, **combination} if _all_strings(combination) else dict([(name, value), *combination.items()])


def _product(names: tuple[Any, ...], parameters: Mapping[Any, Any]) -> Iterator[HashableDict]:
    from itertools import product

    used = [name for name in names if len(parameters[name])]
    for values in product(*(parameters[name] for name in used)):
        yield HashableDict(zip(used, values, strict=True))
