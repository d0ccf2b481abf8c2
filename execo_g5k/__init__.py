"""Grid'5000 from `execo`: its catalog, its planning, jobs of one or several sites, deployments, and a small one in a box.

Importing starts no thread and no process.  All but the configuration is imported when it is first asked for.
"""

from __future__ import annotations

from . import config
from ._version import __version__
from .config import default_frontend_connection_params, default_oarsh_oarcp_params, g5k_configuration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from . import api_utils, charter, gridbox, kadeploy, oar, oargrid, planning, testbed, topology, utils, vmutils
    from .api_utils import (
        APIConnection,
        APIException,
        canonical_host_name,
        get_cluster_attributes,
        get_cluster_hosts,
        get_cluster_jobtypes,
        get_cluster_network_equipments,
        get_cluster_queues,
        get_cluster_site,
        get_g5k_clusters,
        get_g5k_hosts,
        get_g5k_sites,
        get_host_attributes,
        get_host_cluster,
        get_host_interface,
        get_host_longname,
        get_host_network_equipments,
        get_host_shortname,
        get_host_site,
        get_hosts_metric,
        get_network_equipment_attributes,
        get_network_equipment_site,
        get_resource_attributes,
        get_site_attributes,
        get_site_clusters,
        get_site_hosts,
        get_site_network_equipments,
        group_hosts,
    )
    from .charter import g5k_charter_time, get_next_charter_period
    from .gridbox import GridBox
    from .kadeploy import Deployment, DeploymentReport, DeploymentResult, KaconsoleProcess, Kadeployer, deploy
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
    from .planning import (
        compute_slots,
        distribute_hosts,
        find_first_slot,
        find_free_slot,
        find_max_slot,
        get_jobs_specs,
        get_planning,
        oarsubgrid_first_slot,
    )
    from .testbed import G5kTestbed
    from .topology import g5k_graph, treemap
    from .utils import G5kAutoPortForwarder, get_kavlan_host_name
    from .vmengine import VMEngine as VMEngine

_NAMES = {
    "api_utils": (
        "APIConnection", "APIException", "canonical_host_name", "get_cluster_attributes", "get_cluster_hosts", "get_cluster_jobtypes",
        "get_cluster_network_equipments", "get_cluster_queues", "get_cluster_site", "get_g5k_clusters", "get_g5k_hosts", "get_g5k_sites",
        "get_host_attributes", "get_host_cluster", "get_host_interface", "get_host_longname", "get_host_network_equipments",
        "get_host_shortname", "get_host_site", "get_hosts_metric", "get_network_equipment_attributes", "get_network_equipment_site",
        "get_resource_attributes", "get_site_attributes", "get_site_clusters", "get_site_hosts", "get_site_network_equipments",
        "group_hosts",
    ),
    "charter": ("g5k_charter_time", "get_next_charter_period"),
    "gridbox": ("GridBox",),
    "kadeploy": ("Deployment", "DeploymentReport", "DeploymentResult", "KaconsoleProcess", "Kadeployer", "deploy"),
    "oar": (
        "OarError", "OarSubmission", "get_current_oar_jobs", "get_oar_array_jobs", "get_oar_grid_info", "get_oar_grid_jobs",
        "get_oar_grid_nodes", "get_oar_grids", "get_oar_job_info", "get_oar_job_kavlan", "get_oar_job_nodes", "get_oar_job_subnets",
        "oardel", "oardelgrid", "oarsub", "oarsubgrid", "wait_oar_grid_start", "wait_oar_job_start",
    ),
    "oargrid": (
        "get_oargrid_job_info", "get_oargrid_job_nodes", "get_oargrid_job_oar_jobs", "oargriddel", "oargridsub", "wait_oargrid_job_start",
    ),
    "planning": (
        "compute_slots", "distribute_hosts", "find_first_slot", "find_free_slot", "find_max_slot", "get_jobs_specs", "get_planning",
        "oarsubgrid_first_slot",
    ),
    "testbed": ("G5kTestbed",),
    "topology": ("g5k_graph", "treemap"),
    "utils": ("G5kAutoPortForwarder", "get_kavlan_host_name"),
    "vmengine": ("VMEngine",),          # not in __all__, for it needs execo_engine
    "vmutils": (),
}
# {name: module that has it}; a module is its own.
_LATER = {name: module for module, names in _NAMES.items() for name in (module, *names)}

__all__ = [
    "APIConnection", "APIException", "Deployment", "DeploymentReport", "DeploymentResult", "G5kAutoPortForwarder", "G5kTestbed",
    "GridBox", "KaconsoleProcess", "Kadeployer", "OarError", "OarSubmission", "__version__", "api_utils", "canonical_host_name",
    "charter", "compute_slots", "config", "default_frontend_connection_params", "default_oarsh_oarcp_params", "deploy",
    "distribute_hosts", "find_first_slot", "find_free_slot", "find_max_slot", "g5k_charter_time", "g5k_configuration", "g5k_graph",
    "get_cluster_attributes", "get_cluster_hosts", "get_cluster_jobtypes", "get_cluster_network_equipments", "get_cluster_queues",
    "get_cluster_site", "get_current_oar_jobs", "get_g5k_clusters", "get_g5k_hosts", "get_g5k_sites", "get_host_attributes",
    "get_host_cluster", "get_host_interface", "get_host_longname", "get_host_network_equipments", "get_host_shortname", "get_host_site",
    "get_hosts_metric", "get_jobs_specs", "get_kavlan_host_name", "get_network_equipment_attributes", "get_network_equipment_site",
    "get_next_charter_period", "get_oar_array_jobs", "get_oar_grid_info", "get_oar_grid_jobs", "get_oar_grid_nodes", "get_oar_grids",
    "get_oar_job_info", "get_oar_job_kavlan", "get_oar_job_nodes", "get_oar_job_subnets", "get_oargrid_job_info",
    "get_oargrid_job_nodes", "get_oargrid_job_oar_jobs", "get_planning", "get_resource_attributes", "get_site_attributes",
    "get_site_clusters", "get_site_hosts", "get_site_network_equipments", "gridbox", "group_hosts", "kadeploy", "oar", "oardel",
    "oardelgrid", "oargrid", "oargriddel", "oargridsub", "oarsub", "oarsubgrid", "oarsubgrid_first_slot", "planning", "testbed",
    "topology", "treemap", "utils", "vmutils", "wait_oar_grid_start", "wait_oar_job_start", "wait_oargrid_job_start",
]


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module 'execo_g5k' has no attribute {name!r}")
    from importlib import import_module

    module = import_module(f"execo_g5k.{_LATER[name]}")
    found: object = module if name == _LATER[name] else getattr(module, name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
