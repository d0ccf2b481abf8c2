"""Deployments, consoles and VLANs of the box: nodes really get another root, and another link."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from deployments import ENV, PATIENCE, ask_nodes, clear, hurry, job_of, on_frontend, wait_until
from requirements import require

from execo import Remote
from execo_g5k.gridbox import GridBox
from execo_g5k.kadeploy import Deployment, KaconsoleProcess, Kadeployer, deploy
from execo_g5k.oar import get_oar_job_kavlan, oardel
from execo_g5k.testbed import G5kTestbed

pytestmark = pytest.mark.requires("sshd", "ssh")
DESCRIPTION = """\
---
name: mine
version: 3
description: "My own"
visibility: private
image:
  file: /home/me/mine.tgz
  kind: tar
postinstalls:
- archive: server:///post.tgz
  script: traitement.ash /rambin
filesystem: ext4
"""


@pytest.fixture(scope="module")
def _box() -> Iterator[GridBox]:
    require("namespaces")
    with GridBox(oar="own", isolation="namespaces", nodes_per_cluster=4, sites=["lyon"]) as box:
        hurry(box)
        assert box.api is not None
        for vlan in ("4", "DEFAULT"):           # the network of a VLAN lives as long as the box, not as long as a test
            box.api.vlans("lyon").put(["saone-1.lyon.grid5000.fr"], vlan)
        yield box


@pytest.fixture
def grid(_box: GridBox) -> Iterator[GridBox]:
    yield _box
    clear(_box)


def test_deployed_nodes_have_another_root_and_go_back_when_the_job_ends(grid: GridBox) -> None:
    job, nodes = job_of()
    about = "cat /etc/hostname; mount | grep -o '^/dev/.* on / '; cat /etc/ssh/host_key.pub | wc -l"
    keys = [grid.hosts[node].run_inside("ls /etc/ssh/host_key").returncode for node in nodes]
    assert keys == [2, 2]
    assert ask_nodes("mount | grep -o '^/dev/.* on / '", nodes) == ["/dev/sda2 on /"] * 2
    ask_nodes("setsid sleep 1000 >/dev/null 2>&1 </dev/null & until pgrep -x sleep; do :; done", nodes)
    result = deploy(Deployment(nodes, env_name=ENV))
    assert (result.deployed, result.failures) == (set(nodes), {})
    found = [text.split() for text in ask_nodes(about, nodes)]
    assert found == [[node.partition(".")[0], "/dev/sda3", "on", "/", "1"] for node in sorted(nodes)]
    assert len(set(ask_nodes("cat /etc/ssh/host_key.pub", nodes))) == 2
    assert ask_nodes("pgrep -x sleep || true", nodes) == ["", ""]
    assert ask_nodes(". /etc/os-release; echo $VARIANT_ID", nodes) == [ENV] * 2
    ask_nodes("echo mine >/etc/mine", nodes[:1])
    assert not os.path.exists("/etc/mine")
    assert ask_nodes("cat /etc/mine", nodes[1:], ok=False)
    # what is deployed is left alone
    assert deploy(Deployment(nodes, env_name=ENV)).deployed == set(nodes)
    assert len(grid.kadeploys["lyon"].workflows()) == 1
    oardel([job])
    wait_until(lambda: not grid.kadeploys["lyon"].systems.touched())
    assert ask_nodes("mount | grep -o '^/dev/.* on / '", nodes) == ["/dev/sda2 on /"] * 2


def test_what_is_refused(grid: GridBox) -> None:
    _, (node, _) = job_of()
    _, (other,) = job_of("nodes=1", None)
    nobody = next(name for name in grid.hosts if name.startswith("rhone"))
    refused = {
        f"-e {ENV} -m {other}": (6, "You do not have sufficient rights on all the nodes"),
        f"-e {ENV} -m {node} -m {nobody}": (6, f"nodes: {nobody}\n[Kadeploy Error #6]"),
        f"-e {ENV} -m unknown-1.lab": (1, "The nodes unknown-1.lab does not belongs to any server"),
        f"-e nothing -m {node}": (1, "Resource not found /environments"),
        f"-e {ENV}": (1, "No node is chosen"),
        f"-m {node}": (1, "You must choose an environment"),
        f"-e {ENV} -m {node} --bogus": (1, "Option parsing error: "),
        f"-e {ENV} -m {node} -o /tmp/same -n /tmp/same": (1, "Option parsing error: "),
        f"-e {ENV} -m {node} --vlan 99": (9, "Invalid VLAN -- there is no VLAN 99 on lyon\n[Kadeploy Error #9]"),
        f"-e {ENV} -m {node} --vlan 4": (9, "[Kadeploy Error #9]"),
        f"-a /no/such/file -m {node}": (1, "/no/such/file"),
    }
    for options, (code, text) in refused.items():
        process = on_frontend(f"kadeploy3 {options}")
        assert (process.exit_code, text in process.stderr, process.stdout) == (code, True, ""), (options, process.stderr)
    grid.deployments.down.add("lyon")
    assert on_frontend(f"kadeploy3 -e {ENV} -m {node}").stderr == "The kadeploy.lyon.grid5000.fr server is unreachable\n"
    assert grid.kadeploys["lyon"].systems.touched() == []


def test_files_of_nodes_and_a_deployment_that_nobody_waits_for(grid: GridBox, tmp_path: Path) -> None:
    _, nodes = job_of()
    grid.deployments.fail(nodes[1], "format_deploy_part", message="no disk")
    listed = tmp_path / "nodes"
    listed.write_text("# mine\n\n" + "\n".join([*nodes, nodes[0]]))
    process = on_frontend(f"kadeploy3 -e {ENV} -k -V 4 -f {listed} -o {tmp_path}/ok -n {tmp_path}/ko --write-workflow-id {tmp_path}/id")
    assert (process.exit_code, process.stderr) == (0, "")
    lines = process.stdout.splitlines()
    wid = (tmp_path / "id").read_text()
    assert lines[0] == f"Deployment #{wid} started"
    assert "   ~ Time in switch_pxe: 0s" in lines
    assert lines[-5:] == ["", "The deployment is successful on nodes", nodes[0], "The deployment failed on nodes",
                          f"{nodes[1]} (SetDeploymentEnvUntrusted-format_deploy_part: no disk)"]
    assert ((tmp_path / "ok").read_text(), (tmp_path / "ko").read_text()) == (f"{nodes[0]}\n", f"{nodes[1]}\n")
    assert f"  [1] {nodes[0]}" in lines
    grid.deployments.seconds["send_environment"] = 60
    process = on_frontend(f"kadeploy3 -e {ENV} -m {nodes[0]} --no-wait")
    wid = process.stdout.split()[0]
    busy = on_frontend(f"kadeploy3 -e {ENV} -m {nodes[0]}")
    assert (busy.exit_code, "[Kadeploy Error #14]" in busy.stderr) == (14, True)
    grid.kadeploys["lyon"].cancel(wid)
    assert grid.kadeploys["lyon"].workflows()[0].status == "canceled"


@pytest.mark.parametrize("step", ["SetDeploymentEnvUntrusted-wait_reboot", "BootNewEnvClassical-wait_reboot"])
def test_a_node_that_fails_in_a_phase_is_told_and_stays_off(grid: GridBox, step: str) -> None:
    _, nodes = job_of()
    good, bad = nodes
    grid.deployments.fail(bad, step)
    result = deploy(Deployment(nodes, env_name=ENV), check_timeout=1.5)
    assert (result.deployed, list(result.failures)) == ({good}, [bad])
    assert step.rpartition("-")[2] in result.failures[bad]
    with pytest.raises(RuntimeError, match="down"):
        grid.hosts[bad].run_inside("true")
    grid.deployments.mend(bad)
    assert deploy(Deployment(nodes, env_name=ENV), check_timeout=1.5).deployed == set(nodes)


def test_only_what_failed_is_tried_again_and_a_fault_may_pass(grid: GridBox) -> None:
    _, nodes = job_of()
    grid.deployments.fail(nodes[0], "BroadcastEnvChain-sync", times=3)
    result = deploy(Deployment(nodes, env_name=ENV), num_tries=2, check_timeout=1.5)
    assert result.deployed == set(nodes)
    assert [workflow.nodes for workflow in grid.kadeploys["lyon"].workflows()[:2]] == [[nodes[0]], nodes]
    assert [result.report.nodes[node].tries for node in nodes] == [2, 1]
    grid.deployments.failure_rate = 1.0
    try:
        run = Kadeployer(Deployment(nodes, env_name=ENV)).run()
        assert run.undeployed_hosts == set(nodes)
    finally:
        grid.deployments.failure_rate = 0.0


def test_a_frontend_that_is_lost_does_not_end_the_deployment_but_an_interruption_does(grid: GridBox) -> None:
    _, nodes = job_of()
    kadeploy = grid.kadeploys["lyon"]
    grid.deployments.seconds["send_environment"] = 1.0
    run = Kadeployer(Deployment(nodes, env_name=ENV))
    run.start()
    wait_until(lambda: any(now.micro == "send_environment" for steps in run.steps.values() for now in steps.values()))
    os.kill(run.processes[0].pid, signal.SIGKILL)
    run.wait()
    assert set(run.failures) == set(nodes)
    workflow = kadeploy.workflows()[0]
    assert (workflow.wid in run.processes[0].stdout, workflow.done.is_set()) == (True, False)
    assert workflow.done.wait(PATIENCE)
    assert (workflow.status, workflow.ok) == ("terminated", nodes)
    assert deploy(Deployment(nodes, env_name=ENV)).deployed == set(nodes)
    assert kadeploy.workflows()[0] is workflow
    grid.deployments.seconds["send_environment"] = 60
    cancelled = deploy(Deployment(nodes, env_name="debian11-min"), check_deployed_command=False, deploy_timeout=2)
    assert cancelled.undeployed == set(nodes)
    wait_until(kadeploy.workflows()[0].done.is_set)
    assert kadeploy.workflows()[0].status == "canceled"
    del grid.deployments.seconds["send_environment"]
    assert deploy(Deployment(nodes, env_name=ENV), check_timeout=1.5).deployed == set(nodes)


def test_environments_are_registered_listed_printed_and_deployed(grid: GridBox, tmp_path: Path) -> None:
    user = grid.oars["lyon"].user
    file = tmp_path / "my env.yaml"
    file.write_text(DESCRIPTION)
    assert on_frontend("kaenv3 -l").stdout.split()[:4] == ["Name", "Version", "User", "Description"]
    added = on_frontend(f"kaenv3 -a '{file}'")
    assert (added.exit_code, added.stdout, added.stderr) == (0, "", "")
    assert (on_frontend(f"kaenv3 -a '{file}'").exit_code, on_frontend("kaenv3 -p unknown").exit_code) == (10, 1)
    assert ["mine", "3", user] in [line.split()[:3] for line in on_frontend("kaenv3 -l").stdout.splitlines()]
    printed = on_frontend("kaenv3 -p mine").stdout
    assert "  script: traitement.ash /rambin\n" in printed
    _, nodes = job_of("nodes=1")
    assert deploy(Deployment(nodes, env_name="mine", env_version=3, user=user)).deployed == set(nodes)
    assert ask_nodes("cat /etc/grid5000/release", nodes) == ["mine-3"]
    items = requests.get(f"{grid.api_uri}sites/lyon/environments?name=mine", timeout=PATIENCE).json()["items"]
    assert [item["uid"] for item in items] == [f"mine_x86_64_3_{user}"]
    assert items[0]["postinstalls"] == [{"archive": "server:///post.tgz", "script": "traitement.ash /rambin"}]
    assert on_frontend("kaenv3 -d mine").exit_code == 0
    assert "mine" not in on_frontend("kaenv3 -l").stdout
    run = Kadeployer(Deployment(nodes, env_file=str(file))).run()
    assert run.deployed_hosts == set(nodes), run.failures


def test_the_api_deploys_and_shows_the_same(grid: GridBox) -> None:
    _, nodes = job_of()
    grid.deployments.fail(nodes[1], "format_swap_part", message="no swap")
    result = deploy(Deployment(nodes, env_name=f"{ENV}"), through="api", check_timeout=1.5)
    assert (result.deployed, list(result.failures)) == ({nodes[0]}, [nodes[1]])
    assert "no swap" in result.failures[nodes[1]]
    address = f"{grid.api_uri}sites/lyon/deployments"
    shown = requests.get(address, timeout=PATIENCE).json()["items"][0]
    assert (shown["status"], shown["environment"], shown["nodes"]) == ("terminated", ENV, nodes)
    assert shown["result"][nodes[0]]["state"] == "OK"
    assert requests.delete(f"{address}/{shown['uid']}", headers={"X-Api-User-Cn": "somebody"}, timeout=PATIENCE).status_code == 403
    # who has no job there may not
    theirs = requests.post(address, json={"nodes": nodes, "environment": ENV}, headers={"X-Api-User-Cn": "somebody"}, timeout=PATIENCE)
    assert (theirs.status_code, "Kadeploy error #6" in theirs.text) == (500, True)
    unknown = requests.post(address, json={"nodes": nodes, "environment": "nothing"}, timeout=PATIENCE)
    assert (unknown.status_code, "Invalid environment specification nothing" in unknown.text) == (400, True)


def test_kavlan_moves_links(grid: GridBox) -> None:
    job, (one, two, three) = job_of(["{type='kavlan'}/vlan=1+nodes=3"])
    (vlan,) = get_oar_job_kavlan(*job)
    named = [f"{node.partition('.')[0]}-kavlan-{vlan}.lyon.grid5000.fr" for node in (one, two)]

    def pings(source: str, target: str) -> bool:
        return grid.hosts[source].run_inside(["ping", "-c", "1", "-W", "1", target]).returncode == 0

    assert (pings(one, two), pings(one, three)) == (True, True)
    assert on_frontend(f"kavlan -V -j {job[0]}").stdout == f"{vlan}\n"
    said = on_frontend(f"kavlan -s -i {vlan} -m {one} -m {two}")
    assert (said.exit_code, f"all nodes are configured in the vlan {vlan}" in said.stdout) == (0, True), said.stderr
    assert (pings(one, three), pings(three, two)) == (False, False)
    assert pings(one, named[1])
    assert ask_nodes("hostname", named) == sorted([one, two])
    assert on_frontend(f"kavlan -g -m {one} -m {three}").stdout == f"{one} : KAVLAN-{vlan}\n{three} : DEFAULT\n"
    assert on_frontend(f"kavlan -l -i {vlan}").stdout.split() == sorted([one, two])
    assert on_frontend(f"kavlan -s -i {vlan + 1} -m {one}").exit_code == 1
    assert on_frontend(f"kavlan -s -i DEFAULT -m {two} -q").stdout == ""
    assert (pings(two, three), pings(one, two)) == (True, False)
    result = deploy(Deployment([three], env_name=ENV, vlan=vlan), check_timeout=1.5)
    assert result.deployed == {three}, result.failures
    assert ask_nodes("cat /etc/hostname", [f"{three.partition('.')[0]}-kavlan-{vlan}.lyon.grid5000.fr"]) == [three.partition(".")[0]]
    assert pings(three, named[0])
    oardel([job])
    wait_until(lambda: not grid.api.vlans("lyon").moved() and not grid.kadeploys["lyon"].systems.touched())   # type: ignore[union-attr]
    assert (pings(one, two), pings(three, one)) == (True, True)


def test_a_node_that_boots_is_in_its_vlan_again(grid: GridBox) -> None:
    job, (one, two, three) = job_of(["{type='kavlan'}/vlan=1+nodes=3"])
    (vlan,) = get_oar_job_kavlan(*job)
    named = [f"{node.partition('.')[0]}-kavlan-{vlan}.lyon.grid5000.fr" for node in (one, two, three)]
    boots = "cut -d' ' -f22 /proc/1/stat"

    def pings(source: str, target: str) -> bool:
        return grid.hosts[source].run_inside(["ping", "-c", "1", "-W", "1", target]).returncode == 0

    grid.hosts[three].crash()
    assert on_frontend(f"kavlan -s -i {vlan} -m {one} -m {two} -m {three} -q").exit_code == 0
    grid.hosts[two].crash()
    for node in (two, three):
        grid.hosts[node].boot()
    assert (pings(one, named[1]), pings(one, named[2]), pings(one, two)) == (True, True, False)
    assert ask_nodes("hostname", named) == sorted([one, two, three])
    before = ask_nodes(boots, named)
    grid.hosts[one].crash()
    for command in (f"kareboot3 -m {two} -l very_hard", f"kapower3 --off -m {three}", f"kapower3 --on -m {one} -m {three}"):
        process = on_frontend(command)
        assert (process.exit_code, "failed on" in process.stdout) == (0, False), process.stdout
    assert ask_nodes("hostname", named) == sorted([one, two, three])
    assert not set(ask_nodes(boots, named)) & set(before)
    assert on_frontend(f"kareboot3 -m {two} --vlan {vlan}").exit_code == 0
    assert on_frontend(f"kavlan -s -i DEFAULT -m {one} -q").exit_code == 0
    assert (pings(two, named[2]), pings(one, two), ask_nodes("hostname", [one])) == (True, False, [one])


def test_a_node_that_does_not_come_back_to_its_vlan_is_told(grid: GridBox, monkeypatch: pytest.MonkeyPatch) -> None:
    job, (one, two) = job_of(["{type='kavlan'}/vlan=1+nodes=2"])
    (vlan,) = get_oar_job_kavlan(*job)
    assert on_frontend(f"kavlan -s -i {vlan} -m {one} -m {two} -q").exit_code == 0

    def fail() -> None:
        raise OSError("no link")

    with monkeypatch.context() as broken:
        broken.setattr(grid.hosts[one], "_after_boot", fail)
        said = on_frontend(f"kareboot3 -m {one} -m {two}").stdout.splitlines()
    assert said[-4:-1] == ["The reboot operation is successful on nodes", two, "The reboot operation failed on nodes"]
    assert said[-1].startswith(f"{one} (Simple-wait_reboot: Unreachable after the reboot (")
    assert ask_nodes("hostname", [f"{two.partition('.')[0]}-kavlan-{vlan}.lyon.grid5000.fr"]) == [two]
    assert on_frontend(f"kareboot3 -m {one}").exit_code == 0
    assert ask_nodes("hostname", [f"{one.partition('.')[0]}-kavlan-{vlan}.lyon.grid5000.fr"]) == [one]


def test_the_console_of_a_node(grid: GridBox) -> None:
    _, (node, other) = job_of()
    grid.hosts[node].reject(22)
    with KaconsoleProcess(node, connection_timeout=20) as console:
        console.start()
        assert console.wait_connected(timeout=PATIENCE)
        console.write("echo $((40 + 2)) on $(hostname)\n")
        index, _ = console.expect(f"42 on {node}", timeout=PATIENCE)
        assert index == 0
        console.close()
        console.wait(timeout=PATIENCE)
        assert console.exit_code == 0
    grid.hosts[node].mend()
    assert on_frontend(f"kaconsole3 -m {other}").stderr == "Kaconsole output must be a TTY.\n"
    assert on_frontend(f"kaconsole3 -m {other} -m {node}").exit_code == 1


def test_a_testbed_deploys_its_hosts(grid: GridBox) -> None:
    testbed = G5kTestbed({"saone": 2}, "0:20:0", environment=ENV, lead=0, charter=False, deploy_options={"check_timeout": 1.5})
    assert not hasattr(G5kTestbed({"saone": 2}, "0:20:0"), "deploy")
    testbed.reserve()
    try:
        assert testbed.wait(PATIENCE)
        bad = testbed.hosts[0].address
        grid.deployments.fail(bad, "wait_reboot")
        ready = testbed.deploy()
        assert [host.address for host in ready] == [testbed.hosts[1].address]
        assert list(testbed.failures) == [bad]
        assert Remote("grep -c debian12 /etc/os-release", ready, testbed.connection_params).run().ok
    finally:
        testbed.release()


def test_with_an_environment_the_testbed_refuses_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="without hosts"):
        G5kTestbed(2, "1:0:0", environment=Deployment("saone-1.lyon.grid5000.fr", env_name=ENV))
    with pytest.raises(ValueError, match="deploy_options"):
        G5kTestbed(2, "1:0:0", deploy_options={"num_tries": 2})
