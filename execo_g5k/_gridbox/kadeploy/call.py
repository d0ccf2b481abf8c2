"""A command of Kadeploy that runs on a frontend, as what answers it sees it: its words and files, and where it prints."""

from __future__ import annotations

import getopt
import os
import re
import select
from pathlib import Path

from ..command_socket import frame
from .fetch import fetch
from .options import Failure, server_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

VERSION = "3.3.11 (not Kadeploy: the one of Grid'5000 in a box)"
USAGE = "Usage: {} [options]\n(see the manual of Kadeploy 3)\n"


class Gone(Exception):
    """Who called the command is not there any more: it was killed, or its connection to the frontend was lost."""


class Call:
    """A command that runs on the frontend."""

    def __init__(self, connection: socket.socket, parts: Sequence[str], pid: int) -> None:
        count = int(parts[0])
        self.words = list(parts[1:1 + count])
        """Its name and arguments."""
        self.folder, self.job, terminal, self.typed = parts[1 + count:5 + count]
        """Where it runs, its OAR_JOB_ID, and its standard input."""
        self.has_terminal = terminal == "tty"
        self.connection = connection
        self._root = f"/proc/{pid}/root" if os.geteuid() == 0 else ""

    def out(self, text: str) -> None:
        """Print.

        :raises Gone: if nobody is there to read it.
        """
        self._send("o", text)

    def err(self, text: str) -> None:
        """Print on standard error."""
        self._send("e", text)

    def run(self, program: str) -> None:
        """Have a program run there; the command goes on when it has ended."""
        self._send("s", program)

    def end(self, code: int) -> None:
        """The exit code."""
        self._send("x", str(code))

    def _send(self, kind: str, text: str) -> None:
        try:
            self.connection.sendall(frame(kind, text))
        except OSError:
            raise Gone from None

    def is_interrupted(self, seconds: float) -> bool:
        """Whether it gets a SIGINT within so many seconds.

        :raises Gone: if it has ended.
        """
        poll = select.poll()                    # `select` takes no descriptor from 1024 on
        poll.register(self.connection, select.POLLIN)
        if not poll.poll(seconds * 1000):
            return False
        try:
            typed = self.connection.recv(64)
        except OSError:
            typed = b""
        if not typed:
            raise Gone
        return b"\x03" in typed

    def path(self, name: str) -> Path:
        """A file that the command names, as this program sees it: the frontend may have another root."""
        return Path(self._root + os.path.join(self.folder, name))

    def read(self, name: str) -> str:
        """:raises Failure: if it cannot be read."""
        if name == "-":
            return self.typed
        try:
            return self.path(name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise Failure(1, f"Option parsing error: invalid argument: {name}: {getattr(error, 'strerror', None) or error}") from None

    def read_or_fetch(self, name: str) -> str:
        """A file, or what is at a URL.

        :raises Failure: if it cannot be had.
        """
        if not re.match(r"https?://", name):
            return self.read(name)
        try:
            return fetch(name)
        except OSError as error:
            raise server_error(5, f"Invalid file -- {error}") from None

    def write(self, name: str, text: str) -> None:
        """:raises Failure: if it cannot be written."""
        try:
            path = self.path(name)
            path.write_text(text, encoding="utf-8")
            if self._root:                      # the user's, not root's
                owner = os.stat(path.parent)
                os.chown(path, owner.st_uid, owner.st_gid)
        except OSError as error:
            raise Failure(1, f"Option parsing error: invalid argument: {name}: {error.strerror}") from None


def short_options(call: Call, short: str, long: Sequence[str], names: dict[str, str]) -> tuple[Callable[[str], list[str]], list[str]]:
    """(what gives the values of an option by its long name, other words)."""
    try:
        options, words = getopt.gnu_getopt(call.words[1:], short, list(long))
    except getopt.GetoptError as error:
        raise Failure(1, f"Option parsing error: invalid option: {error}") from None
    found: dict[str, list[str]] = {}
    for name, value in options:
        bare = name.lstrip("-")
        found.setdefault(names.get(bare, bare) if len(bare) == 1 else bare, []).append(value or "yes")
    return lambda name: found.get(name, []), words


def last(values: Sequence[str]) -> str | None:
    """Of the values of an option, the one that counts."""
    return values[-1] if values else None
