"""What tools see of a sweep: records, owners, counts, without a plan of their own."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

from execo_engine._sweep import files
from execo_engine._sweep.codec import Codec
from execo_engine._sweep.journal import STATES, Entry, kind_of, parse_entry, scan
from execo_engine._sweep.journal_file import JOURNAL
from execo_engine._sweep.plan import PlanInfo, read_plan, value_of
from execo_engine._sweep.store import DEFAULT_LEASE
from execo_engine._sweep.stores import open_store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from typing_extensions import Self

    from execo_engine._sweep.lease import Owner
    from execo_engine._sweep.plan import Plan
    from execo_engine._sweep.state import State

__all__ = ["OwnerStatus", "Record", "SweepDirectory", "Verification", "check_state", "export_execo2", "record_of", "records_of"]


@dataclass(frozen=True)
class Record:
    """What is known of a combination.  Dates are Unix seconds."""

    combination: Any
    state: str
    """One of `STATES`."""
    attempts: int
    """How often it was begun, without those that were cancelled."""
    serial: int
    """How often it was claimed."""
    owner: Owner | None
    """Who claimed it last."""
    start_date: float | None
    end_date: float | None
    seconds: float | None
    """Length of the last attempt that ended."""
    reason: str | None
    """Why it failed, was skipped, or was taken from its owner."""
    key: bytes
    """Its identity in the store."""
    has_checkpoint: bool


class OwnerStatus(NamedTuple):
    """An owner of claims, as seen from here."""

    owner: Owner
    alive: bool | None
    """None: of another machine, and its lease is not over."""
    claims: int
    last_beat: float | None
    """Seconds since it was seen to give a sign of life."""


class Verification(NamedTuple):
    """What a check of a journal found."""

    ok: bool
    records: int
    damaged: list[tuple[int, int, str]]
    """(offset, length, reason) of bytes that are no record and were not set aside yet."""
    quarantined: int
    duplicates_done: int
    """Done records of combinations that were done before: never written."""
    problems: list[str]


def make_record(state: State, entry: Entry, combination: Any) -> Record:
    seconds = None
    if entry.start is not None and entry.end is not None and entry.state != "inprogress":
        seconds = max(0.0, entry.end - entry.start)
    return Record(combination, state.state_of(entry.key), entry.attempts, entry.serial, state.owners.get(entry.owner or ""), entry.start,
                  entry.end, seconds, entry.more.get("reason"), entry.key, entry.key in state.checkpoints)


def record_of(state: State, key: bytes, combination: Any) -> Record | None:
    """None if nobody began it."""
    entry = state.entry(key)
    return None if entry is None else make_record(state, entry, combination)


def records_of(state: State, plan: Plan, which: str | None) -> list[Record]:
    """Of those combinations of a plan that have one.

    :param which: only those in this state; None: all.
    """
    keys = [key for key in state.lines if which is None or state.state_of(key) == which]
    return [make_record(state, entry, combination) for key, combination in plan.find(keys, value_of(state))
            if (entry := state.entry(key)) is not None]


class SweepDirectory:
    """The directory of a sweep, to look at and to administrate: no plan is needed, no combination is claimed.

    :param lease: seconds without a sign of life after which an owner on another machine counts as dead.
    :param decoder: that of the sweeper, for combinations with classes of the program.
    :param write: to change something; else only files are read.
    :raises FileNotFoundError: if there is no sweep.
    :raises PermissionError: with `write`, if the directory can only be read.

    Any thread may call any method.
    """

    def __init__(self, path: str | os.PathLike[str], *, lease: float = DEFAULT_LEASE, decoder: Callable[[Any], Any] | None = None,
                 write: bool = False) -> None:
        self.path = os.path.abspath(os.fspath(path))
        self._store = open_store(self.path, write=write)
        if lease != DEFAULT_LEASE:
            self._store.use_lease(lease)
        self._codec = Codec(decoder=decoder)
        self._write = write
        self._seen = (-1, -1)
        self._plan: tuple[tuple[int, int], tuple[PlanInfo, list[bytes]] | None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """The object is of no use after this."""
        self.__dict__.pop("_store", None)

    def refresh(self) -> bool:
        """Whether something has changed since the last call.  Cheap: it may be called often."""
        seen = self._store.look(lambda state: (self._store.epoch, len(state.changes) + len(state.notes)))
        changed, self._seen = seen != self._seen, seen
        return changed

    # The plan

    def _read_plan(self) -> tuple[PlanInfo, list[bytes]] | None:
        try:
            found = os.stat("plan", dir_fd=self._store.directory)
        except FileNotFoundError:
            return None
        stamp = found.st_ino, found.st_mtime_ns
        if self._plan is None or self._plan[0] != stamp:
            self._plan = stamp, read_plan(self._store.directory)
        return self._plan[1]

    @property
    def plan(self) -> PlanInfo | None:
        """What the directory was last used for; None if nothing says it."""
        found = self._read_plan()
        return None if found is None else found[0]

    def combinations(self) -> Iterator[Any]:
        """The combinations of the plan.

        :raises LookupError: if they are not stored: there are very many (see `ParamSweeper`, save_sweeps).
        """
        found = self._read_plan()
        if found is None or not found[0].stored:
            raise LookupError(f"{self.path}: the combinations of the plan are not stored")
        return map(self._codec.decode, found[1])

    def _planned_keys(self) -> set[bytes] | None:
        found = self._read_plan()
        if found is None or not found[0].stored:
            return None
        return {self._codec.key(self._codec.decode(text)) for text in found[1]}

    # The records

    def records(self, state: str | None = None) -> list[Record]:
        """Of all combinations that have one, also of former plans; those that nobody began have none.

        :param state: only those in this state, one of `STATES`.
        :raises ValueError: if there is no such state.
        """
        check_state(state)

        def read(found: State) -> list[Record]:
            chosen = (key for key in found.lines if state is None or found.state_of(key) == state)
            return [self._record(found, parse_entry(found.lines[key])) for key in chosen]

        return self._store.look(read)

    def _record(self, state: State, entry: Entry) -> Record:
        text = entry.value or entry.key
        try:
            combination = self._codec.decode(text)
        except ValueError:              # classes of the program, and no decoder: its text is better than nothing
            combination = text.decode()
        return make_record(state, entry, combination)

    def counts(self) -> dict[str, int | None]:
        """{"total", "todo", "inprogress", "done", "skipped", "failed": combinations of the plan}.

        Total and todo are None if the plan is unknown.  If its combinations are not stored, all that was ever done counts.
        """
        planned, plan = self._planned_keys(), self.plan

        def read(state: State) -> dict[str, int | None]:
            keys = state.lines if planned is None else planned & state.lines.keys()
            found = Counter(map(state.state_of, keys))
            total = len(planned) if planned is not None else plan.size if plan is not None else None
            todo = None if total is None else total - sum(found[one] for one in STATES if one != "todo")
            return {"total": total, **{one: todo if one == "todo" else found[one] for one in STATES}}

        return self._store.look(read)

    def owners(self) -> list[OwnerStatus]:
        """Of the claims."""
        claims, known = self._store.look(lambda state: (state.claims(), dict(state.owners)))
        found = []
        for id_, keys in claims.items():
            if (owner := known.get(id_)) is not None:
                alive, age = (True, 0.0) if id_ == self._store.me.id else self._store.alive(id_, owner)
                found.append(OwnerStatus(owner, alive, len(keys), age))
        return found

    def history(self) -> list[dict[str, Any]]:
        """Changes of the plan, imports, damages: {"kind", "date", ...}, in the order in which they were noted."""
        return self._store.look(lambda state: [dict(note) for note in state.notes if note["kind"] != "format"])

    # Changes

    def _need_write(self) -> None:
        if not self._write:
            raise PermissionError(f"{self.path} was opened to be read: give write=True")

    def retry(self, records: Iterable[Record]) -> int:
        """Failed and skipped ones are to be tried again; returns how many were."""
        self._need_write()
        keys = [record.key for record in records]

        def step(transaction: Any) -> int:
            entries = [entry for key in keys if (entry := transaction.state.free(key))]
            for entry in entries:
                transaction.write(entry)
            return len(entries)

        return self._store.transact(step)

    def cancel(self, records: Iterable[Record]) -> int:
        """Claims end, whoever has them: their owners learn it at their next step, if others took them; returns how many there were."""
        self._need_write()
        keys = [record.key for record in records]

        def step(transaction: Any) -> int:
            entries = [entry for key in keys if (entry := transaction.state.cancel(key, transaction.now))]
            for entry in entries:
                transaction.write(entry)
            return len(entries)

        return self._store.transact(step)

    def compact(self) -> tuple[int, int]:
        """Bytes of the journal before and after.  Others may go on meanwhile."""
        self._need_write()
        return self._store.compact()

    def verify(self) -> Verification:
        """Read the whole journal anew, changing nothing."""
        fd = os.open(JOURNAL, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._store.directory)
        try:
            data = files.read_from(fd, 0, os.fstat(fd).st_size)
        finally:
            os.close(fd)
        found = scan(data, 0)
        set_aside: set[int] = set()
        done: set[bytes] = set()
        records = twice = quarantined = 0
        problems: list[str] = []
        for line in found.lines:
            kind = kind_of(line)
            if kind in STATES:
                entry = parse_entry(line)
                records += 1
                if kind == "done":
                    twice += entry.key in done
                    done.add(entry.key)
                elif entry.key in done:
                    problems.append(f"{entry.key.decode()} is {kind} after it was done")
            elif kind in ("quarantined", "was-quarantined"):
                quarantined += 1
                if kind == "quarantined":
                    set_aside.add(parse_note(line)["offset"])
        damaged = [(one.offset, len(one.content), one.reason) for one in found.damages if one.offset not in set_aside]
        if found.tail:
            damaged.append((len(data) - len(found.tail), len(found.tail), "cut off, or just being written"))
        if twice:
            problems.append(f"{twice} combinations have two done records")
        return Verification(not damaged and not problems, records, damaged, quarantined, twice, problems)


def parse_note(line: bytes) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(line)[2]
    return content


def check_state(state: str | None) -> None:
    """:raises ValueError: unless it is a state or None."""
    if state is not None and state not in STATES:
        raise ValueError(f"no state {state!r}, only {', '.join(STATES)}")


def export_execo2(source: str | os.PathLike[str], target: str | os.PathLike[str], *, decoder: Callable[[Any], Any] | None = None
                  ) -> dict[str, int]:
    """Write the directory of a sweep as execo 2.8 has it, to another directory; returns {file: combinations}.

    Failed and skipped combinations are remaining there, which has no such states.

    :raises FileExistsError: if the target holds a sweep of execo 2.8.
    """
    from execo_engine._sweep import legacy

    os.makedirs(target, exist_ok=True)
    for name in legacy.FILES:
        if os.path.exists(os.path.join(target, name)):
            raise FileExistsError(f"{os.path.join(target, name)} exists: choose another directory")
    with SweepDirectory(source, decoder=decoder) as directory:
        done = [record.combination for record in directory.records("done")]
        inprogress = [record.combination for record in directory.records("inprogress")]
        contents = {"done": (legacy.dump_done(done), len(done)), "inprogress": (legacy.dump_set(inprogress), len(inprogress))}
        try:
            planned = list(directory.combinations())
            contents["sweeps"] = legacy.dump_set(planned), len(planned)
        except LookupError:             # execo 2.8 has it optional too
            pass
    fd = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name, (content, _) in contents.items():
            files.replace_file(fd, name, [content])
    finally:
        os.close(fd)
    return {name: number for name, (_, number) in contents.items()}


for _public in (OwnerStatus, Record, SweepDirectory, Verification):
    _public.__module__ = "execo_engine.sweep"
export_execo2.__module__ = "execo_engine.sweep"
