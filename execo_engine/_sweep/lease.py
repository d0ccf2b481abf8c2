"""Who owns a claim, and whether that owner still lives.

A claim is a lease.  Its owner, a process, changes a counter from time to time (`Pulse`).  Whoever looks judges by what it
sees itself: a counter that has not changed during a whole lease, on the clock of the observer that nobody sets, is that of a dead one
(`Watch`, pure).  On the same machine the table of processes says so at once (`is_gone`).
"""

from __future__ import annotations

import os
import pwd
import time
from collections import namedtuple
from functools import lru_cache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

__all__ = ["Owner", "Watch", "is_gone", "this_process"]


class Owner(namedtuple("Owner", "id host pid user start_date ticks boot namespace", defaults=(0, "", ""))):
    """A process that claims combinations.  Also: one that is gone."""

    __slots__ = ()
    id: str
    host: str
    pid: int
    user: str
    start_date: float
    """When it began to use the sweep, Unix seconds."""
    ticks: int
    """Start of the process in clock ticks since the machine booted: a pid may be given again."""
    boot: str
    """Identity of this boot of the machine."""
    namespace: str
    """Of process numbers: those of a container mean nothing outside."""

    def to_json(self) -> dict[str, Any]:
        return self._asdict()

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Owner:
        """Unknown fields, of a later version, are left out."""
        return cls(**{name: found[name] for name in cls._fields if name in found})

    @property
    def local(self) -> bool:
        """Whether its pid means something here: this machine, this boot, this namespace of processes."""
        return (self.host, self.boot, self.namespace) == (os.uname().nodename, *_machine()) and self.boot != ""

    def __str__(self) -> str:
        return f"process {self.pid} of {self.user} on {self.host}"


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


@lru_cache(maxsize=1)
def _machine() -> tuple[str, str]:
    """(boot, namespace of processes), "" for what cannot be known."""
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        namespace = ""
    return _read("/proc/sys/kernel/random/boot_id").strip(), namespace


def start_ticks(stat: str) -> tuple[str, int] | None:
    """(state letter, start in clock ticks) from the text of /proc/PID/stat; None if it is none."""
    fields = stat.rpartition(")")[2].split()
    return (fields[0], int(fields[19])) if len(fields) > 19 else None


def this_process() -> Owner:
    """A process has one id while it lives; a fork of it has another."""
    return _owner_of(os.getpid())


@lru_cache(maxsize=1)
def _owner_of(pid: int) -> Owner:
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:                    # a user without name: a container that gives any number
        user = str(os.getuid())
    found = start_ticks(_read(f"/proc/{pid}/stat"))
    boot, namespace = _machine()
    return Owner(os.urandom(6).hex(), os.uname().nodename, pid, user, time.time(), found[1] if found else 0, boot, namespace)


def is_gone(owner: Owner) -> bool | None:
    """Whether a process of this machine has ended; None for one of another machine, which cannot be asked."""
    if not owner.local:
        return None
    try:
        os.kill(owner.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:             # another user's
        pass
    # Where /proc hides other users' processes there is nothing to read, and the signal has told that it lives.
    found = start_ticks(_read(f"/proc/{owner.pid}/stat"))
    if found is None:
        return False
    state, ticks = found
    return state in "ZX" or (owner.ticks != 0 and ticks != owner.ticks)


class Watch:
    """Judges owners by their counters.  Not thread-safe."""

    def __init__(self, lease: float) -> None:
        self.lease = lease
        self._seen: dict[str, tuple[str, float]] = {}

    def observe(self, owner: str, beat: str, now: float) -> bool:
        """Whether the lease is over: this very beat has been there for a whole lease.

        :param beat: what the owner's counter shows; "" if it has none.
        :param now: monotonic seconds.
        """
        seen = self._seen.get(owner)
        if seen is None or seen[0] != beat:
            self._seen[owner] = beat, now
            return False
        return now - seen[1] >= self.lease

    def age(self, owner: str, now: float) -> float | None:
        """Seconds since its counter was seen to change, or was first seen; None if it never was."""
        seen = self._seen.get(owner)
        return None if seen is None else now - seen[1]

    def forget(self, owner: str) -> None:
        self._seen.pop(owner, None)
