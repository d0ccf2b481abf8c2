"""When and where: the first slots with enough free hosts that the charter allows."""

from __future__ import annotations

from dataclasses import dataclass, field

from execo.log import logger
from execo.time_utils import format_date

from .._clock import now
from .._planning.build import SPECIAL
from .._planning.collect import FOUR_WEEKS, get_charter_el_planning, get_planning
from .._planning.elements import GRID, hosts_by_site
from .._planning.slots import compute_slots, without
from ..api_utils import get_cluster_attributes, get_g5k_hosts, get_host_attributes
from ..charter import CharterJob, charter_state, charter_violations
from .choose import Free, choose

TYPE_CHECKING = False
if TYPE_CHECKING:
    import datetime
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from ..charter import CharterState


@dataclass(frozen=True)
class Wanted:
    """What a reservation is to have.  `walltime` and `lead` are seconds."""

    resources: dict[str, int]
    walltime: float
    where: str | None = None
    nights: bool = False
    charter: bool = True
    queue: str | None = None
    job_types: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    lead: float = 20.0
    """Between the request and the first start, so that all sites have it in time."""


@dataclass(frozen=True)
class Slot:
    """Hosts that are free for the whole of the walltime."""

    start_date: float
    hosts: tuple[Free, ...]


def slots(wanted: Wanted, prefer: Sequence[str] = ()) -> Iterator[Slot]:
    """Those of the next four weeks, the first one first.

    :raises ValueError: for resources that there are not, and a condition that cannot be read.
    :raises RuntimeError: if a site that is named does not answer, or others do not and there is no such slot on those that do.
    """
    queues = wanted.queue or "default"
    start = int(now() + wanted.lead) + 1
    planning = get_planning(list(wanted.resources), out_of_chart=wanted.nights, starttime=start, queues=queues)
    if planning is None:
        raise ValueError(f"resources {wanted.resources}: not all of them are sites, clusters or hosts of Grid'5000")
    silent = [site for site in silent_sites(planning, wanted.resources, queues) if site not in wanted.excluded]
    planning = without(planning, wanted.excluded)
    hosts = _hosts(planning, wanted)
    if wanted.charter:
        planning[""] = {"": {"": _turns(start)}}
    law = _Law(wanted)
    found = False
    for begins, ends, counts in compute_slots(planning, wanted.walltime):
        # Most slots fail here, at little cost: these count all hosts, also those that do not fit.
        if any(counts.get(name, number) < number for name, number in wanted.resources.items()):
            continue
        free = [host for host, intervals in hosts if any(low <= begins and ends <= high for low, high in intervals)]
        chosen = choose(free, wanted.resources, prefer)
        if chosen is not None and law.allows(begins, chosen):
            found = True
            yield Slot(begins, tuple(chosen))
    if silent and not found:
        raise RuntimeError(f"there is no such slot in the next four weeks on the sites that answer; no answer: {', '.join(silent)}")


def silent_sites(planning: Mapping[str, Any], names: Iterable[str], queues: str | None) -> list[str]:
    """Sites that `get_planning` left out of this planning of these names, for they did not answer.

    :raises RuntimeError: if one of these, or something in it, is named, or if none answered.
    """
    def left_out(names: Iterable[str]) -> list[str]:
        return [site for site, clusters in hosts_by_site(names, queues)[0].items() if clusters and site not in planning]

    silent = left_out(names)
    lacking = left_out(name for name in names if name != GRID) if planning else silent
    if lacking:
        raise RuntimeError(f"nobody knows what is free on {', '.join(lacking)}: no answer, see the log")
    return silent


def _turns(start: float) -> dict[str, list[tuple[float, float]]]:
    """An element that is never free, and changes where the charter's days begin and end: so that slots begin there too."""
    return {"busy": get_charter_el_planning(start, start + FOUR_WEEKS), "free": []}


def _hosts(planning: Mapping[str, Mapping[str, Any]], wanted: Wanted) -> list[tuple[Free, list[tuple[float, float]]]]:
    """The hosts that fit, and when they are free."""
    fitting = None if wanted.where is None else set(get_g5k_hosts(None, where=wanted.where))
    found = []
    for site, clusters in planning.items():
        for cluster, hosts in clusters.items():
            if cluster in SPECIAL:
                continue
            only_if_named = "exotic" not in wanted.job_types and bool(get_cluster_attributes(cluster).get("exotic"))
            found += [(Free(host, cluster, site, only_if_named), element["free"]) for host, element in hosts.items()
                      if fitting is None or host.partition(".")[0] in fitting]
    return found


@dataclass
class _Law:
    """The charter, for one reservation; what must be asked for is asked once."""

    wanted: Wanted
    _states: dict[tuple[str, datetime.date], CharterState] = field(default_factory=dict)
    _told: set[str] = field(default_factory=set)

    def allows(self, start: float, hosts: Sequence[Free]) -> bool:
        if not self.wanted.charter:
            return True
        by_site: dict[str, dict[str, int]] = {}
        for host in hosts:
            cores = by_site.setdefault(host.site, {})
            cores[host.cluster] = cores.get(host.cluster, 0) + int(get_host_attributes(host.name)["architecture"]["nb_cores"])
        return all(self._allows_job(site, CharterJob(start, self.wanted.walltime, cores, None, self.wanted.queue or "default",
                                                     self.wanted.job_types, f"a job on {site}")) for site, cores in by_site.items())

    def _allows_job(self, site: str, job: CharterJob) -> bool:
        # Where it may lie is known without asking, and most slots fail there.
        found = charter_violations(job)
        if not found and job.counted:
            for day in job.days:
                if (site, day) not in self._states:
                    self._states[site, day] = charter_state(site, day)
                state = self._states[site, day]
                found += charter_violations(job, state.quotas, state.jobs)
        for reason in found:
            if reason not in self._told:
                self._told.add(reason)
                logger.debug("the slot at %s is passed over: %s", format_date(job.start_date), reason)
        return not found
