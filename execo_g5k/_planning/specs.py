"""Requests for OAR."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from execo.log import logger
from execo.utils import singleton_to_collection

from .._oar.submission import OarSubmission
from ..api_utils import get_cluster_attributes, get_cluster_queues, get_cluster_site, get_site_clusters
from .elements import GRID, address_of, cluster_of_host, kind_of, name_of, names_of
from .slots import checked_wanted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from .elements import Element, Kind, Resources

ROUTED_VLAN = "{type='kavlan'}/vlan=1"
GLOBAL_VLAN = "{type='kavlan-global'}/vlan=1"
_PRODUCTION = {"production", "abaca"}


def queue_of(cluster: str) -> str | None:
    """The queue that a job must name to get hosts of a cluster; None: the default one."""
    queues = set(get_cluster_queues(cluster) or ())
    if not queues or "default" in queues:
        return None
    if queues & _PRODUCTION:
        return "production"
    return min(queues - {"admin", "besteffort"}, default=None)


def is_exotic(cluster: str) -> bool:
    """Whether OAR gives its hosts only to jobs of the type ``exotic``."""
    return bool(get_cluster_attributes(cluster).get("exotic"))


@dataclass
class _Request:
    """For one job."""

    hosts: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    whole_site: list[str] = field(default_factory=list)
    vlans: list[str] = field(default_factory=list)
    types: dict[str, None] = field(default_factory=dict)

    def resources(self) -> str:
        hosts = [f"{{host IN ({_quoted(self.hosts)})}}/nodes={len(self.hosts)}"] if self.hosts else []
        return "+".join([*hosts, *self.groups, *self.whole_site, *self.vlans])


@dataclass
class _Excluded:
    sites: set[str] = field(default_factory=set)
    clusters: list[str] = field(default_factory=list)
    hosts: list[str] = field(default_factory=list)

    def filters(self, site: str, cluster: str | None = None) -> list[str]:
        """Conditions that keep the excluded out of a site, or of one of its clusters."""
        hosts = [host for host in self.hosts if host.split(".")[1:2] == [site] and cluster in (None, cluster_of_host(host))]
        clusters = [name for name in self.clusters if get_cluster_site(name) == site] if cluster is None else []
        return [f"{level} NOT IN ({_quoted(names)})" for level, names in (("host", hosts), ("cluster", clusters)) if names]


def _quoted(names: Iterable[str]) -> str:
    for name in names:
        if not re.fullmatch(r"[\w.-]+", name):
            raise ValueError(f"expected the name of a host or a cluster, found {name!r}")
    return ", ".join(f"'{name}'" for name in names)


def _excluded(elements: Element | Iterable[Element] | None) -> _Excluded:
    """:raises ValueError: for names that mean nothing."""
    found = _Excluded()
    for name in dict.fromkeys(names_of(elements)):
        kind = kind_of(name)
        if kind == "site":
            found.sites.add(name)
        elif kind == "cluster":
            found.clusters.append(name)
        elif kind == "host":
            found.hosts.append(address_of(name))
        else:
            raise ValueError(f"excluded_elements: no site, cluster or host is called {name!r}")
    return found


class _Requests:
    """By site and queue, in the order in which they are asked for."""

    def __init__(self) -> None:
        self.by_place: dict[tuple[str, str | None], _Request] = {}

    def at(self, site: str, queue: str | None) -> _Request:
        return self.by_place.setdefault((site, queue), _Request())

    def of_cluster(self, cluster: str) -> _Request:
        request = self.at(str(get_cluster_site(cluster)), queue_of(cluster))
        if is_exotic(cluster):
            request.types["exotic"] = None
        return request

    def add(self, name: str, kind: Kind | None, number: int, excluded: _Excluded) -> None:
        if kind == "host":
            cluster = cluster_of_host(name)
            assert cluster is not None
            address = address_of(name)
            if not (cluster in excluded.clusters or get_cluster_site(cluster) in excluded.sites or address in excluded.hosts):
                self.of_cluster(cluster).hosts.append(address)
        elif kind == "cluster":
            site = str(get_cluster_site(name))
            if name not in excluded.clusters and site not in excluded.sites:
                filters = " AND ".join([f"cluster='{name}'", *excluded.filters(site, name)])
                self.of_cluster(name).groups.append(f"{{{filters}}}/nodes={number}")
        elif name not in excluded.sites:
            self._add_site(name, number, excluded)

    def _add_site(self, site: str, number: int, excluded: _Excluded) -> None:
        filters = " AND ".join(excluded.filters(site))
        clusters = [name for name in get_site_clusters(site, None) if name not in excluded.clusters]
        queues = {queue_of(name) for name in clusters}
        queue = None if None in queues or not queues else "production" if "production" in queues else min(map(str, queues))
        request = self.at(site, queue)
        if clusters and all(is_exotic(name) for name in clusters if queue_of(name) == queue):
            request.types["exotic"] = None
        request.whole_site.append(f"{{{filters}}}/nodes={number}" if filters else f"nodes={number}")

    def add_kavlan(self, kavlan: Any) -> None:
        """A routed VLAN for one site, a global one for several."""
        sites = list(dict.fromkeys(site for site, _ in self.by_place))
        wanted = [name_of(site) for site in singleton_to_collection(kavlan)] if isinstance(kavlan, (str, list, tuple, set)) else sites
        if not sites:
            return
        if len(sites) == 1:
            vlan, giver = ROUTED_VLAN, sites[0]
        else:
            vlan, giver = GLOBAL_VLAN, next((site for site in wanted if site in sites), next(iter(wanted), sites[0]))
            if kind_of(giver) != "site":
                raise ValueError(f"kavlan: expected a number or sites, found {kavlan!r}")
        request = next((request for (site, _), request in self.by_place.items() if site == giver), None) or self.at(giver, None)
        request.vlans.append(vlan)
        request.types["deploy"] = None          # no other job may have a VLAN

    def jobs(self, name: str | None) -> list[tuple[OarSubmission, str]]:
        found = []
        for (site, queue), request in self.by_place.items():
            types: Sequence[str] = list(request.types)
            found.append((OarSubmission(request.resources(), queue=queue, name=name,
                                        job_type=None if not types else types[0] if len(types) == 1 else types), site))
        return found


def get_jobs_specs(resources: Resources, excluded_elements: Element | Iterable[Element] | None = None,
                   name: str | None = None) -> list[tuple[OarSubmission, str]]:
    """Requests for these resources, for `execo_g5k.oarsub` and `execo_g5k.oarsubgrid`: one for each site, and queue if it needs several.

    :param resources: {site, cluster or host: number of hosts}, as `distribute_hosts` returns them; with `kavlan`, a VLAN: routed for one
      site, global for several, of the first of the sites that are given, if they are.
    :param excluded_elements: sites, clusters and hosts that are not to be in the jobs.
    :param name: of the jobs.
    :returns: pairs (`execo_g5k.OarSubmission`, site).  Of their attributes, they have `resources`, `name`, `queue` if it is not the default
      one, and `job_type`: ``exotic`` for clusters that need it, ``deploy`` with a VLAN.
    :raises ValueError: for names that mean nothing, and numbers that are none.
    """
    wanted, kavlan = checked_wanted(resources)
    excluded = _excluded(excluded_elements)
    kinds = {element: kind_of(element) for element in wanted}
    unknown = [element for element, kind in kinds.items() if kind is None]
    if unknown:
        raise ValueError(f"resources: no site, cluster or host is called {', '.join(map(repr, unknown))}")
    if GRID in wanted:
        logger.warning("get_jobs_specs: %s of %s is left out: distribute_hosts says of which sites", wanted[GRID], GRID)
    requests = _Requests()
    for element, number in wanted.items():
        if number and element != GRID:
            requests.add(element, kinds[element], number, excluded)
    if kavlan is not None:
        requests.add_kavlan(kavlan)
    return requests.jobs(name)


def requests_for_hosts(hosts: Iterable[str]) -> _Requests:
    """For these very hosts.

    :raises ValueError: for an unknown one.
    """
    requests = _Requests()
    nothing = _Excluded()
    for host in dict.fromkeys(hosts):
        if kind_of(host) != "host":
            raise ValueError(f"no host is called {host!r}")
        requests.add(host, "host", 1, nothing)
    return requests


def hosts_jobs(hosts: Iterable[str], **attributes: Any) -> list[tuple[OarSubmission, str]]:
    """Submissions for these very hosts."""
    jobs = []
    for (site, queue), request in requests_for_hosts(hosts).by_place.items():
        names = ",".join(f"'{host}'" for host in request.hosts)
        resources = f"{{host in ({names})}}/nodes={len(request.hosts)}"
        jobs.append((OarSubmission(resources, queue=queue, job_type=next(iter(request.types), None), **attributes), site))
    return jobs
