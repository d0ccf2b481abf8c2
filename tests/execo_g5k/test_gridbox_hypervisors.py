"""Nodes of the box that were deployed become hypervisors, as on Grid'5000; guests answer, and migrate."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from deployments import ENV, PATIENCE, ROOT, ask_nodes, job_of, wait_until

from execo import Remote
from execo_g5k import g5k_configuration
from execo_g5k._gridbox import guest
from execo_g5k._gridbox.guests import free_addresses
from execo_g5k.gridbox import GridBox
from execo_g5k.kadeploy import Deployment, deploy
from execo_g5k.testbed import G5kTestbed
from execo_g5k.vmutils import MigrationResult, VMDeployment, define_vms, destroy_vms, list_vm, migrate_vm

OWN = ("/root/.ssh", "/etc/libvirt", "/var/lib/libvirt")


def state_of_this_machine() -> list[tuple[str, float]]:
    """What may not change: names and dates of the files of its libvirt, and of root's keys."""
    files = [file for folder in OWN for file in Path(folder).rglob("*") if not file.is_socket()]
    return sorted((str(file), file.stat().st_mtime) for file in files)


def processes_that_see(directory: Path) -> list[str]:
    """Command lines of those whose files are in a folder that is gone, or is named in their command line."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(directory) in words:
            found.append(words)
    return found


def link_to(address: str) -> str:
    """By which this machine reaches an address."""
    told = subprocess.run(["ip", "-o", "route", "get", address], capture_output=True, text=True, check=True).stdout
    return told.split(" dev ")[1].split()[0]


def in_guests(command: str, vms: list[dict[str, Any]]) -> list[str]:
    remote = Remote(command, [vm["ip"] for vm in vms], g5k_configuration["vm_connection_params"]).run(timeout=60)
    assert remote.ok, [(process.stdout, process.stderr) for process in remote.processes]
    return [process.stdout.strip() for process in remote.processes]


def reserved(**options: Any) -> G5kTestbed:
    """Two nodes of lyon, whose reservation has begun."""
    testbed = G5kTestbed({"lyon": 2}, "1:0:0", charter=False, lead=2, environment=ENV, **options)
    testbed.reserve()
    assert testbed.wait(PATIENCE)
    return testbed


@pytest.fixture
def box() -> Iterator[GridBox]:
    with GridBox(oar="own", nodes_per_cluster=2, sites=["lyon"], guests=True) as grid:
        grid.deployments.step_seconds = 0.002
        yield grid


@pytest.mark.requires("qemu", "sshd", "ssh")
def test_deployed_nodes_become_hypervisors_and_a_guest_migrates_between_them(box: GridBox) -> None:
    before = state_of_this_machine()
    testbed = reserved(subnets={"slash_22": 1})
    nodes = [host.address for host in testbed.deploy()]
    assert len(nodes) == 2
    addresses = testbed.addresses()
    assert len(addresses) == len({mac for _, mac in addresses}) == 1016         # without .0 and .255
    hypervisor = g5k_configuration["hypervisor"]
    vms = define_vms(["vm-1", "vm-2"], host=nodes, ip_mac=addresses, mem=96, hdd=1, backing_file="base.qcow2")
    made = VMDeployment(nodes, vms, hypervisor, g5k_configuration["vm_image"], connection_params=ROOT).run()
    assert (made.failed_hosts, made.failures) == ({}, {})
    assert len(set(ask_nodes("grep ^host_uuid /etc/libvirt/libvirtd.conf", nodes))) == 2
    assert in_guests("hostname", vms) == ["vm-1", "vm-2"]                                       # from here
    others = [vm["ip"] for vm in reversed(vms)]
    assert in_guests(f"ssh -y {{{{{others}}}}} hostname 2>/dev/null", vms) == ["vm-2", "vm-1"]      # from one to the other
    ask_nodes(" && ".join(f"ping -q -c 1 -W 5 {vm['ip']}" for vm in vms), nodes)                # from all nodes
    in_guests("echo 'BEGIN { print 6 * 7 }' >/tmp/program; trap '' HUP; sleep 1000 >/dev/null 2>&1 </dev/null & echo $! >/tmp/pid", vms)

    action = migrate_vm(vms[0], nodes[1], hypervisor=hypervisor, connection_params=ROOT, timeout=120).run()
    result = action.results["vm-1"]
    assert isinstance(result, MigrationResult), result
    assert result.ok, result
    assert (result.job.data_bytes or 0) > 10 << 20
    listed = list_vm(nodes, hypervisor=hypervisor, connection_params=ROOT)
    assert {host: sorted(vm["id"] for vm in there) for host, there in listed.items()} == {nodes[0]: [], nodes[1]: ["vm-1", "vm-2"]}
    assert in_guests("kill -0 $(cat /tmp/pid) && awk -f /tmp/program", vms) == ["42", "42"]     # it is the same machine

    assert destroy_vms(nodes[:1], True, hypervisor, ROOT).ok
    testbed.release()           # with a guest that runs
    wait_until(lambda: not box.kadeploys["lyon"].systems.touched())
    assert ask_nodes("ps -e -o comm= | grep -c -e libvirtd -e qemu || true", nodes) == ["0", "0"]
    directory = box.directory
    assert directory is not None
    box.stop()
    assert processes_that_see(directory.parent) == []
    assert state_of_this_machine() == before


@pytest.mark.requires("qemu", "sshd", "ssh")
def test_a_bridge_follows_its_node_into_a_vlan_and_out_of_it(box: GridBox) -> None:
    testbed = reserved(vlan="kavlan")
    assert list(testbed.vlans) == ["lyon"]
    hosts = testbed.deploy()
    assert [host.address for host in hosts] == [f"saone-{n}-kavlan-{testbed.vlans['lyon']}.lyon.grid5000.fr" for n in (1, 2)]
    assert testbed.addresses() == testbed.addresses()           # though their hardware addresses are drawn
    assert VMDeployment(hosts, (), g5k_configuration["hypervisor"], connection_params=ROOT).run(["make_bridge"]).ok
    (address, _), (other, _) = testbed.addresses()[:2]
    # as guests would have them
    assert Remote("ip addr add {{[address, other]}}/32 dev br0", hosts, ROOT).run().ok
    ask_nodes(f"ping -q -c 1 -W 5 {address} && ping -q -c 1 -W 5 {other}", [host.address for host in hosts])
    inside = json.loads(Remote("ip -json -4 addr show dev br0", hosts[:1], ROOT).run().processes[0].stdout)[0]["addr_info"][0]["local"]
    if link_to(address) == link_to(inside):         # another box of this machine may have the same VLAN
        subprocess.run(["ping", "-q", "-c", "1", "-W", "5", address], check=True)
    plain = testbed.hosts[0].address
    box.kadeploys["lyon"].vlans.move("lyon", [plain], None)
    assert ask_nodes("ip -o -4 addr show dev br0 | grep -c inet", [plain]) == ["1"]
    testbed.release()


@pytest.mark.requires("namespaces", "sshd", "ssh")
def test_a_deployed_node_has_places_of_its_own_that_outlast_a_reboot() -> None:
    with GridBox(oar="own", nodes_per_cluster=2, sites=["lyon"]) as grid:
        grid.deployments.step_seconds = 0.002
        _, nodes = job_of()
        assert deploy(Deployment(nodes, env_name=ENV)).deployed == set(nodes)
        assert grid.directory is not None
        mine = grid.directory.parent.name
        assert ask_nodes("ls -A /tmp", nodes) == [mine] * 2
        ask_nodes("hostname >/tmp/x; mkdir ~/.ssh; touch ~/.ssh/x /run/x", nodes)
        assert ask_nodes("cat /tmp/x", nodes) == sorted(nodes)
        assert not Path("/run/x").exists()
        assert not Path("~/.ssh/x").expanduser().exists()
        host = grid.hosts[nodes[0]]
        host.crash().undo()
        assert ask_nodes("ls -d /tmp/x /run/x ~/.ssh/x 2>/dev/null || true", nodes[:1]) == ["/tmp/x"]
        refused = Remote("apt-get -q update", nodes[:1], ROOT, process_args={"nolog_exit_code": True}).run(timeout=60)
        assert "install them there" in refused.processes[0].stdout + refused.processes[0].stderr


def test_what_guests_need_is_told_before_anything_of_the_box_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() == 0:
        monkeypatch.setitem(guest.HOST_PROGRAMS, "no-such-hypervisor", "no-such-package")
        with pytest.raises(OSError, match=r"guests=True.*apt-get install.*no-such-package"):
            GridBox(oar="own", nodes_per_cluster=1, sites=["lyon"], guests=True).start()
    with pytest.raises(OSError, match="guests=True needs nodes with namespaces"):
        GridBox(oar="own", isolation=None, nodes_per_cluster=1, sites=["lyon"], guests=True).start()


def test_guests_have_the_addresses_that_nobody_has() -> None:
    pairs = free_addresses(["198.18.7.1", "198.18.7.2"], 24)
    assert pairs[0] == ("198.18.7.3", "52:54:00:12:07:03")
    assert pairs[-1][0] == "198.18.7.253"               # the last one is this machine
    assert len(pairs) == len({mac for _, mac in pairs}) == 251


@pytest.mark.requires("qemu")
def test_other_programs_are_told_of_the_hypervisor_in_their_configuration(tmp_path: Path) -> None:
    with GridBox(oar="own", nodes_per_cluster=1, sites=["lyon"], guests=True, configure=False) as grid:
        grid.write_configuration(tmp_path)
        script = ("import json; from execo_g5k import g5k_configuration as c; from execo_g5k.vmutils import Hypervisor\n"
                  "h = Hypervisor(**c['hypervisor'])\n"
                  "print(json.dumps([h.bridge, h.kernel, c['vm_image'], c['vm_addresses'][0], c['vm_connection_params']['user']]))")
        told = subprocess.run([sys.executable, "-c", script], env={**os.environ, **grid.environment(tmp_path)}, capture_output=True,
                              text=True, check=True, timeout=60)
        bridge, kernel, image, (address, _), user = json.loads(told.stdout)
        assert (bridge, user) == ("br0", "root")
        assert Path(kernel).is_file()
        assert Path(image).is_file()
        assert address.startswith("198.1")
