"""`Kadeployer` with a stand-in for kadeploy3, here and on the other side of a real ssh."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from requirements import require

from execo import ProcessOutputHandler, configuration
from execo.localcluster import LocalCluster
from execo_g5k import config
from execo_g5k._gridbox.kadeploy import standin as kadeploy3
from execo_g5k._kadeploy import process as process_module
from execo_g5k.kadeploy import Deployment, Kadeployer

A1, A2, A3 = (f"saone-{number}.lyon.grid5000.fr" for number in (1, 2, 3))
B1 = "meurthe-1.nancy.grid5000.fr"
UNREACHABLE = "SetDeploymentEnvUntrusted-wait_reboot: Unreachable after the reboot"

pytestmark = pytest.mark.usefixtures("_quick_kills")


@pytest.fixture
def _quick_kills(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_module, "CANCEL_SECONDS", 5.0)
    monkeypatch.setitem(configuration, "kill_timeout", 2)


@pytest.fixture
def site(tmp_path: Path) -> Callable[..., Path]:
    """`site(**settings)`: this machine is the frontend of lyon, whose kadeploy3 behaves so."""
    def install(**settings: Any) -> Path:
        command = kadeploy3.install(tmp_path, **settings)
        config.g5k_configuration.update(kadeploy3=str(command), default_frontend="lyon", no_ssh_for_local_frontend=True)
        return command

    return install


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Two frontends."""
    require("ssh", "sshd")
    with LocalCluster(2, server="sshd") as running:
        yield running


@pytest.fixture
def frontends(cluster: LocalCluster, tmp_path: Path) -> Callable[..., dict[str, Path]]:
    """`frontends(lyon={...}, nancy={...})`: frontends of these sites, whose kadeploy3 behave so; by ssh."""
    def install(**settings: dict[str, Any]) -> dict[str, Path]:
        addresses = {name: host.address for name, host in zip(settings, cluster.hosts, strict=False)}
        config.default_frontend_connection_params.update(cluster.connection_params, pty=True, host_rewrite_func=addresses.__getitem__)
        commands = {name: kadeploy3.install(tmp_path, name, **values) for name, values in settings.items()}
        which = "".join(f'    *" {address} "*) exec {commands[name]} "$@";;\n' for name, address in addresses.items())
        front = tmp_path / "kadeploy3"
        front.write_text(f'#!/bin/sh\ncase " $SSH_CONNECTION " in\n{which}esac\nexit 9\n')
        front.chmod(0o755)
        config.g5k_configuration["kadeploy3"] = str(front)
        return commands

    return install


def kadeployer(*hosts: str, **options: Any) -> Kadeployer:
    return Kadeployer(Deployment(hosts, env_name="debian12-min"), **options)


def sets(run: Kadeployer) -> tuple[set[str], set[str]]:
    return run.deployed_hosts, run.undeployed_hosts


def wait_for(condition: Callable[[], object], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.01)


def test_all_are_deployed(site: Callable[..., Path]) -> None:
    command = site()
    run = kadeployer(A1, A2)
    assert run.ok
    run.run(timeout=60)
    assert run.ok
    assert sets(run) == ({A1, A2}, set())
    assert run.failures == {}
    assert kadeploy3.calls(command) == [f"-k -d -e debian12-min -m {A1} -m {A2}"]
    assert {host: now.state for host, now in run.steps["lyon"].items()} == {A1: "deployed", A2: "deployed"}
    phases = run.report.nodes[A1].phases
    assert all(seconds > 0 for seconds in phases.values())
    assert sum(phases.values()) == pytest.approx(run.report.boot_to_boot())


def test_exit_status_0_says_nothing_of_the_nodes(site: Callable[..., Path]) -> None:
    site(fail={A2: ["wait_reboot", "Unreachable after the reboot", 2]})
    run = kadeployer(A1, A2).run(timeout=60)
    assert run.processes[0].exit_code == 0
    assert sets(run) == ({A1}, {A2})
    assert run.ok
    assert run.failures == {A2: UNREACHABLE}
    assert run.report.nodes[A2].step == "SetDeploymentEnvUntrusted-wait_reboot"


def test_a_node_that_comes_in_its_second_try_is_deployed(site: Callable[..., Path]) -> None:
    site(fail={A2: ["send_environment", "slow", 1]})
    run = kadeployer(A1, A2).run(timeout=60)
    assert sets(run) == ({A1, A2}, set())
    assert [step.micro for step in run.processes[0].output.progress.steps[A2]].count("send_environment") == 2


def test_when_none_is_deployed_it_is_not_ok(site: Callable[..., Path]) -> None:
    site(fail={A1: ["sync", "disk", 2]})
    run = kadeployer(A1).run(timeout=60)
    assert (run.ok, sets(run), run.failures) == (False, (set(), {A1}), {A1: "BroadcastEnvChain-sync: disk"})


def test_nodes_that_are_not_mentioned_have_failed_with_a_reason(site: Callable[..., Path]) -> None:
    site(silent=[A2], busy=[A3])
    run = kadeployer(A1, A2, A3).run(timeout=60)
    assert sets(run) == ({A1}, set())
    assert not run.ok
    assert run.failures == {A2: "kadeploy3 says nothing of it, in BootNewEnvClassical-wait_reboot",
                            A3: "already involved in another deployment; kadeploy3 says nothing of it"}


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"error": [5, "Invalid file -- Checksum of the file 'x' does not match"]},
         "Kadeploy error 5 (file): Invalid file -- Checksum of the file 'x' does not match"),
        ({"error": [6, "Insufficient rights"]}, "Kadeploy error 6 (rights): Insufficient rights"),
        ({"busy": [A1]},
         "already involved in another deployment; Kadeploy error 14 (nothing modified): Nothing modified -- all nodes have been discarded"),
        ({"down": True}, "kadeploy3 failed with exit code 1: The H server is unreachable"),
        ({"nodes": [A2]}, f"kadeploy3 failed with exit code 1: The nodes {A1} does not belongs to any server"),
        ({"environments": ["other"]}, "kadeploy3 failed with exit code 1: Resource not found /environments"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_why_a_server_refuses_is_said(site: Callable[..., Path], settings: dict[str, Any], reason: str) -> None:
    site(**settings)
    run = kadeployer(A1)
    run.processes[0].nolog_exit_code = True
    run.run(timeout=60)
    assert (run.ok, run.failures) == (False, {A1: reason})


def test_bytes_that_are_no_text_can_be_printed(site: Callable[..., Path]) -> None:
    site()
    config.g5k_configuration["kadeploy3"] = f"printf 'The deployment failed on nodes\\n{A1} (b\\303d \\377)\\n'; true"
    assert kadeployer(A1).run(timeout=60).failures[A1].encode() == rb"b\udcc3d \udcff"


def test_a_bad_option_is_told(site: Callable[..., Path]) -> None:
    site()
    run = Kadeployer(Deployment([A1], env_name="e", other_options="--bogus")).run(timeout=60)
    assert run.failures[A1].startswith("kadeploy3 failed with exit code 1: Option parsing error:")
    assert "--bogus" in run.failures[A1]


def test_a_missing_kadeploy3_is_told(site: Callable[..., Path]) -> None:
    site()
    config.g5k_configuration["kadeploy3"] = "/nowhere/kadeploy3"
    run = kadeployer(A1).run(timeout=60)
    assert not run.ok
    assert "/nowhere/kadeploy3" in run.failures[A1]


@pytest.mark.parametrize("deaf", [False, True], ids=["polite", "deaf"])
def test_a_timeout_cancels_the_deployment(site: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, deaf: bool) -> None:
    if deaf:
        monkeypatch.setattr(process_module, "CANCEL_SECONDS", 0.3)
        monkeypatch.setitem(configuration, "kill_timeout", 0.3)
    command = site(hang="send_environment", deaf=deaf)
    run = kadeployer(A1)
    run.timeout = 4
    run.run(timeout=60)
    assert run.ended
    assert run.processes[0].timeouted
    assert not run.ok
    assert run.failures == {A1: "kadeploy3 did not end within 4s, in BroadcastEnvChain-send_environment"}
    assert any(line.startswith("cancelled D-") for line in kadeploy3.calls(command)) is not deaf
    assert run.processes[0].forced_kill is deaf


@pytest.mark.parametrize(
    ("command", "expected"),
    [("kadeploy3 -e e -m a", True), ("sudo kadeploy3 -e 'a b'", True), ("/opt/x/kadeploy3 -a ~/'e f'", True), ("cd /x; kadeploy3", False),
     ("X=1 kadeploy3", False), ("kadeploy3 -e e > log", False), ("(kadeploy3)", False), ("kadeploy3 'x", False), ("", False)],
)
def test_a_shell_is_spared_for_one_simple_command(command: str, expected: bool) -> None:
    assert process_module.is_simple(command) is expected


def test_a_kill_cancels_the_deployment(site: Callable[..., Path]) -> None:
    command = site(hang="reboot")
    with kadeployer(A1) as run:
        run.start()
        wait_for(lambda: run.steps["lyon"][A1].micro == "reboot")
    run.wait(timeout=30)
    assert run.failures == {A1: "kadeploy3 was killed, in SetDeploymentEnvUntrusted-reboot"}
    assert kadeploy3.calls(command)[-1].startswith("cancelled D-")


def test_a_reset_kadeployer_runs_again(site: Callable[..., Path]) -> None:
    site(fail={A2: ["wait_reboot", "x", 2]})
    run = kadeployer(A1, A2).run(timeout=60)
    run.reset()
    assert (run.ok, sets(run), run.failures, run.started) == (True, (set(), set()), {}, False)
    site()
    run.reset()
    assert sets(run.run(timeout=60)) == ({A1, A2}, set())
    run.hosts = [A3]
    run.reset()
    assert sets(run.run(timeout=60)) == ({A3}, set())


def test_handlers_get_each_line_with_its_frontend(site: Callable[..., Path], tmp_path: Path) -> None:
    site()
    lines, pieces = [], []

    class Lines(ProcessOutputHandler):
        def read_line(self, process: Any, stream: int, string: str) -> None:
            lines.append(string)

    class Pieces(ProcessOutputHandler):
        def read(self, process: Any, stream: int, string: str, eof: bool, error: bool) -> None:
            pieces.append((string, eof))

    text = io.StringIO()
    kadeployer(A1, stdout_handlers=[Lines(), Pieces(), text, str(tmp_path / "log")]).run(timeout=60)
    assert lines[-1] == f"lyon: {A1}"
    assert f"lyon: Launching a deployment on {A1}" in lines
    assert [string for string, eof in pieces if not eof] == lines
    assert pieces[-1] == ("", True)
    assert text.getvalue().splitlines() == lines
    assert (tmp_path / "log").read_text().splitlines() == lines


def test_a_single_file_is_a_handler(site: Callable[..., Path], tmp_path: Path) -> None:
    site(down=True)
    with (tmp_path / "log").open("w") as file:
        run = kadeployer(A1, stderr_handlers=file)
        run.processes[0].nolog_exit_code = True
        run.run(timeout=60)
    assert (tmp_path / "log").read_text() == "lyon: The H server is unreachable\n"


def test_two_sites_by_ssh_at_once(frontends: Callable[..., dict[str, Path]]) -> None:
    commands = frontends(lyon={"fail": {A2: ["wait_reboot", "Unreachable after the reboot", 2]}}, nancy={"step": 0.02})
    run = kadeployer(A1, B1, A2).run(timeout=60)
    assert sets(run) == ({A1, B1}, {A2})
    assert run.ok
    assert run.failures == {A2: UNREACHABLE}
    assert {name: len(kadeploy3.calls(command)) for name, command in commands.items()} == {"lyon": 1, "nancy": 1}
    assert run.report.sites == ["lyon", "nancy"]
    assert set(run.steps) == {"lyon", "nancy"}
    assert "ServerAliveInterval=30" in run.processes[0].cmd


def test_an_error_comes_through_the_terminal_of_ssh(frontends: Callable[..., dict[str, Path]]) -> None:
    frontends(lyon={"error": [20, "Database issue -- gone"]}, nancy={})
    run = kadeployer(A1, B1)
    run.processes[0].nolog_exit_code = True
    run.run(timeout=60)
    assert (run.ok, run.deployed_hosts) == (False, {B1})
    assert run.failures == {A1: "Kadeploy error 20 (database): Database issue -- gone"}


def test_a_timeout_cancels_the_deployment_through_ssh(frontends: Callable[..., dict[str, Path]]) -> None:
    commands = frontends(lyon={"hang": "wait_reboot"}, nancy={})
    run = kadeployer(A1, B1)
    run.timeout = 6
    run.run(timeout=60)
    assert run.deployed_hosts == {B1}
    assert run.failures == {A1: "kadeploy3 did not end within 6s, in SetDeploymentEnvUntrusted-wait_reboot"}
    assert kadeploy3.calls(commands["lyon"])[-1].startswith("cancelled D-")


def test_a_frontend_that_is_lost_in_the_middle_is_told(tmp_path: Path) -> None:
    require("ssh", "sshd")
    with LocalCluster(1, server="sshd") as own:
        config.default_frontend_connection_params.update(own.connection_params, pty=True, host_rewrite_func=lambda _: own.hosts[0].address)
        config.g5k_configuration["kadeploy3"] = str(kadeploy3.install(tmp_path, hang="sync"))
        run = kadeployer(A1)
        run.processes[0].nolog_exit_code = True
        run.start()
        wait_for(lambda: run.steps["lyon"][A1].micro == "sync")
    run.wait(timeout=60)
    assert run.ended
    assert not run.ok
    assert run.failures == {A1: "the connection to the frontend lyon was lost, in BroadcastEnvChain-sync"}


@pytest.mark.parametrize("has_timeout", [False, True], ids=["by ssh", "by the timeout"])
def test_a_frontend_that_vanishes_without_a_word_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_timeout: bool) -> None:
    require("ssh", "sshd", "namespaces", "nft")
    monkeypatch.setattr(process_module, "CANCEL_SECONDS", 0.5)
    with LocalCluster(1, isolation="namespaces") as own:
        alive = () if has_timeout else ("-o", "ServerAliveInterval=1", "-o", "ServerAliveCountMax=2")
        config.default_frontend_connection_params.update(own.connection_params, pty=True, host_rewrite_func=lambda _: own.hosts[0].address)
        config.default_frontend_connection_params["ssh_options"] += alive
        config.g5k_configuration["kadeploy3"] = str(kadeploy3.install(tmp_path, hang="sync"))
        run = kadeployer(A1)
        run.processes[0].nolog_exit_code = run.processes[0].nolog_timeout = True
        run.timeout = 6 if has_timeout else None
        run.start()
        wait_for(lambda: run.steps["lyon"][A1].micro == "sync", 5)
        with own.hosts[0].cut():
            run.wait(timeout=30)
            assert run.ended
    reason = "kadeploy3 did not end within 6s" if has_timeout else "the connection to the frontend lyon was lost"
    assert run.failures == {A1: f"{reason}, in BroadcastEnvChain-sync"}


def test_a_frontend_that_cannot_be_reached_is_told(frontends: Callable[..., dict[str, Path]]) -> None:
    frontends(lyon={}, nancy={})
    config.default_frontend_connection_params["port"] = 1
    run = kadeployer(A1)
    run.processes[0].nolog_exit_code = True
    run.run(timeout=60)
    assert run.failures[A1].startswith("the frontend lyon cannot be reached: ")


def test_the_options_of_ssh_are_left_alone_if_they_say_something(frontends: Callable[..., dict[str, Path]]) -> None:
    frontends(lyon={}, nancy={})
    config.default_frontend_connection_params["ssh_options"] += ("-o", "ServerAliveInterval=7")
    assert [word for word in kadeployer(A1).processes[0].cmd if "ServerAlive" in word] == ["ServerAliveInterval=7"]


def test_the_stand_in_keeps_the_promises_of_its_options(tmp_path: Path) -> None:
    command = kadeploy3.install(tmp_path, fail={A2: ["wait_reboot", "Unreachable after the reboot", 2]})
    from execo import Process

    files = {option: tmp_path / option for option in ("ok", "ko", "wid")}
    shared = f"{command} -e e -V4 -o {files['ok']} -n {files['ko']} --write-workflow-id {files['wid']}"
    run = Process(f"{shared} -m saone-[1-3].lyon.grid5000.fr").run(timeout=60)
    assert run.exit_code == 0
    assert (files["ok"].read_text(), files["ko"].read_text()) == (f"{A1}\n{A3}\n", f"{A2}\n")
    assert f"#{files['wid'].read_text()} started" in run.stdout
    assert "   ~ Time in sync: 0s" in run.stdout
    refused = Process(shared, nolog_exit_code=True).run(timeout=60)
    assert (refused.exit_code, refused.stderr, files["ok"].read_text()) == (1, "No node is chosen\n", "")


