"""`the_conductor`: the one I/O thread of the program, started when the first process starts.

Import starts nothing.  `the_conductor.new_run(child)` may be called from any thread; it makes the loop if there is none: the first
time, in a forked child, and after a loop has failed.  At exit the loop is stopped, and the watchdog process then ends what still runs.
"""

from __future__ import annotations

# The original's module had this name too, and a name of the contract is kept.
from __future__ import print_function as print_function

import atexit
import heapq
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from select import POLLERR, POLLHUP, POLLIN, POLLNVAL, POLLOUT, POLLPRI

from ._conductor.handlers import HandlerThreads, Strand
from ._conductor.loop import Loop
from ._conductor.run import Run, Window
from .config import configuration
from .log import logger, logger_handler, style
from .time_utils import format_unixts
from .utils import MAXFD, compact_output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    from ._conductor.run import Child

    T = TypeVar("T")

__all__ = [
    "MAXFD", "POLLERR", "POLLHUP", "POLLIN", "POLLNVAL", "POLLOUT", "POLLPRI", "compact_output", "configuration",
    "debug_dump_processes", "debug_dump_threads", "debug_toggle_thread", "format_unixts", "logger", "logger_handler",
    "print_function", "remove_from_heapq", "style", "the_conductor",
]

EXIT_JOIN_SECONDS = 2.0


def _order_for_watchdog() -> str:
    return "end" if configuration["kill_childs_at_end"] else "keep"


class Conductor:
    """Where processes meet the I/O thread.  All of it may be called from any thread."""

    use_pidfd: bool | None = None
    """False: live as on a kernel without pidfds (for tests); None: find out."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: Loop | None = None
        self.handlers = HandlerThreads()

    def __str__(self) -> str:
        loop = self._loop
        return f"<Conductor ({len(loop.alive) if loop else 0} running processes)>"

    def loop(self) -> Loop:
        """The one that runs, made if there is none."""
        loop = self._loop
        if loop is not None and not loop.over:
            return loop
        with self._lock:
            if self._loop is None or self._loop.over:
                # Threads begin with the signal mask of their maker, and the I/O thread, which makes some of these, blocks SIGPIPE.
                self.handlers.signal_mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
                loop = Loop(_order_for_watchdog, self.use_pidfd)
                loop.thread.start()
                self._loop = loop
            return self._loop

    def new_run(self, child: Child, window: Window | None = None) -> Run:
        """A run for `run.loop.submit(run)`; at most `window.size` of one window run at a time."""
        return Run(self.loop(), child, window)

    def owns(self, run: Run) -> bool:
        """Is it a run of this process and not of the one that forked it, and does its I/O thread run?"""
        return run.loop is self._loop and not (run.loop.over and not run.loop.crashed)

    def in_io_thread(self) -> bool:
        loop = self._loop
        return loop is not None and loop.in_thread()

    def strand(self) -> Strand:
        """A queue of calls that run one at a time outside the I/O thread."""
        return Strand(self.handlers)

    def outside_io_thread(self, call: Callable[[], None]) -> None:
        """Call it now, or on a handler thread if this is the I/O thread."""
        if self.in_io_thread():
            self.handlers.run(call)
        else:
            call()

    def processes(self) -> list[Child]:
        """The children that run now."""
        loop = self._loop
        return [run.child for run in list(loop.alive)] if loop else []

    def _stop(self) -> None:
        loop = self._loop
        if loop is not None and loop.thread.is_alive():
            loop.stop()
            loop.thread.join(EXIT_JOIN_SECONDS)

    def _after_fork_in_child(self) -> None:
        loop, self._loop = self._loop, None
        self._lock = threading.Lock()
        self.handlers = HandlerThreads()
        if loop is not None:
            loop.forget_after_fork()


the_conductor = Conductor()
atexit.register(the_conductor._stop)
os.register_at_fork(after_in_child=the_conductor._after_fork_in_child)


def remove_from_heapq(hq: list[T], pred: Callable[[T], bool]) -> list[T]:
    """Take the items for which `pred` holds out of a heap; returns them."""
    removed = [item for item in hq if pred(item)]
    hq[:] = [item for item in hq if not pred(item)]
    heapq.heapify(hq)  # type: ignore[type-var]     # the items of a heap compare, but T cannot say so
    return removed


def debug_dump_processes() -> None:
    """Print the running processes to standard error."""
    for child in the_conductor.processes():
        print(child, file=sys.stderr)


def debug_dump_threads() -> None:
    """Print where each thread is to standard error."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for ident, frame in sys._current_frames().items():
        print(f"thread {names.get(ident, '?')} ({ident}):", file=sys.stderr)
        traceback.print_stack(frame, file=sys.stderr)


_debug_stop: threading.Event | None = None


def debug_toggle_thread(interval: float = 30) -> None:
    """Start to dump processes and threads each `interval` seconds; called again, stop."""
    global _debug_stop
    if _debug_stop is not None:
        _debug_stop.set()
        _debug_stop = None
        return
    stop = _debug_stop = threading.Event()

    def dump() -> None:
        while not stop.wait(interval):
            debug_dump_processes()
            debug_dump_threads()

    threading.Thread(target=dump, name="execo-debug", daemon=True).start()
