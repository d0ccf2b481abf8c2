"""Deployments of the box where nodes share everything, and where OAR is a real one: the same script does the same."""

from __future__ import annotations

import threading

import pytest
from deployments import ENV, ask_nodes, job_of, on_frontend, wait_until
from requirements import require

from execo_g5k._gridbox.kadeploy import service
from execo_g5k._gridbox.kadeploy.standin import POWER, REBOOT
from execo_g5k.gridbox import GridBox
from execo_g5k.kadeploy import Deployment, deploy
from execo_g5k.oar import oardel

pytestmark = pytest.mark.requires("sshd", "ssh")


@pytest.mark.parametrize(("oar", "isolation"), [("own", None), ("real", "namespaces")])
def test_the_same_script_with_other_boxes(oar: str, isolation: str | None) -> None:
    if oar == "real":
        require("oar")
    with GridBox(oar=oar, isolation=isolation, nodes_per_cluster=2, sites=["lyon"]) as grid:
        grid.deployments.step_seconds = 0.002
        job, nodes = job_of()
        for through in ("frontend", "api"):
            result = deploy(Deployment(nodes, env_name=ENV), through=through)
            assert (result.deployed, result.failures) == (set(nodes), {})
        if isolation is None:
            assert grid.kadeploys["lyon"].systems.check_command
        else:
            assert ask_nodes("cat /etc/grid5000/release | cut -d- -f1", nodes) == ["debian12"] * 2
        assert on_frontend(f"kavlan -V -j {job[0]}").exit_code == 1
        assert on_frontend("kaenv3 -l").exit_code == 0
        assert f"{nodes[0]}:\n  state: deployed\n" in on_frontend(f"kanodes3 -s -m {nodes[0]}").stdout
        then = on_frontend("cd $(mktemp -d) && printf '#!/bin/sh\\necho after all\\n' >then && chmod +x then && "
                           f"kareboot3 -m {nodes[0]} -s then -o ok && cat ok && rm -r $PWD")
        assert (then.stdout.splitlines()[-3:], then.exit_code) == ([nodes[0], "after all", nodes[0]], 0), then.stderr
        oardel([job])
        wait_until(lambda: not grid.kadeploys["lyon"].systems.touched())
        failures = deploy(Deployment(nodes, env_name=ENV), num_tries=0).failures
        assert [reason[:16] for reason in failures.values()] == ["not deployed yet"] * 2
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith(("lyon-", "gridbox-"))] == []


def test_a_box_that_ends_ends_what_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "STOP_SECONDS", 5.0)
    with GridBox(oar="own", isolation=None, nodes_per_cluster=2, sites=["lyon"]) as box:
        _, (one, other) = job_of()
        box.deployments.seconds.update(wait_reboot=60, power=60)
        for command in (f"kareboot3 -m {one}", f"kapower3 --off -m {other}"):
            assert on_frontend(f"{command} --no-wait").exit_code == 0
        kadeploy = box.kadeploys["lyon"]
        running = kadeploy.workflows(REBOOT) + kadeploy.workflows(POWER)
    assert [workflow.status for workflow in running] == ["canceled"] * 2
    assert not [thread for thread in threading.enumerate() if thread.name == "lyon-kadeploy"]
