"""What is in a directory, read for the commands."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

from execo_engine._cli.numbers import Progress, progress
from execo_engine._workflow.replay import SWEEP_FOLDER
from execo_engine.sweep import Record, SweepDirectory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from execo_engine.sweep import OwnerStatus


class Item(NamedTuple):
    """A combination and its state; one that nobody has begun has no record."""

    combination: Any
    state: str
    record: Record | None


class Snapshot(NamedTuple):
    """A sweep at one moment."""

    path: str
    name: str
    counts: dict[str, int | None]
    items: list[Item]
    """Those that are known: of a plan that is not stored, only those that were begun."""
    complete: bool
    """Whether `items` are all."""
    owners: list[OwnerStatus]
    progress: Progress


def sweep_folder(directory: str) -> Path:
    """The folder of the sweep of a campaign, or the directory itself.

    :raises FileNotFoundError: if there is none.
    """
    folder = Path(directory)
    for one in (folder / SWEEP_FOLDER, folder):
        if (one / "journal").is_file():
            return one
    raise FileNotFoundError(f"{directory}: no campaign and no sweep is there")


def items_of(sweep: SweepDirectory) -> tuple[list[Item], bool]:
    """Its combinations, in the order of the plan, and whether these are all."""
    records = {record.combination: record for record in sweep.records()}
    try:
        planned = list(sweep.combinations())
    except LookupError:
        return [Item(record.combination, record.state, record) for record in records.values()], False
    return [Item(one, records[one].state if one in records else "todo", records.get(one)) for one in planned], True


def take_snapshot(sweep: SweepDirectory, now: float | None = None) -> Snapshot:
    items, complete = items_of(sweep)
    counts = sweep.counts()
    plan = sweep.plan
    done = [item.record for item in items if item.state == "done" and item.record is not None]
    ends = [record.end_date for record in done if record.end_date is not None]
    lengths = [record.seconds for record in done if record.seconds is not None]
    left = None if counts["todo"] is None else counts["todo"] + (counts["inprogress"] or 0)
    owners = sweep.owners()
    active = any(one.alive is not False for one in owners)
    return Snapshot(sweep.path, plan.name if plan is not None else Path(sweep.path).name, counts, items, complete, owners,
                    progress(ends, lengths, left, active, time.time() if now is None else now))


def by_value(items: Iterable[Item]) -> dict[str, dict[Any, dict[str, int]]]:
    """{parameter: {value: {state: number}}}."""
    found: dict[str, dict[Any, dict[str, int]]] = {}
    for item in items:
        if isinstance(item.combination, dict):
            for name, value in item.combination.items():
                states = found.setdefault(str(name), {}).setdefault(value, {})
                states[item.state] = states.get(item.state, 0) + 1
    return found
