"""The place of one process in a tree: for a `Process` it is what a `Run` is, its child in the loop.

`Process` thus keeps its timers, its kill and its writes, and does not know whether a child of ours or a node of a tree stands behind it.
All but `signal` belongs to the I/O thread.
"""

from __future__ import annotations

import errno
import time

from .quoting import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._conductor.loop import Loop
    from .._conductor.streams import Done
    from .tree import Tree

CHUNK = 65536                   # bytes of standard input in one order to TakTuk
WORDS = 16384                   # bytes that are kept of what the connector says
EARLY = 1.0                     # seconds: a signal may miss a command that has just started, which is not a process group yet
REPEAT = (0.5, 2.0)             # seconds after which such a signal is sent again; later ones are not, for who traps them may count them
KILL_REPEAT = 1.0
UNANSWERED = 10.0               # seconds after the first SIGKILL: the host or its link is dead


class Seat:
    """Public attributes are those that `Process` reads of a `Run`."""

    __slots__ = ("_early", "_killed_at", "_since", "cancelled", "doomed", "fed", "loop", "over", "pid", "place", "process", "rank",
                 "started", "stderr", "stdout", "tree", "tries", "words")

    def __init__(self, loop: Loop, process: Any) -> None:
        self.loop = loop
        self.process = process
        self.tree: Tree | None = None
        self.place = 0                  # in the list of hosts of the tree
        self.rank = 0                   # the number by which TakTuk addresses it; 0: none yet
        self.pid = 0                    # of the command on its host; 0: nothing that could be signalled
        self.stdout = self.stderr = 0   # as long as they are open
        self.started = False            # the command has started, maybe: it must not be started again
        self.cancelled = False
        self.doomed = False
        self.over = False
        self.tries: dict[str, int] = {}         # how often it was tried again, and why
        self.words = b""                # of the connector
        self.fed = False                # a copy has been given its input
        self._since = 0.0               # when we heard that the command has started
        self._killed_at: float | None = None
        self._early: list[tuple[bytes | None, Done | None]] = []        # written before the command has started

    # any thread

    def signal(self, sig: int) -> bool:
        """Have it sent to the process group of the command; False if there is none (yet, or any more)."""
        if not self.pid or self.over:
            return False
        self.loop.post(self._on_signal, int(sig))
        return True

    # I/O thread

    def _on_signal(self, sig: int) -> None:
        if self.over or self.tree is None:
            return
        self.order(b"kill %d" % sig)
        if sig == 9:
            if self._killed_at is None:
                self._killed_at = time.monotonic()
                self._later(KILL_REPEAT, self._kill_again)
        elif sig in (2, 15) and time.monotonic() - self._since < EARLY:
            for pause in REPEAT:
                self._later(pause, lambda: self._signal_again(sig))

    def _later(self, pause: float, call: Any) -> None:
        self.loop.call_at(time.monotonic() + pause, call)

    def _signal_again(self, sig: int) -> None:
        if not self.over and self._killed_at is None:
            self.order(b"kill %d" % sig)

    def _kill_again(self) -> None:
        if self.over or self.tree is None or self._killed_at is None:
            return
        if time.monotonic() - self._killed_at > UNANSWERED:
            self.tree.give_up(self)
            return
        self.order(b"kill 9")
        self._later(KILL_REPEAT, self._kill_again)

    def order(self, order: bytes, done: Done | None = None) -> None:
        if self.tree is not None:
            self.tree.order(self, order, done)

    def write(self, data: bytes | None, done: Done | None) -> None:
        """Queue bytes for standard input; None: close it.  Kept for later if the command has not started."""
        if self.over:
            if done is not None:
                done(BrokenPipeError(errno.EPIPE, "standard input is closed"))
        elif not self.pid:
            self._early.append((data, done))
        elif data is None:
            self.order(b"input close", done)
        else:
            self._write(data, done)

    def _write(self, data: bytes, done: Done | None) -> None:
        if not data:                            # TakTuk refuses an empty text
            if done is not None:
                done(None)
            return
        for begin in range(0, len(data), CHUNK):
            last = begin + CHUNK >= len(data)
            self.order(b"input [ %s ]" % quote(data[begin:begin + CHUNK]), done if last else None)

    def on_command_started(self, pid: int) -> None:
        self.pid = pid
        self._since = time.monotonic()
        early, self._early = self._early, []
        for data, done in early:
            self.write(data, done)

    def on_over(self) -> None:
        self.over = True
        self.pid = 0
        self.stdout = self.stderr = -1
        early, self._early = self._early, []
        for _data, done in early:
            if done is not None:
                done(BrokenPipeError(errno.EPIPE, "standard input is closed"))

    def close_pty(self) -> None:
        """It has none."""

    def hear(self, words: bytes) -> None:
        """A line that the connector said."""
        if len(self.words) < WORDS:
            self.words += words + b"\n"
