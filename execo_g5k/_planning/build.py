"""The planning of a site, of what its OAR knows.  Pure."""

from __future__ import annotations

from .intervals import busy_and_free
from .state import vlan_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from .intervals import Interval
    from .state import Job, SiteState

AFTER_END = 121
"""Seconds that a job may still hold its resources after its walltime: until it is killed, and its epilogue has run."""
SPECIAL = ("vlans", "subnets", "storage")
"""Keys beside the clusters of a site."""


def _jobs_between(jobs: Iterable[Job], start: float, end: float, ignore_besteffort: bool) -> list[tuple[Job, Interval]]:
    found = []
    for job in jobs:
        interval = (job.start, job.start + job.walltime + AFTER_END)
        if interval[0] < end and interval[1] > start and not (ignore_besteffort and job.queue == "besteffort"):
            found.append((job, interval))
    return found


def site_planning(state: SiteState, clusters: Mapping[str, Iterable[str]], start: float, end: float, *, ignore_besteffort: bool = True,
                  charter: Iterable[Interval] = (), per_core: bool = False, vlan: bool = False, subnet: bool = False,
                  storage: bool = False) -> dict[str, Any]:
    """``{cluster: {host: {'busy': [(start, end), ...], 'free': [...]}}}`` and, as asked for, 'vlans', 'subnets', 'storage'.

    :param clusters: {cluster: addresses of its hosts that are wanted}; those that cannot be reserved are left out.
    :param charter: intervals in which no host is to be used.
    :param per_core: each host has 'cores' too: {number of the cpuset: {'busy', 'free'}}.
    """
    uses = _jobs_between(state.jobs, start, end, ignore_besteffort)
    by_host: dict[str, list[Interval]] = {}
    for job, interval in uses:
        for host in job.hosts:
            by_host.setdefault(host, []).append(interval)
    always = list(charter)
    by_core: dict[str, list[Interval]] = {}
    if per_core:
        for job, interval in uses:
            for core in job.cores:
                by_core.setdefault(core, []).append(interval)
    planning: dict[str, Any] = {}
    planned: set[str] = set()
    for cluster, hosts in clusters.items():
        of_cluster: dict[str, Any] = {}
        for host in hosts:
            if host not in state.hosts:
                continue
            element: dict[str, Any] = busy_and_free([*by_host.get(host, ()), *always], start, end)
            if per_core:
                element["cores"] = {core: busy_and_free([*by_core.get(f"{host}/{core}", ()), *always], start, end)
                                    for core in state.hosts[host]}
            of_cluster[host] = element
        if of_cluster:
            planning[cluster] = of_cluster
            planned.update(of_cluster)
    if vlan:
        planning["vlans"] = _others([vlan_name(name) for name in sorted(state.vlans, key=int)],
                                    ((map(vlan_name, job.vlans), interval) for job, interval in uses), start, end)
    if subnet:
        planning["subnets"] = _others(state.subnets, ((job.subnets, interval) for job, interval in uses), start, end)
    if storage:
        disks = [disk for disk, host in state.disks.items() if host in planned]
        planning["storage"] = _others(disks, ((job.disks, interval) for job, interval in uses), start, end)
    return planning


def _others(names: Iterable[str], uses: Iterable[tuple[Iterable[str], Interval]], start: float, end: float) -> dict[str, Any]:
    busy: dict[str, list[Interval]] = {name: [] for name in names}
    for held, interval in uses:
        for name in held:
            if name in busy:            # a job may hold what can no longer be reserved
                busy[name].append(interval)
    return {name: busy_and_free(intervals, start, end) for name, intervals in busy.items()}
