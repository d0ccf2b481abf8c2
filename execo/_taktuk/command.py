"""The command line of TakTuk for a tree, and the list of its hosts.  Pure: words in, words out."""

from __future__ import annotations

import os
import shlex

from ..config import make_connection_params
from ..ssh_utils import checked_address, get_rewritten_host_address, get_taktuk_connector_command
from ..time_utils import get_seconds
from .lines import TEMPLATES
from .quoting import PARSING, quote, quote_again

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from ..host import Host

GUARDIAN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "guardian.pl")
ALIVE = ("-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=6")
"""Of OpenSSH: a link that is dead for half a minute is lost.  TCP alone would wait for ever."""

LIMIT = 60
"""Seconds that a node may take from the start of the connector to the moment when it can take orders."""


def tree_command(keyfile: str | None, port: int | None, connection_params: Mapping[str, Any] | None, window: int | None,
                 flat: bool) -> tuple[str, ...]:
    """The command of the root, without its list of hosts.

    :param keyfile: with `port`: of all hosts of this tree; None: what the connection parameters say.
    :param window: how many connections each node opens at a time; None: what TakTuk does.
    :param flat: connect to all hosts from here.
    :raises ValueError, TypeError: for a value that ssh would misread.
    """
    params = make_connection_params(connection_params)
    params["user"] = None           # each host has its own, see `host_item`
    connector = get_taktuk_connector_command(None, keyfile, port, params)
    if _is_openssh(connector[0]) and not any("serveraliveinterval" in word.lower() for word in connector):
        connector += ALIVE
    shape = ("-d", "-1") if flat else ()
    width = () if window is None else ("-w", str(window))
    limit = () if "-t" in params["taktuk_options"] else ("-t", str(_connector_limit(params.get("connect_timeout"))))
    templates = (word for template in TEMPLATES for word in ("-o", template))
    words = (*params["taktuk_options"], *shape, *width, *limit, "-c", shlex.join(connector), *templates)
    # From here on the root reads its own command line by these rules.
    return (params["taktuk"], *PARSING, *(word.replace("%", "%%") for word in words))


def _connector_limit(connect_timeout: Any) -> int:
    """Seconds: ssh has no limit for what comes after its connection, such as a login shell that hangs."""
    seconds = get_seconds(connect_timeout)
    return LIMIT if seconds is None else max(LIMIT, int(3 * seconds))


def _is_openssh(connector: str) -> bool:
    return os.path.basename(connector) in ("ssh", "oarsh")


def guarded(argv: tuple[str, ...], size: int, end: bool) -> tuple[str, ...]:
    """The command of a guardian, see guardian.pl.

    :param argv: the command of the root.
    :param size: bytes of its list of hosts, to be written to the guardian first.
    :param end: end the remote commands when Python ends; if False, they go on, and their output is lost.
    """
    return "perl", GUARDIAN, "end" if end else "keep", str(size), *argv


def host_item(host: Host, connection_params: Mapping[str, Any] | None, login: str | None, command: bytes) -> bytes:
    """One host in the list of a tree.

    :param login: the user of the host before, whose name TakTuk goes on using.
    :param command: what it runs once it is connected.
    :raises ValueError: for an address or user that TakTuk or ssh would misread.
    """
    item = b""
    user = login_of(host, connection_params)
    if user != login:
        if user is None:
            raise ValueError("a host without a user must come before those with one")
        item += b"-l " + quote_again(user.encode()) + b" "
    return item + b"-m %s -[ exec [ %s ] -] " % (quote_again(checked_taktuk_address(host, connection_params).encode()),
                                                 quote_again(quote(command)))


def login_of(host: Host, connection_params: Mapping[str, Any] | None) -> str | None:
    """The user's name on the host, None for what ssh chooses.

    :raises ValueError: for a name that ssh would misread.
    """
    user = host.user if host.user is not None else make_connection_params(connection_params)["user"]
    if user:
        get_taktuk_connector_command(user)
    return user or None


def checked_taktuk_address(host: Host, connection_params: Mapping[str, Any] | None) -> str:
    """:raises ValueError: if TakTuk would take it for several hosts, or ssh for an option."""
    address = checked_address(get_rewritten_host_address(host.address, connection_params))
    if not address.isascii() or any(char in address for char in "[]/,"):
        raise ValueError(f"not the address of one host for TakTuk: {address!r}")
    return address


def shell_command(cmd: Any) -> bytes:
    """A command as /bin/sh on the host gets it.

    :raises TypeError: for a command that is not text.
    :raises ValueError: for a NUL.

    The ``:;`` makes TakTuk's Perl run every command by a shell, so that all of them tell their status in one way.
    """
    if not isinstance(cmd, (str, list, tuple)):
        raise TypeError(f"a command is a string, list or tuple, not {cmd!r}")
    text = cmd if isinstance(cmd, str) else " ".join(cmd)           # as ssh does
    if "\0" in text:
        raise ValueError(f"a command with a NUL: {cmd!r}")
    return b":; " + text.encode("utf-8", "surrogateescape")


def ranks(numbers: Iterable[int]) -> bytes:
    """A set of hosts by their ranks: ``1-10/12``."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number <= runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return "/".join(str(first) if first == last else f"{first}-{last}" for first, last in runs).encode()
