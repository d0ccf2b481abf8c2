"""The ssh of a frontend where sshd cannot serve: one connection, on standard input and output, as with ``sshd -i``.

``python -m execo_g5k._gridbox.frontend_server KEYS SHELL``: the folder with the keys of a `LocalCluster`, and what runs commands.
An ordinary user's sshd cannot open terminals where /dev/pts gives them to a group that he is not in; commands for frontends want one.
"""

from __future__ import annotations

import base64
import contextlib
import os
import pwd
import shlex
import socket
import sys
import threading
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

CHUNK = 1 << 16


def command_for(keys: Path, directory: Path, commands: Path) -> list[str]:
    """Words that speak ssh for a frontend; writes the shell that has its commands.

    :param directory: of the site.
    :param commands: what is first in the PATH.
    """
    shell = directory / "shell"
    login_shell = pwd.getpwuid(os.getuid()).pw_shell or "/bin/sh"
    shell.write_text(f'#!/bin/sh\nPATH={shlex.quote(str(commands))}:"$PATH" exec {shlex.quote(login_shell)} "$@"\n', encoding="utf-8")
    shell.chmod(0o755)
    path = os.pathsep.join(os.path.abspath(path) for path in sys.path)
    # without HOME, the user's own configuration is not read
    return ["env", "-u", "HOME", f"PYTHONPATH={path}", sys.executable, "-m", "execo_g5k._gridbox.frontend_server", str(keys), str(shell)]


def _connected() -> tuple[socket.socket, socket.socket]:
    """Two ends of a connection with addresses, as a server wants them."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        outside = socket.create_connection(listener.getsockname())
        inside, peer = listener.accept()
    if peer != outside.getsockname():
        raise OSError(f"expected a connection of {outside.getsockname()}, found {peer}")
    return inside, outside


def _to_server(outside: socket.socket) -> None:
    with contextlib.suppress(OSError):          # it has hung up
        while data := os.read(0, CHUNK):
            outside.sendall(data)
        outside.shutdown(socket.SHUT_WR)


def _to_client(outside: socket.socket) -> None:
    with contextlib.suppress(OSError):          # the client has gone
        while data := outside.recv(CHUNK):
            view = memoryview(data)
            while view:
                view = view[os.write(1, view):]


def main(arguments: Sequence[str]) -> None:
    import paramiko

    from execo._localcluster import paramiko_server, params

    keys, shell = Path(arguments[0]), arguments[1]
    authorized = (keys / params.AUTHORIZED_KEYS).read_text(encoding="ascii")
    inside, outside = _connected()
    threading.Thread(target=_to_server, args=[outside], daemon=True).start()
    reader = threading.Thread(target=_to_client, args=[outside], daemon=True)
    reader.start()
    paramiko_server.serve(inside, paramiko.Ed25519Key.from_private_key_file(str(keys / params.HOST_KEY)),
                          paramiko.Ed25519Key(data=base64.b64decode(authorized.split()[1])), pwd.getpwuid(os.getuid()), shell)
    reader.join(5)
    os._exit(0)                                 # whatever the other threads wait for


if __name__ == "__main__":
    main(sys.argv[1:])
