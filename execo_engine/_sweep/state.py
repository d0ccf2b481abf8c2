"""What the journal says: the state of each combination, and the steps from state to state.  Pure: lines in, lines out.

A combination is known here by its key.  One without a record is "todo".  The last record of a key is its state, so reading lines twice, or
a part of them again, gives the same.
"""

from __future__ import annotations

import json

from execo_engine._sweep.journal import Entry, kind_of, parse_entry
from execo_engine._sweep.lease import Owner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

__all__ = ["ClaimTaken", "State"]

_RECORDS = {state[:4].encode() for state in ("todo", "inprogress", "done", "skipped", "failed")}
LEGACY_OWNER = "execo2"


class ClaimTaken(Exception):
    """The claim of this serial number is not the current one any more."""


class State:
    """The combinations of a journal by state.  Not thread-safe."""

    def __init__(self) -> None:
        self.lines: dict[bytes, bytes] = {}
        """{key: last record}."""
        self.inprogress: dict[bytes, str] = {}
        """{key: id of the owner}."""
        self.failed: dict[bytes, None] = {}
        self.skipped: dict[bytes, None] = {}
        """For all: those of `persistent_skip`."""
        self.loose: dict[bytes, None] = {}
        """Those that came back, in this order: with a record, and free."""
        self.checkpoints: dict[bytes, bytes] = {}
        self.owners: dict[str, Owner] = {}
        self.notes: list[dict[str, Any]] = []
        """Plans, imports, quarantines: what the history tells."""
        self.set_aside: set[int] = set()
        """Offsets of damages that are in quarantine."""
        self.changes: list[bytes] = []
        """Keys whose record changed, in order: for those who keep sets of their own."""
        self._begun: dict[bytes, tuple[bytes, Entry]] = {}
        """{key: (record, what it says)} of claims that were written here: their ends are near, and need no parser."""

    # Reading

    def apply(self, lines: Iterable[bytes]) -> None:
        """Take in lines, in their order."""
        last: dict[bytes, bytes] = {}
        for line in lines:
            if line[13:17] in _RECORDS:
                parts = line.split(b",", 9)     # split_key, written out: a journal may have a million lines
                last[parts[9][:int(parts[7])]] = line
            elif line[13:17] == b"chec":
                _, _, length, rest = line.split(b",", 3)
                self.checkpoints[rest[:int(length)]] = rest[int(length) + 1:-1]
            else:
                self._take_note(line)
        for key, line in last.items():
            self._put(key, line)
        self.changes.extend(last)

    def write(self, entry: Entry, line: bytes) -> None:
        """Take in one record, which is at hand already."""
        key = entry.key
        self._put(key, line)
        self.changes.append(key)
        if entry.state == "inprogress":
            self._begun[key] = line, entry
        else:
            self._begun.pop(key, None)

    def _put(self, key: bytes, line: bytes) -> None:
        kind = line[13:17]
        if key in self.lines:
            # Not in more than one, but a journal that was mended may have any order.
            self.inprogress.pop(key, None)
            self.loose.pop(key, None)
            self.failed.pop(key, None)
            self.skipped.pop(key, None)
        self.lines[key] = line
        if kind == b"done":
            if key in self.checkpoints:
                del self.checkpoints[key]
        elif kind == b"inpr":
            self.inprogress[key] = line.split(b",", 5)[4][1:-1].decode()
        elif kind == b"fail":
            self.failed[key] = None
        elif kind == b"skip" and b'"persistent":true' in line and parse_entry(line).more.get("persistent"):
            self.skipped[key] = None
        else:
            self.loose[key] = None

    def _take_note(self, line: bytes) -> None:
        kind = kind_of(line)
        content = json.loads(line)[2]
        if kind == "owner":
            owner = Owner.from_json(content)
            self.owners[owner.id] = owner
        elif kind == "quarantined":
            self.set_aside.add(content["offset"])
            self.notes.append({"kind": kind, **content})
        else:
            self.notes.append({"kind": kind, **content})

    # Looking

    def entry(self, key: bytes) -> Entry | None:
        line = self.lines.get(key)
        if line is None:
            return None
        begun = self._begun.get(key)
        return begun[1] if begun is not None and begun[0] is line else parse_entry(line)

    def state_of(self, key: bytes) -> str:
        """One of STATES; a combination that its owner alone skipped counts as todo."""
        if key not in self.lines or key in self.loose:
            return "todo"
        return {b"inpr": "inprogress", b"done": "done", b"fail": "failed", b"skip": "skipped"}[self.lines[key][13:17]]

    def is_taken(self, key: bytes) -> bool:
        return key in self.lines and key not in self.loose

    def claims(self) -> dict[str, list[bytes]]:
        """{id of the owner: keys}."""
        found: dict[str, list[bytes]] = {}
        for key, owner in self.inprogress.items():
            found.setdefault(owner, []).append(key)
        return found

    def done_count(self) -> int:
        return len(self.lines) - len(self.inprogress) - len(self.failed) - len(self.skipped) - len(self.loose)

    # Steps: each gives the record to write, or None if there is nothing to say

    def claim(self, key: bytes, value: bytes, owner: str, now: float) -> Entry:
        """:raises ValueError: unless it is free."""
        if self.is_taken(key):
            raise ValueError(f"{key!r} is {self.state_of(key)}")
        before = self.entry(key)
        serial, attempts = (before.serial, before.attempts) if before else (0, 0)
        return Entry("inprogress", serial + 1, attempts + 1, owner, now, None, key, {}, value)

    def _current(self, key: bytes, serial: int | None) -> Entry | None:
        """The last record, for a step of the claim of this serial number (None: of anybody).

        :raises ClaimTaken: if there has been another claim since, or it was done by others.
        """
        entry = self.entry(key)
        if entry is not None and serial is not None and entry.serial > serial:
            raise ClaimTaken
        return entry

    def done(self, key: bytes, value: bytes, owner: str, now: float, serial: int | None = None,
             seconds: float | None = None) -> Entry | None:
        """None if it is done already."""
        entry = self._current(key, serial)
        if entry is None:
            return Entry("done", 0, 0, owner, None, now, key, {}, value)
        if entry.state == "done":
            return None
        end = now if seconds is None or entry.start is None else entry.start + seconds
        return Entry("done", entry.serial, entry.attempts, owner, entry.start, end, key, {}, entry.value)

    def fail(self, key: bytes, value: bytes, owner: str, now: float, reason: str | None, serial: int | None = None,
             seconds: float | None = None, max_attempts: int | None = None) -> Entry | None:
        """To be tried again while there have been fewer than `max_attempts`.  None if it is done."""
        entry = self._current(key, serial) or Entry("todo", 0, 0, None, None, None, key, {}, value)
        if entry.state == "done":
            return None
        again = max_attempts is not None and entry.attempts < max_attempts
        return entry._replace(state="todo" if again else "failed", owner=owner, **_end(entry, now, seconds, reason))

    def skip(self, key: bytes, value: bytes, owner: str, now: float, reason: str | None, persistent: bool,
             serial: int | None = None) -> Entry | None:
        """None if it is done."""
        entry = self._current(key, serial) or Entry("todo", 0, 0, None, None, None, key, {}, value)
        if entry.state == "done":
            return None
        end = _end(entry, now, None, reason)
        if persistent:
            end["more"] = {**end["more"], "persistent": True}
        return entry._replace(state="skipped", owner=owner, **end)

    def cancel(self, key: bytes, now: float, serial: int | None = None) -> Entry | None:
        """None unless it is in progress."""
        entry = self._current(key, serial)
        if entry is None or entry.state != "inprogress":
            return None
        return entry._replace(state="todo", attempts=max(0, entry.attempts - 1), **_end(entry, now, None))

    def release(self, key: bytes, now: float, reason: str, max_attempts: int | None = None) -> Entry:
        """The claim of an owner that is gone."""
        entry = self.entry(key)
        assert entry is not None, key
        lost = max_attempts is not None and entry.attempts >= max_attempts
        return entry._replace(state="failed" if lost else "todo", **_end(entry, now, None, reason))

    def free(self, key: bytes) -> Entry | None:
        """A failed or skipped one that is to be tried again, with a clean record; None if it is neither."""
        entry = self.entry(key)
        if entry is None or entry.state not in ("failed", "skipped"):
            return None
        return entry._replace(state="todo", attempts=0, more={})


def _end(entry: Entry, now: float, seconds: float | None, reason: str | None = None) -> dict[str, Any]:
    """The fields of the end of an attempt, which took `seconds` if that is known: the clock may be set meanwhile."""
    end = now if seconds is None or entry.start is None else entry.start + seconds
    return {"end": end, "more": {} if reason is None else {"reason": reason}}
