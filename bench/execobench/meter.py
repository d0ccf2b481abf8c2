"""For the measurements themselves: clocks, facts about this process, and the tools that a measurement may use."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self

LIMITS = "EXECOBENCH_LIMITS"
"""Environment variable: folder of the compiled limits."""
CLUSTER = "EXECOBENCH_CLUSTER"
"""Environment variable: folder of the LocalCluster that is up."""
SCRATCH = "EXECOBENCH_SCRATCH"
"""Environment variable: folder for files of this measurement."""


def cpu_seconds() -> float:
    """Of this process and of its children that have been waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


class Meter:
    """Context manager: wall and processor time (seconds) of its block, in `values`."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}

    def __enter__(self) -> Self:
        self._cpu = cpu_seconds()
        self._begin = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.values["wall"] = time.perf_counter() - self._begin
        self.values["cpu"] = cpu_seconds() - self._cpu


class PeakThreads:
    """Context manager: the most threads this process had during its block, looked at every 10 ms."""

    def __enter__(self) -> Self:
        self.peak = threads()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def _look(self) -> None:
        while not self._end.wait(0.01):
            self.peak = max(self.peak, threads() - 1)  # not this one

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()


def rss_bytes() -> int:
    """Resident memory of this process."""
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * resource.getpagesize()


def threads() -> int:
    return len(os.listdir("/proc/self/task"))


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def raise_descriptor_limit() -> int:
    """Set the soft limit of open files to the hard one; returns it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def limit(name: str) -> str:
    """Path of a compiled limit."""
    return str(Path(os.environ[LIMITS]) / name)


def run_limit(*command: str) -> dict[str, Any]:
    """What a limit that prints a JSON object printed."""
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return found


def scratch(name: str) -> str:
    """Path for a file of this measurement."""
    return str(Path(os.environ[SCRATCH]) / name)


def expect_equal(what: str, found: object, expected: object) -> None:
    """:raises AssertionError: unless both are equal: a wrong result must not be timed."""
    if found != expected:
        raise AssertionError(f"{what}: expected {expected!r}, found {found!r}")
