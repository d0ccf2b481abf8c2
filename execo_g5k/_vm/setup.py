"""The commands that make a hypervisor of a Debian machine: pure.

Each may be run again: what is there already stays.
"""

from __future__ import annotations

import shlex
from xml.etree import ElementTree

from execo.host import Host

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .description import VM

PACKAGES = ("libvirt-daemon", "libvirt-daemon-driver-qemu", "libvirt-daemon-system", "libvirt-clients", "qemu-system-x86", "qemu-utils",
            "netcat-openbsd", "iproute2", "taktuk", "perl", "iputils-ping")
KEY = ".ssh/execo_vm"
KEY_COMMENT = "execo-between-hypervisors"
"""Of public keys: at the end of their lines in authorized_keys."""


def packages_command(packages: Iterable[str]) -> str:
    """Install the Debian packages that are missing."""
    return ("export DEBIAN_FRONTEND=noninteractive\nmissing=\n"
            f"for package in {shlex.join(packages)}; do\n"
            "    dpkg-query -W -f '${Status}' \"$package\" 2>/dev/null | grep -q ' installed$' || missing=\"$missing $package\"\n"
            "done\n"
            "[ -z \"$missing\" ] || { apt-get -q update && apt-get -q -y --no-install-recommends install $missing; }\n")


def modules_command() -> str:
    """Load what virtual machines need; a kernel without modules has it, or has not: then a VM says so at its start."""
    return "modprobe -a kvm_intel kvm_amd vhost_net 2>/dev/null || true\n"


def bridge_command(bridge: str, interface: str | None = None) -> str:
    """Put a network interface into a bridge that takes over its addresses and routes, all at once: connections survive it.

    :param interface: None: that of the default route, or without one the first that has an address.
    """
    name = shlex.quote(bridge)
    default = ("$({ ip -o route show default | sed -n 's/.* dev \\([^ ]*\\).*/\\1/p'; "
               "ip -o -4 addr show scope global | sed -n 's/^[0-9]*: *\\([^ ]*\\) .*/\\1/p'; } | head -n 1)")
    find = default if interface is None else shlex.quote(interface)
    return (f"! ip link show dev {name} >/dev/null 2>&1 || exit 0\n"
            f"link={find}\n"
            "[ -n \"$link\" ] && ip link show dev \"$link\" >/dev/null 2>&1 || "
            "{ echo \"no interface for the bridge: $link\" >&2; exit 1; }\n"
            "addresses=$(ip -o -4 addr show dev \"$link\" | sed -n 's/.* inet \\([0-9./]*\\) .*/\\1/p')\n"
            "routes=$(ip -4 route show dev \"$link\" | grep -v 'proto kernel' | sed 's/ *linkdown//; s/ *$//')\n"
            "mac=$(ip -o link show dev \"$link\" | sed -n 's/.* link\\/ether \\([0-9a-f:]*\\).*/\\1/p')\n"
            "{\n"
            f"    echo link add {name} type bridge\n"
            f"    echo link set {name} address $mac\n"
            "    for address in $addresses; do echo addr del $address dev \"$link\"; done\n"
            f"    echo link set \"$link\" master {name}\n"
            f"    echo link set {name} up\n"
            f"    for address in $addresses; do echo addr add $address dev {name}; done\n"
            f"    [ -z \"$routes\" ] || echo \"$routes\" | sed 's/.*/route replace & dev '{name}/\n"
            "} > batch\n"
            "ip -batch batch\n")


def uuid_command(file: str = "/etc/libvirt/libvirtd.conf") -> str:
    """A host_uuid of its own for libvirt: machines with one image have one BIOS number too often, and libvirt refuses to migrate then."""
    conf = shlex.quote(file)
    return (f"[ -e {conf} ] || : > {conf}\n"
            f"grep -q '^host_uuid.*# execo$' {conf} || {{\n"
            f"    sed -i '/^host_uuid/d' {conf} &&\n"
            f"    echo \"host_uuid = \\\"$(cat /proc/sys/kernel/random/uuid)\\\" # execo\" >> {conf} && touch changed\n"
            "}\n")


def restart_command() -> str:
    """Start libvirt, anew after a change of its configuration."""
    return ("if [ -d /run/systemd/system ]; then\n"
            "    systemctl restart libvirtd\n"
            "elif pid=$(cat /run/libvirt/libvirtd.pid 2>/dev/null) && kill -0 \"$pid\" 2>/dev/null; then\n"
            "    [ -e changed ] || exit 0\n"
            "    kill \"$pid\"\n"
            "    for try in $(seq 300); do kill -0 \"$pid\" 2>/dev/null || break; sleep 0.1; done\n"
            "    libvirtd -l -d -f /etc/libvirt/libvirtd.conf -p /run/libvirt/libvirtd.pid </dev/null >/dev/null 2>&1\n"
            "else\n"
            "    libvirtd -l -d -f /etc/libvirt/libvirtd.conf -p /run/libvirt/libvirtd.pid </dev/null >/dev/null 2>&1\n"
            "fi\n")


def wait_command(uri: str, tenths: int = 600) -> str:
    """Wait until libvirt answers."""
    ask = shlex.join(["virsh", "-q", "-c", uri, "version"])
    return (f"for try in $(seq {tenths}); do\n    {ask} >/dev/null 2>&1 && exit 0\n    sleep 0.1\ndone\n{ask}\n")


def network_xml(name: str, bridge: str) -> str:
    """A network of libvirt that is a bridge of the host."""
    network = ElementTree.Element("network")
    ElementTree.SubElement(network, "name").text = name
    ElementTree.SubElement(network, "forward", mode="bridge")
    ElementTree.SubElement(network, "bridge", name=bridge)
    return ElementTree.tostring(network, encoding="unicode")


def network_command(uri: str, name: str, bridge: str) -> str:
    """Make libvirt's network of this name the bridge."""
    ask = shlex.join(["virsh", "-q", "-c", uri])
    word = shlex.quote(name)
    return (f"printf '%s' {shlex.quote(network_xml(name, bridge))} > network.xml\n"
            f"if {ask} net-dumpxml {word} 2>/dev/null | grep -q \"<bridge name='\"{shlex.quote(bridge)}\"'\"; then exit 0; fi\n"
            f"{ask} net-destroy {word} >/dev/null 2>&1\n{ask} net-undefine {word} >/dev/null 2>&1\n"
            f"{ask} net-define network.xml && {ask} net-start {word} && {ask} net-autostart {word}\n")


def keys_command(private: str, public: str) -> str:
    """Let the hosts log in to each other with this key, as ``qemu+ssh`` does; keys with `KEY_COMMENT` of earlier times are taken out."""
    key = shlex.quote(public.strip())
    older = shlex.quote(f" {KEY_COMMENT}$")
    begin = "# execo: between hypervisors"
    options = ("Host *", f"IdentityFile ~/{KEY}", "StrictHostKeyChecking no", "UserKnownHostsFile /dev/null", "LogLevel ERROR")
    config = "\n".join((begin, *options)) + "\n"
    return ("umask 077 && mkdir -p ~/.ssh &&\n"
            f"printf '%s\\n' {shlex.quote(private.strip())} > ~/{KEY} && printf '%s\\n' {key} > ~/{KEY}.pub &&\n"
            "touch ~/.ssh/authorized_keys ~/.ssh/config &&\n"
            "known=$(readlink -f ~/.ssh/authorized_keys) &&\n"
            f"{{ grep -qxF {key} \"$known\" || {{\n"
            f"    if grep -q {older} \"$known\"; then\n"
            f"        sed /{older}/d \"$known\" > \"$known.$$\" && mv -f \"$known.$$\" \"$known\"\n"
            "    fi &&\n"
            f"    printf '%s\\n' {key} >> \"$known\"; }}; }} &&\n"
            f"{{ grep -qxF {shlex.quote(begin)} ~/.ssh/config || printf '%s' {shlex.quote(config)} >> ~/.ssh/config; }}\n")


def state_xml(vms: Iterable[VM], places: dict[str, tuple[str, str]] | None = None) -> str:
    """``<vm5k><site><cluster><host><vm/>...``: which VM is where, with all its values.

    :param places: {address: (site, cluster)}; of other hosts these are "unknown".
    """
    root = ElementTree.Element("vm5k")
    made: dict[tuple[str, ...], ElementTree.Element] = {}
    for vm in vms:
        address = Host(vm["host"]).address if vm.get("host") else "unknown"
        site, cluster = (places or {}).get(address, ("unknown", "unknown"))
        parent = root
        path: tuple[str, ...] = ()
        for tag, name in (("site", site), ("cluster", cluster), ("host", address)):
            path = (*path, name)
            if path not in made:
                made[path] = ElementTree.SubElement(parent, tag, id=name)
            parent = made[path]
        ElementTree.SubElement(parent, "vm", {key: str(value) for key, value in vm.items() if value is not None and key != "host"})
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"
