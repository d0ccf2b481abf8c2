"""Jobs for given hosts, and jobs with a given name."""

from __future__ import annotations

from execo.log import logger
from execo.time_utils import get_seconds
from execo.utils import singleton_to_collection

from .._oar.frontends import seconds_of
from .._oar.jobs import get_current_oar_jobs, look_at
from ..api_utils import get_g5k_sites
from .collect import get_planning
from .elements import address_of, names_of
from .slots import Sweep, limits_of
from .specs import hosts_jobs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from execo.time_utils import Duration

    from .._oar.frontends import Frontend
    from .._oar.submission import OarSubmission
    from .elements import Element


def checked_walltime(walltime: Duration) -> float:
    """Seconds.

    :raises ValueError: for what is no duration.
    """
    seconds: float | None = get_seconds(walltime)
    if seconds is None or seconds <= 0:
        raise ValueError(f"walltime: expected a duration, found {walltime!r}")
    return seconds


def get_hosts_jobs(hosts: Element | Iterable[Element], walltime: Duration, out_of_chart: bool = False) -> list[tuple[OarSubmission, str]]:
    """Advance reservations of these very hosts, at the first date when all of them are free for so long.

    :param hosts: names or `execo.Host`, of one or several sites.
    :param out_of_chart: outside the charter's day time.
    :returns: pairs (`execo_g5k.OarSubmission`, site) with their `walltime` and `reservation_date`; empty if there is no such date in the
      next four weeks (the log says so).
    :raises ValueError: for an unknown host, or a walltime that is none.
    """
    seconds = checked_walltime(walltime)
    names = [address_of(host) for host in names_of(hosts)]
    jobs = hosts_jobs(names)
    planning = get_planning(names, out_of_chart=out_of_chart, queues=None)
    if planning is None:
        return []
    elements = {host: element for clusters in planning.values() for hosts_of_cluster in clusters.values()
                for host, element in hosts_of_cluster.items()}
    missing = [name for name in names if name not in elements]
    if missing:
        logger.error("hosts that cannot be reserved now: %s", ", ".join(missing))
        return []
    limits = limits_of(planning)
    count = Sweep(limits, seconds).count(element["free"] for element in elements.values())
    start = next((date for date, number in zip(limits, count, strict=True) if number == len(elements)), None)
    if start is None:
        logger.error("in the next four weeks there is no date when all of these hosts are free for %s: %s", walltime, ", ".join(names))
        return []
    for job, _ in jobs:
        job.walltime = walltime
        job.reservation_date = start
    return jobs


def get_job_by_name(job_name: str, sites: str | Iterable[str] | None = None) -> tuple[int, str] | tuple[None, None]:
    """(job id, site) of an own job that has not ended, by its name, of the first of the sites that has one; (None, None) if none has.

    :param sites: one or several; None: all.
    """
    asked: list[Frontend] = list(get_g5k_sites() if sites is None else singleton_to_collection(sites))
    jobs = get_current_oar_jobs(asked)
    for (job_id, site), (facts, _) in zip(jobs, look_at(jobs, None, seconds_of(False)), strict=True):
        if facts is not None and facts.name == job_name:
            return job_id, site     # type: ignore[return-value]  # a site, as it was given
    return None, None
