"""What hosts of the box need to run guests: a guest, addresses on the network of the nodes, and how a script finds them.

Guests are on the network of the nodes, for the bridge of a hypervisor holds its interface; so this machine, all nodes and all guests reach
them.  Those of a VLAN, or of subnets, have addresses of another network, to which nodes and this machine have a way: see `Networks`.
"""

from __future__ import annotations

import ipaddress
import socket

from execo._localcluster import namespaces_server
from execo.config import make_default_connection_params

from . import guest
from .kadeploy.own import IMAGES, NETWORKS
from .machines import LOCAL
from .vlan_links import add_route, ip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path
    from typing import Any

BRIDGE = "br0"


def free_addresses(taken: Iterable[str], prefix: int) -> list[tuple[str, str]]:
    """(address, hardware address) of all others in the network of these addresses, but its last one, which is that of this machine."""
    used = set(taken)
    network = ipaddress.IPv4Interface(f"{next(iter(used))}/{prefix}").network
    return [(str(address), hardware_address(address)) for address in list(network.hosts())[:-1] if str(address) not in used]


def hardware_address(address: ipaddress.IPv4Address) -> str:
    """One that follows from the address, so that no two guests of this machine have the same."""
    return "52:54:00:" + ":".join(f"{byte:02x}" for byte in address.packed[1:])


class Networks:
    """The networks of the virtual machines of a box: those of VLANs, and the part of each site's subnets that no other box has.

    :param sites: {site: how the API describes it}.
    """

    def __init__(self, sites: Mapping[str, Mapping[str, Any]]) -> None:
        self.of_vlans = {(site, vlan): str(one["network"]) for site, described in sites.items()
                         for vlan, one in described["kavlans"].items() if vlan != "default" and int(vlan) not in LOCAL}
        """{(site, VLAN): network} of those that have a way out."""
        self._ranges = {site: ipaddress.IPv4Network(described["virt_ip_range"]) for site, described in sites.items()}
        self.all = [described[name] for described in sites.values() for name in ("virt_ip_range", "kavlan_ip_range")]
        self._parts: list[ipaddress.IPv4Network] = []
        self._claims: list[socket.socket] = []

    def move_subnets(self, rows: Sequence[dict[str, Any]], site: str) -> list[dict[str, Any]]:
        """The resources of the site, with subnets that no other box of this machine has; as they are, if it is too late for that."""
        subnets = [row for row in rows if row["type"] == "subnet"]
        parts = list(self._ranges[site].subnets(new_prefix=22 - (len(subnets) - 1).bit_length()))
        with open("/proc/net/route", encoding="ascii") as routes:
            taken = namespaces_server.parse_routes(routes.read())
        for part in parts:
            if not any(part.overlaps(other) for other in taken) and self._claim(part):
                self._parts.append(part)
                moved = int(part.network_address) - int(parts[0].network_address)
                return [{**row, "subnet_address": str(ipaddress.IPv4Address(row["subnet_address"]) + moved)} if row["type"] == "subnet"
                        else row for row in rows]
        return list(rows)

    def lead(self, neighbour: str) -> None:
        """Make this machine reach the subnets, by the link by which it reaches the address of a node."""
        link = ip(("-o", "route", "get", neighbour)).split(" dev ")[1].split()[0]
        for part in self._parts:
            add_route(str(part), link)

    def _claim(self, network: ipaddress.IPv4Network) -> bool:
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            claim.bind(f"\0execo-gridbox-{network}")        # the kernel gives it back with the last of us
        except OSError:
            claim.close()
            return False
        self._claims.append(claim)
        return True

    def close(self) -> None:
        for claim in self._claims:
            claim.close()
        self._claims.clear()


def check(namespaces: bool) -> None:
    """:raises OSError: naming what is missing here."""
    if not namespaces:
        raise OSError("guests=True needs nodes with namespaces, so root: here they are addresses of this machine")
    obstacle = guest.why_not()
    if obstacle is not None:
        raise FileNotFoundError(f"guests=True cannot be had here: {obstacle}")


def make_settings(folder: Path, addresses: list[tuple[str, str]], networks: Iterable[str]) -> dict[str, Any]:
    """Makes the guest in a folder that all nodes see, and what g5k_configuration has to say of it.

    :param networks: of virtual machines, on the links of nodes that are deployed from now on.
    :raises OSError: if something cannot be done; the message says what.
    """
    folder.mkdir()
    (folder / NETWORKS).write_text("".join(f"{network}\n" for network in networks), encoding="ascii")
    kernel, initrd, key = guest.build(folder)
    image = folder / "base.qcow2"
    guest.make_disk(image)
    factory = make_default_connection_params()
    options = ("-F", "none", "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-o", "LogLevel=ERROR")
    return {
        # keywords of a Hypervisor
        "hypervisor": {"kind": "kvm" if guest.has_kvm() else "qemu", "directory": IMAGES, "bridge": BRIDGE, "kernel": str(kernel),
                       "initrd": str(initrd), "kernel_args": guest.KERNEL_ARGS, "console": "/var/log/libvirt/{id}.console"},
        "vm_image": str(image),
        "vm_addresses": addresses,
        # names of users are not left out here, as they are for nodes
        "vm_connection_params": {**factory, "user": "root", "keyfile": str(key), "ssh_options": (*options, *factory["ssh_options"])},
    }
