"""Each process that execo ran during an experiment, one line of JSON for each."""

from __future__ import annotations

import os
import threading

from execo.process import add_process_observer, flush_process_observers, remove_process_observer
from execo.utils import str_from_cmdline

from .._plain_json import dumps
from ..log import logger

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

_FLUSH_SECONDS = 10.0


def process_facts(process: Any) -> dict[str, Any]:
    """What is written about a process that has ended.  Dates are Unix seconds, sizes bytes of the output that execo kept.

    The command is what runs on the host, without the ssh that takes it there.
    """
    host = process.host
    facts = {
        "command": str_from_cmdline(getattr(process, "remote_cmd", None) or process.cmd),
        "name": process.name,
        "kind": type(process).__name__,
        "host": None if host is None else str(getattr(host, "address", host)),
        "start_date": process.start_date,
        "end_date": process.end_date,
        "exit_code": process.exit_code,
        "ok": process.ok,
        "error": None if process.error_reason is None else str(process.error_reason),
        "timeouted": process.timeouted,
        "killed": process.killed,
        "stdout_bytes": len(process.stdout_bytes),
        "stderr_bytes": len(process.stderr_bytes),
    }
    # Observers are told after the end: it may have been reset, and even started again.
    return facts if process.ended else {**facts, "reset": True}


class ProcessLog:
    """Writes a line at each end of a process, from `begin` to `end`; a disk that is full stops the log, not the experiment."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.number = 0
        self.failed = 0
        """How many ended not ok."""
        self._fd: int | None = None
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._missing = 0
        self._torn = False

    def begin(self) -> None:
        self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        add_process_observer(self._observe)

    def end(self) -> None:
        if not flush_process_observers(_FLUSH_SECONDS):
            logger.warning("%s may lack some processes: they were not told within %s s", self.path, _FLUSH_SECONDS)
        remove_process_observer(self._observe)
        with self._lock:
            fd, self._fd = self._fd, None
        if fd is not None:
            try:
                os.fsync(fd)
            except OSError as failed:
                logger.warning("%s: %s", self.path, failed)
            finally:
                os.close(fd)
        if self._missing:
            logger.warning("%s lacks %d processes, which could not be written", self.path, self._missing)

    def _observe(self, process: Any) -> None:
        if os.getpid() != self._pid:            # a fork has the observer, and processes of its own
            return
        line = (dumps(process_facts(process)) + "\n").encode("ascii")
        with self._lock:
            if self._fd is None:
                return
            self.number += 1
            self.failed += not process.ok
            try:
                self._write(self._fd, line)
            except OSError as failed:
                if not self._missing:
                    logger.warning("%s: %s; processes are not noted until this is over", self.path, failed)
                self._missing += 1

    def _write(self, fd: int, line: bytes) -> None:
        if self._torn:                          # the last line was cut by a full disk: do not go on in it
            line = b"\n" + line
        self._torn = True
        left = memoryview(line)
        while left:
            left = left[os.write(fd, left):]
        self._torn = False
