"""Jobs of several sites at the first date that suits all."""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass
from itertools import islice

from execo.log import logger
from execo.time_utils import format_date
from execo.utils import singleton_to_collection

from .._oar.grid import GridJobs, oarsubgrid
from .._oar.jobs import checked_specs
from ..api_utils import get_g5k_sites, get_site_clusters
from .build import SPECIAL
from .collect import get_planning
from .jobs import checked_walltime
from .slots import Sweep, limits_of
from .specs import is_exotic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

    from execo.time_utils import Date, Duration

    from .._oar.submission import OarSubmission
    from .slots import Planning


@dataclass(frozen=True)
class Need:
    """So many of these hosts."""

    hosts: frozenset[str]
    number: int


_SEPARATOR = re.compile(r"[+,](?![^{]*\})")
_CLUSTER = re.compile(r"\bcluster\s*=\s*'([\w-]+)'", re.IGNORECASE)
_HOSTS = re.compile(r"\b(?:host|network_address)\s*(?:=\s*|in\s*\()((?:\s*'[\w.-]+'\s*,?)+)", re.IGNORECASE)
_NOT = re.compile(r"\b(?:host|network_address|cluster)\s+not\s+in\s*\(([^)]*)\)", re.IGNORECASE)
_OR = re.compile(r"\bor\b", re.IGNORECASE)
_NUMBER = re.compile(r"\b(?:nodes|host|network_address)\s*=\s*(\d+)")
_NO_HOST = re.compile(r"\b(?:vlan|slash_\d+|disk|walltime)\s*=")


def _names(text: str) -> set[str]:
    return set(re.findall(r"[\w.-]+", text))


def _allowed(condition: str, clusters: Mapping[str, Iterable[str]]) -> Iterator[str]:
    """Hosts that may meet a condition: as far as it names clusters and hosts; OAR judges the rest."""
    excluded = set().union(*map(_names, _NOT.findall(condition)))
    simple = _OR.search(condition) is None
    cluster = _CLUSTER.search(condition) if simple else None
    hosts = _HOSTS.search(_NOT.sub("", condition)) if simple else None
    named = _names(hosts[1]) if hosts else None
    for name, of_cluster in clusters.items():
        if (cluster is None or cluster[1] == name) and name not in excluded:
            yield from (host for host in of_cluster if host not in excluded and (named is None or host in named))


def needs_of(spec: OarSubmission, clusters: Mapping[str, Iterable[str]]) -> list[Need]:
    """What a submission needs of the hosts of its site.

    :param clusters: {cluster: addresses of its hosts}, those of its queue.
    """
    types = {str(kind) for kind in singleton_to_collection(spec.job_type)}
    usable = {name: hosts for name, hosts in clusters.items() if "exotic" in types or not is_exotic(name)}
    needs = []
    for group in (found for text in singleton_to_collection(spec.resources) or ["nodes=1"] for found in _SEPARATOR.split(str(text))):
        condition, _, levels = group.rpartition("}")
        if _NO_HOST.search(levels) and not _NUMBER.search(levels):
            continue
        number = _NUMBER.search(levels)
        hosts = frozenset(_allowed(f"{condition} {spec.sql_properties or ''}", usable))
        needs.append(Need(hosts, int(number[1]) if number else 1))
    return needs


def together(needs: list[Need]) -> list[Need]:
    """Those of one site: each, and all of them, which may not take the same hosts."""
    return [*needs, Need(frozenset().union(*(need.hosts for need in needs)), sum(need.number for need in needs))]


def common_dates(planning: Planning, needs: Iterable[Need], seconds: float) -> Iterator[float]:
    """Dates from which all that is needed is free for so long, in order."""
    free = {host: element["free"] for clusters in planning.values() for cluster, hosts in clusters.items() if cluster not in SPECIAL
            for host, element in hosts.items()}
    limits = limits_of(planning)
    sweep = Sweep(limits, seconds)
    good = [True] * len(limits)
    for need in needs:
        count = sweep.count(free[host] for host in need.hosts if host in free)
        good = [fits and number >= need.number for fits, number in zip(good, count, strict=True)]
    return (date for date, fits in zip(limits, good, strict=True) if fits)


def oarsubgrid_first_slot(job_specs: Iterable[tuple[OarSubmission, str]], walltime: Duration | None = None, out_of_chart: bool = False,
                          starttime: Date | None = None, endtime: Date | None = None, tries: int = 3, **options: Any) -> GridJobs:
    """`execo_g5k.oarsubgrid` at the first date when what is asked for is free on all sites, as far as the planning tells.

    :param job_specs: pairs (`OarSubmission`, site).  Hosts are counted by site, cluster and name; other conditions are OAR's to judge.
    :param walltime: of all jobs; None: that of each.
    :param out_of_chart: outside the charter's day time.
    :param starttime: not before; None: in a minute.
    :param endtime: None: four weeks after the start.
    :param tries: when a site refuses, the next date is tried, so many in all.
    :param options: further ones of `oarsubgrid`.
    :returns: as `oarsubgrid`: empty if there is no such date, or all that were tried were refused; the log says why.
    :raises ValueError: for a job without walltime, a site that is none, or a submission with a date of its own.
    """
    specs = checked_specs(job_specs)
    seconds = []
    sites = set(get_g5k_sites())
    for spec, site in specs:
        if site not in sites:
            raise ValueError(f"oarsubgrid_first_slot: expected a site, found {site!r}")
        if spec.reservation_date is not None:
            raise ValueError(f"oarsubgrid_first_slot: the submission for {site} has a date of its own: {spec!r}")
        given = walltime if walltime is not None else spec.walltime
        if given is None:
            raise ValueError(f"oarsubgrid_first_slot: the submission for {site} has no walltime: {spec!r}")
        seconds.append(checked_walltime(given))
    if not specs:
        return GridJobs()
    dates = _dates_for([(_with_options(spec, options), site) for spec, site in specs], max(seconds), out_of_chart, starttime, endtime)
    tried = 0
    for date in islice(dates, tries):
        tried += 1
        logger.info("oarsubgrid: %s jobs at %s", len(specs), format_date(date))
        jobs = oarsubgrid(specs, reservation_date=date, walltime=walltime, **options)
        if jobs:
            return jobs
    if not tried:
        logger.error("oarsubgrid: there is no date when all of this is free: %s", specs)
    return GridJobs()


def _with_options(spec: OarSubmission, options: Mapping[str, Any]) -> OarSubmission:
    """What decides of the hosts, as `oarsubgrid` will have it."""
    effective = copy.copy(spec)
    for name in ("job_type", "queue"):
        if options.get(name) is not None:
            setattr(effective, name, options[name])
    return effective


def _dates_for(specs: list[tuple[OarSubmission, Any]], seconds: float, out_of_chart: bool, starttime: Date | None,
               endtime: Date | None) -> Iterator[float]:
    sites = list(dict.fromkeys(site for _, site in specs))
    planning = get_planning(sites, out_of_chart=out_of_chart, starttime=starttime, endtime=endtime, queues=None) or {}
    if silent := [site for site in sites if site not in planning]:
        logger.error("oarsubgrid: without a planning of %s, no date is known to suit all", ", ".join(silent))
        return iter(())
    needs = []
    for site in sites:
        of_site = []
        for spec in (spec for spec, where in specs if where == site):
            clusters = get_site_clusters(site, spec.queue or "default")
            of_site += needs_of(spec, {name: list(hosts) for name, hosts in planning[site].items() if name in clusters})
        needs += together(of_site)
    return common_dates(planning, needs, seconds)
