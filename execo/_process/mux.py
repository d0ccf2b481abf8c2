"""Talks to the masters of shared connections as ``ssh -O`` does, without a process for each (PROTOCOL.mux in OpenSSH's sources)."""

from __future__ import annotations

import os
import select
import socket
import struct
import time

from .shared import LOCK

_ANSWER_SECONDS = 2.0
_AT_ONCE = 100              # conversations: each takes a descriptor

_HELLO = struct.pack(">III", 8, 1, 4)               # MUX_MSG_HELLO, version 4
_STOP = 0x10000009          # MUX_C_STOP_LISTENING: no further session; it ends when it has none
_TERMINATE = 0x10000005     # MUX_C_TERMINATE
_ANSWER_LENGTH = 24         # its hello and MUX_S_OK


def names(path: str) -> list[str]:
    """The files of a directory, if there is one."""
    try:
        return os.listdir(path)
    except OSError:
        return []


def _connection(path: str) -> socket.socket | None:
    """To a master; None if nobody listens.  Does not wait."""
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.setblocking(False)
    try:
        client.connect(path)
    except BlockingIOError:                 # so many others connect just now
        return client
    except OSError:
        client.close()
        return None
    return client


def listens(path: str) -> bool:
    """Is there a master?  Does not wait."""
    if not os.path.exists(path):
        return False
    client = _connection(path)
    if client is not None:
        client.close()
    return client is not None


def tell_all(path: str, busy: set[str] | None) -> None:
    """Have the masters in this directory end, those of `busy` (None: all) with their last session; returns when they have been told.

    The others too may have a session: that of a command without terminal that goes on though its ssh was killed.
    """
    found = sorted(name for name in names(path) if name.partition(".")[0] != LOCK)
    for at in range(0, len(found), _AT_ONCE):
        # While a socket is made, ssh adds a third part to its name.
        _tell({f"{path}/{name}": _STOP if busy is None or ".".join(name.split(".")[:2]) in busy else _TERMINATE
               for name in found[at:at + _AT_ONCE]})


def _tell(messages: dict[str, int]) -> None:
    """`messages` is {socket: message}."""
    answers: dict[int, tuple[socket.socket, int]] = {}
    poll = select.poll()
    for path, message in messages.items():
        client = _connection(path)
        if client is None:
            continue
        try:
            client.send(_HELLO + struct.pack(">III", 8, message, 1))
        except OSError:                     # it ends, or is too busy
            client.close()
            continue
        answers[client.fileno()] = client, 0
        poll.register(client, select.POLLIN)
    deadline = time.monotonic() + _ANSWER_SECONDS
    while answers:
        ready = poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
        if not ready:
            break
        for fd, _ in ready:
            client, length = answers[fd]
            try:
                data = client.recv(4096)
            except BlockingIOError:
                continue
            except OSError:
                data = b""
            length += len(data)
            if data and length < _ANSWER_LENGTH:
                answers[fd] = client, length
                continue
            poll.unregister(fd)
            client.close()
            del answers[fd]
    for client, _ in answers.values():
        client.close()
