"""Switching off a node that is an address of this machine: ssh does not lead there any more, and what it has started there ends."""

from __future__ import annotations

import os
import signal
import time

from .reach import node_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

PATIENCE = 10.0


def off_block(nodes: Iterable[str]) -> str:
    """What ``ssh -F`` needs before all else, for nodes that are off.

    :param nodes: their names in full.
    """
    # The old protocol is refused at once.
    return "".join(f"Host {' '.join(node_names(node))}\n    ProxyCommand sh -c 'echo \"%n is off\" >&2; echo SSH-1.0-none'\n"
                   for node in nodes)


def end_sessions(address: str, port: int) -> None:
    """Kill what was started by ssh at this address.  Returns when none of it is left.

    :raises OSError: if it does not end.
    """
    deadline = time.monotonic() + PATIENCE
    while found := [pid for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))) if _came_to(pid, address, port)]:
        if time.monotonic() > deadline:
            raise OSError(f"{address}: its processes do not end: {found}")
        for pid in found:               # again until a look finds none: a process may have a child before it is killed
            _kill(pid, address, port)
        time.sleep(0.01)                # the kernel needs a moment


def _came_to(pid: int, address: str, port: int) -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            words = next((value for value in file.read().split(b"\0") if value.startswith(b"SSH_CONNECTION=")), b"").split()
    except OSError:                     # of another user, or gone; of one that is gone but for its parent, it is empty
        return False
    return words[2:] == [address.encode(), str(port).encode()]


def _kill(pid: int, address: str, port: int) -> None:
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return
    try:
        if _came_to(pid, address, port):                # the number does not mean another process by now
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    except ProcessLookupError:
        pass
    finally:
        os.close(descriptor)
