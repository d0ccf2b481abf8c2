"""The directory of a sweep: the journal that threads, processes and hosts write to in turn.

One `Store` serves all of a process that use a directory.  A step (`transact`) holds the lock of the thread and that of the file, reads what
others wrote since, decides, writes at the end of what it read, and has it on disk before it unlocks.  Steps of threads that wait for each
other share one write.  The journal only grows; only `compact` puts another one in its place.

Files: `journal`; `plan`, what is to be done; `owners/ID`, the counter of a process that holds claims; `quarantine`, what was damaged.
"""

from __future__ import annotations

import atexit
import errno
import json
import os
import threading
import time
import weakref
from binascii import b2a_base64
from queue import Empty, SimpleQueue

from execo_engine._sweep import files, lease
from execo_engine._sweep.journal import Damage, Entry, frame, is_sound, make_note, parse_entry, scan
from execo_engine._sweep.say import WARNING, say
from execo_engine._sweep.state import State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, TypeVar

    T = TypeVar("T")

__all__ = ["Store", "Transaction"]

VERSION = 1
JOURNAL, PLAN, QUARANTINE, OWNERS = "journal", "plan", "quarantine", "owners"
DEFAULT_LEASE = 1800.0
BEATS = 10
"""Changes of the counter in a lease."""
GONE_EVERY = 1.0
"""Seconds between looks for owners that are gone, while there is other work."""
_ENDED = "ended"
_LINGER = 0.2
_REST, _STOP = "rest", "stop"


class Transaction:
    """What a step sees and writes.  `state` already has what was written."""

    def __init__(self, store: Store, state: State, now: float) -> None:
        self.store = store
        self.state = state
        self.now = now
        """Unix seconds."""
        self.written: list[bytes] = []

    def note(self, kind: str, content: dict[str, Any]) -> None:
        self._write(make_note(kind, content))

    def write(self, entry: Entry | None) -> None:
        """None: nothing.  The first record with this process as owner says who it is."""
        if entry is None:
            return
        if entry.owner not in self.state.owners and entry.owner == self.store.me.id:
            self.note("owner", self.store.me.to_json())
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


class _Open:
    """What a store holds open: apart, so that it can be let go when the store is not there any more."""

    def __init__(self, directory: int) -> None:
        self.directory = directory
        self.journal = -1
        self.owner = ""
        """Id under which this process beats here."""
        self.pid = os.getpid()
        self.inbox: SimpleQueue[str] = SimpleQueue()
        """Of the pulse.  Unlike other queues it may be used in a finalizer."""

    def close(self) -> None:
        self.inbox.put(_STOP)
        if self.owner and self.pid == os.getpid():
            _unlink(self.directory, f"{OWNERS}/{self.owner}")
        for fd in (self.journal, self.directory):
            if fd >= 0:
                os.close(fd)
        self.journal = self.directory = -1


def _unlink(directory: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=directory)
    except OSError:                     # gone, or the directory is read-only: it is a file that nobody needs
        pass


_stores: weakref.WeakValueDictionary[tuple[int, int], Store] = weakref.WeakValueDictionary()
_stores_lock = threading.RLock()        # also taken by finalizers, which the collector may run anywhere


class Store:
    """The files of a sweep.  Any thread may call any method."""

    # Made by Store.open only.
    def __init__(self, path: str, directory: int, writable: bool) -> None:
        self.path = path
        self.writable = writable
        self.state = State()
        self.epoch = 0
        """Changes when `state` is read anew from the beginning."""
        self._open = _Open(directory)
        self._end = 0
        self._cut_off = False
        """Whether the journal ends in the middle of a line."""
        self._stale = True
        self._lock = threading.RLock()
        self._queue: list[_Ticket] = []
        self._watch = lease.Watch(DEFAULT_LEASE)
        self._next_look = 0.0
        self._pulse: threading.Thread | None = None
        self._beat_every = DEFAULT_LEASE / BEATS
        self._resting = False
        self.clock: Callable[[], float] = time.time
        self.monotonic: Callable[[], float] = time.monotonic
        weakref.finalize(self, _close, self._open).atexit = False

    @classmethod
    def open(cls, path: str, create: bool = False, write: bool = False) -> Store:
        """The store of a directory: the one that this process has already, or a new one.

        :raises FileNotFoundError: without `create`, if there is no journal.
        :raises PermissionError: with `write`, if it can only be read.
        """
        if create:
            _make_directories(path)
        with _stores_lock:
            directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                found = os.fstat(directory)
                store = _stores.get((found.st_dev, found.st_ino))
                if store is not None and (store.writable or not write):
                    os.close(directory)
                    if create:
                        store._make_owners()
                    return store
                store = cls(os.path.abspath(path), directory, writable=False)
            except BaseException:
                os.close(directory)
                raise
            store._open_journal(create, write)
            if create:
                store._make_owners()
            _stores[found.st_dev, found.st_ino] = store
            return store

    @property
    def directory(self) -> int:
        return self._open.directory

    @property
    def me(self) -> lease.Owner:
        return lease.this_process()

    # The journal

    def _open_journal(self, create: bool, write: bool) -> None:
        flags = os.O_CLOEXEC | (os.O_CREAT if create else 0)
        name = os.path.join(self.path, JOURNAL)
        try:
            fd = os.open(JOURNAL, flags | os.O_RDWR, 0o666, dir_fd=self.directory)
            self.writable = True
        except FileNotFoundError:
            raise FileNotFoundError(errno.ENOENT, "there is no sweep here, or it was removed: no journal", name) from None
        except OSError as error:
            if write or error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise
            fd = os.open(JOURNAL, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.directory)
            self.writable = False
        if self._open.journal >= 0:
            os.close(self._open.journal)
        self._open.journal = fd
        if self.writable and (create or os.fstat(fd).st_size):
            files.sync_directory(self.directory)        # who replaced it may have been stopped before
        self._forget()

    def _make_owners(self) -> None:
        try:
            os.mkdir(OWNERS, dir_fd=self.directory)
        except FileExistsError:
            pass

    def _forget(self) -> None:
        """Read all again: what memory holds may not be what is on disk."""
        self.state = State()
        self.epoch += 1
        self._end, self._cut_off, self._stale = 0, False, False

    def _acquire(self) -> int:
        """Lock the journal that is in place; returns its size."""
        while True:
            if self._open.journal < 0:
                self._open_journal(create=False, write=True)
            files.lock(self._open.journal)
            try:
                found = os.fstat(self._open.journal)
            except OSError as error:
                if error.errno != errno.ESTALE:
                    raise
                found = None                    # NFS: compaction on another host
            if found is not None and found.st_nlink > 0:
                return found.st_size
            os.close(self._open.journal)        # unlocks
            self._open.journal = -1

    def _read(self, size: int, locked: bool) -> list[Damage]:
        """Take in what is new; returns the damages that nobody set aside yet.

        Without the lock, the last line may be just being written: it is left for the next time.
        """
        if self._stale or size < self._end:
            self._forget()
        if size == self._end:
            return []
        data = files.read_from(self._open.journal, self._end, size)
        found = scan(data, self._end)
        if self._end == 0:
            _check_version(found.lines, self.path)
        end = self._end + len(data)
        if not found.damages and not found.tail:        # as nearly always
            self.state.apply(found.lines)
            self._end = end
            return []
        lines, damages = found.lines, found.damages
        if found.tail and locked and is_sound(found.tail):
            lines = [*lines, found.tail]        # only its newline is missing
            self._cut_off = True
        elif found.tail and locked:
            damages = [*damages, Damage(end - len(found.tail), found.tail, "cut off")]
            self._cut_off = True
        elif found.tail:
            end -= len(found.tail)
        self.state.apply(lines)
        damages = [damage for damage in damages if damage.offset not in self.state.set_aside]
        if damages and not locked:
            # Who holds the lock will judge.  Until then the sound lines from there on are read again, which changes nothing.
            end = min(end, damages[0].offset)
        self._end = end
        return damages

    def _set_aside(self, damages: list[Damage], transaction: Transaction) -> None:
        for damage in damages:
            line = {"date": transaction.now, "offset": damage.offset, "length": len(damage.content), "reason": damage.reason,
                    "by": str(self.me), "base64": b2a_base64(damage.content, newline=False).decode()}
            try:
                files.append_line(self.directory, QUARANTINE, json.dumps(line).encode() + b"\n")
            except OSError as error:            # the bytes are still in the journal
                say(WARNING, "%s: cannot write %s: %s", self.path, QUARANTINE, str(error))
            transaction.note("quarantined", {name: line[name] for name in ("date", "offset", "length", "reason", "by")})
            say(WARNING, "%s: %i damaged bytes of the journal at %i (%s) were set aside; all other records are kept",
                           self.path, len(damage.content), damage.offset, damage.reason)

    def _append(self, lines: list[bytes]) -> None:
        data = (b"\n" if self._cut_off else b"") + b"".join(lines)
        try:
            files.write_at(self._open.journal, data, self._end)
        except OSError as error:
            raise OSError(error.errno, f"{error.strerror}: not recorded", os.path.join(self.path, JOURNAL)) from None
        self._end += len(data)
        self._cut_off = False

    # Steps

    def transact(self, step: Callable[[Transaction], T]) -> T:
        """Run a step that may write; what it wrote is on disk when this returns.

        :raises OSError: if it could not be written; then it was not done, and all is as before.  Also what the step raises.
        """
        ticket = _Ticket(step)
        self._queue.append(ticket)
        try:
            with self._lock:
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
        try:
            try:
                transaction = self._begin()
                for ticket in tickets:
                    ticket.run(transaction)
                if transaction.written:
                    self._append(transaction.written)
            finally:
                if self._open.journal >= 0:
                    files.unlock(self._open.journal)
        except BaseException as error:
            self._stale = True
            for ticket in tickets:
                ticket.error = error if isinstance(error, Exception) else RuntimeError(f"interrupted by {error!r}")
            if not isinstance(error, Exception):
                raise
        finally:
            for ticket in tickets:
                ticket.over = True

    def _begin(self) -> Transaction:
        """Lock, and take in what others wrote.  The caller unlocks, whatever comes."""
        if not self.writable:
            raise PermissionError(errno.EACCES, "the journal can only be read", os.path.join(self.path, JOURNAL))
        damages = self._read(self._acquire(), locked=True)
        transaction = Transaction(self, self.state, self.clock())
        if self._end == 0:
            transaction.note("format", {"execo_engine": VERSION})
        if damages:
            self._set_aside(damages, transaction)
        return transaction

    def look(self, reader: Callable[[State], T]) -> T:
        """Read what others wrote, without lock, then the state."""
        with self._lock:
            self._refresh()
            return reader(self.state)

    def _refresh(self) -> None:
        if self._open.journal >= 0:
            try:
                found = os.fstat(self._open.journal)
            except OSError as error:
                if error.errno != errno.ESTALE:
                    raise
                found = None
            if found is not None and found.st_nlink > 0:
                self._read(found.st_size, locked=False)
                return
        self._open_journal(create=False, write=False)
        self._read(os.fstat(self._open.journal).st_size, locked=False)

    def compact(self) -> tuple[int, int]:
        """Leave out of the journal all that is not the state; returns its size in bytes before and after.

        Whenever it is interrupted, the journal is the old or the new one, and both say the same.
        """
        with self._lock:
            try:
                transaction = self._begin()
                if transaction.written:
                    self._append(transaction.written)
                return self._end, files.replace_file(self.directory, JOURNAL, self._compacted())
            finally:
                self._stale = True              # the next one opens what is in place then
                if self._open.journal >= 0:
                    files.unlock(self._open.journal)

    def _compacted(self) -> Iterator[bytes]:
        """The lines of a journal that says no more than the state."""
        state = self.state
        used = {entry.owner for entry in map(parse_entry, state.lines.values())}
        yield make_note("format", {"execo_engine": VERSION})
        for owner in state.owners.values():
            if owner.id in used:
                yield make_note("owner", owner.to_json())
        for note in state.notes:
            # The places of damages mean nothing in the new file; the bytes are in the quarantine.
            kind = "was-quarantined" if note["kind"] == "quarantined" else note["kind"]
            if kind != "format":
                yield make_note(kind, {name: value for name, value in note.items() if name != "kind"})
        yield from (line + b"\n" for line in state.lines.values())
        for key, text in state.checkpoints.items():
            yield frame(b'"checkpoint",%d,%s,%s' % (len(key), key, text))

    # Claims of owners that are gone

    def use_lease(self, seconds: float) -> None:
        """The shortest that any user of this store asked for holds."""
        with self._lock:
            if self._watch.lease == DEFAULT_LEASE or seconds < self._watch.lease:
                self._watch.lease = seconds
                self._beat_every = seconds / BEATS

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
            if reason := self._why_gone(state.owners.get(id_), id_, now):
                say(WARNING, "%s: %i combinations are remaining again: %s", self.path, len(keys), reason)
                for key in keys:
                    transaction.write(state.release(key, transaction.now, reason, max_attempts))
                self._watch.forget(id_)
                _unlink(self.directory, f"{OWNERS}/{id_}")
                number += len(keys)
        return number

    def sweep_owners(self, transaction: Transaction) -> None:
        """Remove the counters of owners that are gone and have no claims: killed between two combinations."""
        claims = set(transaction.state.inprogress.values())
        fd = os.open(OWNERS, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.directory)
        try:
            for id_ in os.listdir(fd):
                owner = transaction.state.owners.get(id_)
                if id_ not in claims and owner is not None and lease.is_gone(owner):
                    _unlink(fd, id_)
        finally:
            os.close(fd)

    def _why_gone(self, owner: lease.Owner | None, id_: str, now: float) -> str:
        """'' if it may be alive."""
        name = str(owner) if owner else f"owner {id_}"
        if owner is not None and lease.is_gone(owner):
            return f"{name} is gone"
        beat = self.beat_of(id_)
        if beat == _ENDED:
            return f"{name} has ended"
        if self._watch.observe(id_, beat, now):
            return f"{name} gave no sign of life for {self._watch.lease:g} s"
        return ""

    def beat_of(self, id_: str) -> str:
        """What the counter of an owner shows; "" if there is none."""
        try:
            fd = os.open(f"{OWNERS}/{id_}", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.directory)
        except OSError:
            return ""
        try:
            return os.read(fd, 64).decode("ascii", "replace").strip()
        finally:
            os.close(fd)

    def alive(self, id_: str, owner: lease.Owner | None) -> tuple[bool | None, float | None]:
        """(whether an owner lives, None if that is not known; seconds since it was seen to give a sign)."""
        with self._lock:
            now = self.monotonic()
            over = self._watch.observe(id_, beat := self.beat_of(id_), now)
            age = self._watch.age(id_, now)
            gone = lease.is_gone(owner) if owner is not None else None
            if gone or over or beat == _ENDED:
                return False, age
            return (True if gone is False else None), age

    # The sign of life of this process

    def _write_beat(self, text: str) -> None:
        fd = os.open(f"{OWNERS}/{self.me.id}", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666, dir_fd=self.directory)
        try:
            files.write_at(fd, f"{text:<24}\n".encode(), 0)
        finally:
            os.close(fd)

    def live(self) -> None:
        """This process has claims now: it must give signs of life."""
        if self._has_pulse():               # it ends under the lock, and only if there are no claims
            return
        with self._lock:
            if self._has_pulse():           # another thread was quicker
                return
            opened = self._open
            opened.owner, opened.pid, opened.inbox = self.me.id, os.getpid(), SimpleQueue()
            self._resting = False
            try:
                self._write_beat("0")
            except OSError as error:
                say(WARNING, "%s: cannot give a sign of life: %s", self.path, str(error))
            self._pulse = threading.Thread(target=_beat, args=(weakref.ref(self), opened.inbox, self._beat_every),
                                           name="execo-sweep-pulse", daemon=True)
            self._pulse.start()

    def _has_pulse(self) -> bool:
        pulse = self._pulse
        return pulse is not None and pulse.is_alive()

    def rest(self) -> None:
        """This process may have no claims any more."""
        if not self._resting and self._pulse is not None:
            self._resting = True
            self._open.inbox.put(_REST)

    def _ends_pulse(self) -> bool:
        """In the pulse: whether it has nothing to say any more."""
        with self._lock:
            self._resting = False
            if self.has_claims():
                return False
            self._pulse = None
            self._open.owner = ""
            _unlink(self.directory, f"{OWNERS}/{self.me.id}")
            return True

    def has_claims(self) -> bool:
        id_ = self.me.id
        return id_ in self.state.inprogress.values()

    def _end_of_process(self) -> None:
        """Other hosts need not wait for the lease."""
        if self._open.owner and self._open.pid == os.getpid() and self.has_claims():
            try:
                self._write_beat(_ENDED)
            except OSError:             # then they wait
                pass
            self._open.owner = ""       # the file stays
        self._open.inbox.put(_STOP)

    def _after_fork(self) -> None:
        """In the child: its own locks, its own open file, and no part in the claims of its parent."""
        self._lock = threading.RLock()
        self._queue = []
        self._resting, self._pulse = False, None
        self._open.inbox = SimpleQueue()
        if self._open.journal >= 0:
            os.close(self._open.journal)        # the lock of an open file is shared with the parent
            self._open.journal = -1
        self._open.owner = ""
        self._stale = True


def _beat(store_ref: weakref.ref[Store], inbox: SimpleQueue[str], every: float) -> None:
    """Change the counter while there are claims; ends a moment after there are none, or with the store."""
    count, warned = 0, False
    due = time.monotonic() + every
    while True:
        try:
            message = inbox.get(timeout=max(0.0, due - time.monotonic()))
            if message == _REST:
                message = inbox.get(timeout=_LINGER)        # most often the next claim is near
            if message == _STOP:
                return
        except Empty:
            message = ""
        store = store_ref()
        if store is None or store._ends_pulse():
            return
        if time.monotonic() >= due:
            count, due = count + 1, time.monotonic() + every
            try:
                store._write_beat(str(count))
                warned = False
            except OSError as error:
                if not warned:
                    say(WARNING, "%s: cannot give a sign of life, so other hosts may take the claims of this process: %s",
                                   store.path, str(error))
                warned = True
        del store


def _check_version(lines: list[bytes], path: str) -> None:
    if lines and lines[0][13:19] == b"format":
        version = json.loads(lines[0])[2].get("execo_engine")
        if version != VERSION:
            raise ValueError(f"{path}: the journal has format {version!r}, this version of execo_engine reads {VERSION}")


def _make_directories(path: str) -> None:
    """Like `os.makedirs`, and on disk when it returns."""
    path = os.path.abspath(path)
    if os.path.isdir(path):
        return
    parent = os.path.dirname(path)
    _make_directories(parent)
    try:
        os.mkdir(path)
    except FileExistsError:             # another worker; if it is no directory the open says so
        return
    fd = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        files.sync_directory(fd)
    finally:
        os.close(fd)


def _close(opened: _Open) -> None:
    with _stores_lock:
        opened.close()


@atexit.register
def _end_of_process() -> None:
    for store in list(_stores.values()):
        store._end_of_process()


def _after_fork_in_child() -> None:
    global _stores_lock
    _stores_lock = threading.RLock()
    for store in list(_stores.values()):
        store._after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
