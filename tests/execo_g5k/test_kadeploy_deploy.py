"""`deploy`: checks by real ssh, runs of a stand-in for kadeploy3."""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from requirements import require

import execo
from execo import Host
from execo.localcluster import LocalCluster
from execo_g5k import config
from execo_g5k._gridbox.kadeploy import standin as kadeploy3
from execo_g5k.kadeploy import Deployment, deploy
from execo_g5k.vmutils import VMDeployment, define_vms

N1, N2, N3 = (f"saone-{number}.lyon.grid5000.fr" for number in (1, 2, 3))
NODES = [N1, N2, N3]


@pytest.fixture
def site(tmp_path: Path) -> Callable[..., Path]:
    """`site(**settings)`: this machine is the frontend of lyon, whose kadeploy3 behaves so."""
    def install(**settings: Any) -> Path:
        command = kadeploy3.install(tmp_path, step=0.005, **settings)
        config.g5k_configuration.update(kadeploy3=str(command), default_frontend="lyon", no_ssh_for_local_frontend=True)
        return command

    return install


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Three nodes."""
    require("ssh", "sshd")
    with LocalCluster(3, server="sshd") as running:
        yield running


class Nodes:
    """Nodes that can be asked whether they are deployed; `reached` are the names by which they were."""

    def __init__(self, cluster: LocalCluster, folder: Path) -> None:
        self._addresses = [host.address for host in cluster.hosts]
        self._folder = folder
        self.reached: list[str] = []
        self.params = {**cluster.connection_params, "host_rewrite_func": self._rewrite}
        self.command = f'test -e {folder}/$(echo "$SSH_CONNECTION" | cut -d" " -f3)'

    def _rewrite(self, name: str) -> str:
        self.reached.append(name)
        return self._addresses[int(name.split(".", maxsplit=1)[0].split("-")[1]) - 1]

    def boot(self, *numbers: int) -> None:
        """They run the environment now."""
        for number in numbers:
            (self._folder / self._addresses[number - 1]).touch()

    def options(self, **more: Any) -> dict[str, Any]:
        return {"check_deployed_command": self.command, "node_connection_params": self.params, **more}


@pytest.fixture
def nodes(cluster: LocalCluster, tmp_path: Path) -> Nodes:
    return Nodes(cluster, tmp_path)


def the(hosts: Any = NODES, **options: Any) -> Deployment:
    return Deployment(hosts, env_name="debian12-min", **options)


def machines(command: Path) -> list[list[str]]:
    """The hosts of each call."""
    return [line.split(" -m ")[1:] for line in kadeploy3.calls(command)]


def test_only_what_failed_is_tried_again(site: Callable[..., Path]) -> None:
    command = site(fail={N2: ["wait_reboot", "Unreachable after the reboot", 2]})
    result = deploy(the(), check_deployed_command=False, num_tries=3)
    deployed, undeployed = result
    assert (deployed, undeployed) == ({N1, N3}, {N2})       # the settings of the stand-in begin anew with each call
    assert machines(command) == [NODES, [N2], [N2]]
    assert result.failures == {N2: "SetDeploymentEnvUntrusted-wait_reboot: Unreachable after the reboot"}
    assert {host: node.tries for host, node in result.report.nodes.items()} == {N1: 1, N2: 3, N3: 1}
    assert result.report.failures == result.failures
    assert isinstance(result, tuple)
    assert len(result) == 2


def test_enough_is_what_the_function_says_after_each_step(site: Callable[..., Path]) -> None:
    command = site(fail={N2: ["wait_reboot", "x", 2]})
    asked: list[tuple[set[str], set[str]]] = []

    def enough(deployed: set[str], undeployed: set[str]) -> bool:
        asked.append((set(deployed), set(undeployed)))
        deployed.clear()                    # it may do what it likes with them
        return len(asked) == 3

    assert deploy(the(), check_deployed_command=False, num_tries=5, check_enough_func=enough) == ({N1, N3}, {N2})
    assert asked == [(set(), set(NODES)), ({N1, N3}, {N2}), ({N1, N3}, {N2})]
    assert machines(command) == [NODES, [N2]]


def test_what_is_deployed_already_is_left_alone(site: Callable[..., Path], nodes: Nodes) -> None:
    command = site()
    nodes.boot(1, 2, 3)
    result = deploy(the(), **nodes.options())
    assert (result.deployed, result.undeployed) == (set(NODES), set())
    assert kadeploy3.calls(command) == []
    assert {node.tries for node in result.report.nodes.values()} == {0}


def test_only_the_check_decides(site: Callable[..., Path], nodes: Nodes) -> None:
    command = site(fail={N3: ["sync", "disk", 2]})
    nodes.boot(2)
    # It says that 1 is deployed, and that 3 is not; the check finds that 3 is, and 1 is not.
    config.g5k_configuration["kadeploy3"] = f"touch {nodes._folder}/{nodes._addresses[2]}; {command}"
    result = deploy(the(), **nodes.options())
    assert result == ({N2, N3}, {N1})
    assert machines(command) == [[N1, N3]]
    assert result.failures == {N1: "the check failed: exit code 1"}
    assert result.report.nodes[N3].state == "deployed"


def test_a_failed_check_and_a_failed_run_give_the_reason_of_the_run(site: Callable[..., Path], nodes: Nodes) -> None:
    site(fail={N1: ["sync", "disk", 2]})
    nodes.boot(2, 3)
    assert deploy(the(), **nodes.options()).failures == {N1: "BroadcastEnvChain-sync: disk"}


def test_without_a_run_the_check_is_the_reason(site: Callable[..., Path], nodes: Nodes) -> None:
    command = site()
    nodes.boot(1)
    result = deploy(the([N1, N2]), **nodes.options(num_tries=0))
    assert result == ({N1}, {N2})
    assert result.failures == {N2: "not deployed yet: the check failed: exit code 1"}
    assert kadeploy3.calls(command) == []


def test_a_check_that_hangs_and_a_host_that_is_not_there(site: Callable[..., Path], nodes: Nodes) -> None:
    site()
    result = deploy(the([N1]), **nodes.options(num_tries=0, check_deployed_command="sleep 60", check_timeout="0.5"))
    assert result.failures == {N1: "not deployed yet: the check did not end within 0.5 s"}
    nodes.params["port"] = 1
    reason = deploy(the([N1]), **nodes.options(num_tries=0)).failures[N1]
    assert reason.startswith("not deployed yet: the check cannot reach it: ")


def test_in_a_vlan_the_hosts_are_checked_by_their_names_there(site: Callable[..., Path], nodes: Nodes) -> None:
    command = site()
    nodes.boot(1)
    result = deploy(the([N1, Host(N2, port=nodes.params["port"])], vlan=4), **nodes.options())
    assert set(nodes.reached) == {"saone-1-kavlan-4.lyon.grid5000.fr", "saone-2-kavlan-4.lyon.grid5000.fr"}
    assert result == ({N1}, {N2})
    assert kadeploy3.calls(command) == [f"-k -d -e debian12-min --vlan 4 -m {N2}"]


def test_virtual_machines_are_on_the_hosts_by_their_names_in_the_vlan_as_root(
        site: Callable[..., Path], nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    site()
    nodes.boot(1, 2)
    monkeypatch.setitem(config.g5k_configuration, "check_deployed_command", nodes.command)
    vms = define_vms(["a", "b", "c"], host=[N1, N3, None])
    params = {name: value for name, value in nodes.params.items() if name != "user"}
    made = VMDeployment(vms=vms, deployment=the(vlan=4), distribution="n_by_hosts", connection_params=params).run(["deploy_hosts"])
    one, two = (f"saone-{number}-kavlan-4.lyon.grid5000.fr" for number in (1, 2))
    assert [(host.address, host.user) for host in made.hosts] == [(one, "root"), (two, "root")]
    assert list(made.failed_hosts) == [N3]
    assert made.failures == {"b": f"deploy_hosts: its host {N3} failed"}
    assert [vm["host"] for vm in made.vms] == [one, None]
    # The steps for VMs know no more of the hosts than their addresses.
    assert made.connection_params == {"user": "root", **params}
    assert VMDeployment(deployment=the(), connection_params={"user": "me"}).connection_params == {"user": "me"}
    assert VMDeployment(N1).connection_params is None


def test_the_configured_check_and_the_default_environment(site: Callable[..., Path], nodes: Nodes) -> None:
    command = site()
    config.g5k_configuration.update(check_deployed_command=nodes.command, default_env_name="std")
    nodes.boot(1)
    assert deploy(Deployment([N1, N2]), node_connection_params=nodes.params) == ({N1}, {N2})
    assert kadeploy3.calls(command) == [f"-k -d -e std -m {N2}"]


def test_a_timeout_counts_as_a_failed_run_and_the_next_may_succeed(site: Callable[..., Path], tmp_path: Path) -> None:
    slow = site(hang="wait_reboot")
    (tmp_path / "fast").mkdir()
    fast = kadeploy3.install(tmp_path / "fast", step=0.005)
    front = tmp_path / "front"
    front.write_text(f'#!/bin/sh\ntest -e {slow}.log && exec {fast} "$@"\nexec {slow} "$@"\n')
    front.chmod(0o755)
    config.g5k_configuration["kadeploy3"] = str(front)
    result = deploy(the([N1]), check_deployed_command=False, num_tries=2, deploy_timeout=4)
    assert (result.deployed, result.undeployed) == ({N1}, set())
    assert kadeploy3.calls(slow)[-1].startswith("cancelled D-")
    assert result.report.nodes[N1].tries == 2


def test_handlers_see_all_runs(site: Callable[..., Path], tmp_path: Path) -> None:
    site(fail={N1: ["sync", "disk", 2]})
    deploy(the([N1]), check_deployed_command=False, num_tries=2, stdout_handlers=str(tmp_path / "log"))
    assert (tmp_path / "log").read_text().count(f"lyon: {N1} (BroadcastEnvChain-sync: disk)\n") == 2


def test_failures_are_told_once_for_all_hosts_that_have_the_same(site: Callable[..., Path], caplog: pytest.LogCaptureFixture) -> None:
    site(fail={node: ["sync", "disk", 2] for node in NODES})
    with caplog.at_level(logging.WARNING, "execo"):
        deploy(the(), check_deployed_command=False)
    assert [record.getMessage() for record in caplog.records] == [
        "not deployed: saone-[1-3].lyon.grid5000.fr: BroadcastEnvChain-sync: disk"]


@pytest.mark.parametrize(
    ("deployment", "options", "text"),
    [
        (Deployment(env_name="e"), {}, "no hosts to deploy"),
        (Deployment([N1]), {}, "without environment"),
        (Deployment([N1], env_name="e", vlan="x"), {}, "vlan of a deployment"),
        (Deployment([N1], env_name="e"), {"through": "ssh"}, "through: expected one of frontend, api, found 'ssh'"),
        (Deployment(["-x"], env_name="e"), {}, "host to deploy"),
        (Deployment([N1], env_file="/e"), {"through": "api"}, "URL of a description, found '/e'"),
        (Deployment([N1], env_name="e"), {"deploy_timeout": "soon"}, "soon"),
        (Deployment([N1], env_name="e"), {"check_timeout": "soon"}, "soon"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_is_refused_before_anything_is_done(
        site: Callable[..., Path], deployment: Deployment, options: dict[str, Any], text: str) -> None:
    command = site()
    with pytest.raises(ValueError, match=text):
        deploy(deployment, check_deployed_command=False, **options)
    assert kadeploy3.calls(command) == []


@pytest.mark.parametrize("settings", [{"error": [14, "Nothing modified -- all nodes have been discarded"]}, {"busy": [N2]}], ids=str)
def test_what_another_script_deploys_is_not_waited_for(
        site: Callable[..., Path], settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    command = site(**settings)
    monkeypatch.setitem(config.g5k_configuration, "polling_interval", 0.05)
    with caplog.at_level(logging.INFO, "execo"):
        result = deploy(the([N1, N2]), check_deployed_command=False, num_tries=2, deploy_timeout=10)
    assert "an earlier deployment of ours" not in caplog.text
    assert len(kadeploy3.calls(command)) == 2
    assert result.failures[N2].startswith("Kadeploy error 14 (nothing modified)") or "already involved" in result.failures[N2]


def test_an_interruption_cancels_the_deployment(site: Callable[..., Path], tmp_path: Path) -> None:
    command = site(hang="reboot")
    script = textwrap.dedent(f"""
        from execo_g5k.config import g5k_configuration
        from execo_g5k.kadeploy import Deployment, deploy
        g5k_configuration.update(kadeploy3={str(command)!r}, default_frontend="lyon", no_ssh_for_local_frontend=True)
        deploy(Deployment([{N1!r}], env_name="e"), check_deployed_command=False, stdout_handlers={str(tmp_path / "out")!r})
    """)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    child = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, env=environment, text=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / "out").exists() or "  reboot\n" not in (tmp_path / "out").read_text():
        assert time.monotonic() < deadline
        assert child.poll() is None
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=60)
    assert "KeyboardInterrupt" in said
    assert kadeploy3.calls(command)[-1].startswith("cancelled D-")


@pytest.mark.requires("matplotlib")
@pytest.mark.leaks("matplotlib keeps the fonts open that it has used")
def test_the_examples_of_the_guide_run(site: Callable[..., Path], nodes: Nodes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
                                       capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "doc" / "guide" / "kadeploy.rst").read_text()
    blocks = re.findall(r"^\.\. code-block:: python\n   :class: grid5000\n\n((?:   .*\n|\n)+)", page, re.MULTILINE)
    [printed] = re.findall(r"^\.\. code-block:: text\n   :class: output\n\n((?:   .*\n|\n)+)", page, re.MULTILINE)
    command = site()
    config.g5k_configuration.update(check_deployed_command=nodes.command, default_env_name=None)
    for name, value in nodes.params.items():
        monkeypatch.setitem(execo.config.default_connection_params, name, value)
    monkeypatch.chdir(tmp_path)
    nodes.boot(1, 3)
    said = ""
    names: dict[str, Any] = {}
    assert len(blocks) == 4
    for block in blocks:
        exec(textwrap.dedent(block), names)
        said += capsys.readouterr().out
    assert names["result"] == ({N1, N3}, {N2})
    assert f"{N2} the check failed: exit code 1\n" in said
    assert textwrap.dedent(printed).strip().replace("kadeploy3", str(command)) in said
    assert (tmp_path / "deployment.png").exists()
