"""The names that execo had when Grid'5000 still had OARGrid, on top of `execo_g5k.oar.oarsubgrid`.  Each warns that it is deprecated."""

from __future__ import annotations

import os
import warnings

from . import oar
from ._oar import registry
from .oar import OarSubmission, get_oarsub_commandline
from .utils import get_default_frontend

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from execo.host import Host
    from execo.time_utils import Date, Duration

    from ._oar.frontends import Frontend, Params, Timeout

__all__ = [
    "get_oargrid_job_info",
    "get_oargrid_job_key",
    "get_oargrid_job_nodes",
    "get_oargrid_job_oar_jobs",
    "get_oargridsub_commandline",
    "oargriddel",
    "oargridsub",
    "wait_oargrid_job_start",
]


def _deprecated(old: str, new: str) -> None:
    warnings.warn(f"{old} is deprecated: use execo_g5k.oar.{new}", DeprecationWarning, stacklevel=3)


def _id(oargrid_job_id: int | str | None) -> int:
    given = os.environ.get("OARGRID_JOB_ID") if oargrid_job_id is None else oargrid_job_id
    if given is None or not str(given).isdecimal():
        raise ValueError(f"id of a grid reservation: expected a number, found {given!r}")
    return int(given)


def get_oargridsub_commandline(job_specs: Iterable[tuple[OarSubmission, Frontend]], reservation_date: Date | None = None,
                               walltime: Duration | None = None, job_type: str | Iterable[str] | None = None, queue: str | None = None,
                               directory: str | None = None, additional_options: str | None = None) -> str:
    """What `oargridsub` runs on each frontend, for a human to read: one line ``SITE: oarsub ...`` for each job."""
    _deprecated("get_oargridsub_commandline", "get_oarsub_commandline")
    lines = []
    for spec, frontend in job_specs:
        whole = OarSubmission(
            spec.resources, spec.walltime if walltime is None else walltime, spec.job_type if job_type is None else job_type,
            spec.sql_properties, spec.queue if queue is None else queue,
            spec.reservation_date if reservation_date is None else reservation_date,
            spec.directory if directory is None else directory, spec.project, spec.name,
            spec.additional_options if additional_options is None else additional_options, spec.command)
        lines.append(f"{get_default_frontend() if frontend is None else frontend}: {get_oarsub_commandline(whole)}")
    return "\n".join(lines)


def oargridsub(job_specs: Iterable[tuple[OarSubmission, Frontend]], reservation_date: Date | None = None, walltime: Duration | None = None,
               job_type: str | Iterable[str] | None = None, queue: str | None = None, directory: str | None = None,
               additional_options: str | None = None, frontend_connection_params: Params = None,
               timeout: Timeout = False) -> tuple[int | None, str | None]:
    """As `oarsubgrid`; returns (id of the reservation, path of its key), (None, None) if it was refused.

    There is a key only if ``g5k_configuration['oar_job_key_file']`` or ``OAR_JOB_KEY_FILE`` names one.
    """
    _deprecated("oargridsub", "oarsubgrid")
    jobs = oar.oarsubgrid(job_specs, reservation_date, walltime, job_type, queue, directory, additional_options, frontend_connection_params,
                          timeout)
    return (None, None) if jobs.grid_id is None else (jobs.grid_id, registry.get(jobs.grid_id).key_file)


def oargriddel(job_ids: Iterable[int], frontend_connection_params: Params = None, timeout: Timeout = False) -> None:
    """As `oardelgrid`."""
    _deprecated("oargriddel", "oardelgrid")
    oar.oardelgrid(job_ids, frontend_connection_params, timeout)


def get_oargrid_job_oar_jobs(oargrid_job_id: int | str | None = None, frontend_connection_params: Params = None,
                             timeout: Timeout = False) -> list[tuple[int, str | None]]:
    """As `get_oar_grid_jobs`."""
    _deprecated("get_oargrid_job_oar_jobs", "get_oar_grid_jobs")
    return oar.get_oar_grid_jobs(_id(oargrid_job_id))


def get_oargrid_job_info(oargrid_job_id: int | str | None = None, frontend_connection_params: Params = None,
                         timeout: Timeout = False) -> dict[str, Any]:
    """As `get_oar_grid_info`."""
    _deprecated("get_oargrid_job_info", "get_oar_grid_info")
    return oar.get_oar_grid_info(_id(oargrid_job_id), frontend_connection_params, timeout)


def wait_oargrid_job_start(oargrid_job_id: int | str | None = None, frontend_connection_params: Params = None, timeout: Timeout = None,
                           prediction_callback: Callable[[float], object] | None = None) -> bool:
    """As `wait_oar_grid_start`."""
    _deprecated("wait_oargrid_job_start", "wait_oar_grid_start")
    return oar.wait_oar_grid_start(_id(oargrid_job_id), frontend_connection_params, timeout, prediction_callback)


def get_oargrid_job_nodes(oargrid_job_id: int | str | None = None, frontend_connection_params: Params = None,
                          timeout: Timeout = False) -> list[Host]:
    """As `get_oar_grid_nodes`."""
    _deprecated("get_oargrid_job_nodes", "get_oar_grid_nodes")
    return oar.get_oar_grid_nodes(_id(oargrid_job_id), frontend_connection_params, timeout)


def get_oargrid_job_key(oargrid_job_id: int | str | None = None, timeout: Timeout = False) -> str | None:
    """Path of the key that the jobs were submitted with, or None."""
    _deprecated("get_oargrid_job_key", "get_oar_grid_jobs")
    return registry.get(_id(oargrid_job_id)).key_file
