"""The commands of Kadeploy on a frontend: each that runs there is answered here."""

from __future__ import annotations

import socket
import struct

from execo.log import logger

from ..command_socket import CommandSocket, words_of
from .call import Call, Gone
from .options import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    Command = Callable[[Call], int]


class Frontend:
    """Answers the commands of one site from `start` to `stop`.

    :param directory: where the socket is made.
    :param commands: {name: what answers it}.
    """

    def __init__(self, site: str, directory: Path, commands: Mapping[str, Command]) -> None:
        self._commands = dict(commands)
        self._socket = CommandSocket(f"{site}-frontend", directory / "ka", self._answer)

    @property
    def path(self) -> str:
        """Of the socket."""
        return self._socket.path

    def start(self) -> None:
        self._socket.start(0o666)               # a real OAR has users of its own; who may reach it, the folder says

    def stop(self) -> None:
        """Returns when no command is answered any more."""
        self._socket.stop()

    def _answer(self, connection: socket.socket) -> None:
        call = _read_call(connection)
        if call is None:
            return
        try:
            self._run(call)
        except Gone:
            return

    def _run(self, call: Call) -> None:
        command = self._commands.get(call.words[0]) if call.words else None
        try:
            code = 127 if command is None else command(call)
        except Failure as failure:
            call.err(f"{failure.text}\n")
            code = failure.code
        except Gone:
            raise
        except Exception as error:
            logger.exception("Grid'5000 in a box: %s:", call.words)
            call.err(f"[Internal Server Error]\n{error!r}\n")
            code = 3
        call.end(code)


def _read_call(connection: socket.socket) -> Call | None:
    """None if it was cut off."""
    data, wanted = b"", None
    while wanted is None or data.count(b"\0") < wanted:
        more = connection.recv(1 << 16)
        if not more:
            return None
        data += more
        if wanted is None and b"\0" in data:
            count = data.partition(b"\0")[0]
            if not count.isdigit():
                return None
            wanted = 1 + int(count) + 4
    connection.settimeout(None)
    pid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
    return Call(connection, words_of(data), pid)
