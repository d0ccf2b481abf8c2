"""The state of sites from the databases of OAR 2.5: read-only, three questions for a site.

The queries are written for the tables that OAR 2.5 documents.  Predicted starts are those of the tables ``*_visu``, which OAR replaces when
it has finished scheduling; those without that suffix are empty in the meantime.
"""

from __future__ import annotations

from execo.exception import ProcessesFailed
from execo.log import logger

from .._oar.database import oar_database
from .state import Job, SourceError, disk_name, state_of_rows, subnet_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from psycopg import Connection

    from .state import SiteState

COLUMNS = ("resource_id", "type", "network_address", "state", "available_upto", "cpuset", "maintenance", "host", "disk", "vlan",
           "subnet_address", "subnet_prefix")
"""Those of resources that matter here; not each site has each: they are properties that its administrators add."""

_COLUMNS_OF_SITE = """
SELECT column_name FROM information_schema.columns
WHERE table_name = 'resources' AND table_schema = ANY (current_schemas(false)) AND column_name = ANY (%s)
"""

_JOBS = """
WITH live AS (
    SELECT job_id, queue_name, start_time, assigned_moldable_job FROM jobs WHERE state NOT IN ('Terminated', 'Error')
), held AS (
    SELECT live.job_id, live.queue_name, assigned.moldable_job_id AS moldable_id, live.start_time, assigned.resource_id
    FROM live JOIN assigned_resources assigned ON assigned.moldable_job_id = live.assigned_moldable_job
    WHERE live.assigned_moldable_job <> 0 AND live.start_time <> 0
), predicted AS (
    SELECT live.job_id, live.queue_name, gantt.moldable_job_id AS moldable_id,
           CASE WHEN live.start_time <> 0 THEN live.start_time ELSE gantt.start_time END AS start_time, taken.resource_id
    FROM live
    JOIN moldable_job_descriptions moldable ON moldable.moldable_job_id = live.job_id
    JOIN gantt_jobs_predictions_visu gantt ON gantt.moldable_job_id = moldable.moldable_id
    JOIN gantt_jobs_resources_visu taken ON taken.moldable_job_id = moldable.moldable_id
), uses AS (SELECT * FROM held UNION SELECT * FROM predicted)
SELECT uses.job_id, uses.queue_name, uses.start_time, moldable.moldable_walltime, array_agg(uses.resource_id ORDER BY uses.resource_id)
FROM uses JOIN moldable_job_descriptions moldable ON moldable.moldable_id = uses.moldable_id
GROUP BY uses.job_id, uses.queue_name, uses.moldable_id, uses.start_time, moldable.moldable_walltime
ORDER BY uses.job_id DESC
"""


def read_state(connection: Connection[Any], cores: bool) -> SiteState:
    """Of the site whose database this is."""
    from psycopg import sql
    from psycopg.rows import dict_row

    with connection.cursor() as cursor:
        cursor.execute(_COLUMNS_OF_SITE, (list(COLUMNS),))
        present = {name for (name,) in cursor.fetchall()}
    columns = [name for name in COLUMNS if name in present]
    if not columns:
        raise SourceError("the database has no table of OAR's resources")
    with connection.cursor(row_factory=dict_row) as by_name:
        by_name.execute(sql.SQL("SELECT {} FROM resources ORDER BY resource_id").format(sql.SQL(", ").join(map(sql.Identifier, columns))))
        rows = by_name.fetchall()
    with connection.cursor(binary=True) as cursor:
        cursor.execute(_JOBS)
        found = cursor.fetchall()
    resources = {row["resource_id"]: row for row in rows}
    jobs = [job_of_resources(job_id, queue, start, walltime, (resources[r] for r in ids if r in resources), cores)
            for job_id, queue, start, walltime, ids in found]
    return state_of_rows(rows, jobs)


def job_of_resources(job_id: int, queue: str, start: int, walltime: int, rows: Iterable[Mapping[str, Any]], cores: bool) -> Job:
    """A job that holds these resources."""
    hosts: dict[str, None] = {}
    held: list[str] = []
    vlans: list[str] = []
    subnets: list[str] = []
    disks: list[str] = []
    for row in rows:
        kind = row["type"]
        if kind == "default":
            hosts[row["network_address"]] = None
            if cores:
                held.append(f"{row['network_address']}/{row['cpuset']}")
        elif kind == "disk" and row.get("disk") and row.get("host"):
            disks.append(disk_name(row["disk"], row["host"]))
        elif kind == "subnet" and row.get("subnet_address"):
            subnets.append(subnet_name(row["subnet_address"], row.get("subnet_prefix")))
        elif kind.startswith("kavlan") and row.get("vlan") is not None:
            vlans.append(str(row["vlan"]))
    return Job(job_id, queue, start, walltime, tuple(hosts), held, vlans, subnets, disks)


class PostgresqlSource:
    """Each site has its own database."""

    def state(self, site: str, cores: bool) -> SiteState:
        """Of a site.

        :raises SourceError: if its database cannot be reached or read.
        :raises ImportError: without psycopg.
        """
        try:
            with oar_database(site) as connection:
                return read_state(connection, cores)
        except (ProcessesFailed, OSError) as error:
            logger.debug("database of OAR at %s: %s", site, error)
            raise SourceError(_first_line(error)) from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
