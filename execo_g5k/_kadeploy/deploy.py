"""`deploy`: check, deploy what is missing, check, as often as it takes."""

from __future__ import annotations

import dataclasses
import time

from execo.action import get_remote
from execo.config import make_connection_params
from execo.host import Host
from execo.hostset import fold
from execo.log import logger
from execo.time_utils import get_seconds, sleep

from ..config import g5k_configuration
from ..utils import get_kavlan_host_name
from .command import Deployment, frontend_of, get_kadeploy_commandline, hosts_of, same_with, vlan_of
from .kadeployer import Kadeployer
from .process import CANCEL_SECONDS
from .progress import DEPLOYED, FAILED, PHASES, WAITING
from .report import DeploymentReport, NodeReport
from .result import DeploymentResult

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, Protocol

    from execo.time_utils import Duration

    class Deployer(Protocol):
        """What deploys once."""

        @property
        def deployed_hosts(self) -> set[str]: ...

        @property
        def undeployed_hosts(self) -> set[str]: ...

        @property
        def failures(self) -> dict[str, str]: ...

        @property
        def report(self) -> DeploymentReport: ...

WAYS = ("frontend", "api")
OWN_SECONDS = 900.0
"""Without a timeout, a deployment that goes on although the connection to its frontend was lost is waited for so long."""


def check_deployed(hosts: Iterable[Host], command: str, vlans: Mapping[str, int | None], connection_params: Mapping[str, Any] | None,
                   timeout: Duration | None) -> dict[str, str]:
    """Run a command on hosts: {address: why it failed, '' where it did not}.

    :param vlans: {address: number of the VLAN} for all hosts; they are reached by their names there.
    """
    checked = list(hosts)
    reached = [host if (vlan := vlans[host.address]) is None
               else Host(get_kavlan_host_name(host, vlan), host.user, host.keyfile, host.port) for host in checked]
    if not checked:
        return {}
    options = {"timeout": timeout, "nolog_exit_code": True, "nolog_timeout": True, "nolog_error": True}
    with get_remote(command, reached, connection_params=_of_new_systems(connection_params), process_args=options) as action:
        action.run()
    return {host.address: _why_not(process, timeout) for host, process in zip(checked, action.processes, strict=True)}


def _of_new_systems(params: Mapping[str, Any] | None) -> dict[str, Any]:
    # A connection that is shared since before the deployment leads to a system that is gone.
    found = dict(params or {})
    if make_connection_params(found).get("control_persist") is not None:
        found["control_persist"] = None
    return found


def _why_not(process: Any, timeout: Duration | None) -> str:
    if process.ok:
        return ""
    if process.timeouted:
        return f"the check did not end within {get_seconds(timeout)} s"
    if process.unreachable:
        return f"the check cannot reach it: {process.connection_failure.message}"
    said = " ".join((process.stdout + process.stderr).split())[-200:]
    return f"the check failed: {process.outcome}{': ' if said else ''}{said}"


class Attempts:
    """What is known of the hosts, over all runs."""

    def __init__(self, deployment: Deployment) -> None:
        self.hosts = {host.address: host for host in hosts_of(deployment)}
        self.deployed: set[str] = set()
        self.reasons = dict.fromkeys(self.hosts, "not deployed yet")
        self.tries = dict.fromkeys(self.hosts, 0)
        self._last: dict[str, NodeReport] = {}

    @property
    def missing(self) -> list[Host]:
        return [host for address, host in self.hosts.items() if address not in self.deployed]

    @property
    def undeployed(self) -> set[str]:
        return set(self.hosts) - self.deployed

    def note_run(self, deployer: Deployer, wait_for_check: bool) -> None:
        """:param wait_for_check: only a check says what is deployed."""
        failures = deployer.failures
        for address, node in deployer.report.nodes.items():
            self._last[address] = node
            self.tries[address] += 1
            if address in failures or address not in deployer.deployed_hosts:
                self.reasons[address] = failures.get(address, "kadeploy3 says nothing of it")
            elif wait_for_check:
                self.reasons[address] = ""
            else:
                self.deployed.add(address)

    def forget_try(self, addresses: Iterable[str]) -> None:
        """It was refused, so it does not count."""
        for address in addresses:
            self.tries[address] -= 1

    def note_check(self, answers: Mapping[str, str]) -> None:
        for address, reason in answers.items():
            if not reason:
                self.deployed.add(address)
            elif not self.tries[address]:
                self.reasons[address] = f"not deployed yet: {reason}"
            else:       # what kadeploy3 told of it says more
                self.reasons[address] = self.reasons[address] or reason

    def result(self) -> DeploymentResult:
        failures = {address: self.reasons[address] for address in self.hosts if address not in self.deployed}
        return DeploymentResult(self.deployed, self.undeployed, failures, DeploymentReport(map(self._node, self.hosts)))

    def _node(self, address: str) -> NodeReport:
        is_deployed = address in self.deployed
        state = DEPLOYED if is_deployed else FAILED if self.tries[address] else WAITING
        reason = "" if is_deployed else self.reasons[address]
        last = self._last.get(address)
        if last is None:
            return NodeReport(address, frontend_of(address), state, 0, None, None, dict.fromkeys(PHASES, 0.0), "", reason)
        return dataclasses.replace(last, state=state, tries=self.tries[address], reason=reason)


def _run_frontends(deployment: Deployment, params: Mapping[str, Any] | None, timeout: Duration | None, stdout_handlers: Any,
                   stderr_handlers: Any) -> Deployer:
    kadeployer = Kadeployer(deployment, params, stdout_handlers, stderr_handlers)
    kadeployer.timeout = timeout
    try:
        kadeployer.run()
    except BaseException:               # Ctrl-C: what goes on would keep the nodes
        kadeployer.kill()
        kadeployer.wait(CANCEL_SECONDS + 2)
        raise
    return kadeployer


def _run_api(deployment: Deployment, timeout: Duration | None, node_params: Mapping[str, Any] | None) -> Deployer:
    from .rest import ApiDeployer  # needs requests, which takes a tenth of a second to import

    deployer = ApiDeployer(deployment, connection_params=node_params)
    deployer.timeout = timeout
    return deployer.run()


def _own(run: Deployer, lost: set[str]) -> set[str]:
    """Hosts that were refused because they are being deployed, by an earlier run of ours that was lost."""
    return run.busy_hosts & lost if isinstance(run, Kadeployer) else set()


def _lost(run: Deployer) -> set[str]:
    """Hosts whose deployment may go on although this run of it has ended."""
    return run.lost_hosts if isinstance(run, Kadeployer) else set()


def _check_request(deployment: Deployment, way: str, node_params: Mapping[str, Any] | None) -> None:
    """:raises ValueError: if it cannot be asked for."""
    if way == "api":
        from .rest import ApiDeployer

        ApiDeployer(deployment, connection_params=node_params)
    else:
        get_kadeploy_commandline(deployment, [host.address for host in hosts_of(deployment)])


def deploy(deployment: Deployment, check_deployed_command: str | bool | None = True,
           node_connection_params: Mapping[str, Any] | None = {"user": "root"}, num_tries: int = 1,
           check_enough_func: Callable[[set[str], set[str]], object] | None = None,
           frontend_connection_params: Mapping[str, Any] | None = None, deploy_timeout: Duration | None = None,
           check_timeout: Duration | None = 30, stdout_handlers: Any = None, stderr_handlers: Any = None,
           through: str | None = None) -> DeploymentResult:
    """Deploy the hosts that are not deployed yet.  A failure is no exception, but in what is returned.

    :param deployment: hosts and environment.
    :param check_deployed_command: a line of shell that succeeds on a host which is deployed; True:
      ``g5k_configuration['check_deployed_command']``; False: no check.  It is run on all hosts first, and on those that were missing after
      each run of kadeploy3; then it alone decides.  In a VLAN the hosts are reached by their names there.
    :param node_connection_params: for the checks.
    :param num_tries: runs of kadeploy3, each on those hosts only that are missing.  After a run whose frontend was lost, the deployment may
      go on without it: the next one waits until Kadeploy lets go of the hosts, for `deploy_timeout` at most, or 15 minutes.
    :param check_enough_func: called with the sets (deployed, undeployed) of addresses; if it returns true there is no further run.  None:
      enough is all.
    :param frontend_connection_params: overlay on `default_frontend_connection_params`.
    :param deploy_timeout: a duration, of each run on each frontend; then the deployment is cancelled.
    :param check_timeout: a duration, of each check.
    :param stdout_handlers: of kadeploy3; each line begins with the name of the frontend.
    :param stderr_handlers: the same.
    :param through: ``"frontend"``: kadeploy3 on the frontends, by ssh; ``"api"``: the REST API, which takes no handlers; None:
      ``g5k_configuration['deploy_through']``, else the frontends.
    :returns: the pair (deployed, undeployed) of sets of addresses, with `failures` and `report`.
    :raises ValueError: before anything is done, for a deployment without environment or with two, and for a bad VLAN.
    """
    way = g5k_configuration.get("deploy_through", "frontend") if through is None else through
    if way not in WAYS:
        raise ValueError(f"through: expected one of {', '.join(WAYS)}, found {way!r}")
    if deployment.hosts is None:
        raise ValueError(f"no hosts to deploy: {deployment!r}")
    vlans = {host.address: vlan_of(deployment, [host.address]) for host in hosts_of(deployment)}
    _check_request(deployment, way, node_connection_params)
    get_seconds(deploy_timeout)
    get_seconds(check_timeout)
    command = g5k_configuration["check_deployed_command"] if check_deployed_command is True else check_deployed_command
    attempts = Attempts(deployment)
    lost: set[str] = set()

    def check() -> None:
        if command:
            attempts.note_check(check_deployed(attempts.missing, command, vlans, node_connection_params, check_timeout))

    def is_enough() -> bool:
        if check_enough_func is None:
            return not attempts.undeployed
        return bool(check_enough_func(set(attempts.deployed), attempts.undeployed))

    def run_on(hosts: list[Host]) -> Deployer:
        part = same_with(deployment, hosts)
        if way == "api":
            run = _run_api(part, deploy_timeout, node_connection_params)
        else:
            run = _run_frontends(part, frontend_connection_params, deploy_timeout, stdout_handlers, stderr_handlers)
        attempts.note_run(run, wait_for_check=bool(command))
        lost.update(_lost(run))
        check()
        return run

    check()
    if attempts.deployed:
        logger.info("deployed already: %s", fold(attempts.deployed))
    enough = is_enough()
    for number in range(1, num_tries + 1):
        missing = attempts.missing
        if enough or not missing:
            break
        logger.info("deploying %s (try %d of %d)", fold(host.address for host in missing), number, num_tries)
        deadline = time.monotonic() + (OWN_SECONDS if deploy_timeout is None else get_seconds(deploy_timeout) or 0)
        run = run_on(missing)
        while (own := _own(run, lost) & attempts.undeployed) and not is_enough() and time.monotonic() < deadline:
            logger.info("an earlier deployment of ours goes on, without its frontend: waiting for %s", fold(own))
            attempts.forget_try(own)
            sleep(g5k_configuration["polling_interval"])
            run = run_on([host for host in attempts.missing if host.address in own])
        enough = is_enough()
    result = attempts.result()
    _tell(result)
    return result


def _tell(result: DeploymentResult) -> None:
    logger.info("%d deployed, %d not", len(result.deployed), len(result.undeployed))
    by_reason: dict[str, list[str]] = {}
    for address, reason in result.failures.items():
        by_reason.setdefault(reason, []).append(address)
    for reason, addresses in by_reason.items():
        logger.warning("not deployed: %s: %s", fold(addresses), reason)
