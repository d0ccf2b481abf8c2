"""Signals that end a campaign in good order."""

from __future__ import annotations

import contextlib
import signal
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any


class StopSignal:
    """SIGTERM, as a batch system sends it at the end of a job, and SIGHUP: whether one came.

    :param wake: called by the handler.
    """

    def __init__(self, wake: Callable[[], object]) -> None:
        self._wake = wake
        self.number: int | None = None
        """Of the signal that came; None: go on."""

    @contextlib.contextmanager
    def awaited(self) -> Iterator[None]:
        """The second signal has its usual effect.  In another thread than the main one, none is awaited."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        saved: dict[signal.Signals, Any] = {}

        def stop(number: int, frame: object) -> None:
            self.number = number
            self._wake()
            signal.signal(number, signal.SIG_DFL)

        for one in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(one) == signal.SIG_DFL:         # what the program or nohup has decided stays
                saved[one] = signal.signal(one, stop)
        try:
            yield
        finally:
            for one, handler in saved.items():
                signal.signal(one, handler)
