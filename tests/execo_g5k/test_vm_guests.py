"""Real virtual machines: qemu, emulated, under a libvirtd on each of three hosts with namespaces; deployed, pinned, migrated, lost."""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypervisors import IMAGES, own_home, prepare_qemu, run, soon

from execo.localcluster import LocalCluster, LocalHost
from execo_g5k._gridbox import guest
from execo_g5k.vmutils import (
    Hypervisor,
    MigrationResult,
    PingProbes,
    VMDeployment,
    activate_vms,
    circular_moves,
    create_disks,
    crossed_moves,
    define_vms,
    destroy_vms,
    install_vms,
    list_vm,
    migrate_vm,
    migrate_vms,
    pin_vms,
    start_vms,
)

pytestmark = pytest.mark.requires("qemu")
TO = "qemu+tcp://{host}/system"


class Lab:
    """Three hypervisors, and two guests on the first two, which VMDeployment made."""

    def __init__(self, cluster: LocalCluster, folder: Path) -> None:
        self.cluster, self.params = cluster, cluster.connection_params
        kernel, initrd, self.key = guest.build(folder)
        for host in cluster.hosts:
            prepare_qemu(host, folder)
            own_home(host, cluster)
            run(host, f'cp "$1" "$2" {IMAGES}/', str(kernel), str(initrd))
        self.network = ipaddress.ip_network(f"{cluster.hosts[0].address}/24", strict=False)
        self.hypervisor = Hypervisor(
            kind="qemu", directory=IMAGES, bridge="br0", kernel=f"{IMAGES}/{kernel.name}", initrd=f"{IMAGES}/{initrd.name}",
            kernel_args=guest.KERNEL_ARGS, console="/var/log/libvirt/{id}.console")
        self.image = folder / "base.qcow2"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", self.image, "16M"], check=True)
        self.vms = self.define("vm-1", "vm-2", first=77, n_cpu=[1, 2], host=[host.address for host in cluster.hosts[:2]])
        self.vm = self.vms[0]
        self.deployment = VMDeployment(
            cluster.hosts, self.vms, self.hypervisor, str(self.image), interface="eth0", packages=("libvirt-clients", "qemu-utils"),
            all_disks=True, wait_timeout=100, connection_params=self.params).run()

    def define(self, *names: str, first: int, **keys: Any) -> list[dict[str, Any]]:
        """Small VMs, with addresses from this number on."""
        pairs = [(str(self.network[first + index]), f"52:54:00:77:01:{first + index:02x}") for index in range(len(names))]
        return define_vms(names, ip_mac=pairs, **{"mem": 96, "hdd": 1, "backing_file": str(self.image), **keys})

    def host(self, address: str) -> LocalHost:
        return next(host for host in self.cluster.hosts if host.address == address)

    def ssh(self, command: str, timeout: float = 30, vm: dict[str, Any] | None = None) -> str:
        """In the first guest, or another."""
        words = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "ConnectTimeout=10")
        options = [option for word in words for option in ("-o", word)]
        done = subprocess.run(["ssh", "-F", "none", "-i", self.key, *options, f"root@{(vm or self.vm)['ip']}", command],
                              capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def other(self) -> LocalHost:
        """A host without guests."""
        return next(host for host in self.cluster.hosts if host.address not in [vm["host"] for vm in self.vms])

    def running(self) -> dict[str, list[str]]:
        """{address: names of the VMs that run there}."""
        listed = list_vm(self.cluster.hosts, hypervisor=self.hypervisor, connection_params=self.params)
        return {address: sorted(vm["id"] for vm in theirs) for address, theirs in listed.items()}

    def wait_for_migration(self) -> None:
        """Until the first guest is on its way."""
        wait_for_job(self.host(self.vm["host"]), "Memory processed")


def wait_for_job(host: LocalHost, word: str) -> None:
    """Until libvirt says this of the job of the first guest."""
    run(host, 'for try in $(seq 300); do virsh -q domjobinfo vm-1 | grep -q "$1" && exit; sleep 0.1; done; exit 1', word)


def wait_for_answers(host: LocalHost, more: int) -> None:
    """Until so many more of the pings that this host sends to the first guest were answered."""
    run(host, """
        log=/proc/$(pgrep -f '^ping -D -O')/fd/1
        wanted=$(($(grep -c 'bytes from' $log) + $1))
        for try in $(seq 300); do [ $(grep -c 'bytes from' $log) -ge $wanted ] && exit; sleep 0.1; done; exit 1""", str(more))


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    pytest.importorskip("requirements").require("qemu")
    with LocalCluster(3, "namespaces") as cluster:
        yield Lab(cluster, tmp_path_factory.mktemp("lab"))


def test_nodes_become_hypervisors_and_a_guest_answers(lab: Lab) -> None:
    assert lab.deployment.failed_hosts == {}
    assert lab.deployment.failures == {}
    assert [vm["state"] for vm in lab.vms] == ["OK", "OK"]
    assert [lab.ssh("hostname", vm=vm) for vm in lab.vms] == ["vm-1\n", "vm-2\n"]
    # A clock that counts interrupts is late whenever the guest has to wait for a processor: measures would be wrong.
    assert "jiffies" not in lab.ssh("cat /sys/devices/system/clocksource/clocksource0/current_clocksource")
    assert list(lab.running().values()) == [["vm-1"], ["vm-2"], []]
    numbers = {run(host, "grep ^host_uuid /etc/libvirt/libvirtd.conf") for host in lab.cluster.hosts}
    assert len(numbers) == 3
    assert all("br0" in run(host, "virsh -q net-dumpxml default") for host in lab.cluster.hosts)
    durations = dict(lab.deployment.durations)
    assert "wait" in durations
    pings = activate_vms(lab.vms[:1], lab.vms[1]["ip"], {"user": "root", "keyfile": str(lab.key)})
    assert pings.ok, pings.processes[0].stderr
    assert "3 packets received" in pings.processes[0].stdout
    again = VMDeployment(lab.cluster.hosts, [], lab.hypervisor, interface="eth0", keys=False, packages=(), connection_params=lab.params)
    assert again.run(["make_bridge", "configure_libvirt"]).ok          # all is there: nothing is restarted
    assert lab.ssh("hostname") == "vm-1\n"
    assert 'id="vm-1"' in lab.deployment.get_state()


def test_pins_of_the_vm_and_of_each_processor_are_seen_by_the_kernel(lab: Lab) -> None:
    def allowed(vm: dict[str, Any]) -> list[str]:
        tasks = f"/proc/$(cat /run/libvirt/qemu/{vm['id']}.pid)/task/*"
        script = f"for t in {tasks}; do grep -q '^CPU' $t/comm && echo $(cat $t/comm; grep Cpus_allowed_list $t/status); done; true"
        return sorted(run(lab.host(vm["host"]), script).splitlines())

    assert pin_vms(lab.vms, {"vm-1": "0", "vm-2": ["1", "0"]}, lab.hypervisor, lab.params).run().ok
    assert allowed(lab.vms[0]) == ["CPU 0/TCG Cpus_allowed_list: 0"]
    assert allowed(lab.vms[1]) == ["CPU 0/TCG Cpus_allowed_list: 1", "CPU 1/TCG Cpus_allowed_list: 0"]
    assert pin_vms(lab.vms, {"vm-1": "0-1", "vm-2": "0-1"}, lab.hypervisor, lab.params).run().ok


def test_a_vm_that_cannot_start_is_told_and_the_other_goes_on(lab: Lab) -> None:
    bad = lab.define("no-disk", "no-kernel", "no-image", first=90, host=lab.vm["host"])
    bad[2]["backing_file"] = "/images/nowhere.qcow2"
    made = create_disks(bad[1:], lab.hypervisor, lab.params).run()
    assert list(made.failures) == ["no-image"]
    assert f"Could not open '{IMAGES}/nowhere.qcow2': No such file or directory" in made.failures["no-image"]
    no_kernel = dataclasses.replace(lab.hypervisor, kernel=f"{IMAGES}/no-such-kernel")
    try:
        assert install_vms(bad[:1], lab.hypervisor, lab.params).run().ok
        assert install_vms(bad[1:2], no_kernel, lab.params).run().ok
        started = start_vms([lab.vm, *bad[:2]], lab.hypervisor, lab.params).run()
        assert list(started.failures) == ["no-disk", "no-kernel"]
        assert "no-disk.qcow2" in started.failures["no-disk"]
        assert "no-such-kernel" in started.failures["no-kernel"]
        assert lab.ssh("hostname") == "vm-1\n"
    finally:
        destroy_vms([], True, lab.hypervisor, lab.params, vms=bad[:2])


def test_each_failure_of_a_deployment_is_told_with_its_step_and_the_rest_goes_on(lab: Lab) -> None:
    unpackaged, full, last = lab.cluster.hosts
    vms = lab.define("no-image", "no-xml", "no-memory", "silent", "on-full", first=95, host=last.address)
    vms[0]["backing_file"], vms[1]["n_cpu"], vms[2]["mem"], vms[4]["host"] = "/images/nowhere.qcow2", 100000, 4000000, full.address
    before = lab.running()
    others = lab.define("others", first=94, host=last.address)
    for action in (create_disks, install_vms, start_vms):
        assert action(others, dataclasses.replace(lab.hypervisor, kernel_args="console=ttyS0 rdinit=/bin/nothing"), lab.params).run().ok
    with contextlib.ExitStack() as stack:
        for host in lab.cluster.hosts:          # an apt-get that fails on the first one, and on no host asks the network
            fake = f'#!/bin/sh\necho "E: Unable to locate package $*" >&2; exit {100 if host is unpackaged else 0}\n'
            run(host, 'f=/run/libvirt/apt-get; printf %s "$1" > $f; chmod 755 $f; mount --bind $f /usr/bin/apt-get', fake)
            stack.callback(run, host, "umount /usr/bin/apt-get")
        stack.enter_context(full.tmpfs(IMAGES, "64k"))
        silent = dataclasses.replace(lab.hypervisor, kernel_args="console=ttyS0 rdinit=/bin/nothing")
        made = VMDeployment(lab.cluster.hosts, vms, silent, str(lab.image), keys=False, packages=("no-such-package", "qemu-utils"),
                            wait_timeout=1, connection_params=lab.params).run()
    try:
        assert (made.hosts, made.vms) == ([last], [])
        assert made.failed_hosts[unpackaged.address].startswith("install_packages: exit code 100: E: Unable to locate package -q update")
        assert "put_images: [Errno 28] No space left on device" in made.failed_hosts[full.address]
        steps = {name: reason.partition(":")[0] for name, reason in made.failures.items()}
        assert steps == {"no-image": "create_disks", "no-xml": "install", "no-memory": "start", "silent": "wait", "on-full": "put_images"}
        assert made.failures["on-full"] == f"put_images: its host {full.address} failed"
        assert "nowhere.qcow2': No such file" in made.failures["no-image"]
        assert "CPUs greater than" in made.failures["no-xml"]
        assert "Cannot allocate memory" in made.failures["no-memory"]
        assert lab.running() == {**before, last.address: ["others", "silent"]}        # the guests of others were left alone
    finally:
        destroy_vms([last], True, lab.hypervisor, lab.params)


def migrated(lab: Lab, **options: Any) -> MigrationResult:
    action = migrate_vm(lab.vm, lab.other(), destination=TO, hypervisor=lab.hypervisor, connection_params=lab.params, **options).run()
    result = action.results["vm-1"]
    assert isinstance(result, MigrationResult), result
    return result


def test_a_live_migration_is_measured_and_what_runs_in_the_guest_goes_on(lab: Lab) -> None:
    source, target = lab.vm["host"], lab.other().address
    lab.ssh("(while :; do sleep 1; done) >/dev/null 2>&1 </dev/null & echo $! > /tmp/pid")
    with PingProbes([lab.vm], source, 0.1, lab.params) as probes:
        # It is held for the rest after a second, so that it must be silent for a while.
        result = migrated(lab, timeout=60, bandwidth=24, options=("--timeout", "1", "--timeout-suspend"))
        lab.ssh("true")
        wait_for_answers(lab.host(source), 3)       # from where it is now
    assert result.ok, result
    assert (result.host, result.destination, lab.vm["host"]) == (source, target, target)
    assert result.seconds is not None
    assert result.job.seconds is not None
    assert 0 < result.job.seconds <= result.seconds
    assert (result.job.data_bytes or 0) > 10 << 20
    assert (result.job.rounds or 0) >= 1
    log = probes.logs["vm-1"]
    assert result.job.downtime is not None
    assert 0.3 < result.job.downtime - 0.3 < log.downtime < result.seconds + 5
    assert log.lost >= 3
    assert " 0\n" in log.lines()
    lab.ssh("kill -0 $(cat /tmp/pid)")
    listed = list_vm(lab.cluster.hosts, True, lab.hypervisor, lab.params)
    assert {"id": "vm-1"} in listed[target]


def test_two_hosts_exchange_their_vms_at_the_same_time_over_ssh(lab: Lab) -> None:
    before = [vm["host"] for vm in lab.vms]
    marks = [lab.ssh("echo mine > /tmp/mark; cat /proc/sys/kernel/random/boot_id", vm=vm) for vm in lab.vms]
    action = migrate_vms(crossed_moves(lab.vms, before), hypervisor=lab.hypervisor, connection_params=lab.params).run()
    assert action.failures == {}
    assert [vm["host"] for vm in lab.vms] == before[::-1]
    (first_start, first_end), (second_start, second_end) = times_of(action.results, "vm-1", "vm-2")
    assert max(first_start, second_start) < min(first_end, second_end)
    assert [lab.ssh("cat /tmp/mark", vm=vm) for vm in lab.vms] == ["mine\n", "mine\n"]
    assert [lab.ssh("cat /proc/sys/kernel/random/boot_id", vm=vm) for vm in lab.vms] == marks       # nothing has booted


def times_of(results: Any, *names: str) -> list[tuple[float, float]]:
    """(start, end) of each migration."""
    return [(results[name].start_date, results[name].start_date + results[name].seconds) for name in names]


def test_in_a_circle_of_hosts_one_moves_after_the_other(lab: Lab) -> None:
    circle = [lab.vms[0]["host"], lab.vms[1]["host"], lab.other().address]
    action = migrate_vms(circular_moves(lab.vms, circle), mode="sequential", destination=TO, hypervisor=lab.hypervisor,
                         connection_params=lab.params).run()
    assert action.failures == {}
    assert [vm["host"] for vm in lab.vms] == circle[1:]
    assert lab.running() == {circle[0]: [], circle[1]: ["vm-1"], circle[2]: ["vm-2"]}
    (_start, first_end), (second_start, _end) = times_of(action.results, "vm-1", "vm-2")
    assert second_start >= first_end


def test_without_room_for_its_disk_a_vm_stays_where_it_is(lab: Lab) -> None:
    source, full = lab.vm["host"], lab.other()
    with full.tmpfs(IMAGES, "256k"):
        run(full, f"qemu-img create -q -f qcow2 {IMAGES}/base.qcow2 16M && head -c 40000 /dev/zero > {IMAGES}/filler")
        action = migrate_vm(lab.vm, full, destination=TO, hypervisor=lab.hypervisor, connection_params=lab.params).run()
    assert "No space left" in action.failures["vm-1"]
    assert action.results["vm-1"].host == full.address
    assert lab.vm["host"] == source
    assert lab.ssh("hostname") == "vm-1\n"


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
    assert lab.running()[source] == ["vm-1"]


MIGRATE = """
import sys
from execo_g5k.vmutils import Hypervisor, migrate_vm
hypervisor, vm, to, destination, params = eval(sys.stdin.read(), {"Hypervisor": Hypervisor})
migrate_vm(vm, to, bandwidth=1, destination=destination, hypervisor=hypervisor, connection_params=params).run()
"""


@pytest.mark.parametrize("how", ["action", "script"])
def test_a_migration_that_is_killed_with_its_script_leaves_the_vm_where_it_was(lab: Lab, how: str) -> None:
    source, target = lab.host(lab.vm["host"]), lab.other()
    before = lab.running()
    if how == "action":
        action = migrate_vm(lab.vm, target, bandwidth=1, destination=TO, hypervisor=lab.hypervisor, connection_params=lab.params).start()
        lab.wait_for_migration()
        action.kill()
        action.wait(30)
        assert action.failures == {"vm-1": "it was killed"}
    else:
        arguments = repr((lab.hypervisor, lab.vm, target.address, TO, dict(lab.params)))
        with subprocess.Popen([sys.executable, "-c", MIGRATE], stdin=subprocess.PIPE, text=True) as script:
            assert script.stdin is not None
            script.stdin.write(arguments)
            script.stdin.close()
            lab.wait_for_migration()
            script.kill()
    # libvirt gives it up when it hears that its client is gone.
    wait_for_job(source, "None")
    assert lab.running() == before
    assert lab.ssh("hostname") == "vm-1\n"
    assert lab.vm["host"] == source.address


def test_a_host_that_dies_takes_its_vms_and_no_others(lab: Lab) -> None:
    lab.params = soon(lab.cluster)
    source, target, spare = lab.vm["host"], lab.host(lab.vms[1]["host"]), lab.other()
    action = migrate_vm(lab.vm, target, bandwidth=1, destination=TO, hypervisor=lab.hypervisor, connection_params=lab.params).start()
    lab.wait_for_migration()
    target.crash()                                  # with vm-2
    action.wait(60)
    assert list(action.failures) == ["vm-1"]
    assert lab.vm["host"] == source
    assert lab.ssh("hostname") == "vm-1\n"
    back = migrate_vm(lab.vms[1], spare, destination=TO, hypervisor=lab.hypervisor, connection_params=lab.params).run()
    assert list(back.failures) == ["vm-2"]
    assert lab.vms[1]["host"] == target.address
    listed = list_vm(lab.cluster.hosts, hypervisor=lab.hypervisor, connection_params=lab.params)
    assert list(listed.failures) == [target.address]
    assert listed[source] == [{"id": "vm-1"}]
    destroyed = destroy_vms(lab.cluster.hosts, True, lab.hypervisor, lab.params)
    assert list(destroyed.failed_hosts) == [target.address]
    assert destroyed.results["vm-1"].ok
    assert not any(list_vm(lab.cluster.hosts, True, lab.hypervisor, lab.params).values())
