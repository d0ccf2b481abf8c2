"""Hundreds of virtual machines, by libvirt's test driver inside of real libvirtd on hosts with namespaces."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypervisors import IMAGES, TEST_URI, run, soon, start_test_driver

from execo.localcluster import LocalCluster
from execo_g5k._vm.waiting import GRACE
from execo_g5k.vmengine import VMEngine, VMsFailed
from execo_g5k.vmutils import (
    Hypervisor,
    VMDeployment,
    create_disks,
    create_disks_all_hosts,
    define_vms,
    destroy_vms,
    distribute_vms,
    install_vms,
    list_vm,
    migrate_vm,
    pin_vms,
    rm_qcow2_disks,
    ssh_probe,
    start_vms,
    wait_vms_have_started,
)

pytestmark = pytest.mark.requires("libvirt")
HYPERVISOR = Hypervisor(kind="test", uri=TEST_URI, directory=IMAGES)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    pytest.importorskip("requirements").require("libvirt")
    with LocalCluster(3, "namespaces") as running:
        for host in running.hosts:
            start_test_driver(host, tmp_path_factory.getbasetemp() / "hypervisors")
        yield running


@pytest.fixture
def vms(cluster: LocalCluster) -> Iterator[list[dict[str, Any]]]:
    """Two for each host."""
    made = define_vms([f"vm-{number}" for number in range(6)], backing_file="/images/base.qcow2", hdd=1)
    yield distribute_vms(made, cluster.hosts, capacities={host.address: (2, 4096) for host in cluster.hosts})
    destroy_vms(cluster.hosts, True, HYPERVISOR, cluster.connection_params)


def test_hundreds_are_defined_started_listed_and_destroyed(cluster: LocalCluster) -> None:
    params = cluster.connection_params
    many = define_vms([f"many-{number}" for number in range(600)])
    distribute_vms(many, cluster.hosts, "n_by_hosts")
    defined = install_vms(many, HYPERVISOR, params).run()
    assert defined.ok
    assert len(defined.results) == 600
    assert len(defined.processes) == 3                     # one remote process for each host
    assert "defined" in defined.results["many-0"].output or defined.results["many-0"].output == ""
    assert list_vm(cluster.hosts, False, HYPERVISOR, params) == {host.address: [] for host in cluster.hosts}
    assert start_vms(many, HYPERVISOR, params).run().ok
    assert start_vms(many, HYPERVISOR, params).run().ok    # they run, so there is nothing to do
    listed = list_vm(cluster.hosts, hypervisor=HYPERVISOR, connection_params=params)
    assert {vm["id"]: host for host, theirs in listed.items() for vm in theirs} == {vm["id"]: vm["host"] for vm in many}
    destroyed = destroy_vms(cluster.hosts, False, HYPERVISOR, params)
    assert destroyed.ok
    assert set(destroyed.results) == {vm["id"] for vm in many}
    assert not any(list_vm(cluster.hosts, False, HYPERVISOR, params).values())
    assert destroy_vms(cluster.hosts, True, HYPERVISOR, params).ok
    assert not any(list_vm(cluster.hosts, True, HYPERVISOR, params).values())


def test_what_fails_is_told_of_its_vm_alone(cluster: LocalCluster, vms: list[dict[str, Any]]) -> None:
    params = cluster.connection_params
    assert install_vms(vms[1:], HYPERVISOR, params).run().ok
    started = start_vms(vms, HYPERVISOR, params).run()
    assert not started.ok
    assert list(started.failures) == ["vm-0"]
    assert "failed to get domain 'vm-0'" in started.failures["vm-0"]
    assert len(started.results) == 6
    destroyed = destroy_vms([], True, HYPERVISOR, params, vms=vms)
    assert list(destroyed.failures) == ["vm-0"]


def test_names_of_others_are_destroyed_too_whatever_they_are(cluster: LocalCluster) -> None:
    strange = 'it\'s a "b" \\ $c'
    xml = ("<domain type='test'><name>it's a \"b\" \\ $c</name><memory>1000</memory><vcpu>1</vcpu><os><type>hvm</type></os></domain>")
    run(cluster.hosts[0], 'cd "$(mktemp -d)"; printf %s "$2" > x; virsh -q -c "$1" define x; rm x; rmdir "$PWD"', TEST_URI, xml)
    one = cluster.hosts[0]
    assert list_vm(one, True, HYPERVISOR, cluster.connection_params) == {one.address: [{"id": strange}]}
    destroyed = destroy_vms(one, True, HYPERVISOR, cluster.connection_params)
    assert destroyed.ok
    assert list(destroyed.results) == [strange]
    assert list_vm(one, True, HYPERVISOR, cluster.connection_params) == {one.address: []}


def test_pins_of_the_whole_vm_and_of_each_processor(cluster: LocalCluster, vms: list[dict[str, Any]]) -> None:
    params = cluster.connection_params
    for vm in vms:
        vm.update(n_cpu=2, cpuset="0-1")
    assert install_vms(vms, HYPERVISOR, params).run().ok
    assert start_vms(vms, HYPERVISOR, params).run().ok
    assert pin_vms(vms[:1], hypervisor=HYPERVISOR, connection_params=params).run().ok
    assert pin_vms(vms[1:2], {"vm-1": ["0", "1"]}, HYPERVISOR, params).run().ok
    said = [run(cluster.hosts[index], 'virsh -q -c "$1" vcpupin "$2"', TEST_URI, f"vm-{index}").split() for index in (0, 1)]
    assert said == [["0", "0-1", "1", "0-1"], ["0", "0", "1", "1"]]
    failed = pin_vms(vms[:1], {"vm-0": ["0", "99999"]}, HYPERVISOR, params).run()
    assert list(failed.failures) == ["vm-0"]
    with pytest.raises(ValueError, match="one for each of its 2 virtual processors, found \\['0'\\]"):
        pin_vms(vms[:1], {"vm-0": ["0"]})


def test_disks_are_on_the_own_host_or_on_all(cluster: LocalCluster, vms: list[dict[str, Any]]) -> None:
    params, vms = cluster.connection_params, vms[:3]
    for host in cluster.hosts:
        run(host, f"qemu-img create -q -f qcow2 {IMAGES}/base.qcow2 1M")
    vms[1]["real_file"] = True

    def disks() -> list[str]:
        return [" ".join(run(host, f"cd {IMAGES}; ls vm-* 2>/dev/null || true").split()) for host in cluster.hosts]

    assert create_disks(vms, HYPERVISOR, params).run().ok
    assert disks() == ["vm-0.qcow2", "vm-1.qcow2", "vm-2.qcow2"]
    infos = [run(host, f"qemu-img info {IMAGES}/vm-{index}.qcow2") for index, host in enumerate(cluster.hosts)]
    assert ["backing file: /var/lib/libvirt/images/base.qcow2" in info for info in infos] == [True, False, True]
    assert all("virtual size: 1 GiB" in info for info in infos)
    assert create_disks_all_hosts(vms, cluster.hosts, HYPERVISOR, params).run().ok
    assert disks() == ["vm-0.qcow2 vm-1.qcow2 vm-2.qcow2"] * 3
    assert rm_qcow2_disks(cluster.hosts, HYPERVISOR, params).ok
    assert disks() == ["", "", ""]


def test_a_deployment_replaces_its_own_vms_and_no_others(cluster: LocalCluster, vms: list[dict[str, Any]]) -> None:
    for host in cluster.hosts:
        run(host, f"qemu-img create -q -f qcow2 {IMAGES}/base.qcow2 1M")
    for some in (vms[:4], vms[3:], vms[3:]):
        made = VMDeployment(cluster.hosts, some, HYPERVISOR, connection_params=cluster.connection_params)
        assert made.run(["create_disks", "install", "start"]).ok, made.failures
    listed = list_vm(cluster.hosts, False, HYPERVISOR, cluster.connection_params)
    assert sorted(vm["id"] for theirs in listed.values() for vm in theirs) == [vm["id"] for vm in vms]
    rm_qcow2_disks(cluster.hosts, HYPERVISOR, cluster.connection_params)


def test_a_full_disk_is_told_and_leaves_nothing(cluster: LocalCluster, vms: list[dict[str, Any]]) -> None:
    for host in cluster.hosts:
        run(host, f"qemu-img create -q -f qcow2 {IMAGES}/base.qcow2 1M; cp {IMAGES}/base.qcow2 /var/cache/libvirt/base.qcow2")
    full = cluster.hosts[0]
    with full.tmpfs("/var/lib/libvirt/images", "256k"):
        run(full, f"cp /var/cache/libvirt/base.qcow2 {IMAGES}/ && head -c 40000 /dev/zero > {IMAGES}/filler")
        made = create_disks(vms, HYPERVISOR, cluster.connection_params).run()
        assert made.failures
        assert set(made.failures) <= {"vm-0", "vm-3"}           # those of this host
        assert "No space left" in made.failures["vm-3"]
        assert "vm-3" not in run(full, f"ls {IMAGES}")
    rm_qcow2_disks(cluster.hosts, HYPERVISOR, cluster.connection_params)


def test_silence_of_ssh_is_told_and_an_answer_sets_the_state(cluster: LocalCluster, vms: list[dict[str, Any]]) -> None:
    for vm in vms:
        vm["ip"] = "127.0.0.1"
    vms[0]["ip"] = cluster.hosts[1].address
    asked = ssh_probe(vms, 20, cluster.connection_params).run()
    assert asked.ok
    assert {vm["state"] for vm in vms} == {"OK"}
    assert asked.results["vm-0"].output.startswith("SSH-2.0")
    silent = ssh_probe(vms[:1], 1, cluster.connection_params, port=1).run()
    assert vms[0]["state"] == "KO"
    assert "Connection refused" in silent.failures["vm-0"]


def test_a_libvirt_that_hangs_does_not_prolong_the_wait(cluster: LocalCluster, vms: list[dict[str, Any]]) -> None:
    host, [vm] = cluster.hosts[0], vms[:1]
    vm["ip"] = "192.0.2.1"          # nobody has it
    run(host, "kill -STOP $(cat /run/libvirt/libvirtd.pid)")
    begin = time.monotonic()
    try:
        assert not wait_vms_have_started([vm], timeout=6, hypervisor=HYPERVISOR, connection_params=cluster.connection_params)
        assert time.monotonic() - begin < 6 + GRACE
    finally:
        run(host, "kill -CONT $(cat /run/libvirt/libvirtd.pid)")
    assert vm["state"] == "KO"


def test_a_dead_host_takes_only_its_own_vms(cluster: LocalCluster, vms: list[dict[str, Any]], tmp_path: Path) -> None:
    params, dead = soon(cluster), cluster.hosts[2]
    assert install_vms(vms, HYPERVISOR, params).run().ok
    dead.crash()
    started = start_vms(vms, HYPERVISOR, params).run()
    assert set(started.failures) == {"vm-2", "vm-5"}
    assert all(result.host == dead.address for result in started.results.values() if not result.ok)
    listed = list_vm(cluster.hosts, False, HYPERVISOR, params)
    assert list(listed.failures) == [dead.address]
    assert [len(listed[host.address]) for host in cluster.hosts] == [2, 2, 0]
    moving = migrate_vm(vms[2], cluster.hosts[0], storage=None, hypervisor=HYPERVISOR, connection_params=params)
    with pytest.raises(VMsFailed, match=r"^migrate: 2 failed: "):
        VMEngine().require(moving)
    assert (list(moving.failed_hosts), list(moving.failures)) == ([dead.address], ["vm-2"])
    assert dead.address in destroy_vms(cluster.hosts, True, HYPERVISOR, params).failed_hosts
    dead.boot()
    start_test_driver(dead, tmp_path)
