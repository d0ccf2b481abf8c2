"""The public names: our own list of what the packages promise."""

from __future__ import annotations

import importlib
import inspect
import pickle

import pytest

# {public module: what it must offer}.  What is not here may change.
PUBLIC = {
    "execo.config": """
        SSH SCP TAKTUK CHAINPUT configuration default_connection_params make_default_connection_params
        make_connection_params load_configuration get_user_config_filename checktty
    """,
    "execo.exception": "ProcessesFailed ActionsFailed",
    "execo.log": "logger style",
    "execo.time_utils": """
        get_seconds get_unixts format_date format_unixts format_duration format_seconds sleep Timer
        timedelta_to_seconds datetime_to_unixts unixts_to_datetime numeric_date_to_unixts
        numeric_duration_to_seconds str_date_to_unixts str_duration_to_seconds
    """,
    "execo.utils": """
        comma_join compact_output str_from_cmdline name_from_cmdline checked_min intr_event_wait
        non_retrying_intr_cond_wait memoize do_once get_port singleton_to_collection is_string
    """,
    "execo.hostset": "expand fold",
    "execo.host": "Host get_hosts_list get_unique_hosts_list get_hosts_set",
    "execo.substitutions": "remote_substitute get_caller_context",
    "execo.ssh_utils": """
        get_ssh_command get_scp_command get_taktuk_connector_command get_ssh_scp_auth_options
        get_rewritten_host_address
    """,
    "execo.report": "Report",
    "execo.conductor": "the_conductor debug_dump_processes debug_dump_threads debug_toggle_thread",
    "execo.process": """
        STDOUT STDERR stream_name ProcessLifecycleHandler ProcessOutputHandler ExpectOutputHandler
        handle_process_output ProcessBase Process SshProcess PortForwarder Serial SerialSsh get_process
        port_forwarder_stderr_handler add_process_observer close_shared_connections
    """,
    "execo.action": """
        Action ActionLifecycleHandler ActionNotificationProcessLH ParallelSubActionLH SequentialSubActionLH
        Local Remote RemoteSerial Put Get ChainPut ParallelActions SequentialActions
        wait_any_actions wait_all_actions filter_bad_hosts
        ActionFactory default_action_factory get_remote get_fileput get_fileget
    """,
    "execo.daemon": "DaemonStatus Daemons find_daemon start_daemon",
    "execo.localcluster": "Fault LocalCluster LocalHost",
    "execo_engine": """
        Engine HashableDict ParamSweeper copy_outputs engine geom igeom log logger redirect_outputs slugify sweep sweep_stats utils
        Notebook Results diff_runs SweepEngine ReservationOver testbeds __version__
    """,
    "execo_engine.engine": "Engine run_meth_on_engine_ancestors copy_outputs redirect_outputs logger",
    "execo_engine.log": "logger",
    "execo_engine.notebook": "Difference Notebook diff_runs format_differences read_notebook read_notebooks",
    "execo_engine.results": "DamagedLine Result Results combination_name",
    "execo_engine.sweep": """
        HashableDict ParamSweeper geom igeom sweep sweep_stats logger ParameterSpace ClaimLost SweepDirectory export_execo2
    """,
    "execo_engine.plot": "plot_states",
    "execo_engine.testbeds": "ClusterTestbed SlurmTestbed StaticTestbed Testbed",
    "execo_engine.workflow": "ReservationOver SweepEngine",
    "execo_engine.utils": "MAXFD copy_outputs redirect_outputs slugify",
    "execo_g5k": """
        __version__ G5kAutoPortForwarder OarError OarSubmission config default_frontend_connection_params default_oarsh_oarcp_params
        g5k_configuration get_current_oar_jobs get_kavlan_host_name get_oar_array_jobs get_oar_grid_info get_oar_grid_jobs
        get_oar_grid_nodes get_oar_grids get_oar_job_info get_oar_job_kavlan get_oar_job_nodes get_oar_job_subnets get_oargrid_job_info
        get_oargrid_job_nodes get_oargrid_job_oar_jobs oar oardel oardelgrid oargriddel oargridsub oarsub oarsubgrid utils
        wait_oar_grid_start wait_oar_job_start wait_oargrid_job_start
    """,
    "execo_g5k.charter": """
        CHARTER_RULES CharterJob CharterRule CharterState charter_quotas charter_state charter_use charter_violations french_holidays
        g5k_charter_remaining g5k_charter_time get_next_charter_period get_oar_day_start_end oar_datetime_to_unixts
        unixts_to_oar_datetime
    """,
    "execo_g5k.vmutils": """
        Hypervisor JobInfo MigrationResult PingLog PingProbes VMAction VMDeployment VMList VMResult VMSequence activate_vms
        circular_moves create_disks create_disks_all_hosts crossed_moves default_vm define_vms destroy_vms distribute_vms domain_xml
        get_CPU_RAM_FLOPS get_capacities get_max_vms get_oar_job_vm5k_resources get_oargrid_job_vm5k_resources get_vms_slot
        install_vms list_vm migrate_vm migrate_vms moves_to pin_vms prettify print_step put_image reboot_hosts restart_vms
        rm_qcow2_disks show_vms split_moves ssh_probe start_vms state_xml wait_hosts_down wait_hosts_up wait_vms_have_started
    """,
    "execo_g5k.vmengine": "VMEngine VMsFailed",
    "execo_g5k.config": """
        g5k_configuration default_frontend_connection_params default_oarsh_oarcp_params make_default_frontend_connection_params
        make_default_oarsh_oarcp_params
    """,
    "execo_g5k.gridbox": "BoxClock GridBox build_guest",
    "execo_g5k.oar": """
        OarSubmission OarError GridJobs format_oar_date format_oar_duration get_oarsub_commandline oar_date_to_unixts
        oar_duration_to_seconds oardel oardelgrid oarsub oarsubgrid wait_oar_grid_start wait_oar_job_start get_current_oar_jobs
        get_oar_array_jobs get_oar_job_info get_oar_job_nodes get_oar_job_subnets get_oar_job_kavlan
    """,
    "execo_g5k.api_utils": """
        APIConnection APIException api_change_job_walltime api_delete_job api_get_job api_get_jobs api_submit_job api_wait_job
        canonical_host_name filter_clusters get_api_data get_cluster_attributes get_cluster_hosts get_cluster_jobtypes
        get_cluster_network_equipments get_cluster_queues get_cluster_site get_g5k_clusters get_g5k_hosts get_g5k_sites
        get_host_attributes get_host_cluster get_host_interface get_host_longname get_host_network_equipments get_host_shortname
        get_host_site get_host_switch get_hosts_metric get_hosts_metric_dataframe get_hosts_properties
        get_network_equipment_attributes get_network_equipment_site get_nodes_vlan get_oar_request get_resource_attributes
        get_site_attributes get_site_clusters get_site_hosts get_site_network_equipments group_hosts set_nodes_vlan
    """,
    "execo_g5k.oargrid": """
        oargridsub oargriddel get_oargridsub_commandline get_oargrid_job_info get_oargrid_job_key get_oargrid_job_nodes
        get_oargrid_job_oar_jobs wait_oargrid_job_start
    """,
    "execo_g5k.kadeploy": """
        ApiDeployer Deployment DeploymentReport DeploymentResult FrontendPrefixWrapper KaconsoleProcess KaconsoleProcessLifecycleHandler
        KadeployOutput Kadeployer NodeProgress NodeReport deploy get_kadeploy_commandline
    """,
    "execo_g5k.planning": """
        compute_coorm_slots compute_slots distribute_hosts draw_gantt draw_slots find_coorm_slot find_first_slot find_free_slot
        find_max_slot get_charter_el_planning get_hosts_jobs get_job_by_name get_jobs_specs get_planning max_resources
        oarsubgrid_first_slot show_resources
    """,
    "execo_g5k.testbed": "G5kTestbed",
    "execo_g5k.topology": "arbitrary_latency g5k_graph suffix treemap",
    "execo_g5k.utils": """
        G5kAutoPortForwarder frontend_factory get_default_frontend get_frontend_host get_ipv4_range get_kavlan_host_name
        get_mac_addresses hosts_list get_fastest_host get_kavlan_ip_mac get_kavlan_network
    """,
}

# `from execo import *` in a script gives these.
TOP_LEVEL = """
    Action ActionLifecycleHandler ActionsFailed ChainPut ExpectOutputHandler Get Host Local ParallelActions PortForwarder
    Process ProcessLifecycleHandler ProcessOutputHandler ProcessesFailed Put Remote RemoteSerial Report
    SequentialActions Serial SerialSsh SshProcess Timer
    SSH SCP TAKTUK CHAINPUT STDOUT STDERR
    configuration default_connection_params logger sleep format_date format_duration get_seconds
    find_daemon start_daemon
    default_action_factory get_remote get_fileput get_fileget get_process
    filter_bad_hosts wait_any_actions wait_all_actions
    action conductor config exception host log process report ssh_utils substitutions time_utils utils
""".split()


@pytest.mark.parametrize("module_name", PUBLIC)
def test_a_public_module_offers_its_names(module_name: str) -> None:
    module = importlib.import_module(module_name)
    assert [name for name in PUBLIC[module_name].split() if not hasattr(module, name)] == []
    assert [name for name in PUBLIC[module_name].split() if name not in module.__all__] == []


@pytest.mark.parametrize("module_name", [*PUBLIC, "execo"])
def test_all_lists_only_what_exists_and_only_once(module_name: str) -> None:
    module = importlib.import_module(module_name)
    assert [name for name in module.__all__ if not hasattr(module, name)] == []
    assert len(module.__all__) == len(set(module.__all__))


@pytest.mark.parametrize("module_name", PUBLIC)
def test_a_class_carries_a_public_path_that_leads_back_to_it(module_name: str) -> None:
    module = importlib.import_module(module_name)
    for name in module.__all__:
        value = getattr(module, name)
        if not inspect.isclass(value):
            continue
        home = importlib.import_module(value.__module__)
        assert not any(part.startswith("_") for part in value.__module__.split(".")), f"{name}: {value.__module__}"
        assert getattr(home, value.__qualname__) is value
        assert pickle.loads(pickle.dumps(value)) is value


@pytest.mark.parametrize("module_name", [name for name in PUBLIC if "." in name])
def test_a_function_carries_a_public_path(module_name: str) -> None:
    module = importlib.import_module(module_name)
    private = [f"{name}: {value.__module__}" for name in module.__all__
               if inspect.isfunction(value := getattr(module, name))
               and any(part.startswith("_") for part in value.__module__.split("."))]
    assert private == []


def test_star_import_gives_what_scripts_use() -> None:
    namespace: dict[str, object] = {}
    exec("from execo import *", namespace)
    assert [name for name in TOP_LEVEL if name not in namespace] == []
