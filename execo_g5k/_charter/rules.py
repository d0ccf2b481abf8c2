"""What the charter allows, and since when that is known; why a planned job would break it.  Pure, but for the date of a job without one."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field

from execo.time_utils import format_duration

from .._clock import now
from .._oar.formats import format_oar_date
from .calendar import as_day, charter_days

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

QUOTA_SECONDS = 2 * 3600.0
"""The cores of a cluster, for so long, are what one user may have of it in one day."""
LATE_STRADDLING = 2 * 3600.0
"""A job submitted so many seconds before the end of the day, or later, may run beyond it."""
SHORT_WALLTIME = 3600.0
SHORT_NOTICE = 10 * 60.0
DISK_WALLTIME = 14 * 86400.0


@dataclass(frozen=True)
class CharterRule:
    """One rule, in words, and the day since which it is known to hold."""

    name: str
    text: str
    known_since: datetime.date


CHARTER_RULES: tuple[CharterRule, ...] = (
    CharterRule("day", "Day time is 09:00 to 19:00 in Europe/Paris, Monday to Friday, except French public holidays.",
                datetime.date(2016, 1, 1)),
    CharterRule("quota", "The jobs of a user that meet the day time of a day use at most 2 h of all cores of the nodes of a cluster that"
                " are not dead; a job counts with its whole walltime.", datetime.date(2016, 1, 1)),
    CharterRule("besteffort", "Jobs of the type or queue besteffort are exempt.", datetime.date(2016, 1, 1)),
    CharterRule("disks", "Jobs that have only disks are exempt, and may last 14 days.", datetime.date(2024, 1, 1)),
    CharterRule("queues", "All this is for the queue default; production has rules of its own, by groups and nodes.",
                datetime.date(2025, 1, 1)),
    CharterRule("boundaries", "A job must not run across 09:00 or 19:00 of a work day.", datetime.date(2026, 9, 28)),
    CharterRule("evening", "A job submitted at 17:00 or later may run across 19:00 of that day.", datetime.date(2026, 9, 28)),
    CharterRule("short", "A job of at most 1 h, submitted less than 10 min before its start, is not counted in the quota.",
                datetime.date(2026, 9, 28)),
)
"""The usage policy as far as it is known here.  The limits on the number of advance reservations are not."""


@dataclass(frozen=True)
class CharterJob:
    """A job, planned or real, as the charter sees it.  Dates are Unix seconds, lengths are seconds.

    :raises ValueError: for a negative length, or a number of cores below 0.
    """

    start_date: float
    walltime: float
    cores: Mapping[str, int] = field(default_factory=dict)
    """{cluster: number of cores}; empty: only disks."""
    submission_date: float | None = None
    """None: now."""
    queue: str = "default"
    types: tuple[str, ...] = ()
    name: str = "the job"
    """For messages."""

    def __post_init__(self) -> None:
        if not self.walltime >= 0 or any(number < 0 for number in self.cores.values()):
            raise ValueError(f"a job needs a walltime and numbers of cores that are not negative, found {self}")

    @property
    def end_date(self) -> float:
        return self.start_date + self.walltime

    @property
    def days(self) -> list[datetime.date]:
        """The work days whose day time it meets."""
        return [day for day, _ in charter_days(self.start_date, self.end_date)]

    @property
    def only_disks(self) -> bool:
        return not any(self.cores.values())

    @property
    def exempt(self) -> bool:
        """Whether neither the quota nor the boundaries of the day are for it."""
        return self.queue != "default" or "besteffort" in self.types or self.only_disks

    @property
    def counted(self) -> bool:
        """Whether it counts in the quota of the days that it meets."""
        if self.exempt:
            return False
        submitted = now() if self.submission_date is None else self.submission_date
        return not (self.walltime <= SHORT_WALLTIME and self.start_date - submitted < SHORT_NOTICE)


def charter_quotas(cores: Mapping[str, int]) -> dict[str, float]:
    """{cluster: core seconds that one user may have of it in one day}.

    :param cores: {cluster: cores of its nodes that are not dead}.
    """
    return {cluster: number * QUOTA_SECONDS for cluster, number in cores.items()}


def charter_use(jobs: Iterable[CharterJob], day: datetime.date) -> dict[str, float]:
    """{cluster: core seconds} that jobs count in the quota of a day."""
    day = as_day(day)
    used: dict[str, float] = {}
    for job in jobs:
        if job.counted and day in job.days:
            for cluster, number in job.cores.items():
                used[cluster] = used.get(cluster, 0.0) + number * job.walltime
    return used


def charter_violations(job: CharterJob, quotas: Mapping[str, float] | None = None, others: Iterable[CharterJob] = ()) -> list[str]:
    """Why a job would break the charter, one line for each reason; [] if it would not.

    :param quotas: {cluster: core seconds of a day}, as `charter_quotas` gives them; clusters that it does not name have no quota.
    :param others: the other jobs of the same user, planned, running, or ended on the same days.
    """
    if job.queue == "default" and job.only_disks and job.walltime > DISK_WALLTIME:
        return [f"{job.name} ({format_duration(job.walltime)}) has disks for more than {format_duration(DISK_WALLTIME)}"]
    if job.exempt:
        return []
    return [*_boundaries(job), *_quotas(job, quotas or {}, list(others))]


def _boundaries(job: CharterJob) -> list[str]:
    submitted = now() if job.submission_date is None else job.submission_date
    found = []
    for day, (opens, closes) in charter_days(job.start_date, job.end_date):
        span = f"{job.name} ({format_oar_date(job.start_date)} to {format_oar_date(job.end_date)})"
        if job.start_date < opens < job.end_date:
            found.append(f"{span} runs across 09:00 of {day:%A} {day}, where the day begins")
        if job.start_date < closes < job.end_date and submitted < closes - LATE_STRADDLING:
            found.append(f"{span} runs across 19:00 of {day:%A} {day}, which is allowed only when it is submitted at 17:00 or later")
    return found


def _quotas(job: CharterJob, quotas: Mapping[str, float], others: list[CharterJob]) -> list[str]:
    if not job.counted:
        return []
    found = []
    for day in job.days:
        used = charter_use(others, day)
        for cluster, number in job.cores.items():
            wanted, left = number * job.walltime, quotas.get(cluster, float("inf")) - used.get(cluster, 0.0)
            if number and wanted > left:
                found.append(f"{job.name} ({number} cores for {format_duration(job.walltime)}) uses {_core_hours(wanted)} of {cluster} on"
                             f" {day:%A} {day}, of which {_core_hours(max(left, 0.0))} are left of {_core_hours(quotas[cluster])}")
    return found


def _core_hours(core_seconds: float) -> str:
    return f"{core_seconds / 3600:.10g} core hours"
