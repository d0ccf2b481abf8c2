"""Jobs, commands on frontends and nodes, for tests of deployments in a box."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from execo import Remote, SshProcess
from execo_g5k.config import default_frontend_connection_params
from execo_g5k.gridbox import GridBox
from execo_g5k.oar import OarSubmission, get_oar_job_nodes, oardel, oarsub, wait_oar_job_start

PATIENCE = 60.0
ENV = "debian12-min"
ROOT: dict[str, Any] = {"user": "root"}


def wait_until(fact: Callable[[], Any], seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def hurry(box: GridBox) -> None:
    """Its deployments take no more time than they must."""
    box.deployments.step_seconds = 0.002
    box.deployments.polling = 0.02


def clear(box: GridBox) -> None:
    """No job, no fault and no deployed node is left of a test."""
    box.deployments.mend()
    box.deployments.seconds.clear()
    box.deployments.down.clear()
    oardel([(job["uid"], site) for site, oar in box.oars.items() for job in oar.jobs() if job["state"] not in ("terminated", "error")])
    assert box.api is not None
    vlans = [box.api.vlans(site) for site in box.kadeploys]
    wait_until(lambda: not any(kadeploy.systems.touched() for kadeploy in box.kadeploys.values()) and not any(one.moved() for one in vlans))


def job_of(resources: Any = "nodes=2", job_type: str | None = "deploy", site: str = "lyon") -> tuple[Any, list[str]]:
    """(job and site, addresses of its nodes), once it runs."""
    ((job, _),) = oarsub([(OarSubmission(resources, "1:0:0", job_type=job_type), site)])
    assert wait_oar_job_start(job, site, timeout=PATIENCE)
    return (job, site), [host.address for host in get_oar_job_nodes(job, site)]


def on_frontend(command: str, site: str = "lyon") -> SshProcess:
    plain = tuple(option for option in default_frontend_connection_params["ssh_options"] if option != "-tt")
    params = {**default_frontend_connection_params, "pty": False, "ssh_options": plain}
    return SshProcess(command, site, params, nolog_exit_code=True, nolog_error=True).run(timeout=PATIENCE)


def ask_nodes(command: str, nodes: list[str], ok: bool = True) -> list[str]:
    remote = Remote(command, nodes, ROOT, process_args={"nolog_exit_code": not ok, "nolog_error": not ok})
    remote.run(timeout=PATIENCE)
    assert remote.ok == ok, [(process.stdout, process.stderr) for process in remote.processes]
    return sorted(process.stdout.strip() for process in remote.processes)
