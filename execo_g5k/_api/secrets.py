"""Passwords: where they come from, and a type that no representation shows."""

from __future__ import annotations

import getpass
import netrc
import os
import sys
import threading
from urllib.parse import urlsplit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Secret(str):
    """A password: equal to the string that it is, but neither `repr` nor a dump of variables shows it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'********'"


_given: dict[tuple[str, str], Secret] = {}      # by (host, user): what was found or typed, so that one is asked once
_lock = threading.Lock()                        # held while one is asked: two threads must not ask at once


def password_for(username: str, uri: str) -> Secret:
    """The password of a user at the host of a URI: from the keyring if that library is there, ``~/.netrc``, or the terminal.

    :raises ValueError: if it is nowhere, and there is no terminal.
    """
    host = urlsplit(uri).hostname or ""
    with _lock:
        found = _given.get((host, username))
        if found is None:
            found = Secret(_from_keyring(host, username) or _from_netrc(host, username) or _typed(host, username))
            _given[host, username] = found
    return found


def forget_password(username: str, uri: str) -> None:
    """It was refused: look for it again the next time."""
    with _lock:
        _given.pop((urlsplit(uri).hostname or "", username), None)


def _from_keyring(host: str, username: str) -> str | None:
    try:
        import keyring
        import keyring.errors
    except ImportError:             # optional
        return None
    try:
        return keyring.get_password(host, username)
    except keyring.errors.KeyringError:     # no keyring here, or locked
        return None


def _from_netrc(host: str, username: str) -> str | None:
    name = os.environ.get("NETRC") or os.path.expanduser("~/.netrc")
    try:
        entry = netrc.netrc(name).authenticators(host)
    except (OSError, netrc.NetrcParseError):        # absent, not readable, or readable by others
        return None
    return entry[2] or None if entry is not None and entry[0] == username else None


def _typed(host: str, username: str, ask: Callable[[str], str] = getpass.getpass) -> str:
    if not _has_terminal():
        raise ValueError(f"no password of {username!r} for {host}: neither given, nor in the keyring (pip install 'execo_g5k[keyring]'),"
                         " nor in ~/.netrc, and there is no terminal to ask at")
    return ask(f"Password of {username} for {host}: ")


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return sys.stdin is not None and sys.stdin.isatty()
    return True
