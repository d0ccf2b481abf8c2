"""Virtual machines of libvirt on many hosts: placed, made, started, pinned, migrated, measured and destroyed.

A VM is a plain dict (see `default_vm`).  What concerns many VMs is a `VMAction`: all hosts are reached through one TakTuk tree, and all
that a host has to do is one remote process.  Nothing is raised for a VM that fails: `results` and `failures` tell of each.
"""

from __future__ import annotations

from ._vm.actions import (
    VMList,
    create_disks,
    create_disks_all_hosts,
    destroy_vms,
    distribute_vms,
    get_capacities,
    install_vms,
    list_vm,
    pin_vms,
    put_image,
    rm_qcow2_disks,
    show_vms,
    start_vms,
)
from ._vm.deployment import VMDeployment
from ._vm.description import default_vm, define_vms
from ._vm.domain import Hypervisor, domain_xml
from ._vm.migration import migrate_vm, migrate_vms
from ._vm.moves import MigrationResult, circular_moves, crossed_moves, moves_to, split_moves
from ._vm.outcome import VMResult
from ._vm.probes import PingProbes
from ._vm.remote import VMAction, VMSequence
from ._vm.setup import state_xml
from ._vm.virsh import JobInfo, PingLog
from ._vm.vm5k import (
    activate_vms,
    get_CPU_RAM_FLOPS,
    get_max_vms,
    get_oar_job_vm5k_resources,
    get_oargrid_job_vm5k_resources,
    get_vms_slot,
    prettify,
    print_step,
    reboot_hosts,
    restart_vms,
    wait_hosts_down,
    wait_hosts_up,
)
from ._vm.waiting import ssh_probe, wait_vms_have_started

# names that are at home here
_OWN = (
    Hypervisor, JobInfo, MigrationResult, PingLog, PingProbes, VMAction, VMDeployment, VMList, VMResult, VMSequence, activate_vms,
    circular_moves, create_disks, create_disks_all_hosts, crossed_moves, define_vms, destroy_vms, distribute_vms, domain_xml,
    get_CPU_RAM_FLOPS, get_capacities, get_max_vms, get_oar_job_vm5k_resources, get_oargrid_job_vm5k_resources, get_vms_slot,
    install_vms, list_vm, migrate_vm, migrate_vms, moves_to, pin_vms, prettify, print_step, put_image, reboot_hosts, restart_vms,
    rm_qcow2_disks, show_vms, split_moves, ssh_probe, start_vms, state_xml, wait_hosts_down, wait_hosts_up, wait_vms_have_started,
)
for _name in _OWN:
    _name.__module__ = __name__         # so that reprs, pickles and the documentation show the public path

__all__ = [
    "Hypervisor", "JobInfo", "MigrationResult", "PingLog", "PingProbes", "VMAction", "VMDeployment", "VMList", "VMResult", "VMSequence",
    "activate_vms", "circular_moves", "create_disks", "create_disks_all_hosts", "crossed_moves", "default_vm", "define_vms",
    "destroy_vms", "distribute_vms", "domain_xml", "get_CPU_RAM_FLOPS", "get_capacities", "get_max_vms", "get_oar_job_vm5k_resources",
    "get_oargrid_job_vm5k_resources", "get_vms_slot", "install_vms", "list_vm", "migrate_vm", "migrate_vms", "moves_to", "pin_vms",
    "prettify", "print_step", "put_image", "reboot_hosts", "restart_vms", "rm_qcow2_disks", "show_vms", "split_moves", "ssh_probe",
    "start_vms", "state_xml", "wait_hosts_down", "wait_hosts_up", "wait_vms_have_started",
]
