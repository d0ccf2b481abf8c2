"""What is left of a day's quota: the jobs of a user and the cores of the clusters, from OAR's database or from the REST API."""

from __future__ import annotations

import getpass
from dataclasses import dataclass

from execo.exception import ProcessesFailed
from execo.log import logger
from execo.utils import singleton_to_collection

from .._api.catalog import get_site_clusters
from .._api.connection import configured
from .._oar.database import is_installed, oar_database
from ..config import default_frontend_connection_params, g5k_configuration
from .calendar import as_day, get_oar_day_start_end
from .rules import CharterJob, charter_quotas, charter_use

TYPE_CHECKING = False
if TYPE_CHECKING:
    import datetime
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any, Literal, TypeAlias

    from .._api.connection import APIConnection

    Source: TypeAlias = Literal["api", "postgresql"]

PAGE = 500
"""No more jobs come in one answer of the REST API."""
ALL = 999999
"""Resources are not paged when a limit is given."""
FORESIGHT = 31 * 86400.0
"""A job that has ended was submitted no longer than that before the day."""
_LIVE = "waiting,hold,launching,running,suspended,resuming,finishing"


@dataclass(frozen=True)
class CharterState:
    """What the charter needs to know of a site, for one user and one day."""

    quotas: dict[str, float]
    """{cluster: core seconds of a day}, of the clusters of the queue default, without dead nodes."""
    jobs: list[CharterJob]
    """The jobs of the user that had, have or will have a part in the day."""

    def remaining(self, day: datetime.date) -> dict[str, float]:
        """{cluster: core seconds}; less than 0 where the quota is exceeded."""
        used = charter_use(self.jobs, day)
        return {cluster: quota - used.get(cluster, 0.0) for cluster, quota in self.quotas.items()}


def cluster_of(network_address: str) -> str:
    """``gros`` of ``gros-1.nancy.grid5000.fr``."""
    return network_address.partition(".")[0].rpartition("-")[0]


def charter_user(user: str | None = None) -> str:
    """The user that is meant: `user`, else that of the REST API, of the frontends, or of this machine."""
    return user or g5k_configuration["api_username"] or default_frontend_connection_params.get("user") or getpass.getuser()


def g5k_charter_remaining(sites: str | Iterable[str], day: datetime.date, user: str | None = None,
                          source: Source | None = None) -> dict[str, dict[str, float]]:
    """What a user may still reserve in the day time of a day: ``{site: {cluster: core seconds}}``, of the clusters of the queue default.

    :param sites: one or several.
    :param day: a datetime is the day that it says.
    :param user: None: that of the configuration, for the REST API or the frontends, else that of this machine.
    :param source: ``"postgresql"``, OAR's database (extra `postgresql`), or ``"api"``; None: ``g5k_configuration['planning_source']`` if it
      is set, else the database if psycopg is installed, and the REST API where it cannot be reached.
    :returns: less than 0 where the quota is exceeded; the whole quota if the day is no work day.
    :raises ValueError: for an unknown site or source.
    :raises TypeError: for a day that is no date.
    """
    day = as_day(day)
    return {site: charter_state(site, day, user, source).remaining(day) for site in singleton_to_collection(sites)}


def charter_state(site: str, day: datetime.date, user: str | None = None, source: Source | None = None) -> CharterState:
    """The quotas of a site, and the jobs of a user that count in them; arguments as those of `g5k_charter_remaining`."""
    day = as_day(day)
    clusters = get_site_clusters(site)
    if not clusters:                    # there is no OAR to ask
        return CharterState({}, [])
    cores, jobs = _read(site, day, charter_user(user), source)
    counted = dict.fromkeys(clusters, 0)
    for address, number in cores:
        if cluster_of(address) in counted:
            counted[cluster_of(address)] += number
    return CharterState(charter_quotas(counted), jobs)


def _read(site: str, day: datetime.date, user: str, source: Source | None) -> tuple[list[tuple[str, int]], list[CharterJob]]:
    chosen = source or g5k_configuration.get("planning_source")
    if chosen not in (None, "api", "postgresql"):
        raise ValueError(f"source of the charter: expected 'postgresql', 'api' or None, found {chosen!r}")
    if chosen == "api" or (chosen is None and not is_installed()):
        return _read_api(site, day, user)
    try:
        return _read_database(site, day, user)
    except (ProcessesFailed, OSError) as error:
        if chosen is not None:
            raise
        reason = str(error).strip().partition("\n")[0]
        logger.warning("charter of %s: OAR's database cannot be read (%s), asking the REST API", site, reason)
        return _read_api(site, day, user)


# The REST API

def _read_api(site: str, day: datetime.date, user: str) -> tuple[list[tuple[str, int]], list[CharterJob]]:
    with configured() as api:
        resources = api.get_json(f"/sites/{site}/internal/oarapi/resources/details.json", limit=ALL)["items"]
        cores = [(row["network_address"], 1) for row in resources if row["type"] == "default" and row["state"] != "Dead"]
        return cores, list(_jobs_of_api(api, site, day, user))


def _jobs_of_api(api: APIConnection, site: str, day: datetime.date, user: str) -> Iterator[CharterJob]:
    begins, ends = get_oar_day_start_end(day)
    seen = set()
    for states, oldest in ((_LIVE, 0.0), (None, begins - FORESIGHT)):
        for item in _pages(api, site, user, states, oldest):
            if item["uid"] not in seen:
                seen.add(item["uid"])
                job = job_of_api(item)
                if job is not None and job.start_date <= ends and (item.get("stopped_at") or job.end_date) >= begins:
                    yield job


def _pages(api: APIConnection, site: str, user: str, states: str | None, oldest: float) -> Iterator[dict[str, Any]]:
    """Jobs, newest first, down to those that were submitted before `oldest`."""
    offset = 0
    while True:
        items = api.get_json(f"/sites/{site}/jobs", user=user, resources=True, state=states, limit=PAGE, offset=offset)["items"]
        yield from items
        # The server's own cap may be lower than our limit, so that only an empty page is the last one.
        offset += len(items)
        if not items or items[-1]["submitted_at"] < oldest:
            return


def job_of_api(item: Mapping[str, Any]) -> CharterJob | None:
    """A job of the REST API; None if it has no start, not even a predicted one."""
    start = item.get("started_at") or item.get("scheduled_at")
    if not start:
        return None
    cores: dict[str, int] = {}
    for core in item.get("resources_by_type", {}).get("cores", ()):
        cluster = cluster_of(core.partition("/")[0])
        cores[cluster] = cores.get(cluster, 0) + 1
    return CharterJob(float(start), float(item["walltime"]), cores, float(item["submitted_at"]), item.get("queue") or "default",
                      tuple(item.get("types", ())), f"job {item['uid']}")


# OAR's database

_CORES = "SELECT network_address, COUNT(*) FROM resources WHERE type = 'default' AND state <> 'Dead' GROUP BY network_address"

# Jobs that have begun have assigned resources; for the others, the scheduler's plan says when and where.
_JOBS = """
    SELECT jobs.job_id, jobs.queue_name, jobs.submission_time, jobs.start_time, chosen.moldable_walltime, resources.type,
           resources.network_address, COUNT(*)
      FROM jobs
      JOIN moldable_job_descriptions AS chosen ON chosen.moldable_id = jobs.assigned_moldable_job
      JOIN assigned_resources AS given ON given.moldable_job_id = chosen.moldable_id
      JOIN resources ON resources.resource_id = given.resource_id
     WHERE jobs.job_user = %(user)s AND jobs.start_time > 0 AND jobs.start_time <= %(ends)s
       AND CASE WHEN jobs.stop_time > 0 THEN jobs.stop_time ELSE jobs.start_time + chosen.moldable_walltime END >= %(begins)s
     GROUP BY 1, 2, 3, 4, 5, 6, 7
    UNION ALL
    SELECT jobs.job_id, jobs.queue_name, jobs.submission_time, plan.start_time, chosen.moldable_walltime, resources.type,
           resources.network_address, COUNT(*)
      FROM jobs
      JOIN moldable_job_descriptions AS chosen ON chosen.moldable_job_id = jobs.job_id
      JOIN gantt_jobs_predictions_visu AS plan ON plan.moldable_job_id = chosen.moldable_id
      JOIN gantt_jobs_resources_visu AS given ON given.moldable_job_id = chosen.moldable_id
      JOIN resources ON resources.resource_id = given.resource_id
     WHERE jobs.job_user = %(user)s AND jobs.assigned_moldable_job = 0 AND jobs.state NOT IN ('Terminated', 'Error')
       AND plan.start_time <= %(ends)s AND plan.start_time + chosen.moldable_walltime >= %(begins)s
     GROUP BY 1, 2, 3, 4, 5, 6, 7
"""
_TYPES = "SELECT job_id, type FROM job_types WHERE job_id = ANY(%(ids)s)"


def _read_database(site: str, day: datetime.date, user: str) -> tuple[list[tuple[str, int]], list[CharterJob]]:
    begins, ends = get_oar_day_start_end(day)
    try:
        with oar_database(site) as connection:
            cores = connection.execute(_CORES).fetchall()
            rows = connection.execute(_JOBS, {"user": user, "begins": int(begins), "ends": int(ends)}).fetchall()
            types = connection.execute(_TYPES, {"ids": sorted({row[0] for row in rows})}).fetchall()
    except OSError as error:
        raise OSError(f"OAR's database of {site}: {error}") from error
    return [(address, number) for address, number in cores], jobs_of_rows(rows, [(job_id, kind) for job_id, kind in types])


def jobs_of_rows(rows: Iterable[tuple[Any, ...]], types: Iterable[tuple[int, str]]) -> list[CharterJob]:
    """Jobs of the rows of OAR's database: (id, queue, submission, start, walltime, type of resource, network address, number)."""
    types_of: dict[int, list[str]] = {}
    for job_id, job_type in types:
        types_of.setdefault(job_id, []).append(job_type)
    facts: dict[int, tuple[Any, ...]] = {}
    cores: dict[int, dict[str, int]] = {}
    for job_id, queue, submitted, start, walltime, kind, address, number in rows:
        facts[job_id] = (queue, submitted, start, walltime)
        of_job = cores.setdefault(job_id, {})
        if kind == "default":
            of_job[cluster_of(address)] = of_job.get(cluster_of(address), 0) + number
    return [CharterJob(float(start), float(walltime), cores[job_id], float(submitted), queue, tuple(types_of.get(job_id, ())),
                       f"job {job_id}") for job_id, (queue, submitted, start, walltime) in facts.items()]
