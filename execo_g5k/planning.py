"""When the resources of Grid'5000 are free, and requests for OAR that fit."""

from __future__ import annotations

from execo.host import Host
from execo.log import logger, style
from execo.time_utils import format_date, get_seconds, get_unixts, timedelta_to_seconds, unixts_to_datetime

from ._planning.collect import get_charter_el_planning, get_planning
from ._planning.common import oarsubgrid_first_slot
from ._planning.distribution import distribute_hosts
from ._planning.drawing import draw_gantt, draw_slots
from ._planning.jobs import get_hosts_jobs, get_job_by_name
from ._planning.show import show_resources
from ._planning.slots import (
    compute_coorm_slots,
    compute_slots,
    find_coorm_slot,
    find_first_slot,
    find_free_slot,
    find_max_slot,
    max_resources,
)
from ._planning.specs import get_jobs_specs
from .api_utils import (
    get_cluster_site,
    get_g5k_clusters,
    get_g5k_hosts,
    get_g5k_sites,
    get_host_attributes,
    get_host_cluster,
    get_host_longname,
    get_host_shortname,
    get_host_site,
    get_resource_attributes,
    get_site_clusters,
    get_site_hosts,
)
from .charter import g5k_charter_time, get_next_charter_period
from .config import g5k_configuration
from .oar import OarSubmission, get_current_oar_jobs, get_oar_job_info
from .utils import G5kAutoPortForwarder

# names that are at home here
_OWN = (
    compute_coorm_slots, compute_slots, distribute_hosts, draw_gantt, draw_slots, find_coorm_slot, find_first_slot, find_free_slot,
    find_max_slot, get_charter_el_planning, get_hosts_jobs, get_job_by_name, get_jobs_specs, get_planning, max_resources,
    oarsubgrid_first_slot, show_resources,
)
for _name in _OWN:
    _name.__module__ = __name__         # so that reprs, pickles and the documentation show the public path

__all__ = [
    "G5kAutoPortForwarder", "Host", "OarSubmission", "compute_coorm_slots", "compute_slots", "distribute_hosts", "draw_gantt", "draw_slots",
    "find_coorm_slot", "find_first_slot", "find_free_slot", "find_max_slot", "format_date", "g5k_charter_time", "g5k_configuration",
    "get_charter_el_planning", "get_cluster_site", "get_current_oar_jobs", "get_g5k_clusters", "get_g5k_hosts", "get_g5k_sites",
    "get_host_attributes", "get_host_cluster", "get_host_longname", "get_host_shortname", "get_host_site", "get_hosts_jobs",
    "get_job_by_name", "get_jobs_specs", "get_next_charter_period", "get_oar_job_info", "get_planning", "get_resource_attributes",
    "get_seconds", "get_site_clusters", "get_site_hosts", "get_unixts", "logger", "max_resources", "oarsubgrid_first_slot",
    "show_resources", "style", "timedelta_to_seconds", "unixts_to_datetime",
]
