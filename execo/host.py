"""Hosts: an address and how to log in there."""

from __future__ import annotations

from execo.hostset import expand
from execo.log import style
from execo.utils import comma_join

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Literal, TypeAlias

    AnyHosts: TypeAlias = "str | Host | Iterable[str | Host]"

__all__ = ["Host", "comma_join", "get_hosts_list", "get_hosts_set", "get_unique_hosts_list", "style"]


class Host:
    """A host to connect to.

    :param address: name or IP address, or a Host to copy.
    :param user: user name; None: whatever the connection parameters say; False: keep that of a copied host.
    :param keyfile: path of a private key; same rule.
    :param port: port number of the ssh server; same rule.

    Two hosts are equal if these four are.  The attributes may be changed, but not while the host is in a set or dict.
    """

    def __init__(
        self,
        address: str | Host,
        user: str | Literal[False] | None = False,
        keyfile: str | Literal[False] | None = False,
        port: int | Literal[False] | None = False,
    ) -> None:
        self.user: str | None = None
        self.keyfile: str | None = None
        self.port: int | None = None
        if isinstance(address, Host):
            self.address: str = address.address
            self.user, self.keyfile, self.port = address.user, address.keyfile, address.port
        elif isinstance(address, str):
            self.address = address
        else:
            raise TypeError(f"address of a host: expected a str or a Host, found {address!r}")
        # `is`: 0 and "" are values, though equal to False or empty.
        if user is not False:
            self.user = user
        if keyfile is not False:
            self.keyfile = keyfile
        if port is not False:
            self.port = port

    def _key(self) -> tuple[str, str | None, str | None, int | None]:
        return self.address, self.user, self.keyfile, self.port

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, Host) else NotImplemented

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        extras = (f"{name}={value!r}" for name in ("user", "keyfile", "port") if (value := getattr(self, name)))
        return f"Host({comma_join(style.host(repr(self.address)), *extras)})"


def get_hosts_list(hosts: AnyHosts) -> list[Host]:
    """New Host objects, in order; one Host is one host, a string is a host or a set of hosts (`execo.hostset`).

    :raises TypeError: if it is neither a host nor a collection of hosts.
    :raises ValueError: for a set of hosts that cannot be read.
    """
    if isinstance(hosts, (str, Host)):
        hosts = [hosts]
    try:
        each = iter(hosts)
    except TypeError:
        raise TypeError(f"hosts: expected a host or a collection of hosts, found {hosts!r}") from None
    found: list[Host] = []
    for host in each:
        if isinstance(host, str) and ("[" in host or "," in host):
            found += map(Host, expand(host))
        else:
            found.append(Host(host))
    return found


def get_unique_hosts_list(hosts: AnyHosts) -> list[Host]:
    """As `get_hosts_list`, each host once, where it came first."""
    return list(dict.fromkeys(get_hosts_list(hosts)))


def get_hosts_set(hosts: AnyHosts) -> set[Host]:
    """As `get_hosts_list`, as a set."""
    return set(get_hosts_list(hosts))
