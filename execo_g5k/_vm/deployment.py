"""From nodes to virtual machines that answer."""

from __future__ import annotations

import shlex
import subprocess
import tempfile
import time
from pathlib import Path

from execo.host import Host
from execo.log import logger

from . import actions, setup
from .description import checked_vms
from .remote import HostScript, VMAction, new_nonce
from .script import shell_block
from .waiting import wait_vms_have_started

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from typing_extensions import Self

    from execo.time_utils import Duration

    from ..kadeploy import Deployment
    from .description import VM
    from .domain import Hypervisor
    from .placement import Capacities
    from .remote import VMSequence

STEPS = ("deploy_hosts", "connect_hosts", "install_packages", "make_bridge", "configure_libvirt", "put_images", "distribute",
         "create_disks", "install", "start", "wait")
SETUP_TIMEOUT = 1800


class VMDeployment:
    """Makes hypervisors of hosts, and runs virtual machines on them: step after step, each a method that can be overridden.

    A host that fails in a step is left out of the next ones, and so is a VM: see `failed_hosts` and `failures`; `hosts` and `vms` are
    those that are left.  The steps, in their order: `STEPS`; nothing that is done already is done again.

    :param hosts: nodes that run Debian, where one may log in as root; those that `deployment` gives, if there is one.
    :param vms: the VMs; those without a host are distributed.
    :param hypervisor: what they have in common; with a bridge, `make_bridge` makes it.
    :param image: a file here that goes to all hosts; None: they have it.
    :param image_format: its format.
    :param deployment: what Kadeploy is to put on the nodes first.
    :param interface: that goes into the bridge; None: that of the default route, or without one the first that has an address.
    :param packages: of Debian; empty: none is looked for.
    :param keys: whether the hosts can log in to each other afterwards, with a new key, as migrations by ``qemu+ssh`` need it.
    :param all_disks: make each disk on all hosts.
    :param wait_timeout: that the VMs have to answer; None: that is not waited for.
    :param connection_params: how the hosts are reached; with a `deployment`, as root unless they name a user.
    """

    def __init__(self, hosts: Iterable[Host | str] | Host | str = (), vms: Iterable[VM] = (), hypervisor: Hypervisor | None = None,
                 image: str | None = None, image_format: str = "qcow2", deployment: Deployment | None = None, interface: str | None = None,
                 packages: Sequence[str] = setup.PACKAGES, keys: bool = True, distribution: str = "round-robin",
                 capacities: Capacities | None = None, all_disks: bool = False, wait_timeout: Duration | None = 600,
                 connection_params: Mapping[str, Any] | None = None) -> None:
        self.hosts = actions._hosts(hosts)
        self.vms = list(vms)
        if not self.hosts and deployment is None:
            raise ValueError("VMDeployment: expected hosts or a deployment, found neither")
        if image is not None and not Path(image).is_file():
            raise ValueError(f"image: no such file: {image!r}")
        self.hypervisor = actions._of(hypervisor)
        self.image, self.image_format, self.deployment, self.interface = image, image_format, deployment, interface
        self.packages, self.keys, self.distribution, self.capacities = tuple(packages), keys, distribution, capacities
        self.all_disks, self.wait_timeout = all_disks, wait_timeout
        self.connection_params = connection_params if deployment is None else {"user": "root", **(connection_params or {})}
        self.failed_hosts: dict[str, str] = {}
        """{address: step and reason}."""
        self.failures: dict[str, str] = {}
        """{id of a VM: step and reason}."""
        self.durations: dict[str, float] = {}
        """{step: seconds}."""

    def run(self, steps: Sequence[str] = STEPS) -> Self:
        """Do these steps; never raises for a host or VM that fails.

        :raises ValueError: for an unknown step, VMs that cannot be waited for, as they have no ip, or that do not fit on the hosts.
        """
        if unknown := [step for step in steps if step not in STEPS]:
            raise ValueError(f"steps: expected some of {', '.join(STEPS)}, found {', '.join(map(repr, unknown))}")
        checked_vms(self.vms, placed=False)
        if "wait" in steps and self.wait_timeout is not None and (homeless := [vm["id"] for vm in self.vms if vm.get("ip") is None]):
            raise ValueError(f"VMs without ip cannot be waited for, see wait_timeout: {', '.join(homeless)}")
        for step in steps:
            if step != "deploy_hosts" and not self.hosts:
                logger.error("%s: no host is left", step)
                break
            begin = time.monotonic()
            getattr(self, step)()
            self.durations[step] = time.monotonic() - begin
            logger.info("%s: %.1f s, %d hosts, %d VMs", step, self.durations[step], len(self.hosts), len(self.vms))
        return self

    @property
    def ok(self) -> bool:
        """No host and no VM has failed."""
        return not self.failed_hosts and not self.failures

    # steps for hosts

    def deploy_hosts(self) -> None:
        """Kadeploy, if there is a `deployment`; in a VLAN, the hosts have other names from then on."""
        if self.deployment is None:
            return
        from .._kadeploy.command import vlan_of
        from ..kadeploy import deploy
        from ..utils import get_kavlan_host_name

        told = deploy(self.deployment, node_connection_params=self.connection_params)
        self._lose_hosts("deploy_hosts", told.failures)
        names = {address: address if (vlan := vlan_of(self.deployment, [address])) is None else get_kavlan_host_name(address, vlan)
                 for address in sorted(told.deployed)}
        self.hosts = [Host(name, user=(self.connection_params or {}).get("user")) for name in names.values()]
        for vm in self.vms:
            if vm.get("host") and (name := names.get(Host(vm["host"]).address)) is not None:
                vm["host"] = name

    def connect_hosts(self) -> None:
        """Keys between the hosts."""
        if not self.keys:
            return
        with tempfile.TemporaryDirectory() as folder:
            key = Path(folder) / "key"
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", setup.KEY_COMMENT, "-f", key], check=True,
                           stdin=subprocess.DEVNULL)
            command = setup.keys_command(key.read_text(), key.with_suffix(".pub").read_text())
        self.on_hosts("connect_hosts", command)

    def install_packages(self) -> None:
        """What a hypervisor needs, by apt, and its kernel modules."""
        self.on_hosts("install_packages", *([setup.packages_command(self.packages)] if self.packages else []), setup.modules_command())

    def make_bridge(self) -> None:
        """The bridge of the hypervisor, if it has one."""
        if self.hypervisor.bridge is not None:
            self.on_hosts("make_bridge", setup.bridge_command(self.hypervisor.bridge, self.interface))

    def configure_libvirt(self) -> None:
        """A host_uuid of its own for each, a network for the bridge; returns when libvirt answers."""
        uri, bridge = self.hypervisor.uri, self.hypervisor.bridge
        parts = [setup.uuid_command(), f"( {setup.restart_command()})\n", f"( {setup.wait_command(uri)})\n"]
        if bridge is not None:
            parts.append(f"( {setup.network_command(uri, self.hypervisor.network, bridge)})\n")
        self.on_hosts("configure_libvirt", *parts)

    def put_images(self) -> None:
        """The image to all hosts."""
        if self.image is None:
            return
        self.on_hosts("put_images", f"mkdir -p {shlex.quote(self.hypervisor.directory)}")
        action = actions.put_image(self.hosts, self.image, self.hypervisor, self.connection_params).run()
        self._lose_hosts("put_images", {process.host.address: str(process.error_reason or f"exit code {process.exit_code}")
                                        for process in action.processes if not process.ok})

    def on_hosts(self, step: str, *commands: str) -> None:
        """Run commands of the shell on all hosts, one after the other; a host where one fails is left out from now on."""
        nonce = new_nonce()
        scripts = [HostScript(host, (host.address,), shell_block(nonce, host.address, commands)) for host in self.hosts]
        self._lose_hosts(step, VMAction(step, scripts, nonce, self.connection_params, SETUP_TIMEOUT).run().failures)

    def _lose_hosts(self, step: str, failures: Mapping[str, str]) -> None:
        self.failed_hosts.update({address: f"{step}: {reason}" for address, reason in failures.items()})
        self.hosts = [host for host in self.hosts if host.address not in self.failed_hosts]
        self._lose_vms(step, {vm["id"]: f"its host {Host(vm['host']).address} failed" for vm in self.vms
                              if vm.get("host") and Host(vm["host"]).address in self.failed_hosts})

    # steps for VMs

    def distribute(self) -> None:
        """A host for each VM that has none."""
        homeless = [vm for vm in self.vms if not vm.get("host")]
        if homeless:
            placed = actions.distribute_vms(homeless, self.hosts, self.distribution, self.capacities)
            self._lose_vms("distribute", {vm["id"]: "dropped, as all hosts take the same number" for vm in homeless if vm not in placed})

    def create_disks(self) -> None:
        """The disks, on the VMs' own hosts or on all; VMs of the same name that a host has are destroyed first."""
        if not self.vms:
            return
        nonce, names = new_nonce(), [vm["id"] for vm in self.vms]
        body = actions.destroy_all(nonce, self.hypervisor.uri, True, names)
        self._vms("create_disks", VMAction("destroy", [HostScript(host, None, body) for host in self.hosts], nonce,
                                           self.connection_params, actions.TIMEOUT, actions.NOT_RUNNING))
        args = (self.hypervisor, self.connection_params, self.image_format)
        self._vms("create_disks", actions.create_disks_all_hosts(self.vms, self.hosts, *args) if self.all_disks
                  else actions.create_disks(self.vms, *args))

    def install(self) -> None:
        """Define the VMs."""
        self._vms("install", actions.install_vms(self.vms, self.hypervisor, self.connection_params))

    def start(self) -> None:
        """Start them."""
        self._vms("start", actions.start_vms(self.vms, self.hypervisor, self.connection_params))

    def wait(self) -> None:
        """Wait until they answer by ssh."""
        if self.wait_timeout is None or not self.vms:
            return
        wait_vms_have_started(self.vms, True, self.wait_timeout, self.hypervisor, self.connection_params)
        self._lose_vms("wait", {vm["id"]: "ssh does not answer" for vm in self.vms if vm["state"] != "OK"})

    def _vms(self, step: str, action: VMAction | VMSequence) -> None:
        self._lose_vms(step, action.run().failures)

    def _lose_vms(self, step: str, failures: Mapping[str, str]) -> None:
        self.failures.update({name: f"{step}: {reason}" for name, reason in failures.items() if name not in self.failures})
        self.vms = [vm for vm in self.vms if vm["id"] not in self.failures]

    def get_state(self, places: dict[str, tuple[str, str]] | None = None) -> str:
        """XML of what is where; see `setup.state_xml`."""
        return setup.state_xml(self.vms, places)
