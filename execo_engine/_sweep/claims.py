"""Claims of one sweeper: how combinations are taken, and how their end is told."""

from __future__ import annotations

import os

from execo_engine._sweep.plan import value_of
from execo_engine._sweep.state import ClaimTaken

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from execo_engine._sweep.codec import Codec
    from execo_engine._sweep.journal import Entry
    from execo_engine._sweep.plan import Plan
    from execo_engine._sweep.state import State
    from execo_engine._sweep.store import Store, Transaction

    Move = Callable[[Transaction, bytes, bytes, int | None, float | None], Entry | None]

__all__ = ["ClaimLost", "Claims", "free_all", "free_failed", "reason_text"]


class ClaimLost(RuntimeError):
    """A combination that this sweeper had claimed was taken by another, after its lease was over or somebody cancelled it."""

    def __init__(self, combination: Any, message: str) -> None:
        super().__init__(message)
        self.combination = combination


class Claims(dict[bytes, tuple[int, float, int]]):
    """{key: (serial, monotonic date, pid)} of what this sweeper has in progress.

    :param skips: keys that it passes over; the sweeper changes them.
    """

    def __init__(self, codec: Codec, max_attempts: int | None, skips: dict[bytes, None]) -> None:
        super().__init__()
        self._codec = codec
        self._max_attempts = max_attempts
        self._skips = skips

    def texts(self, combination: Any) -> tuple[bytes, bytes]:
        """(key, exact text or b"" if it is the key)."""
        key, exact = self._codec.key(combination), self._codec.exact(combination)
        return key, b"" if exact == key else exact

    # The begin.  In a step: under the lock of the store

    def take_next(self, store: Store, transaction: Transaction, plan: Plan, number: int) -> list[Any]:
        """Up to so many that nobody has, in the order of the plan; those that came back are last."""
        state = transaction.state
        store.release_gone(transaction, self._max_attempts, at_once=False)
        taken: list[Any] = []
        lines, skips = state.lines, self._skips
        while len(taken) < number and (found := plan.next_free(lines.__contains__)) is not None:
            if found[0] not in skips:
                taken.append(self._take(store, transaction, *found))
        if len(taken) < number:
            # Nothing new is left: what came back, and first of all what those who are gone had.
            store.release_gone(transaction, self._max_attempts)
            loose = [key for key in state.loose if key not in skips]
            for key, combination in plan.find(loose, value_of(state)):
                taken.append(self._take(store, transaction, key, combination))
                if len(taken) == number:
                    break
        return taken

    def take_of(self, store: Store, transaction: Transaction, plan: Plan, number: int, chosen: Iterable[Any]) -> list[Any]:
        """Up to so many of the chosen ones."""
        planned, state = plan.index(), transaction.state
        taken: list[Any] = []
        for combination in chosen:
            if len(taken) == number:
                break
            key = self._codec.key(combination)
            if key in planned and key not in self._skips and not state.is_taken(key):
                taken.append(self._take(store, transaction, key, planned[key]))
        return taken

    def _take(self, store: Store, transaction: Transaction, key: bytes, combination: Any) -> Any:
        exact = self._codec.exact(combination)
        entry = transaction.state.claim(key, b"" if exact == key else exact, store.me.id, transaction.now)
        transaction.write(entry)
        self[key] = entry.serial, store.monotonic(), os.getpid()
        return combination

    # The end

    def end(self, store: Store, combinations: Iterable[Any], move: Move) -> list[Entry | None]:
        """Write what `move` (transaction, key, text, serial of our claim, seconds since) gives for each.

        :raises ClaimLost: if one had been claimed here, and another has it now; then nothing is written of this one and those after it.
        """
        wanted = [(combination, self._codec.key(combination)) for combination in combinations]

        def step(transaction: Transaction) -> list[Entry | None]:
            entries: list[Entry | None] = []
            for combination, key in wanted:
                mine = self.get(key)
                seconds = store.monotonic() - mine[1] if mine is not None else None
                text = b"" if key in transaction.state.lines else self.texts(combination)[1]
                try:
                    entry = move(transaction, key, text, mine[0] if mine else None, seconds)
                except ClaimTaken:
                    del self[key]
                    raise _lost(transaction.state, combination, key) from None
                transaction.write(entry)
                entries.append(entry)
            return entries

        entries = store.transact(step)
        for _, key in wanted:
            self.pop(key, None)
        store.rest()
        return entries

    def check(self, store: Store, combination: Any) -> None:
        """:raises ClaimLost: if it had been claimed here, and another has it now."""
        key = self._codec.key(combination)

        def read(state: State) -> ClaimLost | None:
            entry, mine = state.entry(key), self.get(key)
            lost = entry is not None and mine is not None and entry.serial > mine[0]
            return _lost(state, combination, key) if lost else None

        if (error := store.look(read)) is not None:
            raise error

    def checkpoint(self, store: Store, combination: Any, text: bytes) -> None:
        """:raises ClaimLost: if it had been claimed here, and another has it now.
        :raises ValueError: if it is done.
        """
        key = self._codec.key(combination)

        def step(transaction: Transaction) -> None:
            entry, mine = transaction.state.entry(key), self.get(key)
            if entry is not None and mine is not None and entry.serial > mine[0]:
                del self[key]
                raise _lost(transaction.state, combination, key)
            if entry is not None and entry.state == "done":
                raise ValueError(f"{combination!r} is done: there is nothing to continue")
            transaction.checkpoint(key, text)

        store.transact(step)

    def give_back(self, store: Store) -> None:
        """All that this process has."""
        mine = {key: serial for key, (serial, _, pid) in self.items() if pid == os.getpid()}

        def step(transaction: Transaction) -> None:
            for key, serial in mine.items():
                entry = transaction.state.entry(key)
                if entry is not None and entry.state == "inprogress" and entry.serial == serial:
                    transaction.write(transaction.state.cancel(key, transaction.now))

        if mine:
            store.transact(step)
            self.clear()


def _lost(state: State, combination: Any, key: bytes) -> ClaimLost:
    entry = state.entry(key)
    owner = state.owners.get(entry.owner or "") if entry is not None else None
    return ClaimLost(combination, f"{combination!r} is not ours any more: {state.state_of(key)}, last claimed by {owner or 'another'}")


# Whoever has them, or had

def free_failed(transaction: Transaction, wanted: Iterable[tuple[bytes, Any]]) -> list[Any]:
    """Those of (key, combination) that failed are remaining again; returns those."""
    freed = []
    for key, combination in wanted:
        if key in transaction.state.failed:
            transaction.write(transaction.state.free(key))
            freed.append(combination)
    return freed


def free_all(transaction: Transaction, inprogress: bool) -> None:
    """All that is skipped is remaining again, on demand also all that is in progress."""
    state = transaction.state
    for key in list(state.skipped):
        transaction.write(state.free(key))
    if inprogress:
        for key in list(state.inprogress):
            transaction.write(state.cancel(key, transaction.now))


def reason_text(reason: object) -> str | None:
    """Of a text, or an exception."""
    if reason is None or isinstance(reason, str):
        return reason
    if isinstance(reason, BaseException):
        return f"{type(reason).__name__}: {reason}"
    return str(reason)
