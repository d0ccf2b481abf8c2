"""Virtual machines and a box: nodes that are not deployed; what scripts of vm5k call: resources, room for VMs, hosts that go and come."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypervisors import soon

from execo.localcluster import LocalCluster, LocalHost
from execo_g5k.gridbox import GridBox
from execo_g5k.kadeploy import Deployment
from execo_g5k.oar import OarSubmission, get_oar_job_nodes, oardel, oardelgrid, oarsub, oarsubgrid
from execo_g5k.planning import compute_slots, get_planning
from execo_g5k.vmutils import (
    VMDeployment,
    define_vms,
    distribute_vms,
    get_capacities,
    get_CPU_RAM_FLOPS,
    get_max_vms,
    get_oar_job_vm5k_resources,
    get_oargrid_job_vm5k_resources,
    get_vms_slot,
    prettify,
    print_step,
    reboot_hosts,
    wait_hosts_down,
    wait_hosts_up,
)

needs_ssh = pytest.mark.requires("sshd", "ssh")


@pytest.fixture(scope="module")
def box() -> Iterator[GridBox]:
    pytest.importorskip("requirements").require("sshd", "ssh")
    with GridBox(oar="own", isolation=None, nodes_per_cluster=4, sites=["lyon", "nancy"]) as grid:
        yield grid


@needs_ssh
def test_hosts_and_addresses_of_jobs_with_a_vlan_with_subnets_and_with_neither(box: GridBox) -> None:
    requests = [("{type='kavlan'}/vlan=1+nodes=1", "lyon"), ("slash_22=1+nodes=2", "nancy")]
    jobs = [(job_id, str(site)) for job_id, site in oarsub([(OarSubmission(wanted, "0:10:00"), site) for wanted, site in requests])]
    found = get_oar_job_vm5k_resources(jobs)
    nodes = {site: [host.address for host in get_oar_job_nodes(job_id, site)] for job_id, site in jobs}
    oardel(jobs)
    assert list(found) == ["lyon", "nancy"]
    assert {site: found[site]["hosts"] for site in found} == nodes
    assert found["lyon"]["kavlan"] in range(4, 10)
    assert found["nancy"]["kavlan"] is None
    assert len(found["nancy"]["ip_mac"]) >= 1000
    for site in found:
        vms = define_vms(["a", "b"], ip_mac=found[site]["ip_mac"], host=found[site]["hosts"][0])     # they are good for VMs
        assert vms[0]["ip"] != vms[1]["ip"]


@needs_ssh
def test_a_global_vlan_belongs_to_no_site(box: GridBox) -> None:
    grid_jobs = oarsubgrid([(OarSubmission("{type='kavlan-global'}/vlan=1+nodes=1", "0:10:00"), "nancy"),
                            (OarSubmission("nodes=1", "0:10:00"), "lyon")])
    found = get_oargrid_job_vm5k_resources(grid_jobs.grid_id)
    oardelgrid(grid_jobs.grid_id)
    assert set(found) == {"nancy", "lyon", "global"}
    assert found["global"]["kavlan"] >= 10
    assert len(found["global"]["ip_mac"]) > 1000
    for site in ("nancy", "lyon"):
        assert (len(found[site]["hosts"]), found[site]["ip_mac"], found[site]["kavlan"]) == (1, [], None)


@needs_ssh
def test_what_hosts_have_is_what_vms_are_placed_on(box: GridBox) -> None:
    hosts = [host for host in box.hosts if host.startswith(("saone-", "gros-", "nancy-", "meurthe-"))][:3]
    told = get_CPU_RAM_FLOPS(hosts)
    assert list(told) == [*hosts, "TOTAL"]
    assert {host: (told[host]["CPU"], told[host]["RAM"]) for host in hosts} == get_capacities(hosts)
    assert told["TOTAL"]["RAM"] == sum(told[host]["RAM"] for host in hosts)
    assert all(told[host]["FLOPS"] >= 0 for host in hosts)
    for mem, n_cpu in ((512, 1), (3000, 1), (20000, 2)):
        most = get_max_vms(hosts, mem, n_cpu)
        distribute_vms(define_vms([f"vm-{index}" for index in range(most)], mem=mem, n_cpu=n_cpu), hosts)
        with pytest.raises(ValueError, match="first that fits nowhere"):
            distribute_vms(define_vms([f"vm-{index}" for index in range(most + 1)], mem=mem, n_cpu=n_cpu), hosts)


@needs_ssh
def test_the_first_slot_with_room_for_all_vms(box: GridBox) -> None:
    (one, *_) = [host for host in box.hosts if ".lyon." in host]
    cluster = one.rpartition("-")[0]
    cores, memory = get_capacities([one])[one]
    slots = [[10, 20, {cluster: 1, "lyon": 1, "grid5000": 1}], [20, 30, {cluster: 3, "lyon": 3, "grid5000": 3}]]
    half = define_vms([f"vm-{index}" for index in range(5)], mem=int(memory / 2))
    assert get_vms_slot(half[:2], "lyon", slots) == (10, 20, {cluster: 1})
    assert get_vms_slot(half, [cluster], slots) == (20, 30, {cluster: 3})
    assert get_vms_slot(half, "lyon", slots, [cluster]) == (None, None, None)
    # In all there is enough memory, but on no host for two of these.
    large = define_vms([f"vm-{index}" for index in range(4)], mem=int(memory * 0.6))
    assert get_vms_slot(large, "grid5000", slots) == (None, None, None)
    assert get_vms_slot(define_vms("vm", n_cpu=int(cores * 3) + 1), "grid5000", slots) == (None, None, None)
    assert all(vm["host"] is None for vm in half)
    with pytest.raises(ValueError, match="expected sites, clusters or 'grid5000', found 'nowhere'"):
        get_vms_slot(half, "nowhere", slots)
    start, end, hosts = get_vms_slot(half, "nancy", compute_slots(get_planning(["lyon", "nancy"]), "0:30:00"))
    assert start is not None
    assert end == start + 1800
    assert sum(hosts.values()) >= 1


@needs_ssh
def test_a_node_that_is_not_deployed_is_left_out_with_its_vms(box: GridBox) -> None:
    box.deployments.step_seconds = 0.002
    ((job, site),) = oarsub([(OarSubmission("nodes=2", "0:10:00", job_type="deploy"), "lyon")])
    good, bad = sorted(host.address for host in get_oar_job_nodes(job, site))
    vms = define_vms(["on-good", "on-bad"], host=[good, bad])
    box.deployments.fail(bad, "format_deploy_part")
    made = VMDeployment(vms=vms, deployment=Deployment([good, bad], env_name="debian12-min")).run(["deploy_hosts"])
    oardel([(job, site)])
    assert [(host.address, host.user) for host in made.hosts] == [(good, "root")]
    assert list(made.failed_hosts) == [bad]
    assert made.failed_hosts[bad].startswith("deploy_hosts: ")
    assert made.vms == vms[:1]
    assert made.failures == {"on-bad": f"deploy_hosts: its host {bad} failed"}


@pytest.mark.requires("namespaces")
def test_hosts_go_and_come_back(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    with LocalCluster(2, "namespaces") as cluster:
        params, (one, two) = soon(cluster), cluster.hosts
        params["ssh_options"] = tuple(option.replace("ConnectTimeout=20", "ConnectTimeout=2") for option in params["ssh_options"])
        assert wait_hosts_up(cluster.hosts, 20, params)
        assert not wait_hosts_down(one, 1, params)
        two.crash()
        assert wait_hosts_down([two], 20, params)
        with caplog.at_level(logging.WARNING):
            assert not wait_hosts_up(cluster.hosts, 1, params)
        assert f"not up within 1 s: {two.address}" in caplog.text
        two.boot()
        switch = tmp_path / "switch"        # a container has no power switch of its own
        electrician = threading.Thread(target=reboot_when_asked, args=[one, switch], daemon=True)
        electrician.start()
        assert reboot_hosts(one, 60, params, f"touch {switch}")
        electrician.join()
        with caplog.at_level(logging.WARNING):
            assert not reboot_hosts([two], 2, params, "true")
        assert f"not back within 2 s: {two.address}" in caplog.text


def reboot_when_asked(host: LocalHost, switch: Path) -> None:
    while not switch.exists():
        threading.Event().wait(0.05)
    host.crash().undo()


def test_words_for_humans(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        print_step("disks")
    assert "* disks *" in caplog.text
    element = ElementTree.fromstring("<vm5k><site id='nancy'><vm/></site></vm5k>")
    assert prettify(element) == '<vm5k>\n  <site id="nancy">\n    <vm />\n  </site>\n</vm5k>\n'
    assert ElementTree.tostring(element, encoding="unicode") == '<vm5k><site id="nancy"><vm /></site></vm5k>'
