"""The combinations of a plan by state."""

from __future__ import annotations

from collections import Counter

from execo_engine._sweep.journal import STATES
from execo_engine._sweep.plan import value_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Hashable
    from typing import Any

    from execo_engine._sweep.plan import Plan
    from execo_engine._sweep.state import State

__all__ = ["Sets", "counts_of"]


class Sets:
    """Kept up to date by what changes.  Under the lock of the store.

    :param epoch: of the store: the sets are of no use in another one.
    :param state_of: gives the state in which a key counts.
    """

    def __init__(self, epoch: int, plan: Plan, state: State, state_of: Callable[[State, bytes], str]) -> None:
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
            for key, combination in plan.find(state.lines, value_of(state)):
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

    def counts(self) -> dict[str, int]:
        """{"total" and each state: number}, of a plan that fits in memory."""
        found = {state: len(combinations) for state, combinations in self._sets.items()}
        return {"total": sum(found.values()), **found}

    def get(self, state: str) -> set[Any]:
        """A copy."""
        if state == "todo" and not self._whole:
            if self._plan.lazy:
                self._plan.index()      # says so if it does not fit in memory
            taken: set[Hashable] = set().union(*(self._sets[one] for one in STATES if one != "todo"))
            return set(self._plan.combinations()) - taken
        return set(self._sets[state])


def counts_of(plan: Plan, state: State, state_of: Callable[[State, bytes], str]) -> dict[str, int]:
    """{"total" and each state: number}, without sets."""
    total = plan.total()
    found = Counter(state_of(state, key) for key, _ in plan.find(state.lines, value_of(state)))
    rest = sum(found[one] for one in STATES if one != "todo")
    return {"total": total, **{one: total - rest if one == "todo" else found[one] for one in STATES}}
