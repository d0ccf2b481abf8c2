"""Grid'5000 from `execo`: jobs of OAR, on the frontends of one or several sites.

Importing starts no thread and no process.
"""

from __future__ import annotations

from . import config, oar, oargrid, utils
from ._version import __version__
from .config import default_frontend_connection_params, default_oarsh_oarcp_params, g5k_configuration
from .oar import (
    OarError,
    OarSubmission,
    get_current_oar_jobs,
    get_oar_array_jobs,
    get_oar_grid_info,
    get_oar_grid_jobs,
    get_oar_grid_nodes,
    get_oar_grids,
    get_oar_job_info,
    get_oar_job_kavlan,
    get_oar_job_nodes,
    get_oar_job_subnets,
    oardel,
    oardelgrid,
    oarsub,
    oarsubgrid,
    wait_oar_grid_start,
    wait_oar_job_start,
)
from .oargrid import (
    get_oargrid_job_info,
    get_oargrid_job_nodes,
    get_oargrid_job_oar_jobs,
    oargriddel,
    oargridsub,
    wait_oargrid_job_start,
)
from .utils import G5kAutoPortForwarder, get_kavlan_host_name

__all__ = [
    "G5kAutoPortForwarder", "OarError", "OarSubmission", "__version__", "config", "default_frontend_connection_params",
    "default_oarsh_oarcp_params", "g5k_configuration", "get_current_oar_jobs", "get_kavlan_host_name", "get_oar_array_jobs",
    "get_oar_grid_info", "get_oar_grid_jobs", "get_oar_grid_nodes", "get_oar_grids", "get_oar_job_info", "get_oar_job_kavlan",
    "get_oar_job_nodes", "get_oar_job_subnets", "get_oargrid_job_info", "get_oargrid_job_nodes", "get_oargrid_job_oar_jobs", "oar",
    "oardel", "oardelgrid", "oargrid", "oargriddel", "oargridsub", "oarsub", "oarsubgrid", "utils", "wait_oar_grid_start",
    "wait_oar_job_start", "wait_oargrid_job_start",
]
