"""The REST API of Grid'5000: what there is, measurements, VLANs, jobs.

Needs requests.  The description of the platform is read when it is first asked for, see `get_api_data`.
"""

from __future__ import annotations

from execo.log import logger
from execo.time_utils import get_seconds, get_unixts
from execo.utils import singleton_to_collection

from ._api.catalog import (
    filter_clusters,
    get_api_data,
    get_cluster_attributes,
    get_cluster_hosts,
    get_cluster_jobtypes,
    get_cluster_network_equipments,
    get_cluster_queues,
    get_cluster_site,
    get_g5k_clusters,
    get_g5k_sites,
    get_host_attributes,
    get_host_cluster,
    get_host_longname,
    get_host_network_equipments,
    get_host_site,
    get_network_equipment_attributes,
    get_network_equipment_site,
    get_site_attributes,
    get_site_clusters,
    get_site_hosts,
    get_site_network_equipments,
    group_hosts,
)
from ._api.connection import APIConnection, APIException, get_resource_attributes
from ._api.jobs import api_change_job_walltime, api_delete_job, api_get_job, api_get_jobs, api_submit_job, api_wait_job
from ._api.metrics import get_hosts_metric, get_hosts_metric_dataframe
from ._api.names import canonical_host_name, get_host_interface, get_host_shortname
from ._api.selection import get_g5k_hosts, get_host_switch, get_hosts_properties, get_oar_request
from ._api.vlans import get_nodes_vlan, set_nodes_vlan
from .config import g5k_configuration

# names that are at home here
_OWN = (
    APIConnection, APIException, api_change_job_walltime, api_delete_job, api_get_job, api_get_jobs, api_submit_job, api_wait_job,
    canonical_host_name, filter_clusters, get_api_data, get_cluster_attributes, get_cluster_hosts, get_cluster_jobtypes,
    get_cluster_network_equipments, get_cluster_queues, get_cluster_site, get_g5k_clusters, get_g5k_hosts, get_g5k_sites,
    get_host_attributes, get_host_cluster, get_host_interface, get_host_longname, get_host_network_equipments, get_host_shortname,
    get_host_site, get_host_switch, get_hosts_metric, get_hosts_metric_dataframe, get_hosts_properties, get_network_equipment_attributes,
    get_network_equipment_site, get_nodes_vlan, get_oar_request, get_resource_attributes, get_site_attributes, get_site_clusters,
    get_site_hosts, get_site_network_equipments, group_hosts, set_nodes_vlan,
)
for _name in _OWN:
    _name.__module__ = __name__         # so that reprs, pickles and the documentation show the public path

__all__ = [
    "APIConnection", "APIException", "api_change_job_walltime", "api_delete_job", "api_get_job", "api_get_jobs", "api_submit_job",
    "api_wait_job", "canonical_host_name", "filter_clusters", "g5k_configuration", "get_api_data", "get_cluster_attributes",
    "get_cluster_hosts", "get_cluster_jobtypes", "get_cluster_network_equipments", "get_cluster_queues", "get_cluster_site",
    "get_g5k_clusters", "get_g5k_hosts", "get_g5k_sites", "get_host_attributes", "get_host_cluster", "get_host_interface",
    "get_host_longname", "get_host_network_equipments", "get_host_shortname", "get_host_site", "get_host_switch", "get_hosts_metric",
    "get_hosts_metric_dataframe", "get_hosts_properties", "get_network_equipment_attributes", "get_network_equipment_site",
    "get_nodes_vlan", "get_oar_request", "get_resource_attributes", "get_seconds", "get_site_attributes", "get_site_clusters",
    "get_site_hosts", "get_site_network_equipments", "get_unixts", "group_hosts", "logger", "set_nodes_vlan", "singleton_to_collection",
]
