"""Command lines of ssh and scp: text in, words out.

Beside the contract's connection parameters, these are read when present:

`host_keys`
    'ignore' (the default, for nodes that are redeployed): what `ssh_options` and `scp_options` say, by themselves
    no check; 'accept-new': a host's first key is kept, a changed one refused; 'strict': only known keys.
`known_hosts`
    path of the file of keys for 'accept-new' and 'strict' (default ``~/.ssh/known_hosts``), as ssh_config reads it:
    ``~`` and ``%h`` are expanded.  An explicit 'ignore' does not use it; without `host_keys` it is an error, since
    keys would seem to be checked.
`connect_timeout`
    any duration, in whole seconds for ssh: rounded up, at least 1.
`control_persist`
    share connections between the ssh and scp clients to one host, and keep each open until it was idle for this
    duration, in whole seconds as above; None (the default) or 0: each client has a connection of its own.
`control_sessions`
    how many of them use one connection at a time (default 10, as sshd's MaxSessions): more make another one.
"""

from __future__ import annotations

import os
import re

from execo.config import make_connection_params
from execo.time_utils import get_seconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from execo._ssh_failure import ConnectionFailure

__all__ = [
    "BUSY",
    "BUSY_TRIES",
    "checked_address",
    "connection_failure",
    "get_rewritten_host_address",
    "get_scp_command",
    "get_ssh_command",
    "get_ssh_scp_auth_options",
    "get_taktuk_connector_command",
    "make_connection_params",
    "retries_of",
    "scp_local_path",
    "scp_location",
    "shared_connections",
]

_STRICTNESS = {"accept-new": "accept-new", "strict": "yes"}

_CONTROL = r"\x00-\x1f\x7f-\x9f"
# What OpenSSH itself refuses in a host name since 9.6: it could reach a shell through a ProxyCommand.
_SHELL = r"'`\"$\\;&<>|(){}"


def get_ssh_command(
    user: str | None = None,
    keyfile: str | None = None,
    port: int | None = None,
    connection_params: Mapping[str, Any] | None = None,
) -> tuple[str, ...]:
    """Words of the ssh command, up to the address.

    :param user: with `keyfile` and `port`: None means what the connection parameters say.
    :raises ValueError: for a value that ssh would misread.
    """
    return _command("ssh", "ssh_options", user, keyfile, port, connection_params)


def get_scp_command(
    user: str | None = None,
    keyfile: str | None = None,
    port: int | None = None,
    connection_params: Mapping[str, Any] | None = None,
) -> tuple[str, ...]:
    """Words of the scp command, up to the files; see `get_ssh_command`."""
    return _command("scp", "scp_options", user, keyfile, port, connection_params)


def get_taktuk_connector_command(
    user: str | None = None,
    keyfile: str | None = None,
    port: int | None = None,
    connection_params: Mapping[str, Any] | None = None,
) -> tuple[str, ...]:
    """Words of the command by which TakTuk connects; see `get_ssh_command`."""
    return _command("taktuk_connector", "taktuk_connector_options", user, keyfile, port, connection_params)


def _command(
    tool: str,
    options: str,
    user: str | None,
    keyfile: str | None,
    port: int | None,
    connection_params: Mapping[str, Any] | None,
) -> tuple[str, ...]:
    params = make_connection_params(connection_params)
    # Ours come first: OpenSSH takes the first value of an option.
    return (
        params[tool],
        *_connect_timeout_options(params.get("connect_timeout")),
        *_host_key_options(params.get("host_keys"), params.get("known_hosts")),
        *params[options],
        *get_ssh_scp_auth_options(user, keyfile, port, params),
    )


def get_ssh_scp_auth_options(
    user: str | None = None,
    keyfile: str | None = None,
    port: int | None = None,
    connection_params: Mapping[str, Any] | None = None,
) -> tuple[str, ...]:
    """Options for the user name, key file and port: each from its argument, else from the connection parameters.

    :raises ValueError: for a value that ssh would misread.
    :raises TypeError: if the port is not an int.
    """
    params = make_connection_params(connection_params)
    user = params["user"] if user is None else user
    keyfile = params["keyfile"] if keyfile is None else keyfile
    port = params["port"] if port is None else port
    words: tuple[str, ...] = ()
    if user:
        words += ("-o", "User=" + _checked_user(user))
    if keyfile:
        words += ("-i", _checked_path("keyfile", keyfile))
    if port:
        words += ("-o", f"Port={_checked_port(port)}")
    return words


def get_rewritten_host_address(host_addr: str, connection_params: Mapping[str, Any] | None) -> str:
    """The address, changed by the `host_rewrite_func` of the connection parameters, if there is one."""
    rewrite = make_connection_params(connection_params)["host_rewrite_func"]
    return rewrite(host_addr) if rewrite else host_addr


def checked_address(address: str) -> str:
    """The address as a word for ssh, without the brackets of ``[::1]``.

    :raises ValueError: if ssh would take it for an option or could not take it for a host.
    """
    if not isinstance(address, str):
        raise TypeError(f"host address: expected a str, found {address!r}")
    user, at, host = address.rpartition("@")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    if not host:
        raise ValueError(f"host address is empty: {address!r}")
    if user.startswith("-") or host.startswith("-"):
        raise ValueError(f"host address begins with '-', ssh would read an option: {address!r}")
    if re.search(rf"[\s{_CONTROL}{_SHELL}]", address):
        raise ValueError(f"host address has blanks, control or shell characters: {address!r}")
    return user + at + host


def scp_location(address: str, path: str) -> str:
    """``host:path`` for scp; an IPv6 address gets brackets.

    :raises ValueError: as `checked_address`, and for a NUL in the path.
    """
    user, at, host = checked_address(address).rpartition("@")
    return f"{user}{at}[{host}]:{_checked_nul(path)}" if ":" in host else f"{user}{at}{host}:{_checked_nul(path)}"


def scp_local_path(path: str) -> str:
    """The path of a local file, spelled so that scp takes it neither for an option nor for ``host:path``.

    :raises ValueError: if it is empty or holds a NUL.
    """
    path = _checked_nul(path)
    if not path:
        raise ValueError("file name is empty")
    return "./" + path if path.startswith("-") or ":" in path.partition("/")[0] else path


BUSY = "ssh servers refuse further connections (MaxStartups of sshd)"
BUSY_TRIES = 6
"""How often a connection is tried again that such a server has refused, if `connect_retries` does not ask for more."""


def retries_of(params: Mapping[str, Any]) -> tuple[int, float]:
    """How often a connection that could not be made is tried again, and how long to wait before the first of these, in seconds.

    :raises ValueError: for what is no number of tries, or no duration.
    """
    retries = params.get("connect_retries", 0)
    if not isinstance(retries, int) or isinstance(retries, bool) or retries < 0:
        raise ValueError(f"connect_retries: expected a number of tries, 0 or more, found {retries!r}")
    delay = get_seconds(params.get("connect_retry_delay", 1.0))
    if delay is None or not 0 <= delay < float("inf"):
        raise ValueError(f"connect_retry_delay: expected a duration, found {params['connect_retry_delay']!r}")
    return retries, delay


def connection_failure(
    exit_code: int | None, stdout_is_empty: bool, stderr: str, address: str, stderr_is_local: bool
) -> ConnectionFailure | None:
    """Whether ssh or scp itself said that it could not make the connection; see `execo._ssh_failure`."""
    from execo._ssh_failure import diagnose  # some ms, only where something failed

    return diagnose(exit_code, stdout_is_empty, stderr, address, stderr_is_local)


def _connect_timeout_options(connect_timeout: Any) -> tuple[str, ...]:
    if connect_timeout is None:
        return ()
    seconds = get_seconds(connect_timeout)
    if not 0 <= seconds < 1 << 31:
        raise ValueError(f"connect_timeout: expected a duration of 0 or more, found {connect_timeout!r}")
    return "-o", f"ConnectTimeout={max(1, int(-(-seconds // 1)))}"


def shared_connections(connection_params: Mapping[str, Any] | None) -> tuple[int, int] | None:
    """(seconds that an idle connection lasts, processes that may use one at a time), or None if they are not shared.

    :raises ValueError: for a `control_persist` or `control_sessions` that is neither absent nor right.
    """
    params = make_connection_params(connection_params)
    persist, sessions = params.get("control_persist"), params.get("control_sessions", 10)
    if not isinstance(sessions, int) or isinstance(sessions, bool) or sessions < 1:
        raise ValueError(f"control_sessions: expected a number of sessions, 1 or more, found {sessions!r}")
    if persist is None:
        return None
    try:
        seconds = None if isinstance(persist, bool) else get_seconds(persist)
    except (TypeError, ValueError):
        seconds = None
    if seconds is None or not 0 <= seconds < 1 << 31:
        raise ValueError(f"control_persist: expected a duration of 0 or more, found {persist!r}")
    return (int(-(-seconds // 1)), sessions) if seconds else None


def _host_key_options(host_keys: Any, known_hosts: Any) -> tuple[str, ...]:
    if host_keys is None and known_hosts is not None:
        raise ValueError("known_hosts is given without host_keys: choose host_keys 'accept-new', 'strict' or 'ignore'")
    if host_keys is None or host_keys == "ignore":
        return ()
    if not isinstance(host_keys, str) or host_keys not in _STRICTNESS:
        raise ValueError(f"host_keys: expected 'ignore', 'accept-new' or 'strict', found {host_keys!r}")
    path = _checked_path("known_hosts", known_hosts or "~/.ssh/known_hosts")
    if '"' in path or "\\" in path:
        raise ValueError(f"known_hosts: ssh cannot read a path with a quote or a backslash: {path!r}")
    if not re.fullmatch(r"[\w./~%+@:,=-]+", path):
        path = f'"{path}"'  # ssh_config would read several files
    return "-o", "StrictHostKeyChecking=" + _STRICTNESS[host_keys], "-o", "UserKnownHostsFile=" + path


def _checked_user(user: Any) -> str:
    if not isinstance(user, str):
        raise TypeError(f"user: expected a str, found {user!r}")
    # The value is read by ssh_config's rules: blanks and quotes split it, '#' begins a comment.
    if user[0] in "-#=" or user.endswith("\\") or re.search(rf"[\s{_CONTROL}'`\";&<>|(){{}}]", user):
        raise ValueError(f"user: not a user name that ssh takes: {user!r}")
    return user


def _checked_path(what: str, path: Any) -> str:
    text = os.fspath(path)
    if not isinstance(text, str):
        raise TypeError(f"{what}: expected a path as str, found {path!r}")
    if re.search(r"[\x00-\x1f\x7f]", text):
        raise ValueError(f"{what}: path with control characters: {text!r}")
    return text


def _checked_port(port: Any) -> int:
    if not isinstance(port, int) or isinstance(port, bool):
        raise TypeError(f"port: expected an int, found {port!r}")
    if not 0 < port < 65536:
        raise ValueError(f"port: expected 1 to 65535, found {port!r}")
    return port


def _checked_nul(path: str) -> str:
    if "\0" in path:
        raise ValueError(f"file name has a NUL character: {path!r}")
    return path
