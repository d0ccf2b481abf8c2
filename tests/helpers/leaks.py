"""What a test left behind: threads, children, descriptors.

The conductor is lazy and stays: the first test that starts a process leaves its I/O thread, its watchdog and their
descriptors.  `CONDUCTOR` is the one place where that is allowed.
"""

from __future__ import annotations

import gc
import os
import re
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

SETTLE_SECONDS = 2.0
"""A thread that has done its work needs a moment to end, a killed child to be reaped."""

# The conductor's: its I/O thread, and handler threads that are idle.
LASTING_THREADS = re.compile(r"execo-(io$|handler-)")
IO_THREAD = "execo-io"
# What a running conductor holds: poll set, mailbox, and the pipe of which the watchdog reads the other end.
CONDUCTOR_DESCRIPTORS = Counter({"[eventpoll]": 1, "[eventfd]": 1, "pipe": 1})
CONDUCTOR_CHILDREN = 1


@dataclass(frozen=True)
class Snapshot:
    """What this interpreter holds at one moment."""

    threads: frozenset[threading.Thread]
    children: frozenset[int]
    descriptors: Counter[str]
    """How many of each kind: a pipe, a socket, or the name of the file."""
    conductor: bool

    @classmethod
    def take(cls) -> Snapshot:
        threads = frozenset(threading.enumerate())
        return cls(threads, _children(), _descriptors(), any(thread.name == IO_THREAD for thread in threads))


def _children() -> frozenset[int]:
    # Each thread lists the children that it started; a thread may end while we look.
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        try:
            found.update(int(pid) for pid in (task / "children").read_text().split())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return frozenset(found)


def _descriptors() -> Counter[str]:
    kinds: Counter[str] = Counter()
    for fd in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{fd}")
        except FileNotFoundError:       # the one that listed the folder
            continue
        kinds[re.sub(r"^(anon_inode:)|:\[\d+\]$", "", target)] += 1
    return kinds


def _left(before: Snapshot, after: Snapshot) -> list[str]:
    left = [f"thread {thread.name}" for thread in after.threads - before.threads
            if not LASTING_THREADS.match(thread.name)]
    children = after.children - before.children
    # A new conductor, or a new watchdog in the place of one that was there before.
    spare = CONDUCTOR_CHILDREN if after.conductor and not before.conductor else len(before.children - after.children)
    if len(children) > spare:
        left += [f"child {pid}: {_command(pid)}" for pid in sorted(children)]
    more = after.descriptors - before.descriptors
    if after.conductor and not before.conductor:
        more -= CONDUCTOR_DESCRIPTORS
    left += [f"{number} x descriptor of {kind}" for kind, number in sorted(more.items())]
    return left


def _command(pid: int) -> str:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        return f"state {state}, {command}"
    except (FileNotFoundError, ProcessLookupError):
        return "ended meanwhile"


def left_behind(before: Snapshot) -> list[str]:
    """What is there now and was not `before`, one line each; waits a moment for what is about to end."""
    if not (left := _left(before, Snapshot.take())):
        return []
    gc.collect()                        # a Process that nobody refers to any more closes what it holds
    deadline = time.monotonic() + SETTLE_SECONDS
    while (left := _left(before, Snapshot.take())) and time.monotonic() < deadline:
        time.sleep(0.01)
    return left
