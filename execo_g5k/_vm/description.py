"""What a virtual machine is to a script: a plain dict."""

from __future__ import annotations

import ipaddress
import os
import re

from execo.host import Host
from execo.utils import singleton_to_collection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any, TypeAlias
    from xml.etree.ElementTree import Element

    VM: TypeAlias = dict[str, Any]

default_vm: VM = {
    "id": None, "host": None, "ip": None, "mac": None, "mem": 512, "n_cpu": 1, "cpuset": "auto", "hdd": 10,
    "backing_file": "/grid5000/images/KVM/wheezy-x64-base.qcow2", "real_file": False, "tap": None, "state": "KO",
}
"""mem in MiB, hdd in GiB; cpuset as libvirt reads it, or "auto"; state is OK once its ssh answers."""

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,200}")        # also a file name and a word of a kernel's command line
_MAC = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")
_NUMBERS = re.compile(r"\^?\d+(-\d+)?(,\^?\d+(-\d+)?)*")
_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def define_vms(vms_id: Iterable[str] | str, template: Element | None = None, ip_mac: Iterable[tuple[str, str]] | None = None,
               tap: Any = None, state: Any = None, host: Any = None, n_cpu: Any = None, cpusets: Any = None, mem: Any = None,
               hdd: Any = None, backing_file: Any = None, real_file: Any = None) -> list[VM]:
    """Descriptions of virtual machines: dicts with the keys of `default_vm`.

    :param vms_id: their ids: libvirt's name of the domain, name of the disk, and of the machine.
    :param template: an XML element whose attributes replace the defaults.
    :param ip_mac: pairs (ip, mac), at least as many as VMs; None: none.
    :param tap, state, host, n_cpu, cpusets, mem, hdd, backing_file, real_file: one value for all, or a list with one for each.
    :raises ValueError: for an id or a value that cannot be, two VMs of one id, or a list of another length.
    """
    ids = [str(one) for one in singleton_to_collection(vms_id)]
    doubles = sorted({one for one in ids if ids.count(one) > 1}) if len(set(ids)) < len(ids) else []
    if doubles:
        raise ValueError(f"vms_id: more than once: {', '.join(doubles)}")
    default = {**default_vm, **({} if template is None else _of_template(template))}
    given = {"tap": tap, "state": state, "host": host, "n_cpu": n_cpu, "cpuset": cpusets, "mem": mem, "hdd": hdd,
             "backing_file": backing_file, "real_file": real_file}
    columns = {key: _column(key, value, len(ids)) for key, value in given.items() if value is not None}
    pairs = [] if ip_mac is None else list(ip_mac)
    if ip_mac is not None and len(pairs) < len(ids):
        raise ValueError(f"ip_mac: {len(pairs)} addresses for {len(ids)} VMs")
    vms = []
    for index, one in enumerate(ids):
        vm = {**default, "id": one, **{key: column[index] for key, column in columns.items()}}
        if pairs:
            vm["ip"], vm["mac"] = pairs[index]
        vms.append(checked_vm(vm))
    return vms


def _column(key: str, value: Any, length: int) -> list[Any]:
    if not isinstance(value, (list, tuple)):
        return [value] * length
    if len(value) != length:
        raise ValueError(f"{key}: {len(value)} values for {length} VMs")
    return list(value)


def _of_template(template: Element) -> VM:
    """Values of the attributes that are known, in the type of the defaults."""
    found: VM = {}
    for key, text in template.attrib.items():
        if key not in default_vm or key == "id":
            continue
        kind = type(default_vm[key])
        if kind is bool:
            if text.lower() not in _TRUTH:
                raise ValueError(f"template: {key}={text!r}: expected true or false")
            found[key] = _TRUTH[text.lower()]
        elif kind is int:
            if not text.isascii() or not text.isdigit():
                raise ValueError(f"template: {key}={text!r}: expected a number")
            found[key] = int(text)
        else:
            found[key] = text
    return found


def checked_vm(vm: VM) -> VM:
    """The same.

    :raises ValueError: naming the VM and the value that cannot be.
    """
    name = vm.get("id")
    if not isinstance(name, str) or not _ID.fullmatch(name):
        raise ValueError(f"id of a VM: expected letters, digits, '_', '.', '+' and '-', beginning with a letter or digit, found {name!r}")
    for key in ("mem", "n_cpu", "hdd"):
        value = vm.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name}: {key}: expected a number, 1 or more, found {value!r}")
    if (mac := vm.get("mac")) is not None and not (isinstance(mac, str) and _MAC.fullmatch(mac)):
        raise ValueError(f"{name}: mac: expected an address like 00:16:3e:00:00:01, found {mac!r}")
    if (ip := vm.get("ip")) is not None:
        try:
            ipaddress.ip_address(ip)
        except ValueError:
            raise ValueError(f"{name}: ip: expected an address, found {ip!r}") from None
    checked_cpuset(vm.get("cpuset"), name)
    if not isinstance(vm.get("backing_file"), (str, os.PathLike)):
        raise ValueError(f"{name}: backing_file: expected the name of a file, found {vm.get('backing_file')!r}")
    return vm


def checked_cpuset(cpuset: object, name: str) -> str:
    """:raises ValueError: for what libvirt would not read."""
    if not isinstance(cpuset, str) or not (cpuset == "auto" or _NUMBERS.fullmatch(cpuset)):
        raise ValueError(f"{name}: cpuset: expected numbers and ranges like '0,2-3', or 'auto', found {cpuset!r}")
    return cpuset


def checked_vms(vms: Iterable[VM] | VM, placed: bool = True) -> list[VM]:
    """A list of descriptions that are complete.

    :param placed: each must have a host.
    :raises ValueError: naming those that are not, or that are twice.
    """
    found = [vms] if isinstance(vms, dict) else list(vms)
    for vm in found:
        checked_vm(vm)
    if placed and (homeless := [vm["id"] for vm in found if not vm.get("host")]):
        raise ValueError(f"VMs without a host, see distribute_vms: {', '.join(homeless)}")
    ids = [vm["id"] for vm in found]
    if len(set(ids)) < len(ids):
        raise ValueError(f"VMs more than once: {', '.join(sorted({one for one in ids if ids.count(one) > 1}))}")
    return found


def by_host(vms: Iterable[VM]) -> list[tuple[Host, list[VM]]]:
    """Each host with its VMs, in the order of their first VM."""
    hosts: dict[str, Host] = {}
    found: dict[str, list[VM]] = {}
    for vm in vms:
        host = Host(vm["host"])
        hosts.setdefault(host.address, host)
        found.setdefault(host.address, []).append(vm)
    return [(hosts[address], theirs) for address, theirs in found.items()]


def describe(vm: Mapping[str, Any]) -> str:
    """A line for humans."""
    host = vm.get("host")
    where = Host(host).address if host else "no host"
    return (f"{vm['id']}: {where}, {vm.get('ip') or 'no ip'} {vm.get('mac') or 'no mac'}, {vm.get('n_cpu')} cpu ({vm.get('cpuset')}),"
            f" {vm.get('mem')} MiB, {vm.get('hdd')} GiB over {vm.get('backing_file')}, {vm.get('state')}")
