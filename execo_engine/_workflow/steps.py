"""How long the steps of a campaign took."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from execo.time_utils import format_duration

from .._plain_json import dumps, loads
from ..log import logger
from ..results import combination_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

STEPS_FILE = "steps.jsonl"


class Coverage:
    """Length of the union of intervals that are added in the order of their ends.

    Keeps only those that a later one may still touch: a campaign of a million steps holds as many as are under way.
    """

    def __init__(self) -> None:
        self._settled = 0.0
        self._stretches: deque[tuple[float, float]] = deque()       # apart from each other, in order

    def add(self, begin: float, end: float) -> None:
        while self._stretches and self._stretches[-1][1] >= begin:
            begin = min(begin, self._stretches.pop()[0])
        self._stretches.append((begin, end))

    def settle(self, earliest: float) -> None:
        """What will be added begins at this instant or later."""
        while self._stretches and self._stretches[0][1] < earliest:
            begin, end = self._stretches.popleft()
            self._settled += end - begin

    def length(self) -> float:
        return self._settled + sum(end - begin for begin, end in self._stretches)

    def __len__(self) -> int:
        """How many intervals are kept."""
        return len(self._stretches)


@dataclass(eq=False)
class _Open:
    begin: float
    leaf: bool = True
    """No other step was inside so far."""


class Steps:
    """Writes a line of ``steps.jsonl`` for each step that has ended.  Any thread may use it.

    :param directory: of the results.
    """

    def __init__(self, directory: str) -> None:
        self._file = Path(directory).absolute() / STEPS_FILE
        self._lock = threading.Lock()
        self._writing = threading.Lock()        # another one, so that a slow disk is not counted as time of steps
        self._begin = time.monotonic()
        self._seconds: dict[str, float] = {}
        self._coverage = Coverage()
        self._leaves: set[_Open] = set()        # under way, with no other inside so far
        self._open = threading.local()

    @contextlib.contextmanager
    def step(self, combination: Any, name: str) -> Iterator[None]:
        """The block is this step of the combination; None: of none.  A step may have others inside."""
        start_date = time.time()
        error: BaseException | None = None
        outer: _Open | None = getattr(self._open, "innermost", None)
        with self._lock:
            self._open.innermost = mine = _Open(time.monotonic())
            self._leaves.add(mine)
            if outer is not None:
                outer.leaf = False
                self._leaves.discard(outer)
        try:
            yield
        except BaseException as raised:
            error = raised
            raise
        finally:
            self._open.innermost = outer
            seconds = self._end(mine, name)
            line = dumps({"step": name, "combination": None if combination is None else combination_name(combination),
                          "start_date": start_date, "seconds": round(seconds, 6), "error": None if error is None else repr(error)})
            try:
                with self._writing:
                    self._append(line)
            except OSError as full:             # what the block did is no worse for that
                logger.warning("%s: %s took %.1f s, which could not be noted: %s", self._file, name, seconds, full)

    def _end(self, step: _Open, name: str) -> float:
        """Count it; returns how long it took."""
        with self._lock:
            end = time.monotonic()
            self._leaves.discard(step)
            if step.leaf:
                self._seconds[name] = self._seconds.get(name, 0.0) + end - step.begin
                self._coverage.add(step.begin, end)
            self._coverage.settle(min((leaf.begin for leaf in self._leaves), default=end))
        return end - step.begin

    def _append(self, line: str) -> None:
        with self._file.open("a+b") as file:
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":       # who wrote here last died, or the disk was full
                    line = "\n" + line
            file.write(line.encode() + b"\n")

    def totals(self) -> dict[str, Any]:
        """Of this run so far: {"wall": seconds, "other": seconds in which no step was under way, "steps": {name: seconds}}.

        Of a step that had others inside, only these are counted.
        """
        with self._lock:
            wall = time.monotonic() - self._begin
            return {"wall": wall, "other": max(0.0, wall - self._coverage.length()), "steps": dict(self._seconds)}

    def words(self) -> str:
        """The same in a line."""
        told = self.totals()
        parts = [f"{name} {format_duration(round(seconds, 1), True)}" for name, seconds in told["steps"].items()]
        return f"steps: {', '.join(parts) or 'none'}; {told['other'] / told['wall']:.1%} of {told['wall']:.1f} s in none of them"


def read_steps(directory: str | Path) -> list[dict[str, Any]]:
    """The lines of ``steps.jsonl``, of all runs in this directory; those that were cut short are left out."""
    try:
        lines = (Path(directory) / STEPS_FILE).read_text(encoding="utf-8", errors="replace").split("\n")
    except FileNotFoundError:
        return []
    found = []
    for line in lines[:-1]:
        with contextlib.suppress(ValueError):
            found.append(loads(line))
    return found
