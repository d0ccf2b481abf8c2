"""Links of nodes with namespaces in VLANs: each VLAN is a bridge, with a network of its own and a link to this machine.

A node that is put into a VLAN leaves the bridge that all share for that of the VLAN, and has the address there instead of its own, as if it
had asked the DHCP server of the VLAN.  Nodes have no way from one network to another; this machine, the frontends' part, has a link
to each.  A node that boots is back in its VLAN.  The kernel removes bridges and links with the last process of the cluster.
"""

from __future__ import annotations

import ipaddress
import secrets
import subprocess
import threading
import time
from dataclasses import dataclass
from functools import partial

from execo._localcluster import namespaces_server, tools
from execo.log import logger

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from execo.localcluster import LocalHost

LINK_SECONDS = 10.0
_claiming = threading.Lock()


@dataclass
class _Network:
    bridge: str
    outside: str
    """Name of its link in this machine."""
    addresses: Mapping[str, str]
    """{node: its address there}."""
    prefix: int
    claims: list[socket.socket]


class VlanLinks:
    """Any thread may call the methods.

    :param names: is given (VLAN, {node: address}) of each that is made, before a node is in it.
    :param guests: {(site, VLAN): network of its virtual machines}, to which this machine is to have a way.
    """

    def __init__(self, hosts: Mapping[str, LocalHost], host_table: Path, names: Callable[[str, Mapping[str, str]], None],
                 guests: Mapping[tuple[str, str], str] | None = None) -> None:
        self._hosts = hosts
        self._host_table = host_table
        self._names = names
        self._guests = guests or {}
        self._lock = threading.RLock()
        self._networks: dict[tuple[str, str], _Network] = {}
        self._home: dict[str, str] = {}
        self._place: dict[str, tuple[str, str]] = {}
        for node, host in hosts.items():
            host._after_boot = partial(self._restore, node)

    def move(self, node: str, site: str, vlan: str | None) -> None:
        """Put the link of a node into a VLAN; None: into the network that all share.  One that is down comes there when it boots.

        :raises OSError: with what `ip` says, if it does not.
        """
        with self._lock:
            self._put(node, site, vlan)
            if vlan is None:
                self._place.pop(node, None)
            else:
                self._place[node] = (site, vlan)

    def _put(self, node: str, site: str, vlan: str | None) -> None:
        host = self._hosts[node]
        where = host._where()
        if not where["pid"] or (vlan is None and node not in self._home):
            return
        inside, switch = ("-t", str(where["pid"]), "-n"), ("-t", str(where["switch"]), "-n")
        words = ip(("-o", "link", "show", "dev", "eth0"), inside).split()
        device = words[words.index("master") + 1] if "master" in words else "eth0"      # its bridge, on a hypervisor
        if vlan is None:
            bridge, address = "br0", self._home[node]
        else:
            network = self._network(site, vlan, where["switch"])
            bridge, address = network.bridge, f"{network.addresses[node]}/{network.prefix}"
            if node not in self._home:
                words = ip(("-o", "-4", "addr", "show", "dev", device), inside).split()
                self._home[node] = words[words.index("inet") + 1]
        # with the last address the kernel removes the routes that somebody has made
        routes = [line for line in ip(("-4", "route", "show", "dev", device), inside).splitlines() if "proto kernel" not in line]
        ip(("link", "set", where["link"], "master", bridge), switch)
        ip(("-batch", "-"), inside, f"addr flush dev {device}\naddr add {address} dev {device}\n"
            + "".join(f"route replace {route} dev {device}\n" for route in routes if " via " not in route))
        self._wait(where["link"], switch)
        if vlan is None:
            host._wait_link()           # tells the others where it is
        else:                           # who has looked for it there in vain would not find it for some seconds
            ip(("neigh", "flush", "dev", self._network(site, vlan, where["switch"]).outside))

    def _restore(self, node: str) -> None:
        with self._lock:
            if node in self._place:
                self._put(node, *self._place[node])

    def _wait(self, link: str, switch: tuple[str, ...]) -> None:
        deadline = time.monotonic() + LINK_SECONDS
        while link not in namespaces_server.forwarding(ip(("-d", "-o", "link", "show", "dev", link), switch)):
            if time.monotonic() > deadline:
                raise OSError(f"the link {link} does not come up within {LINK_SECONDS:.0f} s")
            time.sleep(0.005)

    def _network(self, site: str, vlan: str, switch: int) -> _Network:
        """Made when it is first used; global VLANs (from 10 on) are one for all sites."""
        key = ("", vlan) if int(vlan) > 9 else (site, vlan)
        if key in self._networks:
            return self._networks[key]
        nodes = [node for node in self._hosts if int(vlan) > 9 or node.split(".")[1] == site]
        network, claims = _claim(len(nodes))
        number = len(self._networks) + 1
        made = _Network(f"kv{number}", f"lc{secrets.token_hex(5)}", {node: str(network[i]) for i, node in enumerate(nodes, 1)},
                        network.prefixlen, claims)
        inside = ("-t", str(switch), "-n")
        ip(("-batch", "-"), inside, f"link add {made.bridge} type bridge\nlink set {made.bridge} up\n")
        ip(("link", "add", made.outside, "type", "veth", "peer", "name", f"ku{number}", "netns", str(switch)))
        ip(("link", "set", f"ku{number}", "master", made.bridge, "up"), inside)
        ip(("-batch", "-"), (), f"addr add {network.broadcast_address - 1}/{made.prefix} dev {made.outside}\nlink set {made.outside} up\n")
        if (site, vlan) in self._guests:
            add_route(self._guests[site, vlan], made.outside)
        lines = [f"{address} {name} {'.'.join(name.split('.')[:2])} {name.partition('.')[0]}\n"
                 for node, address in made.addresses.items() for name in [vlan_name(node, vlan)]]
        with self._host_table.open("a", encoding="ascii") as table:
            table.writelines(lines)
        self._names(vlan, made.addresses)
        self._networks[key] = made
        return made

    def close(self) -> None:
        """Remove the links to this machine, and give back the networks."""
        with self._lock:
            for network in self._networks.values():
                subprocess.run([tools.require_tool("ip", "iproute2"), "link", "del", network.outside], check=False, capture_output=True)
                for claim in network.claims:
                    claim.close()
            self._networks.clear()
            self._home.clear()
            self._place.clear()
            for host in self._hosts.values():
                host._after_boot = None


def vlan_name(node: str, vlan: str) -> str:
    """The name of a node in a VLAN."""
    short, _, domain = node.partition(".")
    return f"{short}-kavlan-{vlan}.{domain}"


def add_route(network: str, link: str) -> bool:
    """Whether this machine now reaches a network by a link; not if it has another way to a part of it, as by another box."""
    with open("/proc/net/route", encoding="ascii") as routes:
        taken = [other for other in namespaces_server.parse_routes(routes.read()) if other.overlaps(ipaddress.IPv4Network(network))]
    if not taken:
        ip(("route", "add", network, "dev", link))
        return True
    logger.info("Grid'5000 in a box: this machine reaches no virtual machines in %s, for it has a way to %s", network, taken[0])
    return False


def _claim(n: int) -> tuple[ipaddress.IPv4Network, list[socket.socket]]:
    with _claiming:
        before = len(namespaces_server._claims)
        try:
            network = namespaces_server.claim_network(n)
        except namespaces_server.SetupError as error:
            raise OSError(str(error)) from None
        claims = namespaces_server._claims[before:]
        del namespaces_server._claims[before:]
        return network, claims


def ip(arguments: tuple[str, ...], enter: tuple[str, ...] = (), text: str = "") -> str:
    """What `ip` prints.

    :param enter: options of `nsenter`, to run it elsewhere.
    :raises OSError: with what it says, if it fails.
    """
    words = [tools.require_tool("ip", "iproute2"), *arguments]
    if enter:
        words = [tools.require_tool("nsenter", "util-linux"), *enter, "--", *words]
    done = subprocess.run(words, check=False, input=text, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"{' '.join(words)}: {done.stderr.strip()}")
    return done.stdout
