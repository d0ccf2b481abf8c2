"""Slots: at each date where something changes, how much is free for a given time from then on.

What is counted is swept once, from interval to interval; no slot looks at the planning again.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate

from execo.time_utils import get_seconds

from .build import SPECIAL
from .elements import GRID, cluster_of_host, kind_of, name_of, names_of, site_of
from .state import FIRST_GLOBAL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any, TypeAlias

    from execo.time_utils import Duration

    from .elements import Element, Resources
    from .intervals import Interval

    Planning: TypeAlias = Mapping[str, Mapping[str, Any]]
    Slot: TypeAlias = list[Any]
    Found: TypeAlias = Slot | tuple[None, None, None]

NONE: tuple[None, None, None] = (None, None, None)


def without(planning: Planning, excluded_elements: Element | Iterable[Element] | None) -> dict[str, dict[str, Any]]:
    """A planning without some sites, clusters and hosts; the one given stays as it is.

    :raises ValueError: for None, which `get_planning` returns when an element is unknown.
    """
    if planning is None:
        raise ValueError("expected a planning, found None: get_planning did not know an element")
    excluded = set(names_of(excluded_elements))

    def kept_hosts(hosts: Mapping[str, Any]) -> dict[str, Any]:
        return {host: element for host, element in hosts.items()
                if host not in excluded and host.partition(".")[0] not in excluded}

    return {site: {cluster: kept_hosts(hosts) if excluded and cluster not in SPECIAL else dict(hosts)
                   for cluster, hosts in clusters.items() if cluster not in excluded}
            for site, clusters in planning.items() if site not in excluded}


def _elements(planning: Planning) -> Iterator[Mapping[str, Any]]:
    for clusters in planning.values():
        for key, elements in clusters.items():
            if key not in ("subnets", "storage"):
                yield from elements.values()


def _dates(planning: Planning) -> list[float]:
    """Where something changes, sorted."""
    dates: set[float] = set()
    for element in _elements(planning):
        for interval in element["busy"]:
            dates.update(interval)
        for interval in element["free"]:
            dates.update(interval)
    return sorted(dates)


def limits_of(planning: Planning) -> list[float]:
    """The dates where something changes, sorted, without the last one."""
    return _dates(planning)[:-1]


class Sweep:
    """Counts, at each limit, of elements of which one free interval covers the time from then on."""

    def __init__(self, limits: Sequence[float], seconds: float) -> None:
        self.limits = limits
        self._seconds = seconds
        self._index = {date: index for index, date in enumerate(limits)}

    def _ranges(self, free: Iterable[Interval]) -> Iterator[tuple[int, int]]:
        """Indices of the limits, from and to, without the latter, where one of these intervals covers the time."""
        taken = 0
        for start, end in free:
            last = end - self._seconds
            if last < start:
                continue
            # A free interval that begins or ends at no limit does so after the last.
            first = max(self._index.get(start, len(self.limits)), taken)
            after = bisect_right(self.limits, last)
            if after > first:
                taken = after
                yield first, after

    def count(self, frees: Iterable[Iterable[Interval]]) -> list[int]:
        """How many of these elements, given their free intervals, are free, at each limit."""
        changes = [0] * (len(self.limits) + 1)
        for free in frees:
            for first, after in self._ranges(free):
                changes[first] += 1
                changes[after] -= 1
        return list(accumulate(changes[:-1]))


def _frees(elements: Mapping[str, Mapping[str, Any]]) -> Iterator[list[Interval]]:
    return (sorted(element["free"]) for element in elements.values())


def _sum(columns: Sequence[Sequence[int]], length: int) -> list[int]:
    return [sum(row) for row in zip(*columns, strict=True)] if columns else [0] * length


def _kavlan_column(planning: Planning, sweep: Sweep) -> list[Any] | None:
    """None if the planning has no VLANs."""
    if not any("vlans" in clusters for clusters in planning.values()):
        return None
    routed, of_global = [], {}
    for site, clusters in planning.items():
        vlans = clusters.get("vlans", {})
        spans = {name: element for name, element in vlans.items() if int(name.rpartition("-")[2]) >= FIRST_GLOBAL}
        routed.append(sweep.count(_frees({name: element for name, element in vlans.items() if name not in spans})))
        of_global[site] = sweep.count(_frees(spans))
    if len(planning) == 1:
        return routed[0]
    return [[site for site, number in zip(of_global, row, strict=True) if number] for row in zip(*of_global.values(), strict=True)]


def compute_slots(planning: Planning, walltime: Duration, excluded_elements: Element | Iterable[Element] | None = None,
                  include_hosts: bool = False) -> list[Slot]:
    """How many hosts are free at each date where something changes, for the whole of a walltime from then on.

    :param planning: of `get_planning`.
    :param excluded_elements: sites, clusters and hosts that do not count.
    :param include_hosts: with each host: 1 if it is free, else 0.
    :returns: sorted ``[[start, start + walltime, {'grid5000': n, site: n, cluster: n, ...}], ...]``.  If the planning has VLANs, `kavlan`
      is the number of routed ones that are free; for several sites, the list of those whose global one is.
    :raises ValueError: for a walltime that is no duration or is negative.
    """
    given: Duration | None = walltime
    seconds = get_seconds(given)
    if seconds is None or seconds < 0:
        raise ValueError(f"walltime of slots: expected a duration, found {walltime!r}")
    planning = without(planning, excluded_elements)
    limits = limits_of(planning)
    sweep = Sweep(limits, seconds)
    columns: dict[str, Sequence[Any]] = {GRID: ()}
    of_sites = []
    for site, clusters in planning.items():
        columns[site] = ()
        of_clusters = []
        for cluster, hosts in clusters.items():
            if cluster in SPECIAL:
                continue
            of_clusters.append(sweep.count(_frees(hosts)))
            columns[cluster] = of_clusters[-1]
            if include_hosts:
                for host, free in zip(hosts, _frees(hosts), strict=True):
                    columns[host] = sweep.count([free])
        columns[site] = _sum(of_clusters, len(limits))
        of_sites.append(columns[site])
    columns[GRID] = _sum(of_sites, len(limits))
    kavlan = _kavlan_column(planning, sweep)
    if kavlan is not None:
        columns["kavlan"] = kavlan
    names = list(columns)
    return [[start, start + seconds, dict(zip(names, row, strict=True))]
            for start, row in zip(limits, zip(*columns.values(), strict=True), strict=True)]


# Choice of a slot

def checked_wanted(wanted: Resources) -> tuple[dict[str, int], Any]:
    """({name: number of hosts}, what is wanted of `kavlan`, None if nothing).

    :raises ValueError: for numbers that are none.
    """
    numbers = {}
    kavlan = None
    for element, value in wanted.items():
        name = name_of(element)
        if name == "kavlan":
            kavlan = 1 if value is None else value
        elif isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ValueError(f"resources of {name}: expected a number of hosts, found {value!r}")
        else:
            numbers[name] = value
    return numbers, kavlan or None


def _has_kavlan(slot: Slot, kavlan: Any) -> bool:
    if kavlan is None:
        return True
    if "kavlan" not in slot[2]:
        raise ValueError("a kavlan is wanted, but these slots know of none: get_planning(..., vlan=True)")
    there = slot[2]["kavlan"]
    if isinstance(kavlan, (str, list, tuple, set)) and isinstance(there, list):
        return any(site in there for site in ([kavlan] if isinstance(kavlan, str) else kavlan))
    return bool(there)


def find_first_slot(slots: Iterable[Slot], resources_wanted: Resources) -> Found:
    """The first slot where anything of what is wanted is free, however little; (None, None, None) if there is none.

    :param resources_wanted: {element: number of hosts, `kavlan`: 1}; only the names matter.
    :raises ValueError: for numbers that are none; for a kavlan, if the slots have none.
    """
    wanted, kavlan = checked_wanted(resources_wanted)
    for slot in slots:
        if any(slot[2].get(name, 0) > 0 for name in wanted) and _has_kavlan(slot, kavlan):
            return slot
    return NONE


def find_max_slot(slots: Iterable[Slot], resources_wanted: Resources) -> Found:
    """The slot with the most hosts of the elements that are wanted, the first of several; (None, None, None) if there is none.

    :param resources_wanted: as for `find_first_slot`.
    """
    wanted, kavlan = checked_wanted(resources_wanted)
    best: Found = NONE
    most = 0
    for slot in slots:
        number = sum(slot[2].get(name, 0) for name in wanted)
        if number > most and _has_kavlan(slot, kavlan):
            best, most = slot, number
    return best


def needed(wanted: Mapping[str, int]) -> dict[str, int]:
    """What must be free of each element: those of the grid and of a site come on top of those of its clusters, and so on."""
    total = dict(wanted)
    if len(wanted) == 1:
        return total
    for name, number in wanted.items():
        kind = kind_of(name)
        if kind is None or kind == GRID:
            continue
        above = {GRID}
        if kind in ("cluster", "host") and (site := site_of(name, kind)) is not None:
            above.add(site)
        if kind == "host" and (cluster := cluster_of_host(name)) is not None:
            above.add(cluster)
        for element in above & wanted.keys():
            total[element] += number
    return total


def find_free_slot(slots: Iterable[Slot], resources_wanted: Resources) -> Found:
    """The first slot where all that is wanted is free; (None, None, None) if there is none.

    :param resources_wanted: {element: number of hosts, `kavlan`: 1, or the sites of which one gives a global VLAN}.  The hosts of the grid
      and of sites are wanted beside those of clusters.
    :raises ValueError: as `find_first_slot`.
    """
    wanted, kavlan = checked_wanted(resources_wanted)
    minimum = needed(wanted)
    for slot in slots:
        there = slot[2]
        if all(name in there and there[name] >= number for name, number in minimum.items()) and _has_kavlan(slot, kavlan):
            return slot
    return NONE


# Cores, for moldable requests

def compute_coorm_slots(planning: Planning, excluded_elements: Element | Iterable[Element] | None = None) -> list[Slot]:
    """How many cores are free from each date where something changes to the next.

    :returns: ``[(start, stop, {'grid5000': n, site: n, cluster: n}), ...]``; the cores of a host count when all of it is free.
    """
    from ..api_utils import get_host_attributes

    planning = without(planning, excluded_elements)
    dates = _dates(planning)
    cores = {host: int(get_host_attributes(host)["architecture"]["nb_cores"]) for clusters in planning.values()
             for cluster, hosts in clusters.items() if cluster not in SPECIAL for host in hosts}
    index = {date: number for number, date in enumerate(dates)}
    nothing = [0] * max(0, len(dates) - 1)
    columns: dict[str, list[int]] = {GRID: list(nothing)}
    for site, clusters in planning.items():
        of_site = columns[site] = list(nothing)
        for cluster, hosts in clusters.items():
            if cluster in SPECIAL:
                continue
            changes = [0] * len(dates)
            for host, element in hosts.items():
                for start, end in element["free"]:
                    changes[index[start]] += cores[host]
                    changes[index[end]] -= cores[host]
            columns[cluster] = list(accumulate(changes))[:-1]
            for number, value in enumerate(columns[cluster]):
                of_site[number] += value
                columns[GRID][number] += value
    names = list(columns)
    return [(start, stop, dict(zip(names, row, strict=True)))   # type: ignore[misc]  # tuples, as they have always been
            for start, stop, row in zip(dates[:-1], dates[1:], zip(*columns.values(), strict=True), strict=True)]


def find_coorm_slot(slots: Iterable[Any], resources_wanted: Resources) -> Any:
    """The first slot of `compute_coorm_slots` with at least so many cores of each element; (None, None, None) if there is none."""
    wanted, _ = checked_wanted(resources_wanted)
    minimum = needed(wanted)
    for slot in slots:
        if all(slot[2].get(name, -1) >= number for name, number in minimum.items()):
            return slot
    return NONE


def max_resources(planning: Planning) -> dict[str, int]:
    """How many hosts a planning has: ``{'grid5000': n, site: n, cluster: n, ...}``."""
    numbers = {GRID: 0}
    for site, clusters in without(planning, None).items():
        numbers[site] = 0
        for cluster, hosts in clusters.items():
            if cluster not in SPECIAL:
                numbers[cluster] = len(hosts)
                numbers[site] += len(hosts)
                numbers[GRID] += len(hosts)
    return numbers
