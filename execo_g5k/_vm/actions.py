"""Disks, domains, their start and end: one `VMAction` each."""

from __future__ import annotations

import math
import posixpath
import shlex

from execo.action import ChainPut
from execo.host import Host, get_unique_hosts_list
from execo.log import logger
from execo.time_utils import get_seconds

from .description import by_host, checked_cpuset, checked_vms, describe
from .domain import Hypervisor, domain_xml
from .placement import place
from .remote import HostScript, VMAction, new_nonce
from .script import shell_block, virsh, virsh_blocks, write_file
from .virsh import parse_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

    from execo.time_utils import Duration

    from .description import VM
    from .placement import Capacities

TIMEOUT = 600
"""Seconds that a host has for all that it is asked at once."""
NOT_RUNNING = ("Failed to destroy domain", "domain is not running")
RUNNING = ("Failed to start domain", "Domain is already active", "domain is already running")


def show_vms(vms: Iterable[VM]) -> None:
    """Log a line for each."""
    for vm in vms:
        logger.info("%s", describe(vm))


def distribute_vms(vms: Iterable[VM], hosts: Iterable[Host | str] | Host | str, distribution: str = "round-robin",
                   capacities: Capacities | None = None, rng: random.Random | None = None) -> list[VM]:
    """Set the host of each VM: in turn, on as few hosts as possible, by chance, or the same number for each.

    :param distribution: "round-robin", "concentrated", "random": within the memory and the cores of the hosts, three virtual processors on
      a core; "n_by_hosts": len(vms) // len(hosts) on each whatever they have, and the rest is dropped, with a warning.
    :param capacities: {address: (cores, MiB of memory)}; None: what the reference API of Grid'5000 says.
    :param rng: for "random".
    :returns: the VMs that have a host.
    :raises ValueError: if they do not fit.
    """
    guests, machines = list(vms), _hosts(hosts)
    if capacities is None and distribution != "n_by_hosts":
        capacities = get_capacities(machines)
    placed = place(guests, machines, capacities or {}, distribution, rng)
    if len(placed) < len(guests):
        logger.warning("distribute_vms: %d of %d VMs dropped: %d hosts take the same number each", len(guests) - len(placed), len(guests),
                       len(machines))
        if isinstance(vms, list):
            vms[:] = placed
    return placed


def get_capacities(hosts: Iterable[Host | str] | Host | str) -> dict[str, tuple[float, float]]:
    """{address: (cores, MiB of memory)} of nodes of Grid'5000, from its reference API."""
    from ..api_utils import get_host_attributes

    found = {}
    for host in _hosts(hosts):
        told: Mapping[str, Any] = get_host_attributes(host)
        found[host.address] = (float(told["architecture"]["nb_cores"]), told["main_memory"]["ram_size"] / (1 << 20))
    return found


def put_image(hosts: Iterable[Host | str] | Host | str, image: str, hypervisor: Hypervisor | None = None,
              connection_params: Mapping[str, Any] | None = None) -> ChainPut:
    """Copy an image of a disk from here to all hosts, along a chain of them; not started."""
    return ChainPut(hosts, [image], _of(hypervisor).directory + "/", connection_params)


def create_disks(vms: Iterable[VM], hypervisor: Hypervisor | None = None, connection_params: Mapping[str, Any] | None = None,
                 image_format: str = "qcow2", timeout: Duration = TIMEOUT) -> VMAction:
    """The disk of each VM, on its own host: an overlay of its image, or with `real_file` a full copy; a disk that is there is replaced.

    A disk is never smaller than its image.

    :param image_format: of the images.
    :param timeout: that each host has for all its disks.
    """
    scripts = [(host, theirs) for host, theirs in by_host(checked_vms(vms))]
    return _disks("create disks", scripts, _of(hypervisor), connection_params, image_format, keep=False, timeout=timeout)


def create_disks_all_hosts(vms: Iterable[VM], hosts: Iterable[Host | str] | Host | str, hypervisor: Hypervisor | None = None,
                           connection_params: Mapping[str, Any] | None = None, image_format: str = "qcow2",
                           timeout: Duration = TIMEOUT) -> VMAction:
    """The disks of all VMs on all hosts, as by `create_disks`: where the VMs may migrate to."""
    guests = checked_vms(vms, placed=False)
    return _disks("create disks on all hosts", [(host, guests) for host in _hosts(hosts)], _of(hypervisor), connection_params, image_format,
                  keep=False, timeout=timeout)


def disk_commands(vm: VM, hypervisor: Hypervisor, image_format: str, keep: bool) -> list[Sequence[str] | str]:
    """What makes the disk of a VM, whole or not at all.

    :param keep: leave one that is there.
    """
    disk, image, size = hypervisor.disk(vm), hypervisor.image(vm), f"{vm['hdd']}G"
    part = f"{disk}.part"
    if vm.get("real_file"):
        make = shlex.join(["qemu-img", "convert", "-f", image_format, "-O", "qcow2", image, part])
    else:
        make = shlex.join(["qemu-img", "create", "-q", "-f", "qcow2", "-F", image_format, "-b", image, part])
    # One that is smaller than its image would lack the end of it; qemu-img refuses to shrink, so it stays as large as the image.
    grow = (f"said=$(qemu-img resize -q {shlex.quote(part)} {size} 2>&1) || "
            "case $said in *--shrink*) :;; *) printf '%s\\n' \"$said\"; false;; esac")
    made = f"{{ {make} && {{ {grow}; }}; }} && mv -f {shlex.quote(part)} {shlex.quote(disk)} || {{ rm -f {shlex.quote(part)}; exit 1; }}"
    return [f"[ -e {shlex.quote(disk)} ] || {{ {made}; }}" if keep else made]


def _disks(what: str, scripts: Iterable[tuple[Host, list[VM]]], hypervisor: Hypervisor, connection_params: Any, image_format: str,
           keep: bool, timeout: Duration = TIMEOUT) -> VMAction:
    nonce = new_nonce()
    bodies = [HostScript(host, tuple(vm["id"] for vm in theirs),
                         "".join(shell_block(nonce, vm["id"], disk_commands(vm, hypervisor, image_format, keep)) for vm in theirs))
              for host, theirs in scripts]
    return VMAction(what, bodies, nonce, connection_params, checked_seconds(timeout))


def rm_qcow2_disks(hosts: Iterable[Host | str] | Host | str, hypervisor: Hypervisor | None = None,
                   connection_params: Mapping[str, Any] | None = None, timeout: Duration = TIMEOUT) -> VMAction:
    """Remove all disks (``*.qcow2``) in the directory of the hypervisor, the images too; runs at once."""
    directory, nonce = shlex.quote(_of(hypervisor).directory), new_nonce()
    scripts = [HostScript(host, (host.address,), shell_block(nonce, host.address, [f"rm -f {directory}/*.qcow2"]))
               for host in _hosts(hosts)]
    return VMAction("remove disks", scripts, nonce, connection_params, checked_seconds(timeout)).run()


def install_vms(vms: Iterable[VM], hypervisor: Hypervisor | None = None,
                connection_params: Mapping[str, Any] | None = None) -> VMAction:
    """Define the VMs, by the XML of their domains."""
    chosen, nonce = _of(hypervisor), new_nonce()

    def body(theirs: list[VM]) -> str:
        files = [(vm["id"], f"{index}.xml", domain_xml(vm, chosen)) for index, vm in enumerate(theirs)]
        return "".join(write_file(file, text) for _name, file, text in files) + virsh_blocks(
            nonce, chosen.uri, [(name, [("define", file)]) for name, file, _text in files])

    return _by_host("define", vms, body, nonce, connection_params)


def start_vms(vms: Iterable[VM], hypervisor: Hypervisor | None = None, connection_params: Mapping[str, Any] | None = None,
              timeout: Duration = TIMEOUT) -> VMAction:
    """Start them; one that runs stays as it is.

    :param timeout: that each host has for all its VMs.
    """
    uri, nonce = _of(hypervisor).uri, new_nonce()
    return _by_host("start", vms, lambda theirs: virsh_blocks(nonce, uri, [(vm["id"], [("start", vm["id"])]) for vm in theirs]), nonce,
                    connection_params, RUNNING, timeout)


def pin_vms(vms: Iterable[VM], pins: Mapping[str, str | Sequence[str]] | None = None, hypervisor: Hypervisor | None = None,
            connection_params: Mapping[str, Any] | None = None) -> VMAction:
    """Pin running VMs to processors of their host.

    :param pins: {id: cpuset of all its virtual processors, or a list with that of each}; None: the `cpuset` of each VM.
    :raises ValueError: for a VM without pins, or a list of another length.
    """
    guests, uri, nonce = checked_vms(vms), _of(hypervisor).uri, new_nonce()
    chosen: dict[str, list[str]] = {}
    for vm in guests:
        wanted = vm["cpuset"] if pins is None else pins.get(vm["id"])
        sets = [wanted] * vm["n_cpu"] if isinstance(wanted, str) else list(wanted or ())
        if len(sets) != vm["n_cpu"] or "auto" in sets:
            raise ValueError(f"{vm['id']}: expected a cpuset, or one for each of its {vm['n_cpu']} virtual processors, found {wanted!r}")
        chosen[vm["id"]] = [checked_cpuset(one, vm["id"]) for one in sets]

    def commands(name: str) -> list[Sequence[str]]:
        return [("vcpupin", name, str(index), cpus) for index, cpus in enumerate(chosen[name])]

    return _by_host("pin", guests, lambda theirs: virsh_blocks(nonce, uri, [(vm["id"], commands(vm["id"])) for vm in theirs]), nonce,
                    connection_params)


class VMList(dict[str, list[dict[str, str]]]):
    """{address: [{"id": name of a VM}, ...]}, and why some hosts could not tell."""

    failures: dict[str, str]
    """{address: reason}; such a host has an empty list."""


def list_vm(hosts: Iterable[Host | str] | Host | str, not_running: bool = False, hypervisor: Hypervisor | None = None,
            connection_params: Mapping[str, Any] | None = None) -> VMList:
    """The VMs that run on each host; runs at once.

    :param not_running: those that do not run too.
    """
    uri, nonce = _of(hypervisor).uri, new_nonce()
    words = ("list", "--all", "--name") if not_running else ("list", "--name")
    scripts = [HostScript(host, (host.address,), virsh_blocks(nonce, uri, [(host.address, [words])])) for host in _hosts(hosts)]
    action = VMAction("list", scripts, nonce, connection_params, TIMEOUT).run()
    found = VMList()
    for address, result in action.results.items():
        found[address] = [{"id": name} for name in parse_names(result.output)] if result.ok else []
    found.failures = action.failures
    return found


def destroy_vms(hosts: Iterable[Host | str] | Host | str, undefine: bool = False, hypervisor: Hypervisor | None = None,
                connection_params: Mapping[str, Any] | None = None, vms: Iterable[VM] | None = None) -> VMAction:
    """End all VMs of the hosts; runs at once.

    :param undefine: forget their definitions too, also of those that do not run.
    :param vms: only these, on their hosts; `hosts` is then not looked at.
    :returns: the action, with a result for each VM that was found.
    """
    uri, nonce = _of(hypervisor).uri, new_nonce()

    def commands(name: str) -> list[Sequence[str]]:
        return [("destroy", name), *([("undefine", name)] if undefine else [])]

    if vms is not None:
        return _by_host("destroy", vms, lambda theirs: virsh_blocks(nonce, uri, [(vm["id"], commands(vm["id"])) for vm in theirs]), nonce,
                        connection_params, NOT_RUNNING).run()
    scripts = [HostScript(host, None, destroy_all(nonce, uri, undefine)) for host in _hosts(hosts)]
    return VMAction("destroy", scripts, nonce, connection_params, TIMEOUT, NOT_RUNNING).run()


def destroy_all(nonce: str, uri: str, undefine: bool, only: Sequence[str] | None = None) -> str:
    """Script that ends all VMs that it finds: the host makes the commands of `virsh_blocks` from the names, by sed.

    :param only: names; of others nothing is done.
    """
    listing = virsh(uri, "list", "--name", *(["--all"] if undefine else []))
    # In virsh's language a word in double quotes, where a backslash guards the next character.
    commands = 'destroy "&"' + ('; undefine "&"' if undefine else "")
    edit = ('/^ *$/d; s/[\\\\"]/\\\\&/g; '
            f's/.*/echo "\\\n@{nonce} > &\\\n"; {commands}; echo "\\\n@{nonce} < - &\\\n";/')
    run = shlex.join(["virsh", "-q", "-c", uri])
    # 200 names at a time: with long ones, an argument of 100 kB
    chosen = "" if only is None else (write_file("only", "".join(f"{name}\n" for name in only))
                                      + "grep -Fxf only names > both; mv both names\n")
    return (f"{listing} > names || exit 1\n"
            f"{chosen}split -l 200 names part.\n"
            f"for part in part.*; do [ -s \"$part\" ] && {run} \"$(sed {shlex.quote(edit)} \"$part\")\" 2>&1; done\n"
            "true\n")


def _by_host(what: str, vms: Iterable[VM], body: Callable[[list[VM]], str], nonce: str, connection_params: Any,
             ignored: Sequence[str] = (), timeout: Duration = TIMEOUT) -> VMAction:
    scripts = [HostScript(host, tuple(vm["id"] for vm in theirs), body(theirs)) for host, theirs in by_host(checked_vms(vms))]
    return VMAction(what, scripts, nonce, connection_params, checked_seconds(timeout), ignored)


def _hosts(hosts: Iterable[Host | str] | Host | str) -> list[Host]:
    return get_unique_hosts_list([hosts] if isinstance(hosts, (str, Host)) else list(hosts))


def checked_seconds(timeout: Duration | None) -> float:
    """:raises ValueError: for what is no time that ends."""
    seconds = get_seconds(timeout)
    if seconds is None or not 0 < seconds < math.inf:
        raise ValueError(f"timeout: expected more than 0 seconds, found {timeout!r}")
    return seconds


def _of(hypervisor: Hypervisor | None) -> Hypervisor:
    return Hypervisor() if hypervisor is None else hypervisor


def disk_path(vm: VM, hypervisor: Hypervisor | None = None) -> str:
    """File of the disk of a VM on its host."""
    return posixpath.normpath(_of(hypervisor).disk(vm))
