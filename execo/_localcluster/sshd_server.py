"""Listens on the addresses of a `LocalCluster` and starts one `sshd -i` for each connection.

``python -I -S sshd_server.py PARAMETERS`` with the JSON of the keywords of `main`.  An sshd that listens by itself
takes 16 addresses at most, and says nothing to its parent when one of them is taken.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import socket
import sys
from collections.abc import Iterable

ATTEMPTS = 50


def loopback_addresses(n: int, network: int) -> list[str]:
    """The first `n` addresses from 127.x.y.1 on, `network` being x * 256 + y; 250 for each y."""
    return [
        f"127.{block >> 8}.{block & 255}.{i % 250 + 1}" for i in range(n) for block in [(network + i // 250) % 65536]
    ]


def listen(addresses: Iterable[str]) -> list[socket.socket]:
    """One listening socket for each address, all on one free port.  OSError if an address has it in use."""
    listeners: list[socket.socket] = []
    port = 0
    try:
        for address in addresses:
            listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            listeners.append(listener)
            listener.bind((address, port))
            port = listener.getsockname()[1]
            listener.listen(1024)
            listener.setblocking(False)
    except OSError:
        for listener in listeners:
            listener.close()
        raise
    return listeners


def listen_anywhere(n: int) -> list[socket.socket]:
    """`n` listening sockets on loopback addresses that nobody else uses on that port; OSError if there are none."""
    raise_open_files(n + 64)
    for attempt in range(1, ATTEMPTS + 1):
        # 127.0.y.z is left alone: resolvers and other services sit there.
        network = random.randrange(256, 65536 - n // 250 - 1)
        try:
            return listen(loopback_addresses(n, network))
        except OSError:
            if attempt == ATTEMPTS:
                raise
    raise AssertionError("unreachable")


def raise_open_files(needed: int) -> None:
    """Raise the soft limit of open files when it is too low for `needed` (the hard limit holds)."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed if hard < 0 else min(needed, hard), hard))


def announce(**what: object) -> None:
    """Tell the owner that we are ready, or why not, and close the line."""
    os.write(1, json.dumps(what).encode() + b"\n")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def serve(listeners: list[socket.socket], command: list[str], log: int) -> None:
    """Start `command` for each connection, as its standard input and output, until standard input ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no zombies
    by_fd = {listener.fileno(): listener for listener in listeners}
    poll = select.poll()
    for fd in (0, *by_fd):
        poll.register(fd, select.POLLIN)
    while True:
        for fd, _ in poll.poll():
            if fd == 0:
                if not os.read(0, 4096):
                    return
                continue
            try:
                connection, _ = by_fd[fd].accept()
            except OSError:  # the client has gone, or no descriptor is free: the next turn tries again
                continue
            with connection:
                # Nagle's algorithm against delayed acknowledgements costs each ssh a wait of 40 ms.
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                try:
                    spawn(command, connection.fileno(), log)
                except OSError as error:
                    os.write(log, f"{command[0]}: {error}\n".encode())


def spawn(command: list[str], connection: int, log: int) -> int:
    actions = [
        (os.POSIX_SPAWN_DUP2, connection, 0),
        (os.POSIX_SPAWN_DUP2, connection, 1),
        (os.POSIX_SPAWN_DUP2, log, 2),
    ]
    # Python ignores the last two, and what is ignored would be so in all sessions.
    ignored = [signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ]
    environment = {"PATH": os.defpath}
    return os.posix_spawn(command[0], command, environment, file_actions=actions, setsigdef=ignored, setsigmask=[])


def main(n: int, log: str, command: list[str]) -> None:
    try:
        listeners = listen_anywhere(n)
    except OSError as error:
        announce(error=f"cannot listen on {n} loopback addresses: {error}")
        return
    log_fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    addresses = [listener.getsockname()[0] for listener in listeners]
    announce(addresses=addresses, port=listeners[0].getsockname()[1])
    serve(listeners, command, log_fd)


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
