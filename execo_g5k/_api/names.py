"""Names of hosts: ``taurus-1``, ``taurus-1.lyon``, ``taurus-1-eth1-kavlan-4.lyon.grid5000.fr`` ..., without asking anybody."""

from __future__ import annotations

import copy
import re

from execo.host import Host

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    H = TypeVar("H", str, Host)

_NODE = re.compile(r"([a-z][a-z0-9]*)-(\d+)((?:-[a-z0-9]+)*)", re.IGNORECASE)
_ADDED = re.compile(r"(-(?:eth|ib|ibs|fpga)\d+)?(-kavlan-\d+)?(-ipv6)?", re.IGNORECASE)


def address(host: str | Host) -> str:
    """The name itself."""
    if isinstance(host, Host):
        return host.address
    if not isinstance(host, str):
        raise TypeError(f"host: expected a string or a Host, found {host!r}")
    return host


def _split(name: str) -> tuple[str, str, str] | None:
    """(``taurus``, ``taurus-1``, what follows it in the first label); None if it is not like the name of a node."""
    found = _NODE.fullmatch(name.partition(".")[0])
    return (found[1], f"{found[1]}-{found[2]}", found[3]) if found else None


def canonical_host_name(host: H) -> H:
    """The name without the interface (``-eth1``), VLAN (``-kavlan-4``) and ``-ipv6`` that it may have; a Host gives a Host."""
    name = address(host)
    first, dot, rest = name.partition(".")
    parts = _split(name)
    if parts is not None and _ADDED.fullmatch(parts[2]):
        first = parts[1]
    if isinstance(host, Host):
        renamed = copy.copy(host)
        renamed.address = first + dot + rest
        return renamed
    return first + dot + rest


def get_host_shortname(host: str | Host) -> str:
    """``taurus-1`` of any of its names; the first label of others."""
    return canonical_host_name(address(host)).partition(".")[0]


def get_host_interface(host: str | Host) -> str | None:
    """``eth1`` of ``taurus-1-eth1.lyon.grid5000.fr``, ``bmc`` of ``taurus-1-bmc``; ``eth0`` if none is named; None if it is not like the
    name of a node."""
    parts = _split(address(host))
    if parts is None:
        return None
    found = re.match(r"-(?!kavlan-|ipv6)([a-z0-9]+)", parts[2], re.IGNORECASE)
    return found[1] if found else "eth0"


def cluster_of_name(host: str | Host) -> str | None:
    """``taurus`` of any name of ``taurus-1``; None if it is not like the name of a node."""
    parts = _split(address(host))
    return parts[0] if parts else None


def site_of_name(host: str | Host) -> str | None:
    """``lyon`` of ``taurus-1.lyon`` or ``taurus-1.lyon.grid5000.fr``; None of a short name, and of one elsewhere."""
    labels = address(host).split(".")
    if len(labels) == 2 or labels[2:] == ["grid5000", "fr"]:
        return labels[1] or None
    return None
