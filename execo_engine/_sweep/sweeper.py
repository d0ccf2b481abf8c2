"""`ParamSweeper`: combinations handed out to threads, processes and hosts, each once."""

from __future__ import annotations

import os

from execo_engine._sweep import files
from execo_engine._sweep.claims import ClaimLost, Claims, free_all, free_failed, reason_text
from execo_engine._sweep.codec import Codec
from execo_engine._sweep.journal import STATES
from execo_engine._sweep.plan import Plan, PlanChange, save_plan, saved_sweeps
from execo_engine._sweep.say import WARNING, say
from execo_engine._sweep.store import DEFAULT_LEASE
from execo_engine._sweep.stores import open_store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import timedelta
    from typing import Any

    from typing_extensions import Self

    from execo_engine._sweep.records import Record, SweepDirectory
    from execo_engine._sweep.sets import Sets
    from execo_engine._sweep.state import State
    from execo_engine._sweep.store import Transaction

    Filter = Callable[[set[Any]], Iterable[Any]]

__all__ = ["ClaimLost", "ParamSweeper"]

MAX_CHECKPOINT = 1 << 20
"""Bytes of text.  The journal is read by all: what is larger belongs in a file, and its name in the checkpoint."""
_IMPORTED = ("done", "inprogress")


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
        self._store = open_store(self._path, create=True, write=True)
        if seconds != DEFAULT_LEASE:
            self._store.use_lease(seconds)
        self._skips: dict[bytes, None] = {}
        self._claims = Claims(self._codec, max_attempts, self._skips)
        self.plan_change: PlanChange | None = None
        """How the plan differs from that of the last use of the directory; None if it does not."""
        self._sets: Sets | None = None
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
            return save_plan(transaction, self._store.directory, plan, identity, self._name, self._codec, save_sweeps, from_saved)

        change = self._store.transact(step)
        with self._store.lock:
            self._plan, self._sets = plan, None
            self.plan_change = change
        if change is not None and (change.added or change.removed):
            say(WARNING, "%s: the plan has changed since this directory was last used: %i combinations added, %i removed, %i kept%s",
                           self._path, change.added, change.removed, change.kept, "" if change.exact else " (by their number only)")

    def _saved_sweeps(self) -> list[Any]:
        found = saved_sweeps(self._store.directory, self._codec)
        if found is None:
            raise EOFError(f"{self._path}: no sweeps are given, and none were saved")
        return found

    def _import_legacy(self, transaction: Transaction) -> None:
        """What execo 2.8 did here, or went on to do, is done."""
        seen = {note["file"]: note["stamp"] for note in transaction.state.notes if note["kind"] == "imported"}
        for name in _IMPORTED:
            found = files.read_file(self._store.directory, name)
            if found is None or seen.get(name) == found[1]:
                continue
            from execo_engine._sweep.legacy_import import import_file  # few directories need it

            import_file(transaction, self._store.directory, self._path, name, *found, self._claims.texts)

    # Claims

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
                taken = store.transact(lambda transaction: self._claims.take_next(store, transaction, self._plan, num_combs))
            else:
                taken = self._take_filtered(num_combs, filtr)
        except BaseException:
            with store.lock:
                self._plan.position = 0         # what it passed may not have been claimed
            raise
        if taken:
            store.live()
        return taken

    def _take_filtered(self, number: int, filtr: Filter) -> list[Any]:
        self._store.transact(self._release_gone)
        while True:
            # The filter is the caller's: it may take its time, raise, or ask this sweeper, so no lock is held.
            chosen = list(filtr(self.get_remaining()))

            def step(transaction: Transaction, chosen: list[Any] = chosen) -> list[Any]:
                return self._claims.take_of(self._store, transaction, self._plan, number, chosen)

            taken = self._store.transact(step)
            if taken or not chosen:
                return taken
            if self.get_remaining().isdisjoint(chosen):     # else others were quicker: ask again
                return []

    def _clean(self, transaction: Transaction) -> None:
        self._release_gone(transaction)
        self._store.sweep_owners(transaction)

    def _release_gone(self, transaction: Transaction) -> None:
        self._store.release_gone(transaction, self._max_attempts)

    # The end of a combination

    def done(self, combination: Any) -> None:
        """It is done, for ever.  Also one that nobody had claimed.

        :raises ClaimLost: if this sweeper had claimed it, and another has it now.
        """
        self.done_batch([combination])

    def done_batch(self, combinations: Iterable[Any]) -> None:
        """See `done`."""
        me = self._store.me.id
        self._claims.end(self._store, combinations, lambda transaction, key, text, serial, seconds:
                     transaction.state.done(key, text, me, transaction.now, serial, seconds))

    def fail(self, combination: Any, reason: object = None) -> str:
        """It failed; returns "todo" if it will be tried again (see max_attempts), else "failed".  What is done stays done.

        :param reason: a text, or the exception.
        :raises ClaimLost: if this sweeper had claimed it, and another has it now.
        """
        return self.fail_batch([combination], reason)[0]

    def fail_batch(self, combinations: Iterable[Any], reason: object = None) -> list[str]:
        """See `fail`."""
        me, text_of_reason = self._store.me.id, reason_text(reason)
        entries = self._claims.end(self._store, combinations, lambda transaction, key, text, serial, seconds: transaction.state.fail(
            key, text, me, transaction.now, text_of_reason, serial, seconds, self._max_attempts))
        return [entry.state if entry is not None else "done" for entry in entries]

    def skip(self, combination: Any, reason: object = None) -> None:
        """Pass over it: see persistent_skip.  What is done stays done.

        :raises ClaimLost: if this sweeper had claimed it, and another has it now.
        """
        self.skip_batch([combination], reason)

    def skip_batch(self, combinations: Iterable[Any], reason: object = None) -> None:
        """See `skip`."""
        me, text_of_reason = self._store.me.id, reason_text(reason)
        entries = self._claims.end(self._store, combinations, lambda transaction, key, text, serial, _: transaction.state.skip(
            key, text, me, transaction.now, text_of_reason, self._persistent_skip, serial))
        if not self._persistent_skip:
            with self._store.lock:
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
        self._claims.end(self._store, combinations, lambda transaction, key, _, serial, __:
                         transaction.state.cancel(key, transaction.now, serial))
        with self._store.lock:
            for combination in combinations:
                if self._skips.pop(self._codec.key(combination), b"") is None:
                    self._sets, self._plan.position = None, 0

    def check(self, combination: Any) -> None:
        """Between the steps of a long combination: is it still ours?

        :raises ClaimLost: if this sweeper had claimed it, and another has it now.
        """
        self._claims.check(self._store, combination)

    def checkpoint(self, combination: Any, state: Any) -> None:
        """Save where a long combination is: whoever takes it next gets this from `get_checkpoint`.

        :param state: plain values (also lists and dicts), at most 1 MB as text: save what is larger in a file, and its name here.
        :raises ClaimLost: if this sweeper had claimed it, and another has it now.
        :raises ValueError: if it is too large, or the combination is done.
        """
        text = self._codec.exact(state)
        if len(text) > MAX_CHECKPOINT:
            raise ValueError(f"a checkpoint of {len(text):,} bytes, where {MAX_CHECKPOINT:,} are allowed: save it in a file, its name here")
        self._claims.checkpoint(self._store, combination, text)

    def get_checkpoint(self, combination: Any) -> Any:
        """What was last given to `checkpoint`, by whomever; None if nothing was, or it is done."""
        key = self._codec.key(combination)
        text = self._store.look(lambda state: state.checkpoints.get(key))
        return None if text is None else self._codec.decode(text)

    def retry_failed(self, combinations: Iterable[Any] | None = None) -> list[Any]:
        """Failed combinations (None: all of the sweeps) are remaining again, with no attempt counted; returns those."""
        failed = self.get_failed()
        chosen = [combination for combination in (failed if combinations is None else combinations) if combination in failed]
        wanted = [(self._codec.key(combination), combination) for combination in chosen]
        return self._store.transact(lambda transaction: free_failed(transaction, wanted))

    def reset(self, reset_inprogress: bool = False) -> None:
        """Skipped combinations are remaining again.

        :param reset_inprogress: those in progress too, whoever has them.
        """
        self._store.transact(lambda transaction: free_all(transaction, reset_inprogress))
        with self._store.lock:
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
        self._store.reread()
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
        with self._store.lock:
            if self._plan.fits():
                return self._current_sets().counts()
            from execo_engine._sweep.sets import counts_of

            return self._store.look(lambda state: counts_of(self._plan, state, self._state_here))

    @property
    def remaining_count(self) -> int:
        return self.counts()["todo"]

    @property
    def failed_count(self) -> int:
        return self.counts()["failed"]

    def _state_here(self, state: State, key: bytes) -> str:
        found = state.state_of(key)
        return "skipped" if found == "todo" and key in self._skips else found

    def _current_sets(self) -> Sets:
        return self._store.look(self._sets_of)

    def _sets_of(self, state: State) -> Sets:
        epoch = self._store.epoch
        if self._sets is None or self._sets.epoch != epoch or not self._sets.update(state, self._state_here):
            from execo_engine._sweep.sets import Sets  # not needed to take the next one

            self._sets = Sets(epoch, self._plan, state, self._state_here)
        return self._sets

    def record(self, combination: Any) -> Record | None:
        """What is known of a combination; None if nobody began it."""
        from execo_engine._sweep.records import record_of

        key = self._codec.key(combination)
        return self._store.look(lambda state: record_of(state, key, combination))

    def records(self, state: str | None = None) -> list[Record]:
        """Of those combinations of the sweeps that have one.

        :param state: only those in this state, one of `STATES`.
        """
        from execo_engine._sweep.records import check_state, records_of

        check_state(state)
        return self._store.look(lambda found: records_of(found, self._plan, state))

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
        self._claims.give_back(store)
        store.rest()
        del self._store

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


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
