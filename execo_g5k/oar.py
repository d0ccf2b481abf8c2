"""Jobs of OAR on the frontends of one or several sites: submit, look at, wait for, use, delete."""

from __future__ import annotations

from execo.config import make_connection_params
from execo.exception import ProcessesFailed
from execo.host import Host
from execo.process import get_process
from execo.time_utils import (
    Timer,
    format_date,
    format_duration,
    get_seconds,
    get_unixts,
    sleep,
    str_date_to_unixts,
    str_duration_to_seconds,
)
from execo.utils import checked_min, comma_join, singleton_to_collection

from ._oar.formats import format_oar_date, format_oar_duration, oar_date_to_unixts, oar_duration_to_seconds
from ._oar.frontends import OarError
from ._oar.grid import (
    GridJobs,
    get_oar_grid_info,
    get_oar_grid_jobs,
    get_oar_grid_nodes,
    get_oar_grids,
    oardelgrid,
    oarsubgrid,
    wait_oar_grid_start,
)
from ._oar.jobs import (
    get_current_oar_jobs,
    get_oar_array_jobs,
    get_oar_job_info,
    get_oar_job_kavlan,
    get_oar_job_nodes,
    get_oar_job_subnets,
    oardel,
    oarsub,
    wait_oar_job_start,
)
from ._oar.submission import OarSubmission, get_oarsub_commandline
from .config import default_frontend_connection_params, g5k_configuration
from .utils import get_frontend_host

# names that are at home here
_OWN = (
    GridJobs, OarError, OarSubmission, format_oar_date, format_oar_duration, get_current_oar_jobs, get_oar_array_jobs, get_oar_grid_info,
    get_oar_grid_jobs, get_oar_grid_nodes, get_oar_grids, get_oar_job_info, get_oar_job_kavlan, get_oar_job_nodes, get_oar_job_subnets,
    get_oarsub_commandline, oar_date_to_unixts, oar_duration_to_seconds, oardel, oardelgrid, oarsub, oarsubgrid, wait_oar_grid_start,
    wait_oar_job_start,
)
for _name in _OWN:
    _name.__module__ = __name__         # so that reprs, pickles and the documentation show the public path

__all__ = [
    "GridJobs", "Host", "OarError", "OarSubmission", "ProcessesFailed", "Timer", "checked_min", "comma_join",
    "default_frontend_connection_params", "format_date", "format_duration", "format_oar_date", "format_oar_duration", "g5k_configuration",
    "get_current_oar_jobs", "get_frontend_host", "get_oar_array_jobs", "get_oar_grid_info", "get_oar_grid_jobs", "get_oar_grid_nodes",
    "get_oar_grids", "get_oar_job_info", "get_oar_job_kavlan", "get_oar_job_nodes", "get_oar_job_subnets", "get_oarsub_commandline",
    "get_process", "get_seconds", "get_unixts", "make_connection_params", "oar_date_to_unixts", "oar_duration_to_seconds", "oardel",
    "oardelgrid", "oarsub", "oarsubgrid", "singleton_to_collection", "sleep", "str_date_to_unixts", "str_duration_to_seconds",
    "wait_oar_grid_start", "wait_oar_job_start",
]
