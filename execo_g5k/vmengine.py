"""Campaigns with virtual machines: derive from `VMEngine`, say which VMs a combination has, and what is measured in them."""

from __future__ import annotations

import re
import shlex
import threading
from collections.abc import Mapping

from execo.action import Remote
from execo.host import Host
from execo.log import logger

from . import vmutils
from ._vm.actions import NOT_RUNNING, destroy_all
from ._vm.description import checked_vms, default_vm
from ._vm.lending import Addresses
from ._vm.migration import DESTINATION
from ._vm.outcome import shortened
from ._vm.remote import HostScript, VMAction, _problem, new_nonce
from ._vm.setup import PACKAGES
from .config import g5k_configuration

try:
    from execo_engine.workflow import ReservationOver, SweepEngine
except ModuleNotFoundError as missing:
    if (missing.name or "").partition(".")[0] != "execo_engine":        # it is there, and lacks something itself
        raise
    raise ImportError("VMEngine needs execo_engine: pip install 'execo-g5k[engine]'") from missing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Any, TypeVar

    from execo.time_utils import Duration

    from ._vm.description import VM
    from ._vm.lending import Address
    from ._vm.remote import VMSequence

    Action = TypeVar("Action", VMAction, VMSequence)

__all__ = ["VMEngine", "VMsFailed"]

HOST_STEPS = ("connect_hosts", "install_packages", "make_bridge", "configure_libvirt", "put_images")
DESTROY_TIMEOUT = 120
_OF_SSH = re.compile(r"^\s*(Warning: Permanently added|Connection to \S+ closed)")


class VMsFailed(RuntimeError):
    """Some VMs did not do what they should: the combination fails."""

    def __init__(self, step: str, failures: Mapping[str, str]) -> None:
        self.step = step
        self.failures = dict(failures)
        """{id of a VM: why}."""
        told = "; ".join(f"{name}: {shortened(reason)}" for name, reason in self.failures.items())
        super().__init__(f"{step}: {len(self.failures)} failed: {told}")


class VMEngine(SweepEngine):
    """A campaign with VMs of libvirt: derive from it, define `define` and `measure`, and what a `SweepEngine` needs.

    For each combination, on its hosts: `define`, `make_disks`, `start_vms`, `install`, `measure`, `collect`, and always `destroy`.
    Each may be overridden, and raise what it likes; then the combination is tried again, with new VMs.

    The hosts belong to the campaign: all VMs that they have are destroyed, when they are prepared and after each combination.
    """

    # Values, or methods without arguments that give them; from `run` on, the value.
    hypervisor: Any = None
    """A `Hypervisor`, or its keywords; None: ``g5k_configuration["hypervisor"]`` if there is one, or else a `Hypervisor` as it comes."""
    image: Any = None
    """File here that goes to all hosts, for the disks of all VMs; None: ``g5k_configuration["vm_image"]``, or else each VM says what the
    hosts have, in its `backing_file`."""
    vm_connection_params: Any = None
    """How VMs are reached by ssh; None: ``g5k_configuration["vm_connection_params"]``, or else as root."""
    destination: Any = None
    """URI for `migrate_vms`; None: ``g5k_configuration["vm_destination"]``, or else by ssh."""
    packages: Sequence[str] = PACKAGES
    """Of Debian, that the hosts get."""
    keys = True
    """Whether the hosts can log in to each other, as migrations by ssh need it."""
    interface: str | None = None
    """That goes into the bridge of the hypervisor; None: that of the default route."""
    all_disks = False
    """Each disk on all hosts of its combination, for migrations."""
    boot_timeout: Duration = 600
    """That the VMs of a combination have until all answer."""

    def __init__(self) -> None:
        super().__init__()
        self._addresses = Addresses()
        """Another one in each reservation."""
        self._mine = threading.local()
        """Of the combination of this thread: its `vms`, `addresses` and `loan`, from `run_combination` to `tidy_up`."""

    # What a campaign defines

    def define(self, combination: Any, hosts: list[Host]) -> list[VM]:
        """The VMs of a combination, as `define_vms` makes them.

        One without ``host`` is on the first host.  One without ``ip`` is given an address of `addresses`.  A ``cpuset`` pins a VM from its
        start on.  Names are unique on all hosts that share a directory.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define define")

    def install(self, combination: Any, vms: list[VM]) -> None:
        """What the VMs need for the measure."""

    def measure(self, combination: Any, vms: list[VM], hosts: list[Host], directory: Path) -> Mapping[str, Any] | None:
        """The experiment.

        :param hosts: of the combination, also those without VMs.
        :returns: what was measured, {name: value}, for the results.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define measure")

    def collect(self, combination: Any, vms: list[VM], directory: Path) -> Mapping[str, Any] | None:
        """Get files from the VMs.

        :param directory: of the combination.
        :returns: what they tell, {name: value}, beside what `measure` returned.
        """
        return None

    def addresses(self) -> Sequence[Address]:
        """(ip, mac) that the VMs of a reservation may have: by default those of the testbed, as of its VLANs and subnets, or else
        ``g5k_configuration["vm_addresses"]``, a list or a function that gives it."""
        of_testbed = getattr(self._testbed, "addresses", None)
        given = of_testbed() if of_testbed is not None else None
        given = given or g5k_configuration.get("vm_addresses")
        return list((given() if callable(given) else given) or ())

    # The steps

    def prepare(self, hosts: list[Host]) -> None:
        """Make hypervisors of the hosts, and destroy the VMs that they have; a host where that fails is left out."""
        self._addresses = Addresses(self.addresses())
        ready = vmutils.VMDeployment(
            hosts, (), self.hypervisor, self.image, interface=self.interface, packages=self.packages, keys=self.keys,
            connection_params=self.connection_params).run(HOST_STEPS)
        failures = dict(ready.failed_hosts)
        if ready.hosts:
            action = self._destroy_all(ready.hosts, [])
            failures |= action.failed_hosts
            failures |= {result.host: f"{result.id}: {result.reason}" for result in action.results.values() if not result.ok}
        for address, reason in failures.items():
            logger.warning("left alone: %s: %s", address, reason)
        hosts[:] = [host for host in hosts if host.address not in failures]

    def clean_up(self, hosts: list[Host]) -> None:
        self._destroy_all(hosts, [])

    def make_disks(self, vms: list[VM], hosts: list[Host]) -> None:
        params = (self.hypervisor, self.connection_params)
        self.require(vmutils.create_disks_all_hosts(vms, hosts, *params) if self.all_disks else vmutils.create_disks(vms, *params))

    def start_vms(self, vms: list[VM]) -> None:
        """Define and start them, pinned; returns when all answer by ssh."""
        params = (self.hypervisor, self.connection_params)
        self.require(vmutils.install_vms(vms, *params))
        self.require(vmutils.start_vms(vms, *params))
        if not vmutils.wait_vms_have_started(vms, True, self.boot_timeout, *params):
            raise VMsFailed("wait", {vm["id"]: f"{vm['host']}: no answer of {vm['ip']} by ssh within {self.boot_timeout} s"
                                     for vm in vms if vm["state"] != "OK"})

    def destroy(self, vms: list[VM], hosts: list[Host]) -> None:
        """End all VMs of these hosts, wherever they have migrated, and remove their disks."""
        self.require(self._destroy_all(hosts, vms))

    # What a campaign uses

    def guests(self, vms: list[VM]) -> list[Host]:
        """The VMs as hosts, for `Remote` and the like, with `vm_connection_params`."""
        return [Host(str(vm["ip"])) for vm in vms]

    def in_vms(self, vms: list[VM], command: Any, timeout: Duration | None = 60, name: str = "in VMs") -> Remote:
        """Run a command in all VMs; its processes are in the order of the VMs.

        :raises VMsFailed: with the VMs where it failed.
        """
        quiet = {"timeout": timeout, "nolog_exit_code": True, "nolog_error": True, "nolog_timeout": True}
        return self.require_all(vms, Remote(command, self.guests(vms), self.vm_connection_params, process_args=quiet, name=name).run())

    def require(self, action: Action) -> Action:
        """The action of `vmutils`, which is run if it was not.

        :raises VMsFailed: if a VM has failed.
        """
        if not action.started:
            action.run()
        if failures := {**action.failed_hosts, **action.failures}:
            raise VMsFailed(action.name, failures)
        return action

    def require_all(self, vms: list[VM], action: Remote) -> Remote:
        """The action, which was run on the `guests` of the VMs.

        :raises VMsFailed: if a process has failed.
        """
        pairs = zip(vms, action.processes, strict=True)
        if failures := {vm["id"]: _why(process) for vm, process in pairs if not process.ok}:
            raise VMsFailed(action.name, failures)
        return action

    # The campaign

    def init(self) -> None:
        self.hypervisor = _hypervisor(self._setting("hypervisor", "hypervisor"))
        self.image = self._setting("image", "vm_image")
        self.vm_connection_params = self._setting("vm_connection_params", "vm_connection_params") or {"user": "root"}
        self.destination = self._setting("destination", "vm_destination") or DESTINATION

    def run_combination(self, combination: Any, hosts: list[Host], directory: Path) -> dict[str, Any]:
        """All steps, from `define` to `collect`."""
        addresses, names = self._addresses, [host.address for host in hosts]
        vms = self._complete(self.define(combination, hosts), hosts)
        if left := [host for host in hosts if host.address in addresses.unclean(names)]:
            self.require(self._destroy_all(left, []))
            addresses.cleaned(host.address for host in left)
        homeless = [vm for vm in vms if vm["ip"] is None]
        loan = addresses.lend(len(homeless), [vm["ip"] for vm in vms], lambda: self._check(combination, addresses))
        self._mine.vms, self._mine.addresses, self._mine.loan = vms, addresses, loan
        for vm, (ip, mac) in zip(homeless, loan.pairs, strict=True):
            vm["ip"], vm["mac"] = ip, mac
        row: dict[str, Any] = {}
        steps: tuple[tuple[str, Any, tuple[Any, ...]], ...] = (
            ("make_disks", self.make_disks, (vms, hosts)),
            ("start_vms", self.start_vms, (vms,)),
            ("install", self.install, (combination, vms)),
            ("measure", self.measure, (combination, vms, hosts, directory)),
            ("collect", self.collect, (combination, vms, directory)))
        for name, step, arguments in steps:
            self._check(combination, addresses)
            with self.step(combination, name):
                row |= step(*arguments) or {}
        return row

    def _check(self, combination: Any, addresses: Addresses) -> None:
        self.check(combination)
        if addresses is not self._addresses:
            raise ReservationOver(f"{combination!r} was given up with its reservation, and the hosts are another's")

    def tidy_up(self, combination: Any, hosts: list[Host]) -> None:
        """The last step, `destroy`."""
        vms = getattr(self._mine, "vms", None)
        if vms is None or self._mine.addresses is not self._addresses:      # there never were any, or they ended with their reservation
            return
        unclean: list[str] = []
        try:
            with self.step(combination, "destroy"):
                self.destroy(vms, hosts)
        except Exception as error:          # the next combination here will not bear with it
            unclean = [host.address for host in hosts]
            logger.warning("VMs are left on %s: %s", ", ".join(unclean), error)
        self._mine.addresses.give_back(self._mine.loan, unclean)

    def _complete(self, vms: list[VM], hosts: list[Host]) -> list[VM]:
        for vm in vms:
            vm["host"] = vm.get("host") or hosts[0].address
            if self.image is not None and vm["backing_file"] == default_vm["backing_file"]:
                vm["backing_file"] = self.image
        names = {host.address for host in hosts}
        if strange := [vm["id"] for vm in vms if Host(vm["host"]).address not in names]:
            raise ValueError(f"VMs on hosts that are not those of the combination: {', '.join(strange)}")
        return checked_vms(vms)

    def _destroy_all(self, hosts: Sequence[Host], vms: Sequence[VM]) -> VMAction:
        """Of whatever VMs the hosts have, and of these, the disks too."""
        hypervisor, nonce = self.hypervisor, new_nonce()
        directory = shlex.quote(hypervisor.directory)
        body = (destroy_all(nonce, hypervisor.uri, undefine=True)
                + f'while read -r name; do [ -z "$name" ] || rm -f {directory}/"$name.qcow2"; done < names\n'
                + "".join(f"rm -f {shlex.quote(hypervisor.disk(vm))}\n" for vm in vms))
        scripts = [HostScript(host, None, body) for host in hosts]
        return VMAction("destroy", scripts, nonce, self.connection_params, DESTROY_TIMEOUT, NOT_RUNNING).run()

    def _setting(self, name: str, key: str) -> Any:
        """The attribute, or what it gives if it is a method; or what the configuration says."""
        value = getattr(self, name)
        if callable(value):
            value = value()
        return g5k_configuration.get(key) if value is None else value


def _hypervisor(value: Any) -> vmutils.Hypervisor:
    if value is None or isinstance(value, Mapping):
        return vmutils.Hypervisor(**(value or {}))
    if not isinstance(value, vmutils.Hypervisor):
        raise TypeError(f"hypervisor: expected a Hypervisor, or its keywords, found {value!r}")
    return value


def _why(process: Any) -> str:
    """Why it failed.  With a terminal, what the command says of it is in its output, and ssh adds lines of its own."""
    reason = _problem(process) or "it failed"
    if not reason.startswith("exit code"):
        return reason
    for text in (process.stderr, process.stdout):
        said = [line.strip() for line in text.split("\n") if line.strip() and not _OF_SSH.search(line)]
        if said:
            return f"exit code {process.exit_code}: {said[-1]}"
    return f"exit code {process.exit_code}"
