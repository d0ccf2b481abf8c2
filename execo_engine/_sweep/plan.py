"""What is to be done: the combinations of a sweeper, in order, found by key, and their identity."""

from __future__ import annotations

import json
import os
from collections import namedtuple

from execo_engine._sweep import files
from execo_engine._sweep.digest import blake2b

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
    from typing import Any

    from execo_engine._sweep.codec import Codec
    from execo_engine._sweep.state import State
    from execo_engine._sweep.store import Transaction

__all__ = ["Plan", "PlanChange", "PlanInfo", "read_plan", "save_plan", "saved_sweeps", "value_of"]

EAGER = 20_000
"""Up to so many combinations are put in order by key at once: cheap then, and all later steps are quicker."""
INDEXABLE = 1_000_000
"""Up to so many, when a filter or a set asks for it."""
STORED = 100_000
"""Up to so many are written to the directory, so that tools can list them and a changed plan is compared one by one."""
PLAN = "plan"


class PlanInfo(namedtuple("PlanInfo", "identity size name date stored saved", defaults=(False,))):
    """The plan that a directory was last used with."""

    __slots__ = ()
    identity: str
    size: int | None
    name: str
    date: float
    stored: bool
    """Whether the combinations themselves are there."""
    saved: bool
    """Whether they are for a sweeper without sweeps of its own (save_sweeps)."""


class PlanChange(namedtuple("PlanChange", "added removed kept exact")):
    """How a plan differs from the one that the directory was used with before."""

    __slots__ = ()
    added: int
    removed: int
    kept: int
    exact: bool
    """False: the plans are too large to compare one by one; the numbers say how the sizes differ, at least."""


class Plan:
    """Combinations, each once, in an order.  Not thread-safe.

    :param sweeps: any iterable; one with a `size` and items at an index is never gone through unless somebody asks for all of it.
    """

    def __init__(self, sweeps: Iterable[Any], codec: Codec) -> None:
        self._codec = codec
        self.lazy = hasattr(sweeps, "size") and hasattr(sweeps, "__getitem__") and not hasattr(sweeps, "dtype")
        self._source: Any = sweeps
        self._ordered = True
        if not self.lazy:
            self._ordered = not isinstance(sweeps, (set, frozenset))
            self._source = list(sweeps)
        self._index: dict[bytes, Any] | None = None
        self._keys: list[bytes] = []
        self._total: int | None = None
        self._absent: set[bytes] = set()
        self.position = 0
        """Where the search for a combination without record goes on."""
        if self.length <= EAGER:
            self.index()

    @property
    def source(self) -> Any:
        """The sequence of all combinations; one may be there twice."""
        return self._source

    @property
    def length(self) -> int:
        """Of the source: more than there are combinations, if some are there twice."""
        return int(self._source.size) if self.lazy else len(self._source)

    def total(self) -> int:
        """How many combinations there are."""
        if self._total is None:
            if self._index is not None:
                self._total = len(self._index)
            elif self.lazy:             # those that build it see to it that none is twice
                self._total = self.length
            else:
                self._total = len(set(self._source))
        return self._total

    def index(self) -> dict[bytes, Any]:
        """{key: combination}, in order.

        :raises ValueError: for a plan that does not fit in memory.
        """
        if self._index is None:
            if self.length > INDEXABLE and self.lazy:
                raise ValueError(f"{self.length:,} combinations are too many to hold in memory: take a sample, or use where() of the space "
                                 "instead of a filter")
            key = self._codec.key
            found: dict[bytes, Any] = {}
            for combination in self._source:
                found.setdefault(key(combination), combination)
            self._index, self._keys = found, list(found)
        return self._index

    @property
    def indexed(self) -> bool:
        return self._index is not None

    def fits(self) -> bool:
        """Whether an index may be made."""
        return self._index is not None or self.length <= INDEXABLE // 4

    def next_free(self, is_taken: Callable[[bytes], bool]) -> tuple[bytes, Any] | None:
        """The next one that is not taken, from `position` on; it is passed then.  None at the end."""
        if self._index is not None:
            keys = self._keys
            for place in range(self.position, len(keys)):
                if not is_taken(keys[place]):
                    self.position = place + 1
                    return keys[place], self._index[keys[place]]
            self.position = len(keys)
            return None
        length, source, key = self.length, self._source, self._codec.key
        while self.position < length:
            combination = source[self.position]
            self.position += 1
            if not is_taken(found := key(combination)):
                return found, combination
        return None

    def find(self, keys: Iterable[bytes], value_of: Callable[[bytes], bytes]) -> Iterator[tuple[bytes, Any]]:
        """Those of `keys` that are in the plan, with their combinations.

        :param value_of: exact text of a combination, by key.
        """
        wanted = [key for key in keys if key not in self._absent]
        if not wanted:
            return
        if self._index is None and self.fits():
            self.index()
        if self._index is not None:
            yield from ((key, self._index[key]) for key in wanted if key in self._index)
        elif self.lazy:
            for key in wanted:
                combination = self._codec.decode(value_of(key))
                if combination in self._source:
                    yield key, combination
                else:
                    self._absent.add(key)
        else:
            missing = set(wanted)
            for combination in self._source:
                if (found := self._codec.key(combination)) in missing:
                    missing.discard(found)
                    yield found, combination
                    if not missing:
                        return
            self._absent |= missing

    def __iter__(self) -> Iterator[tuple[bytes, Any]]:
        if self._index is not None:
            return iter(self._index.items())
        key = self._codec.key
        return ((key(combination), combination) for combination in self._source)

    def combinations(self) -> Iterable[Hashable]:
        """All of them; a large plan may give one twice."""
        found: Sequence[Hashable] = self._index.values() if self._index is not None else self._source  # type: ignore[assignment]
        return found

    def identity(self) -> str:
        """The same for the same plan; if it is small also whatever the order of its combinations."""
        if self.lazy and self._index is None and hasattr(self._source, "identity"):
            return str(self._source.identity)
        digest = blake2b(digest_size=16)
        if self.length <= EAGER or (self.length <= STORED and not self._ordered):
            for key in sorted(self._index if self._index is not None else {key for key, _ in self}):
                digest.update(key + b"\n")
            return f"{self.total()}-{digest.hexdigest()}"
        # Many: in their order, which costs less.  A set has another one in each run: only its size is compared.
        if self._ordered and not self.lazy:
            for place in range(0, self.length, 1000):
                digest.update(self._piece(self._source[place:place + 1000]))
        return f"{self.length}-{digest.hexdigest()}"

    def _piece(self, combinations: list[Any]) -> bytes:
        try:
            return json.dumps(combinations, default=self._default).encode()
        except (TypeError, ValueError):         # names that json cannot write
            return b"\n".join(map(self._codec.key, combinations))

    def _default(self, value: Any) -> str:
        return self._codec.key(value).decode()


def value_of(state: State) -> Callable[[bytes], bytes]:
    """What gives the exact text of a combination that has a record, by key."""
    def value(key: bytes) -> bytes:
        entry = state.entry(key)
        assert entry is not None, key
        return entry.value or entry.key
    return value


def write_plan(directory: int, info: PlanInfo, plan: Plan, codec: Codec, keep: bool) -> PlanInfo:
    """Write the plan to the directory; its combinations too if they are few, or with `keep`."""
    stored = keep or plan.length <= STORED

    def pieces() -> Iterator[bytes]:
        yield json.dumps({**info._asdict(), "stored": stored, "saved": keep}).encode() + b"\n"
        if stored:
            seen: set[bytes] = set()
            for key, combination in plan:
                if plan.indexed or key not in seen:
                    yield codec.exact(combination) + b"\n"
                if not plan.indexed:
                    seen.add(key)

    files.replace_file(directory, PLAN, pieces())
    return info._replace(stored=stored, saved=keep)


def read_plan(directory: int) -> tuple[PlanInfo, list[bytes]] | None:
    """(what it is, exact texts of its combinations if they are stored); None if there is none, or it is damaged."""
    try:
        fd = os.open(PLAN, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
    except OSError:
        return None
    with os.fdopen(fd, "rb") as file:
        content = file.read()
    lines = content.split(b"\n")
    try:
        info = PlanInfo(**json.loads(lines[0]))
    except (ValueError, TypeError):
        return None
    if info.stored and len(lines) - 2 != info.size:
        return None
    return info, lines[1:-1]


def saved_sweeps(directory: int, codec: Codec) -> list[Any] | None:
    """The combinations that somebody asked to be saved, here or with execo 2.8; None if nobody did."""
    found = read_plan(directory)
    if found is not None and found[0].saved:
        return [codec.decode(text) for text in found[1]]
    content = files.read_file(directory, "sweeps")
    if content is None:
        return None
    from execo_engine._sweep import legacy_import  # few directories need it

    return legacy_import.saved_sweeps(content[0])


def save_plan(transaction: Transaction, directory: int, plan: Plan, identity: str, name: str, codec: Codec, keep: bool,
              again: bool) -> PlanChange | None:
    """Write what the directory is used for from now on, unless it says so already; how it differs from what it was used for before.

    :param identity: of the plan, which can take a while: it is asked for before the lock is taken.
    :param keep: save the combinations too, however many they are.
    :param again: they are those that were saved.
    """
    found = read_plan(directory)
    before = found[0] if found is not None else None
    if before is not None and before.identity == identity and (before.saved or not keep):
        return None
    total = plan.total() if plan.indexed or plan.lazy else plan.length
    write_plan(directory, PlanInfo(identity, total, name, transaction.now, False), plan, codec, keep or again)
    if before is not None and before.identity == identity:
        return None
    change = _compare(before, found[1] if found else [], plan, total, codec) if before is not None else None
    if change is not None and change.exact and not change.added and not change.removed:
        return None                     # in another order
    transaction.note("plan", {"date": transaction.now, "identity": identity, "size": total, "by": str(transaction.me),
                              **(change._asdict() if change else {})})
    return change


def _compare(before: PlanInfo, texts: list[bytes], plan: Plan, total: int, codec: Codec) -> PlanChange:
    if before.stored and plan.fits():
        old = {codec.key(codec.decode(text)) for text in texts}
        new = plan.index().keys()
        kept = len(old & new)
        return PlanChange(len(new) - kept, len(old) - kept, kept, True)
    size = before.size or 0
    return PlanChange(max(0, total - size), max(0, size - total), min(total, size), False)
