"""`ParamSweeper`: combinations handed out to threads, processes and hosts, each once."""

from __future__ import annotations

import json
import os
from binascii import b2a_base64
from collections import Counter

from execo_engine._sweep import files
from execo_engine._sweep.codec import Codec
from execo_engine._sweep.journal import STATES
from execo_engine._sweep.plan import Plan, PlanChange, PlanInfo, read_plan, write_plan
from execo_engine._sweep.say import INFO, WARNING, say
from execo_engine._sweep.state import LEGACY_OWNER, ClaimTaken
from execo_engine._sweep.store import DEFAULT_LEASE, QUARANTINE, Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable
    from datetime import timedelta
    from typing import Any

    from typing_extensions import Self

    from execo_engine._sweep.journal import Entry
    from execo_engine._sweep.records import Record, SweepDirectory
    from execo_engine._sweep.state import State
    from execo_engine._sweep.store import Transaction

    Filter = Callable[[set[Any]], Iterable[Any]]

__all__ = ["ClaimLost", "ParamSweeper"]

MAX_CHECKPOINT = 1 << 20
"""Bytes of text.  The journal is read by all: what is larger belongs in a file, and its name in the checkpoint."""
_IMPORTED = ("done", "inprogress")


class ClaimLost(RuntimeError):
    """A combination that this sweeper had claimed was taken by another, after its lease was over or somebody cancelled it."""

    def __init__(self, combination: Any, message: str) -> None:
        super().__init__(message)
        self.combination = combination


class ParamSweeper:
    """Hands out the combinations of a sweep, each once, to all who use the same directory; it remembers what was done::

        sweeper = ParamSweeper("campaign", sweep({"size": [1, 2, 4], "kind": ["read", "write"]}))
        while combination := sweeper.get_next():
            ...
            sweeper.done(combination)

    :param persistence_dir: a directory of its own, made if it is not there.  Threads, processes and hosts that use it share the work.
    :param sweeps: combinations: any iterable of hashable values, or a `ParameterSpace`.  None or empty: those that were saved.
    :param save_sweeps: save them in the directory, however many they are.
    :param name: for `str`; the name of the directory by default.
    :param lease: duration without a sign of life after which the claims of a process on another machine, or of one that hangs, are given to
      others.  On this machine the end of a process is seen at once.
    :param max_attempts: a combination that failed, or whose owner was lost, is tried again until it was begun so many times.  None: one
      that failed waits for `retry_failed`, one whose owner was lost is always tried again.
    :param persistent_skip: skipped combinations stay so, for all, until `reset`.  Else only this object passes over them.
    :param encoder: makes a plain value of an instance of a class of the program, for combinations that hold such.
    :param decoder: the inverse.
    :raises EOFError: without sweeps, if none were saved.
    :raises TypeError: for combinations that are not hashable, or hold what cannot be written.

    Any thread may call any method; a forked child may go on with it.  What a method says is on disk when it returns.  OSError (disk full,
    read-only): it was not said, and may be said again.  Keep the object while combinations are in progress: it gives the signs of life.
    """

    def __init__(self, persistence_dir: str | os.PathLike[str], sweeps: Iterable[Any] | None = None, save_sweeps: bool = False,
                 name: str | None = None, *, lease: float | str | timedelta = DEFAULT_LEASE, max_attempts: int | None = None,
                 persistent_skip: bool = False,
                 encoder: Callable[[Any], Any] | None = None, decoder: Callable[[Any], Any] | None = None) -> None:
        seconds = _seconds(lease)
        if not seconds > 0:
            raise ValueError(f"a lease is a positive duration, not {lease!r}")
        if max_attempts is not None and max_attempts < 1:
            raise ValueError(f"max_attempts is at least 1, not {max_attempts!r}")
        self._path = os.path.abspath(os.fspath(persistence_dir))
        self._name = name or os.path.basename(self._path)
        self._max_attempts = max_attempts
        self._persistent_skip = persistent_skip
        self._codec = Codec(encoder, decoder)
        self._decoder = decoder
        self._options = {"lease": seconds, "max_attempts": max_attempts, "persistent_skip": persistent_skip, "encoder": encoder,
                         "decoder": decoder}
        self._store = Store.open(self._path, create=True, write=True)
        if seconds != DEFAULT_LEASE:
            self._store.use_lease(seconds)
        self._claims: dict[bytes, tuple[int, float, int]] = {}
        """Claims of this object: {key: (serial, monotonic date, pid)}."""
        self._skips: dict[bytes, None] = {}
        self.plan_change: PlanChange | None = None
        """How the plan differs from that of the last use of the directory; None if it does not."""
        self._sets: _Sets | None = None
        self._store.transact(self._import_legacy)
        self.set_sweeps(sweeps, save_sweeps)
        self._store.transact(self._clean)

    def __reduce__(self) -> tuple[Any, ...]:
        # What a worker that is started with a sweeper gets: another one on the same directory.
        return _reopen, (self._path, self._plan.source, self._name, self._options)

    @property
    def name(self) -> str:
        return self._name

    @property
    def path(self) -> str:
        """Of the directory, absolute."""
        return self._path

    # The plan

    def set_sweeps(self, sweeps: Iterable[Any] | None = None, save_sweeps: bool = False) -> None:
        """Other combinations from now on; what was done of them is done.  None or empty: those that were saved.

        :raises EOFError: if none were saved.
        """
        given = [] if sweeps is None else sweeps if hasattr(sweeps, "size") or isinstance(sweeps, (set, list)) else list(sweeps)
        from_saved = not _any(given)
        plan = Plan(self._saved_sweeps() if from_saved else given, self._codec)
        identity = plan.identity()

        def step(transaction: Transaction) -> PlanChange | None:
            found = read_plan(self._store.directory)
            before = found[0] if found is not None else None
            if before is not None and before.identity == identity and (before.saved or not save_sweeps):
                return None
            total = plan.total() if plan.indexed or plan.lazy else plan.length
            write_plan(self._store.directory, PlanInfo(identity, total, self._name, transaction.now, False), plan, self._codec,
                       save_sweeps or from_saved)
            if before is not None and before.identity == identity:
                return None
            change = self._compare(before, found[1] if found else [], plan, total) if before is not None else None
            if change is not None and change.exact and not change.added and not change.removed:
                return None                     # in another order
            transaction.note("plan", {"date": transaction.now, "identity": identity, "size": total, "by": str(self._store.me),
                                      **(change._asdict() if change else {})})
            return change

        change = self._store.transact(step)
        with self._store._lock:
            self._plan, self._sets = plan, None
            self.plan_change = change
        if change is not None and (change.added or change.removed):
            say(WARNING, "%s: the plan has changed since this directory was last used: %i combinations added, %i removed, %i kept%s",
                           self._path, change.added, change.removed, change.kept, "" if change.exact else " (by their number only)")

    def _saved_sweeps(self) -> list[Any]:
        found = read_plan(self._store.directory)
        if found is not None and found[0].saved:
            return [self._codec.decode(text) for text in found[1]]
        content = files.read_file(self._store.directory, "sweeps")
        if content is not None:
            from execo_engine._sweep import legacy

            values, _ = legacy.read_pickles(content[0])
            if values and isinstance(values[0], (set, frozenset)):
                return list(values[0])
        raise EOFError(f"{self._path}: no sweeps are given, and none were saved")

    def _compare(self, before: PlanInfo, texts: list[bytes], plan: Plan, total: int) -> PlanChange:
        if before.stored and plan.fits():
            old = {self._codec.key(self._codec.decode(text)) for text in texts}
            new = plan.index().keys()
            kept = len(old & new)
            return PlanChange(len(new) - kept, len(old) - kept, kept, True)
        size = before.size or 0
        return PlanChange(max(0, total - size), max(0, size - total), min(total, size), False)

    # A directory of execo 2.8

    def _import_legacy(self, transaction: Transaction) -> None:
        """What execo 2.8 did here, or went on to do, is done; its files are only read."""
        seen = {note["file"]: note["stamp"] for note in transaction.state.notes if note["kind"] == "imported"}
        for name in _IMPORTED:
            content = files.read_file(self._store.directory, name)
            if content is None or seen.get(name) == content[1]:
                continue
            from execo_engine._sweep import legacy  # few directories need it

            values, damaged = legacy.read_pickles(content[0])
            if name == "inprogress":
                values = [value for one in values if isinstance(one, (set, frozenset)) for value in one]
            number = sum(self._import_one(transaction, value, name) for value in values)
            for one in damaged:
                line = {"date": transaction.now, "file": name, "offset": one.offset, "length": len(one.content), "reason": one.reason,
                        "base64": b2a_base64(one.content, newline=False).decode()}
                files.append_line(self._store.directory, QUARANTINE, json.dumps(line).encode() + b"\n")
                say(WARNING, "%s/%s: %i bytes at %i were set aside: %s", self._path, name, len(one.content), one.offset, one.reason)
            transaction.note("imported", {"date": transaction.now, "file": name, "stamp": content[1], "records": number,
                                          "damaged": len(damaged)})
            say(INFO, "%s: %i combinations read from %s of execo 2.8", self._path, number, name)

    def _import_one(self, transaction: Transaction, value: Any, name: str) -> bool:
        state = transaction.state
        try:
            key, text = self._texts(value)
        except TypeError as error:
            say(WARNING, "%s/%s: %r was left out: %s", self._path, name, value, error)
            return False
        if name == "done":
            entry = state.done(key, text, LEGACY_OWNER, transaction.now)
        else:
            entry = None if state.is_taken(key) else state.claim(key, text, LEGACY_OWNER, transaction.now)
        transaction.write(entry)
        return entry is not None

    # Claims

    def _texts(self, combination: Any) -> tuple[bytes, bytes]:
        """(key, exact text or b"" if it is the key)."""
        key, exact = self._codec.key(combination), self._codec.exact(combination)
        return key, b"" if exact == key else exact

    def get_next(self, filtr: Filter | None = None) -> Any:
        """A combination that nobody has, which is in progress then; None if there is none.

        :param filtr: of the set of the remaining combinations gives those to take from, in order.  Without it the order is that of the
          plan; combinations that came back are last.
        """
        found = self.get_next_batch(1, filtr)
        return found[0] if found else None

    def get_next_batch(self, num_combs: int, filtr: Filter | None = None) -> list[Any]:
        """Up to so many combinations, see `get_next`."""
        if num_combs < 1:
            return []
        store = self._store
        taken: list[Any]
        try:
            if filtr is None:
                taken = store.transact(lambda transaction: self._take_next(transaction, num_combs))
            else:
                taken = self._take_filtered(num_combs, filtr)
        except BaseException:
            with store._lock:
                self._plan.position = 0         # what it passed may not have been claimed
            raise
        if taken:
            store.live()
        return taken

    def _take_next(self, transaction: Transaction, number: int) -> list[Any]:
        state, plan = transaction.state, self._plan
        self._store.release_gone(transaction, self._max_attempts, at_once=False)
        taken: list[Any] = []
        lines, skips = state.lines, self._skips
        while len(taken) < number and (found := plan.next_free(lines.__contains__)) is not None:
            if found[0] not in skips:
                taken.append(self._claim(transaction, *found))
        if len(taken) < number:
            # Nothing new is left: what came back, and first of all what those who are gone had.
            self._store.release_gone(transaction, self._max_attempts)
            loose = [key for key in state.loose if key not in skips]
            for key, combination in plan.find(loose, self._value_of(state)):
                taken.append(self._claim(transaction, key, combination))
                if len(taken) == number:
                    break
        return taken

    def _value_of(self, state: State) -> Callable[[bytes], bytes]:
        def value(key: bytes) -> bytes:
            entry = state.entry(key)
            assert entry is not None, key
            return entry.value or entry.key
        return value

    def _take_filtered(self, number: int, filtr: Filter) -> list[Any]:
        self._store.transact(self._release_gone)
        while True:
            # The filter is the caller's: it may take its time, raise, or ask this sweeper, so no lock is held.
            chosen = list(filtr(self.get_remaining()))

            def step(transaction: Transaction, chosen: list[Any] = chosen) -> list[Any]:
                planned, state = self._plan.index(), transaction.state
                taken: list[Any] = []
                for combination in chosen:
                    if len(taken) == number:
                        break
                    key = self._codec.key(combination)
                    if key in planned and key not in self._skips and not state.is_taken(key):
                        taken.append(self._claim(transaction, key, planned[key]))
                return taken

            taken = self._store.transact(step)
            if taken or not chosen:
                return taken
            if self.get_remaining().isdisjoint(chosen):     # else others were quicker: ask again
                return []

    def _claim(self, transaction: Transaction, key: bytes, combination: Any) -> Any:
        exact = self._codec.exact(combination)
        entry = transaction.state.claim(key, b"" if exact == key else exact, self._store.me.id, transaction.now)
        transaction.write(entry)
        self._claims[key] = entry.serial, self._store.monotonic(), os.getpid()
        return combination

    def _clean(self, transaction: Transaction) -> None:
        self._release_gone(transaction)
        self._store.sweep_owners(transaction)

    def _release_gone(self, transaction: Transaction) -> None:
        self._store.release_gone(transaction, self._max_attempts)

    # The end of a combination

    def _finish(self, combinations: Iterable[Any], move: Callable[[Transaction, bytes, bytes, int | None, float | None], Entry | None],
                ) -> list[Entry | None]:
        wanted = [(combination, self._codec.key(combination)) for combination in combinations]

        def step(transaction: Transaction) -> list[Entry | None]:
            entries: list[Entry | None] = []
            for combination, key in wanted:
                mine = self._claims.get(key)
                seconds = self._store.monotonic() - mine[1] if mine is not None else None
                text = b"" if key in transaction.state.lines else self._texts(combination)[1]
                try:
                    entry = move(transaction, key, text, mine[0] if mine else None, seconds)
                except ClaimTaken:
                    del self._claims[key]
                    raise self._lost(transaction.state, combination, key) from None
                transaction.write(entry)
                entries.append(entry)
            return entries

        entries = self._store.transact(step)
        for _, key in wanted:
            self._claims.pop(key, None)
        self._store.rest()
        return entries

    def _lost(self, state: State, combination: Any, key: bytes) -> ClaimLost:
        entry = state.entry(key)
        owner = state.owners.get(entry.owner or "") if entry is not None else None
        return ClaimLost(combination, f"{combination!r} is not ours any more: {state.state_of(key)}, last claimed by {owner or 'another'}")

    def done(self, combination: Any) -> None:
        """It is done, for ever.  Also one that nobody had claimed.

        :raises ClaimLost: if this sweeper had claimed it, and another has it now.
        """
        self.done_batch([combination])

    def done_batch(self, combinations: Iterable[Any]) -> None:
        """See `done`."""
        me = self._store.me.id
        self._finish(combinations, lambda transaction, key, text, serial, seconds:
                     transaction.state.done(key, text, me, transaction.now, serial, seconds))

    def fail(self, combination: Any, reason: object = None) -> str:
        """It failed; returns "todo" if it will be tried again (see max_attempts), else "failed".  What is done stays done.

        :param reason: a text, or the exception.
        :raises ClaimLost: if this sweeper had claimed it, and another has it now.
        """
        return self.fail_batch([combination], reason)[0]

    def fail_batch(self, combinations: Iterable[Any], reason: object = None) -> list[str]:
        """See `fail`."""
        me, text_of_reason = self._store.me.id, _reason(reason)
        entries = self._finish(combinations, lambda transaction, key, text, serial, seconds: transaction.state.fail(
            key, text, me, transaction.now, text_of_reason, serial, seconds, self._max_attempts))
        return [entry.state if entry is not None else "done" for entry in entries]

    def skip(self, combination: Any, reason: object = None) -> None:
        """Pass over it: see persistent_skip.  What is done stays done.

        :raises ClaimLost: if this sweeper had claimed it, and another has it now.
        """
        self.skip_batch([combination], reason)

    def skip_batch(self, combinations: Iterable[Any], reason: object = None) -> None:
        """See `skip`."""
        me, text_of_reason = self._store.me.id, _reason(reason)
        entries = self._finish(combinations, lambda transaction, key, text, serial, _: transaction.state.skip(
            key, text, me, transaction.now, text_of_reason, self._persistent_skip, serial))
        if not self._persistent_skip:
            with self._store._lock:
                self._skips.update((entry.key, None) for entry in entries if entry is not None)
                self._sets = None

    def cancel(self, combination: Any) -> None:
        """Whoever had it in progress, it is remaining again, and the attempt does not count.

        :raises ClaimLost: if this sweeper had claimed it, and another has it now.
        """
        self.cancel_batch([combination])

    def cancel_batch(self, combinations: Iterable[Any]) -> None:
        """See `cancel`."""
        combinations = list(combinations)
        self._finish(combinations, lambda transaction, key, _, serial, __: transaction.state.cancel(key, transaction.now, serial))
        with self._store._lock:
            for combination in combinations:
                if self._skips.pop(self._codec.key(combination), b"") is None:
                    self._sets, self._plan.position = None, 0

    def check(self, combination: Any) -> None:
        """Between the steps of a long combination: is it still ours?

        :raises ClaimLost: if this sweeper had claimed it, and another has it now.
        """
        key = self._codec.key(combination)

        def read(state: State) -> ClaimLost | None:
            entry, mine = state.entry(key), self._claims.get(key)
            lost = entry is not None and mine is not None and entry.serial > mine[0]
            return self._lost(state, combination, key) if lost else None

        if (error := self._store.look(read)) is not None:
            raise error

    def checkpoint(self, combination: Any, state: Any) -> None:
        """Save where a long combination is: whoever takes it next gets this from `get_checkpoint`.

        :param state: plain values (also lists and dicts), at most 1 MB as text: save what is larger in a file, and its name here.
        :raises ClaimLost: if this sweeper had claimed it, and another has it now.
        :raises ValueError: if it is too large, or the combination is done.
        """
        text = self._codec.exact(state)
        if len(text) > MAX_CHECKPOINT:
            raise ValueError(f"a checkpoint of {len(text):,} bytes, where {MAX_CHECKPOINT:,} are allowed: save it in a file, its name here")
        key = self._codec.key(combination)

        def step(transaction: Transaction) -> None:
            entry, mine = transaction.state.entry(key), self._claims.get(key)
            if entry is not None and mine is not None and entry.serial > mine[0]:
                del self._claims[key]
                raise self._lost(transaction.state, combination, key)
            if entry is not None and entry.state == "done":
                raise ValueError(f"{combination!r} is done: there is nothing to continue")
            transaction.checkpoint(key, text)

        self._store.transact(step)

    def get_checkpoint(self, combination: Any) -> Any:
        """What was last given to `checkpoint`, by whomever; None if nothing was, or it is done."""
        key = self._codec.key(combination)
        text = self._store.look(lambda state: state.checkpoints.get(key))
        return None if text is None else self._codec.decode(text)

    def retry_failed(self, combinations: Iterable[Any] | None = None) -> list[Any]:
        """Failed combinations (None: all of the sweeps) are remaining again, with no attempt counted; returns those."""
        failed = self.get_failed()
        chosen = [combination for combination in (failed if combinations is None else combinations) if combination in failed]
        keys = [self._codec.key(combination) for combination in chosen]

        def step(transaction: Transaction) -> list[Any]:
            freed = []
            for key, combination in zip(keys, chosen, strict=True):
                if key in transaction.state.failed:
                    transaction.write(transaction.state.free(key))
                    freed.append(combination)
            return freed

        return self._store.transact(step)

    def reset(self, reset_inprogress: bool = False) -> None:
        """Skipped combinations are remaining again.

        :param reset_inprogress: those in progress too, whoever has them.
        """
        def step(transaction: Transaction) -> None:
            state = transaction.state
            for key in list(state.skipped):
                transaction.write(state.free(key))
            if reset_inprogress:
                for key in list(state.inprogress):
                    transaction.write(state.cancel(key, transaction.now))

        self._store.transact(step)
        with self._store._lock:
            self._skips.clear()
            if reset_inprogress:
                self._claims.clear()
            self._sets, self._plan.position = None, 0
        self._store.rest()

    # Looking

    def update(self) -> None:
        """Read what others did, and take back what owners that are gone had."""
        self._store.transact(self._release_gone)

    def full_update(self) -> None:
        """As `update`, reading all of the journal again."""
        with self._store._lock:
            self._store._stale = True
        self.update()

    def get_sweeps(self) -> set[Any]:
        """All combinations."""
        return set(self._plan.combinations())

    def get_remaining(self) -> set[Any]:
        """Those that this sweeper may still hand out."""
        return self._current_sets().get("todo")

    def get_skipped(self) -> set[Any]:
        """Those that this sweeper passes over."""
        return self._current_sets().get("skipped")

    def get_inprogress(self) -> set[Any]:
        """Those that somebody has."""
        return self._current_sets().get("inprogress")

    def get_done(self) -> set[Any]:
        """Those that are done."""
        return self._current_sets().get("done")

    def get_failed(self) -> set[Any]:
        """Those that failed, and are not to be tried again by themselves."""
        return self._current_sets().get("failed")

    def stats(self) -> tuple[set[Any], set[Any], set[Any], set[Any], set[Any]]:
        """(sweeps, remaining, skipped, in progress, done), each a set; failed ones are in sweeps only."""
        sets = self._current_sets()
        return self.get_sweeps(), sets.get("todo"), sets.get("skipped"), sets.get("inprogress"), sets.get("done")

    def plot(self, x: str, y: str, file: str | os.PathLike[str] | None = None) -> Any:
        """A picture of the states over two parameters, a matplotlib Figure; also saved if `file` says where.

        :raises ImportError: without matplotlib.
        :raises LookupError: if no combination has both parameters.
        """
        from execo_engine.plot import plot_states

        sets = self._current_sets()
        return plot_states([(one, state) for state in STATES for one in sets.get(state)], x, y, file, self._name)

    def counts(self) -> dict[str, int]:
        """{"total", "todo", "inprogress", "done", "skipped", "failed": number of combinations of the sweeps}."""
        with self._store._lock:
            if self._plan.fits():
                sets = self._current_sets()
                found = {state: sets.number(state) for state in STATES}
                return {"total": sum(found.values()), **found}
            total = self._plan.total()
            return self._store.look(lambda state: self._count(state, total))

    def _count(self, state: State, total: int) -> dict[str, int]:
        found = Counter(self._state_here(state, key) for key, _ in self._plan.find(state.lines, self._value_of(state)))
        rest = sum(found[one] for one in STATES if one != "todo")
        return {"total": total, **{one: total - rest if one == "todo" else found[one] for one in STATES}}

    @property
    def remaining_count(self) -> int:
        return self.counts()["todo"]

    @property
    def failed_count(self) -> int:
        return self.counts()["failed"]

    def _state_here(self, state: State, key: bytes) -> str:
        found = state.state_of(key)
        return "skipped" if found == "todo" and key in self._skips else found

    def _current_sets(self) -> _Sets:
        with self._store._lock:
            self._store._refresh()
            state = self._store.state
            if self._sets is None or self._sets.epoch != self._store.epoch or not self._sets.update(state, self._state_here):
                self._sets = _Sets(self._store.epoch, self._plan, state, self._state_here, self._value_of(state))
            return self._sets

    def record(self, combination: Any) -> Record | None:
        """What is known of a combination; None if nobody began it."""
        from execo_engine._sweep.records import make_record

        key = self._codec.key(combination)

        def read(state: State) -> Record | None:
            entry = state.entry(key)
            return None if entry is None else make_record(state, entry, combination)

        return self._store.look(read)

    def records(self, state: str | None = None) -> list[Record]:
        """Of those combinations of the sweeps that have one.

        :param state: only those in this state, one of `STATES`.
        """
        from execo_engine._sweep.records import check_state, make_record

        check_state(state)
        with self._store._lock:
            self._store._refresh()
            found = self._store.state
            keys = [key for key in found.lines if state is None or found.state_of(key) == state]
            return [make_record(found, entry, combination) for key, combination in self._plan.find(keys, self._value_of(found))
                    if (entry := found.entry(key)) is not None]

    @property
    def directory(self) -> SweepDirectory:
        """The same files, for tools."""
        from execo_engine._sweep.records import SweepDirectory

        return SweepDirectory(self._path, decoder=self._decoder, write=True)

    def __str__(self) -> str:
        found = self.counts()
        failed = f", {found['failed']} failed" if found["failed"] else ""
        return (f"{self._name} <{found['total']} total, {found['done']} done, {found['skipped']} skipped, "
                f"{found['inprogress']} in progress, {found['todo']} remaining{failed}>")

    # The end

    def close(self) -> None:
        """Give back what this object still has in progress.  It is of no use after this."""
        store = self.__dict__.get("_store")
        if store is None:
            return
        mine = {key: serial for key, (serial, _, pid) in self._claims.items() if pid == os.getpid()}

        def step(transaction: Transaction) -> None:
            for key, serial in mine.items():
                entry = transaction.state.entry(key)
                if entry is not None and entry.state == "inprogress" and entry.serial == serial:
                    transaction.write(transaction.state.cancel(key, transaction.now))

        if mine:
            store.transact(step)
            self._claims.clear()
        store.rest()
        del self._store

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Sets:
    """The combinations of a plan by state, kept up to date by what changes.  Under the lock of the store."""

    def __init__(self, epoch: int, plan: Plan, state: State, state_of: Callable[[State, bytes], str],
                 value_of: Callable[[bytes], bytes]) -> None:
        self.epoch = epoch
        self._seen = len(state.changes)
        self._plan = plan
        self._whole = plan.fits()
        self._sets: dict[str, set[Hashable]] = {one: set() for one in STATES}
        self._of: dict[bytes, str] = {}
        if self._whole:
            for key, combination in plan.index().items():
                self._put(key, combination, state_of(state, key))
        else:
            for key, combination in plan.find(state.lines, value_of):
                self._put(key, combination, state_of(state, key))

    def _put(self, key: bytes, combination: Hashable, state: str) -> None:
        before = self._of.get(key)
        if before == state:
            return
        if before is not None:
            self._sets[before].discard(combination)
        self._of[key] = state
        self._sets[state].add(combination)

    def update(self, state: State, state_of: Callable[[State, bytes], str]) -> bool:
        """False: make it anew."""
        changed = dict.fromkeys(state.changes[self._seen:])
        self._seen = len(state.changes)
        if changed and not self._whole:
            return False
        if changed:
            index = self._plan.index()
            for key in changed:
                if key in index:
                    self._put(key, index[key], state_of(state, key))
        return True

    def number(self, state: str) -> int:
        return len(self._sets[state])

    def get(self, state: str) -> set[Any]:
        """A copy."""
        if state == "todo" and not self._whole:
            if self._plan.lazy:
                self._plan.index()      # says so if it does not fit in memory
            taken: set[Hashable] = set().union(*(self._sets[one] for one in STATES if one != "todo"))
            return set(self._plan.combinations()) - taken
        return set(self._sets[state])


def _reopen(path: str, sweeps: Any, name: str, options: dict[str, Any]) -> ParamSweeper:
    return ParamSweeper(path, sweeps, name=name, **options)


def _seconds(duration: float | str | timedelta) -> float:
    if isinstance(duration, (int, float)):
        return duration
    from execo.time_utils import get_seconds

    return get_seconds(duration)


def _any(sweeps: Any) -> bool:
    if hasattr(sweeps, "size"):
        return bool(sweeps.size)
    return len(sweeps) > 0


def _reason(reason: object) -> str | None:
    if reason is None or isinstance(reason, str):
        return reason
    if isinstance(reason, BaseException):
        return f"{type(reason).__name__}: {reason}"
    return str(reason)
