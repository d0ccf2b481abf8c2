"""Facts about processes of this machine, and waiting for a fact."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def wait_for(fact: Callable[[], T], seconds: float = 20.0) -> T:
    """The first true value of `fact`, or its last one."""
    deadline = time.monotonic() + seconds
    while not (value := fact()) and time.monotonic() < deadline:
        time.sleep(0.005)
    return value


def state_of(pid: int) -> str:
    """The letter of proc(5): R, S, Z ...; X if there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
    except OSError:
        return "X"


def alive(pid: int) -> bool:
    """Does it run?  A zombie does not, wherever it may wait for its parent."""
    return state_of(pid) not in "ZX"


def all_gone(pids: Iterable[int], seconds: float = 20.0) -> bool:
    """Do they all end within that time?"""
    pids = list(pids)
    return wait_for(lambda: not any(alive(pid) for pid in pids), seconds)
