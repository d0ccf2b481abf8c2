"""When jobs may run by their types ``day`` and ``night``, and what the usage policy objects to."""

from __future__ import annotations

from ... import charter
from .model import Job, Schedule

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

AHEAD = 14 * 86400
"""Seconds in which the next day period is looked for: no holidays are longer."""


class Calendar:
    """Day periods and the policy.

    :param policy: object to jobs that break it.
    :param rows: resources of the site.
    """

    def __init__(self, policy: bool, rows: Sequence[Mapping[str, Any]]) -> None:
        self._policy = policy
        self._cluster_of = {row["resource_id"]: row.get("cluster") for row in rows if row["type"] == "default"}
        cores: dict[str, int] = {}
        for row in rows:
            if row["type"] == "default" and row.get("state") != "Dead":
                cores[row["cluster"]] = cores.get(row["cluster"], 0) + 1
        self._quotas = charter.charter_quotas(cores) if policy else None

    def may_run(self, job: Job, start: float, end: float) -> bool:
        """Whether its types allow it to run then: inside of one day period, or outside of all."""
        day, night = "day" in job.types, "night" in job.types
        if not day and not night:
            return True
        opens, closes = charter.get_next_charter_period(start, start + AHEAD)
        if opens is None or closes is None:
            return night and not day
        return (not day or (opens <= start and end <= closes)) and (not night or end <= opens)

    def next_change(self, date: float) -> float | None:
        """When the next day period begins or ends."""
        opens, closes = charter.get_next_charter_period(date + 1, date + AHEAD)
        if opens is None or closes is None:
            return None
        return opens if opens > date + 1 else closes

    def objections(self, job: Job, schedule: Schedule, now: float) -> list[str]:
        """Rules that a job would break, if it began when it wants to."""
        if not self._policy:
            return []
        others = [self._as_charter_job(other, other.start_date or other.submission_date, other.submission_date)
                  for other in schedule.jobs.values() if other.user == job.user and other.state not in ("Terminated", "Error")]
        start = job.reservation_date or now
        return list(charter.charter_violations(self._as_charter_job(job, start, now), self._quotas, others))

    def _as_charter_job(self, job: Job, start: float, submitted: float) -> charter.CharterJob:
        wanted = job.wanted[job.chosen]
        ids = job.resources or wanted.choose(wanted.all_ids()) or []
        cores: dict[str, int] = {}
        for number in ids:
            cluster = self._cluster_of.get(number)
            if cluster:
                cores[cluster] = cores.get(cluster, 0) + 1
        return charter.CharterJob(start, wanted.request.walltime or 0, cores, submission_date=submitted, queue=job.queue,
                                  types=tuple(job.types))
