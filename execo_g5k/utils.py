"""Frontends, names of hosts in VLANs, forwarded ports, addresses."""

from __future__ import annotations

import re
import socket

from execo.action import ActionFactory
from execo.config import SCP, SSH, make_connection_params
from execo.host import Host
from execo.log import style
from execo.process import PortForwarder, Process, SshProcess

from .config import default_frontend_connection_params, g5k_configuration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any, TypeVar

    H = TypeVar("H", str, Host)

__all__ = [
    "SCP",
    "SSH",
    "ActionFactory",
    "G5kAutoPortForwarder",
    "Host",
    "PortForwarder",
    "default_frontend_connection_params",
    "frontend_factory",
    "g5k_configuration",
    "get_default_frontend",
    "get_fastest_host",
    "get_frontend_host",
    "get_frontend_process",
    "get_ipv4_range",
    "get_kavlan_host_name",
    "get_kavlan_ip_mac",
    "get_kavlan_network",
    "get_mac_addresses",
    "hosts_list",
    "make_connection_params",
    "style",
]

frontend_factory = ActionFactory(remote_tool=SSH, fileput_tool=SCP, fileget_tool=SCP)
"""Frontends have no TakTuk for us: plain ssh and scp."""

_IN_G5K = re.compile(r"[^.\s]+\.([^.\s]+)\.grid5000\.fr")
_local_site: list[str | None] = []      # filled by the first look: the name of a machine does not change


def site_of_name(name: str) -> str | None:
    """``nancy`` of ``graoully-1.nancy.grid5000.fr``; None for other names."""
    found = _IN_G5K.fullmatch(name)
    return found[1] if found else None


def _site_of_this_machine() -> str | None:
    if not _local_site:
        _local_site.append(site_of_name(socket.gethostname()) or site_of_name(socket.getfqdn()))
    return _local_site[0]


def get_default_frontend() -> str | None:
    """``g5k_configuration['default_frontend']``, else the site that this machine is part of, else None."""
    configured: str | None = g5k_configuration["default_frontend"]
    return configured if configured is not None else _site_of_this_machine()


def get_frontend_host(frontend: str | Host | None = None) -> Host | None:
    """Where to run the commands of a frontend; None: here, without ssh.

    :param frontend: name of the site; None: the default one, or here if there is none.
    """
    if frontend is None:
        frontend = get_default_frontend()
        if frontend is None:
            return None
    host = Host(frontend)
    if g5k_configuration["no_ssh_for_local_frontend"] and host.address == get_default_frontend():
        return None
    return host


def get_frontend_process(cmd: str, frontend: str | Host | None = None, connection_params: Mapping[str, Any] | None = None,
                         **options: Any) -> Process:
    """A process that runs a line of shell on a frontend; not started.

    :param connection_params: overlay on `default_frontend_connection_params`.
    :param options: those of `execo.process.Process`.
    """
    params = {**default_frontend_connection_params, **(connection_params or {})}
    host = get_frontend_host(frontend)
    if host is None:
        return Process(cmd, shell=True, pty=make_connection_params(params)["pty"], **options)
    return SshProcess(cmd, host, params, **options)


def _with_inserted(name: str, what: str) -> str:
    first, dot, rest = name.partition(".")
    return first + what + dot + rest


def get_kavlan_host_name(host: str | Host, vlanid: int | str) -> str:
    """Name of a host in a VLAN: ``h-1-kavlan-4.site.grid5000.fr`` for ``h-1.site.grid5000.fr``; a short name stays short.

    :raises ValueError: if the name is already one in a VLAN.
    """
    name = Host(host).address
    if re.search(r"-kavlan-\d+$", name.partition(".")[0]):
        raise ValueError(f"{name!r} is already the name of a host in a VLAN")
    return _with_inserted(name, f"-kavlan-{int(vlanid)}")


def hosts_list(hosts: Iterable[str | Host], separator: str = " ", site: bool = False) -> str:
    """Short names of hosts, sorted, as one string.

    :param site: with the site, ``h-1.site``.
    """
    kept = 2 if site else 1
    return separator.join(sorted(".".join(Host(host).address.split(".")[:kept]) for host in hosts))


def get_ipv4_range(network: tuple[int, int, int, int], mask_size: int) -> list[tuple[int, int, int, int]]:
    """All addresses of a network, as tuples of four numbers: ``get_ipv4_range((10, 0, 0, 0), 30)`` has four.

    :raises ValueError: for a network that does not begin there, or bad numbers.
    """
    import ipaddress

    wanted = ipaddress.IPv4Network((".".join(map(str, network)), mask_size))
    return [(a, b, c, d) for a, b, c, d in (address.packed for address in wanted)]


def get_kavlan_network(kavlan: int | str, site: str) -> tuple[str, str] | tuple[None, None]:
    """Address and length of the prefix of a VLAN's IPv4 network: ``("10.16.0.0", "18")``; (None, None) if the site has no such VLAN.

    :raises ValueError: for an unknown site.
    """
    from .api_utils import get_api_data  # needs requests, which takes a tenth of a second to import

    known = get_api_data()
    if site not in known["sites"]:
        raise ValueError(f"unknown g5k site {site}; there are {', '.join(known['sites'])}")
    network: str | None = known["sites"][site].get("kavlans", {}).get(str(kavlan), {}).get("network")
    if network is None:                     # some descriptions have it on the router only
        vlans = (vlan for equipment in known["network"].get(site, {}).values() for vlan in equipment.get("vlans", {}).values())
        network = next((vlan["addresses"][0] for vlan in vlans if vlan.get("name") == f"kavlan-{kavlan}" and vlan.get("addresses")), None)
    if network is None:
        return None, None
    address, _, length = network.partition("/")
    return address, length


def get_kavlan_ip_mac(kavlan: int | str, site: str) -> list[tuple[str, str]]:
    """Pairs (IPv4 address, hardware address) for virtual machines in a VLAN: all addresses of its network but the first 512, which are
    those of hosts, and in each further 256 but 0, 254 and 255.  The hardware addresses are random.

    :raises ValueError: for an unknown site, or a VLAN that it has not.
    """
    import ipaddress

    address, length = get_kavlan_network(kavlan, site)
    if address is None:
        raise ValueError(f"site {site} has no VLAN {kavlan}")
    network = ipaddress.IPv4Network(f"{address}/{length}")
    addresses = [str(ip) for ip in list(network)[512:] if 0 < int(ip) % 256 < 254]
    return list(zip(addresses, get_mac_addresses(len(addresses)), strict=True))


def get_fastest_host(hosts: Iterable[H]) -> H:
    """The one whose cores are fastest, as measured (``core_flops``); of several equal ones the first.

    :raises KeyError: for an unknown host.
    :raises ValueError: if there is none.
    """
    from .api_utils import get_host_attributes

    given = list(hosts)
    if not given:
        raise ValueError("expected at least one host to find the fastest of")
    return max(given, key=lambda host: get_host_attributes(host).get("performance", {}).get("core_flops") or 0)


def __getattr__(name: str) -> Any:
    if name in ("get_host_attributes", "get_host_cluster", "get_host_shortname", "get_resource_attributes"):
        from . import api_utils

        return getattr(api_utils, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def get_mac_addresses(n: int) -> list[str]:
    """`n` different hardware addresses, random, with the prefix ``00:20:4e`` of Grid'5000's virtual machines."""
    import random

    if not 0 <= n <= 1 << 24:
        raise ValueError(f"hardware addresses: expected a number from 0 to {1 << 24}, found {n}")
    values = random.SystemRandom().sample(range(1 << 24), n)
    return [f"00:20:4e:{value >> 16:02x}:{value >> 8 & 255:02x}:{value & 255:02x}" for value in values]


class G5kAutoPortForwarder:
    """A context that yields (host, port) by which a port inside Grid'5000 can be reached from here.

    Inside Grid'5000 these are `host` and `port` themselves; from outside, a port of this machine, forwarded through the frontend of `site`.

    :raises execo.ProcessesFailed: at the beginning of the block, if it cannot be forwarded.
    """

    def __init__(self, site: str, host: str, port: int) -> None:
        self._site = site
        self._host = host
        self._port = port
        self._forwarder: PortForwarder | None = None

    def __enter__(self) -> tuple[str, int]:
        direct: Mapping[str, str] = g5k_configuration.get("direct_hosts") or {}
        if self._host in direct:
            return direct[self._host], self._port
        frontend = get_frontend_host(self._site)
        if _site_of_this_machine() is not None or frontend is None:
            return self._host, self._port
        self._forwarder = PortForwarder(frontend, self._host, self._port,
                                        connection_params=make_connection_params(default_frontend_connection_params))
        self._forwarder.__enter__()
        return self._forwarder.bind_address, self._forwarder.local_port

    def __exit__(self, t: object, v: object, traceback: object) -> None:
        forwarder, self._forwarder = self._forwarder, None
        if forwarder is not None:
            forwarder.kill()
            forwarder.wait()
