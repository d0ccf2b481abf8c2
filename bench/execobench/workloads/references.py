"""The least that plain Python can do: os.posix_spawn, epoll and waitpid, without any of what makes a library of it."""

from __future__ import annotations

import os
import select
import signal
import threading
from collections import deque
from collections.abc import Sequence


def spawn(command: list[str]) -> tuple[int, int, int, int]:
    """Start `command` in a process group of its own, with three pipes.

    :returns: pid, and our ends of its standard input, output and error.
    """
    (child_in, our_in), (our_out, child_out), (our_err, child_err) = os.pipe(), os.pipe(), os.pipe()
    theirs = (child_in, child_out, child_err)
    actions = [(os.POSIX_SPAWN_DUP2, end, number) for number, end in enumerate(theirs)]
    pid = os.posix_spawn(command[0], command, os.environ, file_actions=actions, setpgroup=0)
    for end in theirs:
        os.close(end)
    return pid, our_in, our_out, our_err


def spawn_and_wait(command: list[str], n: int) -> None:
    """Start `command` n times, all at once, read what they write and wait for all.

    :raises AssertionError: if one fails.
    """
    poller = select.epoll()
    children: list[tuple[int, int]] = []
    open_ends = 0
    for _ in range(n):
        pid, stdin, *outputs = spawn(command)
        children.append((pid, stdin))
        for end in outputs:
            os.set_blocking(end, False)
            poller.register(end, select.EPOLLIN)
            open_ends += 1
    while open_ends:
        for end, _ in poller.poll():
            if not os.read(end, 1 << 16):
                poller.unregister(end)
                os.close(end)
                open_ends -= 1
    for pid, stdin in children:
        _, status = os.waitpid(pid, 0)
        os.close(stdin)
        assert status == 0, f"child {pid}: wait status {status}"
    poller.close()


class Runner:
    """Runs commands one after another in a thread of its own that polls pidfds, as a library does."""

    def __init__(self) -> None:
        self._commands: deque[list[str]] = deque()
        self._wake_read, self._wake_write = os.pipe()
        self._done = threading.Lock()
        self._done.acquire()
        self._output = b""
        threading.Thread(target=self._loop, daemon=True).start()

    def run(self, command: list[str]) -> bytes:
        """What it wrote to its standard output (64 KiB at most)."""
        self._commands.append(command)
        os.write(self._wake_write, b"x")
        self._done.acquire()
        return self._output

    def _loop(self) -> None:
        poller = select.epoll()
        poller.register(self._wake_read, select.EPOLLIN)
        children: dict[int, tuple[int, int, int, int]] = {}
        while True:
            for ready, _ in poller.poll():
                if ready == self._wake_read:
                    os.read(ready, 1)
                    child = spawn(self._commands.popleft())
                    pidfd = os.pidfd_open(child[0])
                    children[pidfd] = child
                    poller.register(pidfd, select.EPOLLIN)
                else:
                    pid, *ends = children.pop(ready)
                    os.waitpid(pid, 0)
                    poller.unregister(ready)
                    self._output = os.read(ends[1], 1 << 16)
                    for descriptor in (ready, *ends):
                        os.close(descriptor)
                    self._done.release()


def terminate(pids: Sequence[int]) -> None:
    """SIGTERM to children that have not been waited for."""
    for pid in pids:
        os.kill(pid, signal.SIGTERM)
