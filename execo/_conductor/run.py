"""One life of a child in the loop: its descriptors, its end, and signals that reach nobody else.

`Child` is all that the loop knows of a process, `Window` lets only so many of a group live at a time, `Run` is one life, from the
submission to the end.  The end is the exit: what the pipes hold then is read, and they are closed, since a grandchild may keep them
open for ever.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import threading
import time
from collections import deque

from .reap import exit_status
from .streams import DRAIN, StdinWriter, read_chunk

TYPE_CHECKING = False         # `typing` itself is imported for the type checker only: it costs a third of our import
if TYPE_CHECKING:
    from typing import Protocol

    from .loop import Loop
    from .spawn import Spawned
    from .streams import Done

    class Child(Protocol):
        """What the loop needs of a process.  It calls all of these in the I/O thread; none may block or raise."""

        def _on_command(self) -> tuple[list[str] | tuple[str, ...], bool] | None:
            """Argument list, and whether to use a pty; None: not now, it calls `Loop.restart` itself.  May raise; that fails the child."""

        def _on_started(self, spawned: Spawned) -> None: ...

        def _on_failed(self, reason: BaseException) -> None:
            """It could not be started.  Final."""

        def _on_cancelled(self) -> None:
            """It was killed before it was started.  Final."""

        def _on_output(self, stream: int, data: bytes) -> None: ...

        def _on_eof(self, stream: int, error: bool) -> None: ...

        def _on_exit(self, status: int | None) -> float | None:
            """Raw wait status, None if it is lost.  Seconds until it is to be started again, or None: it has ended."""

        def _on_ended(self) -> None:
            """Nothing of it is left in the loop.  Final."""

STDOUT, STDERR = 1, 2
_READABLE = select.EPOLLIN


class Window:
    """At most `size` children alive at a time; the next starts when one ends.  Belongs to the I/O thread."""

    __slots__ = ("alive", "size", "waiting")

    def __init__(self, size: int) -> None:
        self.size = size
        self.alive = 0
        self.waiting: deque[Run] = deque()


class Run:
    """One life of a child in the loop, from its submission to its end.  All but `signal` belongs to the I/O thread."""

    __slots__ = ("_early", "_writer", "cancelled", "child", "doomed", "lock", "loop", "over", "pid", "pidfd", "stderr", "stdin", "stdout",
                 "window")

    def __init__(self, loop: Loop, child: Child, window: Window | None) -> None:
        self.loop = loop
        self.child = child
        self.window = window
        self.lock = threading.Lock()
        self.pid = 0                    # 0: no child that could be signalled
        self.pidfd: int | None = None
        self.stdin = self.stdout = self.stderr = -1
        self.cancelled = False
        self.doomed = False             # a kill is on its way
        self.over = False
        self._writer: StdinWriter | None = None
        self._early: list[tuple[bytes | None, Done | None]] = []        # written before there is a child

    # any thread

    def signal(self, sig: int) -> bool:
        """Send it, never to another process; False if the child is not there (not started, or reaped).

        :raises PermissionError: if the kernel refuses.
        """
        with self.lock:                 # reaping takes this lock too, so pid and pidfd are ours
            if not self.pid:
                return False
            try:
                if self.pidfd is not None:
                    signal.pidfd_send_signal(self.pidfd, sig)
                else:
                    os.kill(self.pid, sig)
            except ProcessLookupError:  # a zombie already
                return False
            return True

    # I/O thread

    def spawned(self, spawned: Spawned) -> None:
        with self.lock:
            self.pid, self.pidfd = spawned.pid, spawned.pidfd
        self.stdin, self.stdout, self.stderr = spawned.stdin, spawned.stdout, spawned.stderr
        loop = self.loop
        loop.watch(self.stdout, self._on_stdout)
        loop.watch(self.stderr, self._on_stderr)
        if self.pidfd is not None:
            loop.watch(self.pidfd, self._on_pidfd)
        else:
            loop.watch_by_asking(self)
        early, self._early = self._early, []
        for data, done in early:
            self.write(data, done)

    def _on_stdout(self, events: int) -> None:
        if events != _READABLE and events & select.EPOLLOUT:
            self._flush()
            if not events & ~select.EPOLLOUT:
                return
        try:
            data = read_chunk(self.stdout)
        except OSError:
            self._close_stdout(True)
            return
        if data:
            self.child._on_output(STDOUT, data)
        elif data is not None:
            self._close_stdout(False)

    def _on_stderr(self, events: int) -> None:
        try:
            data = read_chunk(self.stderr)
        except OSError:
            self._close_stderr(True)
            return
        if data:
            self.child._on_output(STDERR, data)
        elif data is not None:
            self._close_stderr(False)

    def _close_stdout(self, error: bool) -> None:
        # Each descriptor is forgotten before it is closed, so that a fork in between cannot close its number again.
        fd, self.stdout = self.stdout, -1
        if fd == self.stdin:                # a pty: its master serves both
            self.stdin = -1
            self._fail_writes()
        self.loop.unwatch(fd)
        os.close(fd)
        self.child._on_eof(STDOUT, error)

    def _close_stderr(self, error: bool) -> None:
        fd, self.stderr = self.stderr, -1
        self.loop.unwatch(fd)
        os.close(fd)
        self.child._on_eof(STDERR, error)

    def _close_stdin(self) -> None:
        fd, self.stdin = self.stdin, -1
        if self._writer is not None and self._writer.watched:
            self._writer.watched = False
            self.loop.unwatch(fd)
        os.close(fd)

    def _fail_writes(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.fail(BrokenPipeError(errno.EPIPE, "standard input is closed"))

    def close_pty(self) -> None:
        """Hang up the terminal of a child that may not be signalled."""
        if self.stdout >= 0 and self.stdout == self.stdin:
            self._close_stdout(False)

    def write(self, data: bytes | None, done: Done | None) -> None:
        """Queue bytes for standard input; None: close it when they are written.  Kept for later if there is no child."""
        if self.stdin < 0:
            if not self.pid and not self.over and not self.cancelled:
                self._early.append((data, done))
            elif done is not None:
                done(BrokenPipeError(errno.EPIPE, "standard input is closed"))
            return
        if self._writer is None:
            self._writer = StdinWriter(self.stdin, is_pty=self.stdin == self.stdout)
        self._writer.add(data, done)
        self._flush()

    def _flush(self) -> None:
        writer = self._writer
        if writer is None:
            return
        more = writer.flush()
        if writer.closed:
            self._close_stdin()
            self._fail_writes()
        elif more != writer.watched:
            writer.watched = more
            if self.stdin == self.stdout:
                self.loop.modify(self.stdout, _READABLE | select.EPOLLOUT if more else _READABLE)
            elif more:
                self.loop.watch(self.stdin, self._on_stdin, select.EPOLLOUT)
            else:
                self.loop.unwatch(self.stdin)

    def _on_stdin(self, events: int) -> None:
        self._flush()

    def _on_pidfd(self, events: int) -> None:
        self.try_reap()

    def abandon(self) -> int:
        """Kill it and close what it holds, without its last output: the loop has failed.  The pid that is to be reaped, or 0."""
        self.over = True
        try:
            self.signal(signal.SIGKILL)
        except PermissionError:             # set-user-id
            pass
        with self.lock:
            pid, self.pid = self.pid, 0
            pidfd, self.pidfd = self.pidfd, None
        if pidfd is not None:
            os.close(pidfd)
        if self.stdin >= 0 and self.stdin != self.stdout:
            os.close(self.stdin)
        self.stdin = -1
        if self.stdout >= 0:
            os.close(self.stdout)
            self.stdout = -1
            self.child._on_eof(STDOUT, True)
        if self.stderr >= 0:
            os.close(self.stderr)
            self.stderr = -1
            self.child._on_eof(STDERR, True)
        self._fail_writes()
        return pid

    def try_reap(self) -> bool:
        """Has the child ended?  Then take what its pipes hold and end the run: a grandchild may keep them open for ever."""
        status: int | None
        with self.lock:
            try:
                status = exit_status(self.pid, self.pidfd)
                if status is None:
                    return False
            except ChildProcessError:
                status = None
            self.pid = 0
            pidfd, self.pidfd = self.pidfd, None
        loop = self.loop
        if pidfd is not None:
            loop.unwatch(pidfd)
            os.close(pidfd)
        if self.stdout >= 0:
            self._drain(STDOUT)
        if self.stderr >= 0:
            self._drain(STDERR)
        if self.stdin >= 0:
            self._close_stdin()
        self._fail_writes()
        again = self.child._on_exit(status)
        if again is None:
            loop.finish(self)
        else:
            loop.pause(self)
            loop.call_at(time.monotonic() + again, lambda: loop.restart(self))
        return True

    def _drain(self, stream: int) -> None:
        fd = self.stdout if stream == STDOUT else self.stderr
        left = DRAIN
        error = False
        while left > 0:
            try:
                data = read_chunk(fd)
            except OSError:
                error = True
                break
            if not data:
                break
            self.child._on_output(stream, data)
            left -= len(data)
        if stream == STDOUT:
            self._close_stdout(error)
        else:
            self._close_stderr(error)
