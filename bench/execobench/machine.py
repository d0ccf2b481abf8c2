"""What the measurements ran on: said without names of hosts, users or folders."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import time
from pathlib import Path


def describe(python: str) -> str:
    """One line about this machine and the interpreter `python`."""
    version = subprocess.run(
        [python, "-c", "import platform; print(platform.python_implementation(), platform.python_version())"],
        check=True, stdout=subprocess.PIPE, text=True,
    ).stdout.strip()
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1024**3
    kernel = ".".join(platform.release().split("-", 1)[0].split(".")[:2])
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    return (
        f"{os.cpu_count()} processors, {memory:.0f} GB, {platform.system()} {kernel} {platform.machine()}, {version}, "
        f"hard limit of open files {files}"
    )


def _cpu_times() -> tuple[int, int]:
    """Idle and all processor time since boot, in ticks."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return fields[3] + fields[4], sum(fields)


def wait_until_idle(patience: float, share: float = 0.8, look: float = 0.1) -> float:
    """Wait until this share of the processor time was idle for `look` seconds, at most `patience` seconds.

    :returns: the share that was idle at last.
    """
    deadline = time.monotonic() + patience
    while True:
        idle, total = _cpu_times()
        time.sleep(look)
        idle_now, total_now = _cpu_times()
        found = (idle_now - idle) / max(total_now - total, 1)
        if found >= share or time.monotonic() >= deadline:
            return found
