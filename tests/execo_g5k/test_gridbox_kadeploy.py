"""Kadeploy of the box as its clients see it, and what fails in the middle, where nodes share everything: they boot in no time."""

from __future__ import annotations

import http.server
import os
import signal
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from deployments import ENV, PATIENCE, clear, hurry, job_of, on_frontend, wait_until

from execo import Host, ProcessOutputHandler
from execo_g5k._gridbox.kadeploy.standin import MACROS
from execo_g5k.config import g5k_configuration
from execo_g5k.gridbox import GridBox
from execo_g5k.kadeploy import Deployment, KaconsoleProcess, Kadeployer, deploy
from execo_g5k.oar import oardel
from execo_g5k.testbed import G5kTestbed
from execo_g5k.utils import get_kavlan_host_name

pytestmark = pytest.mark.requires("sshd", "ssh")
STEPS = [f"{macro}-{micro}" for macro, micros in MACROS for micro in micros]


@pytest.fixture(scope="module")
def _box() -> Iterator[GridBox]:
    with GridBox(oar="own", isolation=None, sites=["lyon", "nancy"]) as box:
        hurry(box)
        yield box


@pytest.fixture
def grid(_box: GridBox) -> Iterator[GridBox]:
    yield _box
    clear(_box)


class At(ProcessOutputHandler):
    """Does something once, when kadeploy3 prints a step."""

    def __init__(self, step: str, act: Callable[[Any], object]) -> None:
        super().__init__()
        self.step, self.act, self.times = step, act, 0

    def read_line(self, process: Any, stream: int, string: str) -> None:
        if string.endswith(f"  {self.step}") and not self.times:
            self.times += 1
            self.act(process)


def lose_connection(process: Any) -> None:
    """The other side of the ssh of a frontend is gone."""
    (proxy,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(proxy), signal.SIGKILL)


def lines(text: str) -> list[str]:
    return text.splitlines()


def test_a_node_that_fails_in_each_step_has_its_reason(grid: GridBox) -> None:
    _, lyon = job_of("nodes=8")
    _, nancy = job_of("nodes=12", site="nancy")
    step_of = dict(zip([*lyon[1:], *nancy[1:]], STEPS, strict=True))
    for node, step in step_of.items():
        grid.deployments.fail(node, step, message="on purpose")
    result = deploy(Deployment([*lyon, *nancy], env_name=ENV))
    assert result.failures == {node: f"{step}: on purpose" for node, step in step_of.items()}
    assert result.deployed == {lyon[0], nancy[0]}
    # the first boot never comes, or the last; each is tried twice
    assert len([line for line in grid.kadeploys["lyon"].workflows()[0].said(0)[0].splitlines() if "!!! The nodes" in line]) == 14
    grid.deployments.mend()
    assert deploy(Deployment([*lyon, *nancy], env_name=ENV)).deployed == {*lyon, *nancy}


def test_a_frontend_that_is_lost_in_the_middle(grid: GridBox, monkeypatch: pytest.MonkeyPatch) -> None:
    _, lyon = job_of()
    _, nancy = job_of(site="nancy")
    monkeypatch.setitem(g5k_configuration, "polling_interval", 0.05)
    grid.deployments.seconds["send_environment"] = 1.5
    kadeploy = grid.kadeploys["lyon"]

    def lose_lyon(process: Any) -> None:
        if process.frontend == "lyon":
            lose_connection(process)

    # without another try
    result = deploy(Deployment(lyon, env_name=ENV), stdout_handlers=At("send_environment", lose_lyon))
    reason = "the connection to the frontend lyon was lost, in BroadcastEnvChain-send_environment"
    assert result.failures == dict.fromkeys(lyon, reason)
    wait_until(kadeploy.workflows()[0].done.is_set)
    # with one, which waits for what goes on by itself, and finds it deployed
    both = Deployment([*lyon, *nancy], env_name="debian11-min")
    handler = At("send_environment", lose_lyon)
    result = deploy(both, num_tries=2, check_deployed_command="! true", stdout_handlers=handler)
    assert result.undeployed == {*lyon, *nancy}         # such is the check
    assert (handler.times, [workflow.ok for workflow in kadeploy.workflows()[:2]]) == (1, [lyon, lyon])
    assert [result.report.nodes[node].tries for node in (*lyon, *nancy)] == [2, 2, 2, 2]


def test_a_lost_frontend_whose_deployment_goes_on_costs_no_second_one(grid: GridBox, monkeypatch: pytest.MonkeyPatch) -> None:
    _, nodes = job_of()
    monkeypatch.setitem(g5k_configuration, "polling_interval", 0.05)
    grid.deployments.seconds["send_environment"] = 1.5
    result = deploy(Deployment(nodes, env_name=ENV), num_tries=2, stdout_handlers=At("send_environment", lose_connection))
    assert (result.deployed, result.failures) == (set(nodes), {})
    # or one more, if the check came just before the end of the first
    assert len(grid.kadeploys["lyon"].workflows()[0].nodes) == 2
    grid.deployments.seconds["send_environment"] = 60
    monkeypatch.setattr("execo_g5k._kadeploy.deploy.OWN_SECONDS", 1.0)
    result = deploy(Deployment(nodes, env_name="debian11-min"), check_deployed_command=False, num_tries=2,
                    stdout_handlers=At("send_environment", lose_connection))
    assert [reason[:32] for reason in result.failures.values()] == ["Kadeploy error 14 (nothing modif"] * 2
    grid.kadeploys["lyon"].cancel(grid.kadeploys["lyon"].workflows()[0].wid)


def test_a_job_that_ends_during_the_deployment(grid: GridBox) -> None:
    (job, _), nodes = job_of()
    (other, _), more = job_of()
    oar, kadeploy = grid.oars["lyon"], grid.kadeploys["lyon"]
    grid.deployments.seconds["send_environment"] = 1.0
    part = At("send_environment", lambda _: oar.delete(other, oar.user))
    result = deploy(Deployment([*nodes, *more], env_name=ENV), stdout_handlers=part)
    assert result.deployed == set(nodes)
    assert result.failures == dict.fromkeys(more, f"BroadcastEnvChain-send_environment: The job {other} has ended")
    wait_until(lambda: set(kadeploy.systems.touched()) == set(nodes))
    grid.deployments.seconds["send_environment"] = 60       # it is not waited for
    all_of_it = At("send_environment", lambda _: oar.delete(job, oar.user))
    result = deploy(Deployment(nodes, env_name="debian11-min"), check_deployed_command=False, stdout_handlers=all_of_it)
    assert result.failures == dict.fromkeys(nodes, f"BroadcastEnvChain-send_environment: The job {job} has ended")
    assert kadeploy.workflows()[0].status == "canceled"
    refused = deploy(Deployment(nodes, env_name=ENV), check_deployed_command=False).failures
    assert all(reason.startswith("Kadeploy error 6 (") for reason in refused.values())
    wait_until(lambda: not kadeploy.systems.touched())
    assert on_frontend(f"kanodes3 -s -m {nodes[0]}").stdout == f"---\n{nodes[0]}:\n  state: prod_env\n"


def test_reboots_and_their_lists(grid: GridBox, tmp_path: Path) -> None:
    _, nodes = job_of()
    good, bad = nodes
    assert deploy(Deployment(nodes, env_name=ENV)).deployed == set(nodes)
    grid.deployments.fail(bad, "wait_reboot")
    run = on_frontend(f"kareboot3 -r simple -l hard -m {good} -m {bad} -o {tmp_path}/ok -n {tmp_path}/ko --write-workflow-id {tmp_path}/id")
    wid = (tmp_path / "id").read_text()
    assert (run.exit_code, run.stderr, wid[:2]) == (0, "", "R-")
    folded = "saone-[1-2].lyon.grid5000.fr"
    assert lines(run.stdout) == [
        f"Reboot operation #{wid} started", f"Launching a reboot operation on {folded}", "Performing a Reboot[Simple] step", "  reboot",
        f"   * Performing a hard reboot on {folded}", "  wait_reboot", f"!!! The nodes {bad} failed on step wait_reboot",
        f"Step Reboot[Simple] failed for {bad} after 0s", "End of step Reboot[Simple] after 0s",
        f"End of reboot operation for {good} after 0s", "End of reboot operation on cluster saone after 0s",
        f"Reboot operation #{wid} done", "", "The reboot operation is successful on nodes", good,
        "The reboot operation failed on nodes", f"{bad} (Simple-wait_reboot: Unreachable after the reboot)"]
    assert ((tmp_path / "ok").read_text(), (tmp_path / "ko").read_text()) == (f"{good}\n", f"{bad}\n")
    power = on_frontend(f"kapower3 --status -m {folded}")
    assert lines(power.stdout)[-7:] == [
        "", "---", f"{good}: on", f"{bad}: off", "---", "The power operation is successful on nodes", good, bad][-7:]
    states = on_frontend(f"kanodes3 -s -f {tmp_path}/ok -m {bad}")
    user, version = grid.oars["lyon"].user, grid.kadeploys["lyon"].environments.find(ENV, None)
    assert version is not None
    environment = f"  environment:\n    name: {ENV}\n    version: {version.version}\n    user: deploy\n"
    assert states.stdout == (f"---\n{bad}:\n  state: reboot_failed\n  user: {user}\n{environment}"
                             f"{good}:\n  state: rebooted\n  user: {user}\n{environment}")
    # what was deployed stays so
    grid.deployments.mend()
    assert on_frontend(f"kapower3 --on -l soft -m {bad}").exit_code == 0
    assert deploy(Deployment(nodes, env_name=ENV), num_tries=0).deployed == set(nodes)
    assert "power operation failed on nodes" not in on_frontend(f"kapower3 --off -m {good}").stdout
    assert deploy(Deployment(nodes, env_name=ENV), num_tries=0, check_timeout=5).deployed == {bad}
    named = {f"-r recorded_env -e {ENV}": "is successful", "-r recorded_env -e debian11-min": "failed", "-r set_pxe -k": "is successful"}
    for options, how in named.items():
        assert f"The reboot operation {how} on nodes\n{bad}" in on_frontend(f"kareboot3 {options} -m {bad}").stdout, options
    assert "switch_pxe" in on_frontend(f"kareboot3 --reboot-kind deploy_env -m {bad} -V 4").stdout
    assert f"{bad}: off" in on_frontend(f"kapower3 --status -m {bad}").stdout


def test_what_the_other_clients_refuse(grid: GridBox, tmp_path: Path) -> None:
    _, (node, other) = job_of()
    foreign = next(name for name in grid.hosts if name.startswith("rhone"))
    (tmp_path / "script").write_text("")
    refused = {
        "kareboot3": (1, "No node is chosen"),
        f"kareboot3 -r nothing -m {node}": (1, "Option parsing error: "),
        f"kareboot3 -r recorded_env -m {node}": (1, "You must choose an environment"),
        f"kareboot3 -m {foreign}": (6, "[Kadeploy Error #6]"),
        f"kareboot3 -m {node} --vlan 4": (9, "[Kadeploy Error #9]"),
        f"kapower3 -m {node}": (1, "You must choose an operation"),
        f"kapower3 --off -m {foreign}": (6, "[Kadeploy Error #6]"),
        f"kapower3 --on -l gently -m {node}": (1, "Option parsing error: "),
        f"kapower3 --on -m {node} -o {tmp_path}/x --no-wait": (1, "Option parsing error: "),
        "kapower3 --on -m unknown-1.lab": (1, "The nodes unknown-1.lab does not belongs to any server"),
        "kanodes3": (1, "You must choose an operation"),
        "kanodes3 -s -m unknown-1.lab": (1, "The nodes unknown-1.lab does not belongs to any server"),
        "kanodes3 -w D-1": (1, "[Kadeploy Error #1]"),
        f"kadeploy3 -e {ENV} -m {node} -S elsewhere": (1, "The elsewhere server is unreachable"),
        f"kadeploy3 -e {ENV} -m {node} -s {tmp_path}/script": (1, "Option parsing error: "),
        f"kaenv3 --set-visibility-tag {ENV} -t public": (1, "Resource not found /environments"),
    }
    for command, (code, text) in refused.items():
        process = on_frontend(command)
        assert (process.exit_code, text in process.stderr, process.stdout) == (code, True, ""), (command, process.stderr)
    grid.deployments.fail(other, "power")
    run = on_frontend(f"kapower3 --off -m {node} -m {other}")
    assert lines(run.stdout)[-2:] == ["The power operation failed on nodes", f"{other} (Off-power: The power operation failed)"]


def test_what_runs_is_shown(grid: GridBox, tmp_path: Path) -> None:
    _, (node, other, third) = job_of("nodes=3")
    assert on_frontend("kanodes3 -d").stdout == on_frontend("kanodes3 -a").stdout == "--- []\n"
    grid.deployments.seconds["send_environment"] = 60
    wid, address = on_frontend(f"kadeploy3 -e {ENV} -m {node} --no-wait").stdout.split()
    assert address.endswith(f"/deployment/{wid}")
    grid.deployments.seconds["wait_reboot"] = 60
    reboot, address = on_frontend(f"kareboot3 -m {other} --no-wait").stdout.split()
    assert address.endswith(f"/reboot/{reboot}")
    busy = on_frontend(f"kapower3 --off -m {node}")
    assert (busy.exit_code, "[Kadeploy Error #14]" in busy.stderr) == (14, True)
    some = on_frontend(f"kapower3 --status -m {node} -m {third}").stdout
    assert f"The nodes {node} are already involved in deployment, let's discard them\n" in some
    assert some.endswith(f"The power operation is successful on nodes\n{third}\n")
    assert lines(on_frontend("kanodes3 -d").stdout)[1] == f"- wid: {wid}"
    assert [line for line in lines(on_frontend("kanodes3 -r -p").stdout) if "wid" in line] == [f"- wid: {reboot}"]
    assert f"nodes:\n  ok: []\n  ko: []\n  processing:\n    - {node}\n" in on_frontend(f"kanodes3 -w {wid}").stdout
    assert "state: deploying" in on_frontend(f"kanodes3 -s -m {node}").stdout
    with KaconsoleProcess(Host(other)) as console:
        console.start()
        assert console.wait_connected(timeout=PATIENCE), (console.stdout, console.stderr, console)
        assert lines(on_frontend("kanodes3 -c").stdout)[1].startswith("- wid: C-")
    kadeploy = grid.kadeploys["lyon"]
    for running in (wid, reboot):
        kadeploy.cancel(running)
    wait_until(lambda: on_frontend("kanodes3 -a").stdout == "--- []\n")
    assert "state: aborted" in on_frontend(f"kanodes3 -s -m {node}").stdout


def test_options_that_all_clients_take(grid: GridBox, tmp_path: Path) -> None:
    _, (node, other) = job_of()
    script = tmp_path / "after"
    script.write_text("#!/bin/sh\necho after all\n")
    script.chmod(0o755)
    prefix = node.partition("-")[0]
    ranges = f"{prefix}-[{node.partition('-')[2].partition('.')[0]},{other.partition('-')[2].partition('.')[0]}].lyon.grid5000.fr"
    run = on_frontend(f"kadeploy3 --env-n {ENV} -m{ranges} -m {node} -M --no-hook --force -s {script}")
    said = lines(run.stdout)
    assert (run.exit_code, run.stderr, said[-1]) == (0, "", "after all")
    assert all(line.startswith("[lyon]    ") for line in said[:-1])
    assert said[-4:-1] == [f"[lyon]    {line}" for line in ("The deployment is successful on nodes", node, other)]
    assert Kadeployer(Deployment([node, other], env_name=ENV, other_options="-M")).run().deployed_hosts == {node, other}
    typed = on_frontend(f"printf '# mine\\n\\n{node}\\n{node}\\n' | kapower3 --status -f - --server lyon")
    assert lines(typed.stdout)[-2:] == ["The power operation is successful on nodes", node]
    for command in ("kadeploy3", "kareboot3", "kapower3", "kanodes3", "kaenv3", "kaconsole3"):
        assert on_frontend(f"{command} -v").stdout.startswith("Kadeploy version: 3.3.11"), command
        assert on_frontend(f"{command} --help").stdout.startswith(f"Usage: {command} "), command
    taken = ("-d -H -b sda -c 2 -p 3 -r ext4 -w profile --set-pxe-pattern pattern -x one,two --no-kexec --disable-bootloader-install "
             "--disable-disk-partitioning --reboot-classical-timeout 100+n --reboot-kexec-timeout 60 --force-steps steps --breakpoint step "
             "--custom-steps file --hook --no-secure --password word")
    assert (on_frontend(f"kadeploy3 -e {ENV} -m {node} {taken} --dry-run").exit_code) == 0
    assert on_frontend(f"kadeploy3 -e nothing -m {node} -o {tmp_path}/early").exit_code == 1
    assert (tmp_path / "early").read_text() == ""
    assert "kadeploy.lyon.grid5000.fr:25300" in on_frontend("kanodes3 -I").stdout
    before = len(grid.kadeploys["lyon"].workflows())
    dry = on_frontend(f"kadeploy3 -e {ENV} -m {node} -o {tmp_path}/ok --dry-run")
    assert (dry.exit_code, dry.stdout, (tmp_path / "ok").read_text(), len(grid.kadeploys["lyon"].workflows())) == (0, "", "", before)


def test_sites_with_vlans_of_their_own_are_deployed_at_the_same_time(grid: GridBox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(g5k_configuration, "polling_interval", 0.05)
    job_of(["{type='kavlan'}/vlan=1+nodes=1"])          # so that the next one is not that of nancy
    # without namespaces nobody is reached by a name in a VLAN
    testbed = G5kTestbed({"lyon": 1, "nancy": 1}, "1:0:0", environment=ENV, vlan="kavlan", lead=0, charter=False,
                         deploy_options={"check_deployed_command": False})
    testbed.reserve()
    try:
        assert testbed.wait(PATIENCE)
        grid.deployments.seconds["send_environment"] = 3
        ready = testbed.deploy()
        assert (len(set(testbed.vlans.values())), testbed.failures) == (2, {})
        lyon, nancy = (grid.kadeploys[site].workflows()[0] for site in ("lyon", "nancy"))
        assert [one.vlan for one in (lyon, nancy)] == [str(testbed.vlans[site]) for site in ("lyon", "nancy")]
        assert max(lyon.created, nancy.created) < min(lyon.updated, nancy.updated)
        assert [host.address for host in ready] == [get_kavlan_host_name(host, testbed.vlans[host.address.split(".")[1]])
                                                    for host in testbed.hosts]
        oardel(testbed.jobs)
        wait_until(lambda: testbed.time_left() == 0)
        assert testbed.deploy() == []
        assert testbed.failures == {host.address: "the reservation has ended" for host in testbed.hosts}
        assert grid.kadeploys["lyon"].workflows()[0] is lyon
    finally:
        testbed.release()


def test_an_environment_from_elsewhere_and_a_server_with_a_bug(grid: GridBox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, (node,) = job_of("nodes=1")
    (tmp_path / "far.yaml").write_text("name: far\nimage:\n  file: http://localhost/x.tgz\n")
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}"
        run = Kadeployer(Deployment(node, env_file=f"{address}/far.yaml")).run()
        missing = on_frontend(f"kadeploy3 -a {address}/nothing -m {node}")
        server.shutdown()
        thread.join()
    assert (run.deployed_hosts, run.failures) == ({node}, {})
    assert "name: far\n" in on_frontend(f"kanodes3 -s -m {node}").stdout
    assert (missing.exit_code, missing.stderr[:16], missing.stderr[-20:]) == (5, "Invalid file -- ", "[Kadeploy Error #5]\n")
    monkeypatch.setattr(grid.kadeploys["lyon"].environments, "find", lambda *_: 1 / 0)
    bug = on_frontend(f"kadeploy3 -e {ENV} -m {node}")
    assert (bug.exit_code, bug.stderr[:24]) == (3, "[Internal Server Error]\n")


def test_an_environment_becomes_public(grid: GridBox, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("name: own-image\nversion: 1\nimage:\n  file: /x.tgz\n")
    environments = grid.kadeploys["lyon"].environments
    assert on_frontend(f"kaenv3 -a {tmp_path}/own.yaml").exit_code == 0
    assert environments.find("own-image", "somebody", grid.oars["lyon"].user) is None
    assert on_frontend("kaenv3 --set-visibility-tag own-image -t shared").exit_code == 0
    assert environments.find("own-image", "somebody", grid.oars["lyon"].user) is not None
    assert on_frontend("kaenv3 --update-image-checksum own-image").exit_code == 0
    assert on_frontend("kaenv3 --set-visibility-tag x").exit_code == 1
    assert on_frontend("kaenv3 --set-visibility-tag own-image -t all").exit_code == 7
    assert on_frontend("kaenv3 -d own-image").exit_code == 0


def test_the_dhcp_server_of_a_vlan_is_noted(grid: GridBox) -> None:
    assert grid.api is not None
    job, _ = job_of(["{type='kavlan'}/vlan=1+nodes=1"])
    vlan = on_frontend(f"kavlan -V -j {job[0]}").stdout.strip()
    dhcp = grid.api.vlans("lyon").dhcp
    for option, state in (("-d", "disabled"), ("-e", "enabled")):
        assert on_frontend(f"kavlan {option} -i {vlan}").stdout == f"the DHCP server of the vlan {vlan} is {state}\n"
        assert dhcp[vlan] == (state == "enabled")
    foreign = next(name for name, kind in grid.api.vlans("lyon").types.items() if name != vlan and kind == "kavlan")
    assert (on_frontend(f"kavlan -d -i {foreign}").exit_code, on_frontend("kavlan -d -i DEFAULT").exit_code) == (1, 1)


def test_no_thread_is_left_of_lost_calls(grid: GridBox) -> None:
    wait_until(lambda: not [thread for thread in threading.enumerate() if thread.name == "lyon-frontend-call"])
