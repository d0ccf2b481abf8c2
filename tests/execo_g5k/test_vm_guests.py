"""Real virtual machines: qemu, emulated, under two libvirtd on two hosts with namespaces; deployed, pinned, migrated, lost."""

from __future__ import annotations

import ipaddress
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import guest
import pytest
from hypervisors import IMAGES, prepare_qemu, run, soon

from execo.localcluster import LocalCluster, LocalHost
from execo_g5k.vmutils import (
    Hypervisor,
    MigrationResult,
    PingProbes,
    VMDeployment,
    define_vms,
    destroy_vms,
    install_vms,
    list_vm,
    migrate_vm,
    pin_vms,
    start_vms,
)

pytestmark = [pytest.mark.requires("qemu"), pytest.mark.xdist_group("vm-guests")]
TO = "qemu+tcp://{host}/system"


class Lab:
    """Two hypervisors and a guest, which VMDeployment made."""

    def __init__(self, cluster: LocalCluster, folder: Path) -> None:
        self.cluster, self.params = cluster, cluster.connection_params
        kernel, initrd, self.key = guest.build(folder)
        for host in cluster.hosts:
            prepare_qemu(host, folder)
            run(host, f'cp "$1" "$2" {IMAGES}/', str(kernel), str(initrd))
        network = ipaddress.ip_network(f"{cluster.hosts[0].address}/24", strict=False)
        self.hypervisor = Hypervisor(
            kind="qemu", directory=IMAGES, bridge="br0", kernel=f"{IMAGES}/vmlinuz", initrd=f"{IMAGES}/initrd.gz",
            kernel_args="console=ttyS0 quiet panic=-1 vmname={id} vmip={ip}/24", console="/var/log/libvirt/{id}.console")
        image = folder / "base.qcow2"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", image, "16M"], check=True)
        self.vm = define_vms("vm-1", ip_mac=[(str(network[77]), "52:54:00:77:01:01")], mem=128, hdd=1, backing_file=str(image))[0]
        self.vm["host"] = cluster.hosts[0].address
        self.deployment = VMDeployment(
            cluster.hosts, [self.vm], self.hypervisor, str(image), interface="eth0", keys=False, packages=("libvirt-clients", "qemu-utils"),
            all_disks=True, wait_timeout=100, connection_params=self.params).run()

    def host(self, address: str) -> LocalHost:
        return next(host for host in self.cluster.hosts if host.address == address)

    def ssh(self, command: str, timeout: float = 30) -> str:
        """In the guest."""
        words = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "ConnectTimeout=10")
        options = [option for word in words for option in ("-o", word)]
        done = subprocess.run(["ssh", "-F", "none", "-i", self.key, *options, f"root@{self.vm['ip']}", command], capture_output=True,
                              text=True, timeout=timeout, stdin=subprocess.DEVNULL, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def other(self) -> LocalHost:
        return next(host for host in self.cluster.hosts if host.address != self.vm["host"])


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    pytest.importorskip("requirements").require("qemu")
    with LocalCluster(2, "namespaces") as cluster:
        yield Lab(cluster, tmp_path_factory.mktemp("lab"))


def test_nodes_become_hypervisors_and_a_guest_answers(lab: Lab) -> None:
    assert lab.deployment.failed_hosts == {}
    assert lab.deployment.failures == {}
    assert lab.vm["state"] == "OK"
    assert lab.ssh("hostname") == "vm-1\n"
    assert list_vm(lab.cluster.hosts, hypervisor=lab.hypervisor, connection_params=lab.params)[lab.vm["host"]] == [{"id": "vm-1"}]
    numbers = {run(host, "grep ^host_uuid /etc/libvirt/libvirtd.conf") for host in lab.cluster.hosts}
    assert len(numbers) == 2
    assert all("br0" in run(host, "virsh -q net-dumpxml default") for host in lab.cluster.hosts)
    durations = dict(lab.deployment.durations)
    assert "wait" in durations
    again = VMDeployment(lab.cluster.hosts, [], lab.hypervisor, interface="eth0", keys=False, packages=(), connection_params=lab.params)
    assert again.run(["make_bridge", "configure_libvirt"]).ok          # all is there: nothing is restarted
    assert lab.ssh("hostname") == "vm-1\n"
    assert 'id="vm-1"' in lab.deployment.get_state()


def test_a_pin_is_seen_by_the_kernel(lab: Lab) -> None:
    assert pin_vms([lab.vm], {"vm-1": ["0"]}, lab.hypervisor, lab.params).run().ok
    host = lab.host(lab.vm["host"])
    allowed = run(host, "for t in /proc/$(cat /run/libvirt/qemu/vm-1.pid)/task/*; do grep -q 'CPU 0' $t/comm && cat $t/status; done; true")
    assert "Cpus_allowed_list:\t0\n" in allowed
    assert pin_vms([lab.vm], {"vm-1": "0-1"}, lab.hypervisor, lab.params).run().ok


def test_a_vm_that_cannot_start_is_told_and_the_other_goes_on(lab: Lab) -> None:
    bad = define_vms("bad", host=lab.vm["host"], mem=96)[0]
    try:
        assert install_vms([bad], lab.hypervisor, lab.params).run().ok
        started = start_vms([lab.vm, bad], lab.hypervisor, lab.params).run()
        assert list(started.failures) == ["bad"]
        assert "bad.qcow2" in started.failures["bad"]           # it has no disk
    finally:
        destroy_vms([], True, lab.hypervisor, lab.params, vms=[bad])


def migrated(lab: Lab, **options: Any) -> MigrationResult:
    action = migrate_vm(lab.vm, lab.other(), destination=TO, hypervisor=lab.hypervisor, connection_params=lab.params, **options).run()
    result = action.results["vm-1"]
    assert isinstance(result, MigrationResult), result
    return result


def test_a_live_migration_is_measured_and_what_runs_in_the_guest_goes_on(lab: Lab) -> None:
    source, target = lab.vm["host"], lab.other().address
    lab.ssh("(while :; do sleep 1; done) >/dev/null 2>&1 </dev/null & echo $! > /tmp/pid")
    with PingProbes([lab.vm], source, 0.1, lab.params) as probes:
        result = migrated(lab, timeout=60)
        time.sleep(1)               # some answers from where it is now
    assert result.ok, result
    assert (result.host, result.destination, lab.vm["host"]) == (source, target, target)
    assert result.seconds is not None
    assert result.job.seconds is not None
    assert 0 < result.job.seconds <= result.seconds
    assert (result.job.data_bytes or 0) > 10 << 20
    assert (result.job.rounds or 0) >= 1
    log = probes.logs["vm-1"]
    assert len(log.answers) > 10
    assert 0 <= log.downtime < 10
    lab.ssh("kill -0 $(cat /tmp/pid)")
    listed = list_vm(lab.cluster.hosts, True, lab.hypervisor, lab.params)
    assert listed[target] == [{"id": "vm-1"}]


def test_a_migration_that_never_converges_is_told_and_aborted_and_the_vm_lives(lab: Lab) -> None:
    source = lab.vm["host"]
    lab.ssh("(while :; do dd if=/dev/urandom of=/tmp/x bs=1M count=8 conv=notrunc; done) >/dev/null 2>&1 </dev/null & echo $! > /tmp/load")
    result = migrated(lab, bandwidth=1, timeout=6)
    lab.ssh("kill $(cat /tmp/load)")
    assert not result.ok
    assert result.aborted
    assert result.still_runs
    assert "did not converge: aborted after" in str(result.reason)
    assert (result.job.data_bytes or 0) > 0
    assert lab.vm["host"] == source
    assert list_vm(lab.cluster.hosts, hypervisor=lab.hypervisor, connection_params=lab.params)[source] == [{"id": "vm-1"}]


def test_a_host_that_dies_takes_its_vms(lab: Lab) -> None:
    dead = lab.host(lab.vm["host"])
    dead.crash()
    lab.params = soon(lab.cluster)
    result = migrate_vm(lab.vm, lab.other(), destination=TO, hypervisor=lab.hypervisor, connection_params=lab.params).run()
    assert list(result.failures) == ["vm-1"]
    assert lab.vm["host"] == dead.address
    listed = list_vm(lab.cluster.hosts, hypervisor=lab.hypervisor, connection_params=lab.params)
    assert list(listed.failures) == [dead.address]
    assert not any(listed.values())
