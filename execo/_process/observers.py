"""Functions that are told of each end of a process of the program, whoever started it.

They run one call at a time and in order, outside the I/O thread, so a slow one delays only the others; an exception is logged.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable

from ..conductor import the_conductor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    from .._conductor.handlers import Strand

    Observer: TypeAlias = "Callable[[Any], None]"

_RESET_PATIENCE = 10.0
"""Seconds that the reset of a process waits for observers that are slow."""


class ProcessObservers:
    def __init__(self) -> None:
        self.functions: tuple[Observer, ...] = ()
        self._lock = threading.Lock()
        self._strand: Strand | None = None
        self._telling: int | None = None        # the thread that calls an observer now

    def add(self, function: Observer) -> None:
        with self._lock:
            if function not in self.functions:
                self.functions += (function,)
            if self._strand is None:
                self._strand = the_conductor.strand()

    def remove(self, function: Observer) -> None:
        with self._lock:
            self.functions = tuple(known for known in self.functions if known != function)

    def tell(self, process: object) -> None:
        """Queue the calls; to be called when a process has ended, if there are functions."""
        strand = self._strand
        if strand is not None:
            for function in self.functions:
                strand.submit(lambda function=function: self._call(function, process))  # type: ignore[misc]   # bound now

    def _call(self, function: Observer, process: object) -> None:
        self._telling = threading.get_ident()
        try:
            function(process)
        finally:
            self._telling = None

    def flush(self, timeout: float) -> bool:
        """Wait until all that was queued is told; False if the time is up before."""
        strand = self._strand
        if strand is None:
            return True
        told = threading.Event()
        strand.submit(told.set)
        return told.wait(timeout)

    def flush_before_reset(self) -> None:
        """Observers read what a reset forgets; one that resets a process itself has read it, and cannot wait for itself."""
        if self.functions and self._telling != threading.get_ident() and not the_conductor.in_io_thread():
            self.flush(_RESET_PATIENCE)

    def after_fork_in_child(self) -> None:
        self._lock = threading.Lock()
        self._strand = the_conductor.strand() if self.functions else None
        self._telling = None


observers = ProcessObservers()
os.register_at_fork(after_in_child=observers.after_fork_in_child)
atexit.register(observers.flush, 2.0)       # before the conductor stops, for it was registered after it


def add_process_observer(function: Observer) -> None:
    """Have `function(process)` called after each end of a process, local or remote, until it is removed.

    Calls come one at a time and in order, on a thread of their own.  `flush_process_observers` waits for those that are due.
    """
    observers.add(function)


def remove_process_observer(function: Observer) -> None:
    """Take it out again; nothing if it is not there."""
    observers.remove(function)


def flush_process_observers(timeout: float = 10.0) -> bool:
    """Wait until the observers have been told of all processes that have ended; False if `timeout` seconds are not enough."""
    return observers.flush(timeout)
