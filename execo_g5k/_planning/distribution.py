"""How many hosts to take of which element, of those that are free."""

from __future__ import annotations

import math

from .elements import GRID, cluster_of_host, kind_of, names_of, site_of
from .slots import checked_wanted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from .elements import Element, Resources

ORDER = ("host", "cluster", "site", "grid5000")
"""What is precise is served first."""


class _Pool:
    """What is left of what is available."""

    def __init__(self, available: Resources) -> None:
        numbers, _ = checked_wanted({name: number for name, number in available.items() if name != "kavlan"})
        self.left = numbers

    def take(self, name: str, number: int) -> None:
        """From an element and from all that it is part of."""
        kind = kind_of(name)
        parts = [name]
        if kind == "host":
            parts.append(cluster_of_host(name) or "")
        if kind in ("host", "cluster"):
            parts.append(site_of(name, kind) or "")
        for part in dict.fromkeys((*parts, GRID)):
            if part in self.left:
                self.left[part] = max(0, self.left[part] - number)

    def drop(self, name: str) -> None:
        """An element, with all that is part of it."""
        self.take(name, self.left.get(name, 0))
        self.left.pop(name, None)
        for other in list(self.left):
            kind = kind_of(other)
            if name in (site_of(other, kind) if kind else None, cluster_of_host(other) if kind == "host" else None):
                del self.left[other]


def distribute_hosts(resources_available: Resources, resources_wanted: Resources,
                     excluded_elements: Element | Iterable[Element] | None = None, ratio: float | None = None) -> dict[str, Any]:
    """How many hosts to take of each site, cluster and host: ``{element: n}``, for `get_jobs_specs`.

    :param resources_available: those of a slot.
    :param resources_wanted: {element: number of hosts}, 0: all that are left; those of ``'grid5000'`` are taken from the sites, one by one
      in turn.  With `kavlan`, the result has what is available of it, of the sites wanted if these are given.
    :param excluded_elements: sites, clusters and hosts of which none is taken.
    :param ratio: take this part of it, rounded down.
    :raises ValueError: for what is not among the available, for more of ``'grid5000'`` than there are, or a ratio not in 0 to 1.

    More hosts of a site or a cluster than are available are passed on, for OAR to judge.
    """
    if ratio is not None and not 0 < ratio <= 1:
        raise ValueError(f"ratio: expected a number between 0 and 1, found {ratio!r}")
    wanted, kavlan = checked_wanted(resources_wanted)
    pool = _Pool(resources_available)
    for name in names_of(excluded_elements):
        pool.drop(name)
    kinds = {name: kind_of(name) for name in wanted}
    missing = [name for name in wanted if name not in pool.left and kinds[name] != "host"]
    if missing:
        raise ValueError(f"wanted, but not among the available: {', '.join(missing)}")
    result: dict[str, Any] = {}
    for name in sorted(wanted, key=lambda name: ORDER.index(kinds[name] or "host")):
        if kinds[name] == GRID:
            for site, number in _over_sites(pool, wanted[name]).items():
                result[site] = result.get(site, 0) + number
        else:
            number = wanted[name] or pool.left.get(name, 1 if kinds[name] == "host" else 0)
            result[name] = result.get(name, 0) + number
            pool.take(name, number)
    if ratio is not None:
        result = {name: number if kinds.get(name) == "host" else math.floor(number * ratio) for name, number in result.items()}
    if kavlan is not None:
        result["kavlan"] = _kavlan(resources_available, kavlan)
    return result


def _over_sites(pool: _Pool, number: int) -> dict[str, int]:
    """:raises ValueError: if there are not so many."""
    left = {name: of_site for name, of_site in pool.left.items() if of_site and kind_of(name) == "site"}
    if number == 0:
        return left
    if number > sum(left.values()):
        raise ValueError(f"{number} hosts of {GRID} are wanted, {sum(left.values())} are available")
    taken = dict.fromkeys(left, 0)
    while number:
        for site, most in left.items():
            if number and most > taken[site]:
                taken[site] += 1
                number -= 1
    return {site: of_site for site, of_site in taken.items() if of_site}


def _kavlan(available: Mapping[Any, Any], wanted: Any) -> Any:
    """:raises ValueError: if there is none."""
    there = available.get("kavlan")
    if isinstance(there, str):
        there = [there]
    if isinstance(there, (list, tuple)) and isinstance(wanted, (str, list, tuple, set)):
        sites = {wanted} if isinstance(wanted, str) else set(wanted)
        there = [site for site in there if site in sites]
    if not there:
        raise ValueError(f"a kavlan is wanted ({wanted!r}), but none is available: {available.get('kavlan')!r}")
    return list(there) if isinstance(there, (list, tuple)) else there
