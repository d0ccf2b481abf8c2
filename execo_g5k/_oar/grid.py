"""Jobs on several sites that are reserved together, all or none."""

from __future__ import annotations

import copy
import os
import shlex

from execo.host import Host
from execo.log import logger
from execo.time_utils import get_seconds, get_unixts
from execo.utils import singleton_to_collection

from .._clock import now
from ..config import g5k_configuration
from . import registry
from .frontends import command_of, complain, failure_of, place, run_on_frontends, seconds_of
from .jobs import INTERRUPTED_TIMEOUT, Outcome, checked_specs, delete, look_at, nodes_of_jobs, submit, wait_for_starts
from .parse import parse_jobs
from .submission import OarSubmission

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from execo.time_utils import Date, Duration

    from .frontends import Frontend, Params, Timeout

CLOCKS_DIFFER = 5.0
"""Seconds by which the clock of a frontend may be behind ours."""


class GridJobs(list["tuple[int, Frontend]"]):
    """The pairs (job id, frontend) of a reservation; `grid_id` is what the functions about grids take, also in another program."""

    grid_id: int | None = None


def oarsubgrid(job_specs: Iterable[tuple[OarSubmission, Frontend]], reservation_date: Date | None = None, walltime: Duration | None = None,
               job_type: str | Iterable[str] | None = None, queue: str | None = None, directory: str | None = None,
               additional_options: str | None = None, frontend_connection_params: Params = None, timeout: Timeout = False) -> GridJobs:
    """Submit one job for each site, at once; if one is refused, the others are deleted.

    :param job_specs: pairs (`OarSubmission`, frontend), which are left as they are.
    :param reservation_date: the common start.  Without one (here or in the submissions) each site starts its job when it can;
      `execo_g5k.planning.oarsubgrid_first_slot` looks for the first date that suits all.

    It and the other fields, where they are given, take the place of those of each submission.

    :param timeout: for each submission; False: ``g5k_configuration['default_timeout']``; None: none.
    :returns: pairs (job id, frontend), with a `grid_id` that outlives this program; empty if one was refused: the log says why.
    """
    fields = {"reservation_date": reservation_date, "walltime": walltime, "job_type": job_type, "queue": queue, "directory": directory,
              "additional_options": additional_options}
    specs = []
    for given, frontend in checked_specs(job_specs):
        spec = copy.copy(given)
        for name, value in fields.items():
            if value is not None:
                setattr(spec, name, value)
        specs.append((spec, frontend))
    seconds = seconds_of(timeout)
    began = now()

    def interrupted(outcomes: list[Outcome]) -> None:
        logger.warning("interrupted: deleting the jobs that were accepted: %s",
                       [(job_id, outcome.frontend) for outcome in outcomes for job_id in outcome.printed])
        _delete_all(outcomes, began, frontend_connection_params, INTERRUPTED_TIMEOUT)

    outcomes = submit(specs, frontend_connection_params, seconds, interrupted)
    failed = [outcome for outcome in outcomes if outcome.reason]
    if failed:
        for outcome in failed:
            complain(outcome.reason)
        _delete_all(outcomes, began, frontend_connection_params, seconds)
        return GridJobs()
    jobs = GridJobs((outcome.job_id, outcome.frontend) for outcome in outcomes if outcome.job_id is not None)
    if jobs:
        jobs.grid_id = _note(outcomes, specs, began)
    return jobs


def _note(outcomes: list[Outcome], specs: list[tuple[OarSubmission, Frontend]], began: float) -> int | None:
    jobs = tuple((job_id, None if outcome.frontend is None else Host(outcome.frontend).address)
                 for outcome in outcomes for job_id in outcome.printed)
    starts = [get_unixts(spec.reservation_date) for spec, _ in specs if spec.reservation_date is not None]
    walltimes = [get_seconds(spec.walltime) for spec, _ in specs if spec.walltime is not None]
    key = g5k_configuration["oar_job_key_file"] or os.environ.get("OAR_JOB_KEY_FILE")
    grid = registry.Grid(jobs, began, max(starts, default=None), min(walltimes, default=None), key)
    try:
        return registry.add(grid)
    except OSError as error:            # the jobs are there: an id is no reason to lose them
        complain(f"the reservation {list(jobs)} is not noted in {registry.folder()}, so that it has no id: {error}")
        return None


def _delete_all(outcomes: list[Outcome], began: float, params: Params, timeout: float | None) -> None:
    jobs = [(job_id, outcome.frontend) for outcome in outcomes for job_id in outcome.printed]
    jobs += _lost_jobs([outcome for outcome in outcomes if outcome.doubtful and not outcome.printed], began, params, timeout)
    for job_id, frontend, reason in delete(jobs, params, timeout):
        complain(f"job {job_id} on {place(frontend)} may be left over: {reason}")


def _lost_jobs(outcomes: list[Outcome], began: float, params: Params, timeout: float | None) -> list[tuple[int, Frontend]]:
    """Jobs that were submitted although the connection broke before their ids came: those with the very request, since then."""
    found: list[tuple[int, Frontend]] = []
    processes = run_on_frontends([("oarstat -u -f -J", outcome.frontend) for outcome in outcomes], params, timeout)
    for outcome, process in zip(outcomes, processes, strict=True):
        if reason := failure_of(process):
            complain(f"a job may be left over on {place(outcome.frontend)}, where OAR does not answer ({reason}): "
                     f"{command_of(outcome.process)}")
            continue
        request = " ".join(shlex.split(command_of(outcome.process)))
        found += [(job.job_id, outcome.frontend) for job in parse_jobs(process.stdout)
                  if job.job_id is not None and job.initial_request == request
                  and job.submission_date is not None and job.submission_date >= began - CLOCKS_DIFFER]
    return found


# By id, in this program or another

def get_oar_grids() -> list[int]:
    """Ids of the reservations that were made from this machine and have not been deleted, oldest first."""
    return registry.grid_ids()


def get_oar_grid_jobs(grid_id: int) -> list[tuple[int, str | None]]:
    """Pairs (job id, frontend) of a reservation.

    :raises ValueError: for an unknown id.
    """
    return list(registry.get(grid_id).jobs)


def get_oar_grid_info(grid_id: int, frontend_connection_params: Params = None, timeout: Timeout = False) -> dict[str, Any]:
    """State of a reservation, as a dict.

    `jobs`; `states`, of each job in this order (None: unknown); `start_date`, when all have started or will have, if that is known; and
    `walltime`, if it was given.

    :raises ValueError: for an unknown id.
    """
    grid = registry.get(grid_id)
    answers = look_at(grid.jobs, frontend_connection_params, seconds_of(timeout))
    info: dict[str, Any] = {"jobs": list(grid.jobs), "states": [None if facts is None else facts.state for facts, _ in answers]}
    starts = [None if facts is None else facts.start_date or facts.scheduled_start for facts, _ in answers]
    known = [start for start in starts if start is not None]
    if known and len(known) == len(starts):
        info["start_date"] = max(known)
    elif grid.start_date is not None:
        info["start_date"] = grid.start_date
    if grid.walltime is not None:
        info["walltime"] = grid.walltime
    return info


def wait_oar_grid_start(grid_id: int, frontend_connection_params: Params = None, timeout: Timeout = None,
                        prediction_callback: Callable[[float], object] | None = None) -> bool:
    """Wait until all jobs of a reservation run; as `wait_oar_job_start`.

    :param prediction_callback: called with the predicted start of the last one, each time that it changes.
    :raises ValueError: for an unknown id.
    """
    reason, _ = wait_for_starts(registry.get(grid_id).jobs, frontend_connection_params, seconds_of(timeout), seconds_of(False),
                                prediction_callback)
    if reason:
        complain(f"grid reservation {grid_id}: {reason}")
    return not reason


def get_oar_grid_nodes(grid_id: int, frontend_connection_params: Params = None, timeout: Timeout = False) -> list[Host]:
    """Nodes of all jobs of a reservation, after waiting for their starts.

    :raises OarError: as `get_oar_job_nodes`.
    :raises ValueError: for an unknown id.
    """
    return nodes_of_jobs(registry.get(grid_id).jobs, frontend_connection_params, seconds_of(timeout))


def oardelgrid(grid_ids: int | Iterable[int], frontend_connection_params: Params = None, timeout: Timeout = False) -> None:
    """Delete all jobs of reservations, and forget these; one of which a job cannot be deleted is kept, and the log says why.

    :raises ValueError: for an unknown id, before anything is deleted.
    """
    delete_grids({grid_id: registry.get(grid_id) for grid_id in singleton_to_collection(grid_ids)}, frontend_connection_params,
                 seconds_of(timeout))


def delete_grids(grids: Mapping[int, registry.Grid], params: Params, timeout: float | None) -> None:
    """As `oardelgrid`, of those that have been looked up."""
    jobs = [(job_id, frontend) for grid in grids.values() for job_id, frontend in grid.jobs]
    kept = {}
    for job_id, frontend, reason in delete(jobs, params, timeout):
        kept[job_id, frontend] = reason
    # One that has ended cannot be deleted either, nor one of which OAR knows no more: the codes of oardel do not tell them from others.
    for job, (facts, process) in zip(list(kept), look_at(list(kept), params, timeout), strict=True):
        if process.exit_code == 0 if facts is None else facts.state in ("Terminated", "Error"):
            del kept[job]
    for grid_id, grid in grids.items():
        left = [job for job in grid.jobs if job in kept]
        for job_id, frontend in left:
            complain(f"grid reservation {grid_id}: job {job_id} on {place(frontend)} is not deleted: {kept[job_id, frontend]}")
        if not left:
            registry.forget(grid_id)
            logger.debug("grid reservation %s is deleted", grid_id)
