"""`Kadeployer`: one deployment, on the frontends of all sites of its hosts at once."""

from __future__ import annotations

from execo.action import Remote
from execo.utils import singleton_to_collection

from ..config import g5k_configuration
from .command import Deployment, by_frontend, get_kadeploy_commandline, hosts_of
from .process import make_process
from .report import DeploymentReport, node_report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from .progress import NodeProgress


BUSY = 14
"""Number of the error."""


class Kadeployer(Remote):
    """Deploys the hosts of a `Deployment` by kadeploy3, on all frontends in parallel; an action like others.

    :param deployment: what is deployed, and where.
    :param frontend_connection_params: overlay on `default_frontend_connection_params`.
    :param stdout_handlers: as for `execo.process.Process`; each line begins with the name of the frontend.
    :param stderr_handlers: the same.
    :raises ValueError: for a deployment without environment, or with two.

    `timeout` is an attribute, for each frontend; None: none.  A timeout or `kill` cancels the deployments.
    """

    fanout = None
    _kind_at_date = None

    def __init__(self, deployment: Deployment, frontend_connection_params: Mapping[str, Any] | None = None, stdout_handlers: Any = None,
                 stderr_handlers: Any = None) -> None:
        if not isinstance(deployment, Deployment):
            raise TypeError(f"deployment: expected a Deployment, found {deployment!r}")
        self.deployment = deployment
        self.frontend_connection_params = frontend_connection_params
        self.timeout: Any = None
        self._stdout_handlers = _handlers(stdout_handlers)
        self._stderr_handlers = _handlers(stderr_handlers)
        super().__init__(g5k_configuration["kadeploy3"], hosts_of(deployment), frontend_connection_params)

    def _default_name(self, cmd: Any) -> str:
        return f"Kadeployer on {len(self._hosts)} hosts / {len(by_frontend(host.address for host in self._hosts))} frontends"

    def _init_processes(self) -> None:
        groups = by_frontend(dict.fromkeys(host.address for host in self._hosts))
        self._adopt([make_process(get_kadeploy_commandline(self.deployment, addresses), frontend, addresses,
                                  self.frontend_connection_params, self._stdout_handlers, self._stderr_handlers)
                     for frontend, addresses in groups.items()])

    def _check_start(self) -> None:
        for process in self._processes:
            process.timeout = self.timeout
        super()._check_start()

    @property
    def deployed_hosts(self) -> set[str]:
        """Addresses, as the final lists of kadeploy3 say."""
        return set().union(*(process.output.deployed for process in self._processes))

    @property
    def undeployed_hosts(self) -> set[str]:
        """Addresses, as the final lists of kadeploy3 say.  Hosts that it does not mention are in neither set, but in `failures`."""
        return set().union(*(process.output.undeployed for process in self._processes))

    @property
    def busy_hosts(self) -> set[str]:
        """Addresses of the frontends whose server refused, because all their hosts are being deployed already."""
        return {host for process in self._processes if process.output.error is not None and process.output.error[0] == BUSY
                for host in process.kadeploy_hosts}

    @property
    def lost_hosts(self) -> set[str]:
        """Addresses of which a kadeploy3 that began told nothing before it was lost, as with its connection: their deployment may go on."""
        told = self.deployed_hosts | self.undeployed_hosts
        return {host for process in self._processes if _is_lost(process) for host in process.kadeploy_hosts if host not in told}

    @property
    def failures(self) -> dict[str, str]:
        """{address: reason} of each host that failed, also of those that kadeploy3 did not mention, once it has ended."""
        return {host: reason for process in self._processes for host, reason in list(process.output.progress.reasons.items())}

    @property
    def steps(self) -> dict[str | None, dict[str, NodeProgress]]:
        """Where each host is now: {frontend: {address: `NodeProgress`}}."""
        return {process.frontend: process.output.progress.look() for process in self._processes}

    @property
    def report(self) -> DeploymentReport:
        """Of each host, as far as it is known now."""
        return DeploymentReport(node_report(host, process.frontend, process.output.progress)
                                for process in self._processes for host in process.kadeploy_hosts)

    @property
    def ok(self) -> bool:
        """Each host was reported once, on each frontend one at least was deployed, and nothing went wrong.  True before the end."""
        if not self.ended:
            return True
        return super().ok and all(_is_complete(process.output, process.kadeploy_hosts) for process in self._processes)

    def _args(self) -> list[str]:
        return [repr(self.deployment)]

    def _kwargs(self) -> list[str]:
        params = self.frontend_connection_params
        return [f"frontend_connection_params={params!r}"] if params else []

    def _infos(self) -> list[str]:
        counts = len(self._hosts), len(self.deployed_hosts), len(self.undeployed_hosts)
        return [*super()._infos(), "total/deployed/undeployed = {}/{}/{}".format(*counts)]


def _handlers(given: Any) -> list[Any]:
    return [given] if hasattr(given, "write") else list(singleton_to_collection(given))     # a file is iterable too


def _is_lost(process: Any) -> bool:
    """Not refused by the server, nor at its own end: then it has told what it knows, also of hosts that others are deploying."""
    return process.output.error is None and process.connection_failure is None and not process.error and process.exit_code != 0


def _is_complete(output: Any, hosts: list[str]) -> bool:
    return bool(output.deployed) and not output.deployed & output.undeployed and len(output.deployed | output.undeployed) == len(hosts)


