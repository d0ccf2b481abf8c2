"""Which hosts to take of those that are free.  Pure."""

from __future__ import annotations

from dataclasses import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

GRID = "grid5000"


@dataclass(frozen=True)
class Free:
    """A host that is free."""

    name: str
    """Its address."""
    cluster: str
    site: str
    only_if_named: bool = False
    """For jobs of a type that must be asked for: not to be taken for its site, but for its cluster or its name."""

    def is_in(self, element: str) -> bool:
        """Whether it is what is wanted, or part of it: a host (by its short name or its address), a cluster, a site or the grid."""
        if element in (self.name, self.name.partition(".")[0], self.cluster):
            return True
        return not self.only_if_named and element in (self.site, GRID)


def choose(free: Iterable[Free], wanted: Mapping[str, int], prefer: Sequence[str] = ()) -> list[Free] | None:
    """Hosts for what is wanted; None if these are not enough.

    :param wanted: {host, cluster, site or ``"grid5000"``: number of hosts}; what is precise is served first.
    :param prefer: names of hosts to be taken first, by address or short.

    Of a site, hosts of the cluster with the most free ones come first, so that they are alike where that can be; those of the grid are
    taken from all sites in turn.
    """
    left = list(free)
    rank = {name.partition(".")[0]: number for number, name in reversed(list(enumerate(prefer)))}
    chosen: list[Free] = []
    for element, number in sorted(wanted.items(), key=lambda item: _vagueness(item[0], left)):
        of_cluster: dict[str, int] = {}
        for host in left:
            of_cluster[host.cluster] = of_cluster.get(host.cluster, 0) + 1
        fitting = sorted((host for host in left if host.is_in(element)),
                         key=lambda host: (rank.get(host.name.partition(".")[0], len(rank)), -of_cluster[host.cluster], host.cluster))
        if element == GRID:
            fitting = _in_turn(fitting, rank)
        if len(fitting) < number:
            return None
        taken = fitting[:number]
        chosen += taken
        left = [host for host in left if host not in taken]
    return chosen


def _vagueness(element: str, hosts: Iterable[Free]) -> int:
    if element == GRID:
        return 3
    if any(host.site == element for host in hosts):
        return 2
    return 1 if any(host.cluster == element for host in hosts) else 0


def _in_turn(hosts: Sequence[Free], rank: Mapping[str, int]) -> list[Free]:
    """Those that are preferred, then one of each site, and so on."""
    preferred = [host for host in hosts if host.name.partition(".")[0] in rank]
    by_site: dict[str, list[Free]] = {}
    for host in hosts:
        if host not in preferred:
            by_site.setdefault(host.site, []).append(host)
    turns = max(map(len, by_site.values()), default=0)
    return preferred + [of_site[turn] for turn in range(turns) for of_site in by_site.values() if turn < len(of_site)]
