"""The XML of libvirt that describes a virtual machine: pure."""

from __future__ import annotations

import base64
import posixpath
from dataclasses import dataclass, field
from xml.etree import ElementTree

from .description import checked_vm, default_vm

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .description import VM

QEMU = "http://libvirt.org/schemas/domain/qemu/1.0"
ElementTree.register_namespace("qemu", QEMU)
KINDS = ("kvm", "qemu", "test")


@dataclass(frozen=True, kw_only=True)
class Hypervisor:
    """What the virtual machines of an experiment have in common.

    In `kernel_args` and `console`, ``{key}`` stands for the value of a key of the VM: ``"vmip={ip}/24"``.
    """

    kind: str = "kvm"
    """"kvm", "qemu" (emulated: slow, on any machine), or "test" (libvirt's own test driver: nothing really runs)."""
    uri: str = "qemu:///system"
    """Of libvirt, as seen on the host."""
    directory: str = "/tmp"
    """Of disks and images, on the hosts."""
    bridge: str | None = None
    """Of the hosts, to which the VMs are connected; None: libvirt's network `network`."""
    network: str = "default"
    arch: str = "x86_64"
    machine: str | None = None
    """None: libvirt's default."""
    cpu_model: str | None = None
    """None: the host's with "kvm", qemu64 with "qemu"."""
    emulator: str | None = None
    kernel: str | None = None
    """File on the hosts, booted directly; None: what the disk boots."""
    initrd: str | None = None
    kernel_args: str | None = None
    console: str | None = None
    """File on the host that receives what the serial console prints; None: a terminal, for `virsh console`."""
    authorized_keys: tuple[str, ...] = ()
    """Public keys that may log in as root, told to the guest's systemd (252 or later) as a credential: no disk is touched."""
    tb_size: int = 32
    """MiB of translated code that each emulated VM may keep."""
    qemu_arguments: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind: expected one of {', '.join(KINDS)}, found {self.kind!r}")
        if not posixpath.isabs(self.directory):
            raise ValueError(f"directory: expected an absolute path, found {self.directory!r}")
        for name in ("kernel_args", "console"):
            if (text := getattr(self, name)) is not None:
                try:
                    text.format_map(dict.fromkeys(default_vm, ""))
                except (KeyError, ValueError, IndexError, AttributeError) as error:
                    raise ValueError(f"{name}: cannot be filled in ({error!r}): {text!r}") from None

    def disk(self, vm: VM) -> str:
        """File of the disk of a VM."""
        return posixpath.join(self.directory, f"{vm['id']}.qcow2")

    def image(self, vm: VM) -> str:
        """File of the image on which it is based."""
        return posixpath.join(self.directory, posixpath.basename(str(vm["backing_file"])))


def domain_xml(vm: VM, hypervisor: Hypervisor) -> str:
    """The domain as `virsh define` reads it.

    :raises ValueError: for a VM that is not complete, or a name with characters that XML cannot hold.
    """
    text = ElementTree.tostring(_domain(checked_vm(vm), hypervisor), encoding="unicode")
    try:
        ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ValueError(f"{vm['id']}: its description holds what XML cannot ({error})") from None
    return text


def _domain(vm: VM, hypervisor: Hypervisor) -> ElementTree.Element:
    domain = ElementTree.Element("domain", type=hypervisor.kind)
    _add(domain, "name", vm["id"])
    _add(domain, "memory", str(vm["mem"]), unit="MiB")
    pinned = {} if vm["cpuset"] == "auto" else {"cpuset": vm["cpuset"]}
    _add(domain, "vcpu", str(vm["n_cpu"]), placement="static", **pinned)
    if hypervisor.kind == "test":
        _add(_add(domain, "os"), "type", "hvm", arch="i686")
        return domain
    _boot(domain, vm, hypervisor)
    _add(_add(domain, "features"), "acpi")
    if hypervisor.cpu_model is not None or hypervisor.kind == "qemu":
        _add(_add(domain, "cpu", mode="custom", match="exact"), "model", hypervisor.cpu_model or "qemu64")
    else:
        _add(domain, "cpu", mode="host-model")
    for what, then in (("on_poweroff", "destroy"), ("on_reboot", "restart"), ("on_crash", "destroy")):
        _add(domain, what, then)
    _devices(domain, vm, hypervisor)
    arguments = [*(_emulation(vm["mem"], hypervisor.tb_size) if hypervisor.kind == "qemu" else ()), *hypervisor.qemu_arguments]
    if arguments:
        line = ElementTree.SubElement(domain, f"{{{QEMU}}}commandline")
        for argument in arguments:
            ElementTree.SubElement(line, f"{{{QEMU}}}arg", value=argument)
    return domain


def _boot(domain: ElementTree.Element, vm: VM, hypervisor: Hypervisor) -> None:
    boot = _add(domain, "os")
    _add(boot, "type", "hvm", arch=hypervisor.arch, **({"machine": hypervisor.machine} if hypervisor.machine else {}))
    if hypervisor.kernel is not None:
        _add(boot, "kernel", hypervisor.kernel)
        if hypervisor.initrd is not None:
            _add(boot, "initrd", hypervisor.initrd)
        if hypervisor.kernel_args is not None:
            _add(boot, "cmdline", hypervisor.kernel_args.format_map(vm))
    else:
        _add(boot, "boot", dev="hd")
    if hypervisor.authorized_keys:
        _add(boot, "smbios", mode="sysinfo")
        keys = base64.b64encode("".join(key.strip() + "\n" for key in hypervisor.authorized_keys).encode()).decode()
        strings = _add(_add(domain, "sysinfo", type="smbios"), "oemStrings")
        _add(strings, "entry", f"io.systemd.credential.binary:ssh.authorized_keys.root={keys}")


def _devices(domain: ElementTree.Element, vm: VM, hypervisor: Hypervisor) -> None:
    devices = _add(domain, "devices")
    if hypervisor.emulator is not None:
        _add(devices, "emulator", hypervisor.emulator)
    disk = _add(devices, "disk", type="file", device="disk")
    _add(disk, "driver", name="qemu", type="qcow2", cache="none")       # with a cache, a migration may lose what is in it
    _add(disk, "source", file=hypervisor.disk(vm))
    _add(disk, "target", dev="vda", bus="virtio")
    if hypervisor.bridge is not None:
        interface = _add(devices, "interface", type="bridge")
        _add(interface, "source", bridge=hypervisor.bridge)
    else:
        interface = _add(devices, "interface", type="network")
        _add(interface, "source", network=hypervisor.network)
    if vm.get("mac") is not None:
        _add(interface, "mac", address=vm["mac"])
    _add(interface, "model", type="virtio")
    _add(interface, "rom", enabled="no")
    if vm.get("tap") is not None:
        tap = _add(devices, "interface", type="ethernet")
        _add(tap, "target", dev=str(vm["tap"]), managed="no")
        _add(tap, "model", type="virtio")
    _add(devices, "controller", type="usb", model="none")
    if hypervisor.console is not None:
        serial = _add(devices, "serial", type="file")
        _add(serial, "source", path=hypervisor.console.format_map(vm))
    else:
        serial = _add(devices, "serial", type="pty")
    _add(serial, "target", port="0")
    _add(devices, "memballoon", model="none")


def _emulation(mem: int, tb_size: int) -> tuple[str, ...]:
    """Arguments of qemu behind libvirt's, of which the last ones win.

    Before qemu 9.0, an emulated machine that writes to its memory while it migrates loses pages, as the map of dirty pages is cleared in
    whole words without telling the emulator.  Memory whose size is no multiple of 256 KiB is cleared page by page, which is right.
    libvirt rounds to MiB, so it cannot be said in <memory>.
    """
    kib = mem * 1024 + 8
    return ("-accel", f"tcg,tb-size={tb_size}", "-object", f"memory-backend-ram,id=odd,size={kib * 1024}",
            "-machine", "memory-backend=odd", "-m", f"size={kib}k")


def _add(parent: ElementTree.Element, tag: str, text: str | None = None, **attributes: str) -> ElementTree.Element:
    child = ElementTree.SubElement(parent, tag, attributes)
    child.text = text
    return child
