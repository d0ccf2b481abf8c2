"""One combination that runs: its thread, and how it ended."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import traceback
from dataclasses import dataclass, field

from execo.log import logger as execo_logger

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from queue import SimpleQueue
    from typing import Any

    from execo.host import Host


def is_left(seconds: float | None) -> bool:
    """Is there time left?"""
    return seconds is None or seconds > 0


@contextlib.contextmanager
def logged_to(file: Path) -> Iterator[None]:
    """What this thread logs goes also into the file, which is made when there is something."""
    thread = threading.get_ident()
    handler = logging.FileHandler(file, delay=True, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s: %(message)s"))
    handler.addFilter(lambda record: record.thread == thread)
    execo_logger.addHandler(handler)
    try:
        yield
    finally:
        execo_logger.removeHandler(handler)
        handler.close()


@dataclass(eq=False)
class Stint:
    """A combination on its hosts, from the begin of its thread to its end.

    The scheduler makes it; its thread writes what follows `begun`, and puts it into the queue of ends: when it has succeeded, so that its
    result is on the disk whatever happens while its hosts are tidied up; and when it has ended.
    """

    combination: Any
    hosts: list[Host]
    directory: Path
    serial: int
    """Of its claim."""
    start_date: float = field(default_factory=time.time)
    begun: float = field(default_factory=time.monotonic)
    thread: threading.Thread | None = None
    seconds: float = 0.0
    value: Any = None
    error: BaseException | None = None
    in_time: bool = False
    """It ended before its reservation did."""
    bad_hosts: list[Host] = field(default_factory=list)
    judged: bool = False
    """All of the above is known; what is left is to tidy up."""
    ended: bool = False
    recorded: bool = False
    done: bool = False
    """Recorded as done."""
    abandoned: bool = False

    def start(self, work: Callable[[Stint], Any], time_left: Callable[[], float | None], ends: SimpleQueue[Stint | None],
              after_error: Callable[[Stint], None], tidy_up: Callable[[Stint], None]) -> None:
        """Call `work(stint)` in a thread; then, in this thread, `after_error` if it has raised, and `tidy_up`, while there is time left."""
        def run() -> None:
            try:
                with logged_to(self.directory / "log.txt"):
                    self.value = work(self)
            except BaseException as error:
                self.error = error
            self.seconds = time.monotonic() - self.begun
            self.in_time = is_left(time_left())
            if self.error is not None and self.in_time:
                try:
                    after_error(self)
                except Exception:       # what it would have said is lost, the failure itself is not
                    self.bad_hosts = []
                # The hosts of a job can go away a little before its time is over, and that is no failure.
                self.in_time = is_left(time_left())
            self.judged = True
            if self.succeeded:
                ends.put(self)
            try:
                # The hosts of one that was given up may be another's by now.
                if self.in_time and not self.abandoned:
                    with logged_to(self.directory / "log.txt"):
                        self._tidy_up(tidy_up)
            finally:
                self.ended = True
                ends.put(self)

        # A daemon: one that nothing can end must not keep the program from ending.
        self.thread = threading.Thread(target=run, name=f"combination-{self.directory.name}"[:60], daemon=True)
        self.thread.start()

    def _tidy_up(self, tidy_up: Callable[[Stint], None]) -> None:
        try:
            tidy_up(self)
        except BaseException as error:          # it changes nothing of what was found
            execo_logger.warning("%s was not tidied up: %r", self.directory.name, error)

    @property
    def succeeded(self) -> bool:
        return self.judged and self.in_time and self.error is None

    @property
    def host_names(self) -> str | list[str]:
        """As results have them: one, or several."""
        names = [host.address for host in self.hosts]
        return names[0] if len(names) == 1 else names

    @property
    def reason(self) -> str:
        """The error in a line."""
        return "".join(traceback.format_exception_only(self.error)).strip().splitlines()[-1] if self.error is not None else ""

    @property
    def report(self) -> str:
        return "".join(traceback.format_exception(self.error)) if self.error is not None else ""
