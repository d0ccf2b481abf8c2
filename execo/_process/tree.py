"""The descendants of a process, from /proc, and signals to them that never reach another process."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from functools import lru_cache


def parse_stat(stat: str) -> tuple[int, int, int]:
    """(pid, parent's pid, start time in clock ticks) from the text of /proc/PID/stat (proc(5))."""
    pid = int(stat[:stat.index(" ")])
    fields = stat[stat.rindex(")") + 2:].split()        # the name may hold anything, also a parenthesis
    return pid, int(fields[1]), int(fields[19])


def tree_below(root: int, stats: Iterable[tuple[int, int, int]]) -> list[tuple[int, int]]:
    """(pid, start time) of all descendants of `root`, parents first."""
    children: dict[int, list[tuple[int, int]]] = {}
    for pid, parent, start_time in stats:
        children.setdefault(parent, []).append((pid, start_time))
    found: list[tuple[int, int]] = []
    parents = [root]
    while parents:
        below = children.get(parents.pop(), [])
        found += below
        parents += [pid for pid, _ in below]
    return found


def _read_stat(pid: int | str) -> tuple[int, int, int] | None:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="surrogateescape") as file:
            return parse_stat(file.read())
    except (OSError, ValueError):           # it has ended
        return None


def descendants(root: int) -> list[tuple[int, int]]:
    """(pid, start time) of all descendants of a process, parents first.

    The kernel's list of children (CONFIG_PROC_CHILDREN) costs as much as there are descendants; where it is missing, all of /proc is
    read once.
    """
    if not _has_children_files():
        stats = (_read_stat(name) for name in os.listdir("/proc") if name.isdigit())
        return tree_below(root, [stat for stat in stats if stat is not None])
    found: list[tuple[int, int]] = []
    parents = [root]
    while parents:
        for pid in _children(parents.pop()):
            stat = _read_stat(pid)
            if stat is not None:
                found.append((stat[0], stat[2]))
                parents.append(pid)
    return found


@lru_cache(maxsize=1)
def _has_children_files() -> bool:
    me = os.getpid()
    return os.path.exists(f"/proc/{me}/task/{me}/children")


def _children(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as file:
                found += map(int, file.read().split())
    except OSError:                         # it has ended meanwhile
        pass
    return found


def signal_process(pid: int, start_time: int, sig: int) -> None:
    """Send a signal to the process that had this pid since then, to no other; nothing if it is gone."""
    try:
        if hasattr(os, "pidfd_open"):
            pidfd = os.pidfd_open(pid)
            try:
                stat = _read_stat(pid)      # after the open: the pidfd and this stat are of one process
                if stat is not None and stat[2] == start_time:
                    signal.pidfd_send_signal(pidfd, sig)
            finally:
                os.close(pidfd)
        else:
            stat = _read_stat(pid)
            if stat is not None and stat[2] == start_time:
                os.kill(pid, sig)
    except OSError:                         # gone, or not ours to signal
        pass
