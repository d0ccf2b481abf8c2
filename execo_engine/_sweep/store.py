"""The directory of a sweep: the journal that threads, processes and hosts write to in turn.

One `Store` serves all of a process that use a directory (see `stores`).  A step (`transact`) holds the lock of the thread and that of the
file, reads what others wrote since, decides, writes at the end of what it read, and has it on disk before it unlocks.  Steps of threads
that wait for each other share one write.  The journal only grows; only `compact` puts another one in its place.

Files: `journal`; `plan`, what is to be done; `owners/ID`, the counter of a process that holds claims; `quarantine`, what was damaged.
"""

from __future__ import annotations

import time
import weakref

from execo_engine._sweep import files, lease, owners
from execo_engine._sweep.journal import frame, make_note
from execo_engine._sweep.journal_file import FORMAT, JournalFile
from execo_engine._sweep.pulse import Pulse
from execo_engine._sweep.say import WARNING, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from typing import Any, TypeVar

    from execo_engine._sweep.journal import Entry
    from execo_engine._sweep.state import State

    T = TypeVar("T")

__all__ = ["DEFAULT_LEASE", "Store", "Transaction"]

DEFAULT_LEASE = 1800.0
GONE_EVERY = 1.0
"""Seconds between looks for owners that are gone, while there is other work."""


class Transaction:
    """What a step sees and writes.  `state` already has what was written."""

    def __init__(self, state: State, now: float) -> None:
        self.state = state
        self.now = now
        """Unix seconds."""
        self.written: list[bytes] = []

    @property
    def me(self) -> lease.Owner:
        return lease.this_process()

    def note(self, kind: str, content: dict[str, Any]) -> None:
        self._write(make_note(kind, content))

    def write(self, entry: Entry | None) -> None:
        """None: nothing.  The first record with this process as owner says who it is."""
        if entry is None:
            return
        if entry.owner not in self.state.owners and entry.owner == self.me.id:
            self.note("owner", self.me.to_json())
        line = frame(entry.body())
        self.state.write(entry, line[:-1])
        self.written.append(line)

    def checkpoint(self, key: bytes, state: bytes) -> None:
        self._write(frame(b'"checkpoint",%d,%s,%s' % (len(key), key, state)))

    def _write(self, line: bytes) -> None:
        self.state.apply([line[:-1]])
        self.written.append(line)


class _Ticket:
    """A step that waits for its turn, and what came of it."""

    __slots__ = ("_step", "error", "over", "result")

    def __init__(self, step: Callable[[Transaction], Any]) -> None:
        self._step = step
        self.over = False
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self, transaction: Transaction) -> None:
        try:
            self.result = self._step(transaction)
        except Exception as error:
            self.error = error


class Store:
    """The files of a sweep.  Any thread may call any method.

    :param close: called with what is open when the store is not there any more.
    """

    # Made by open_store only.
    def __init__(self, journal: JournalFile, close: Callable[[JournalFile, Pulse], object]) -> None:
        self._journal = journal
        self._pulse = Pulse(journal, weakref.ref(self), DEFAULT_LEASE)
        self.live, self.rest = self._pulse.live, self._pulse.rest
        self._queue: list[_Ticket] = []
        self._watch = lease.Watch(DEFAULT_LEASE)
        self._next_look = 0.0
        self.clock: Callable[[], float] = time.time
        self.monotonic: Callable[[], float] = time.monotonic
        weakref.finalize(self, close, journal, self._pulse).atexit = False

    @property
    def path(self) -> str:
        return self._journal.path

    @property
    def directory(self) -> int:
        return self._journal.directory

    @property
    def writable(self) -> bool:
        return self._journal.writable

    @property
    def lock(self) -> threading.RLock:
        return self._journal.lock

    @property
    def epoch(self) -> int:
        """Changes when the state is read anew from the beginning."""
        return self._journal.epoch

    @property
    def me(self) -> lease.Owner:
        return lease.this_process()

    # Steps

    def transact(self, step: Callable[[Transaction], T]) -> T:
        """Run a step that may write; what it wrote is on disk when this returns.

        :raises OSError: if it could not be written; then it was not done, and all is as before.  Also what the step raises.
        """
        ticket = _Ticket(step)
        self._queue.append(ticket)
        try:
            with self._journal.lock:
                if not ticket.over:         # else another thread ran it while this one waited
                    self._run_queue()
        finally:
            if not ticket.over and ticket in self._queue:       # Ctrl-C while it waited: nobody would see the result
                self._queue.remove(ticket)
        if ticket.error is not None:
            try:
                raise ticket.error
            finally:
                ticket.error = None     # else it would be part of its own traceback, and keep all of this alive
        result: T = ticket.result
        return result

    def _run_queue(self) -> None:
        tickets = self._queue[:]
        del self._queue[:len(tickets)]
        journal = self._journal
        try:
            try:
                transaction = self._begin()
                for ticket in tickets:
                    ticket.run(transaction)
                if transaction.written:
                    journal.append(transaction.written)
            finally:
                if journal.fd >= 0:
                    files.unlock(journal.fd)
        except BaseException as error:
            journal.stale = True
            for ticket in tickets:
                ticket.error = error if isinstance(error, Exception) else RuntimeError(f"interrupted by {error!r}")
            if not isinstance(error, Exception):
                raise
        finally:
            for ticket in tickets:
                ticket.over = True

    def _begin(self) -> Transaction:
        """Lock, and take in what others wrote.  The caller unlocks, whatever comes."""
        journal = self._journal
        damages = journal.begin()
        transaction = Transaction(journal.state, self.clock())
        if journal.end == 0:
            transaction.note("format", FORMAT)
        if damages:
            from execo_engine._sweep import quarantine

            quarantine.set_aside(journal.directory, journal.path, damages, transaction)
        return transaction

    def look(self, reader: Callable[[State], T]) -> T:
        """Read what others wrote, without lock of the file, then the state."""
        journal = self._journal
        with journal.lock:
            journal.refresh()
            return reader(journal.state)

    def reread(self) -> None:
        """The next step or look reads all of the journal."""
        with self._journal.lock:
            self._journal.stale = True

    def compact(self) -> tuple[int, int]:
        """Leave out of the journal all that is not the state; returns its size in bytes before and after.

        Whenever it is interrupted, the journal is the old or the new one, and both say the same.
        """
        from execo_engine._sweep.compaction import compacted

        journal = self._journal
        with journal.lock:
            try:
                transaction = self._begin()
                if transaction.written:
                    journal.append(transaction.written)
                return journal.end, journal.replace(compacted(journal.state, make_note("format", FORMAT)))
            finally:
                journal.stale = True            # the next one opens what is in place then
                if journal.fd >= 0:
                    files.unlock(journal.fd)

    # Owners of claims

    def use_lease(self, seconds: float) -> None:
        """The shortest that any user of this store asked for holds."""
        with self._journal.lock:
            if self._watch.lease == DEFAULT_LEASE or seconds < self._watch.lease:
                self._watch.lease = seconds
                self._pulse.use_lease(seconds)

    def release_gone(self, transaction: Transaction, max_attempts: int | None = None, at_once: bool = True) -> int:
        """Claims of owners that are gone, or whose lease is over, come back; returns their number.

        :param at_once: False: not more often than once in `GONE_EVERY` seconds.
        """
        now = self.monotonic()
        if not at_once and now < self._next_look:
            return 0
        self._next_look = now + GONE_EVERY
        state, number = transaction.state, 0
        if not state.inprogress:
            return 0
        for id_, keys in state.claims().items():
            if id_ == self.me.id:
                continue
            if reason := owners.why_gone(self.directory, id_, state.owners.get(id_), self._watch, now):
                say(WARNING, "%s: %i combinations are remaining again: %s", self.path, len(keys), reason)
                for key in keys:
                    transaction.write(state.release(key, transaction.now, reason, max_attempts))
                self._watch.forget(id_)
                owners.remove_beat(self.directory, id_)
                number += len(keys)
        return number

    def sweep_owners(self, transaction: Transaction) -> None:
        """Remove the counters of owners that are gone and have no claims."""
        owners.remove_gone(self.directory, transaction.state)

    def alive(self, id_: str, owner: lease.Owner | None) -> tuple[bool | None, float | None]:
        """(whether an owner lives, None if that is not known; seconds since it was seen to give a sign)."""
        with self._journal.lock:
            now = self.monotonic()
            over = self._watch.observe(id_, beat := owners.read_beat(self.directory, id_), now)
            age = self._watch.age(id_, now)
            gone = lease.is_gone(owner) if owner is not None else None
            if gone or over or beat == owners.ENDED:
                return False, age
            return (True if gone is False else None), age

    # Called by `stores`

    def make_owners(self) -> None:
        owners.make_folder(self.directory)

    def end_of_process(self) -> None:
        self._pulse.end_of_process()

    def after_fork(self) -> None:
        """In the child: its own locks, its own open file, and no part in the claims of its parent."""
        self._queue = []
        self._journal.after_fork()
        self._pulse.after_fork()
