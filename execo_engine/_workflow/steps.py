"""How long the steps of a campaign took."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from execo.time_utils import format_duration

from .._plain_json import dumps, loads
from ..log import logger
from ..results import combination_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

STEPS_FILE = "steps.jsonl"


@dataclass(frozen=True)
class Span:
    """A step that has ended; monotonic instants."""

    name: str
    begin: float
    end: float
    leaf: bool
    """No other step was inside."""


class Steps:
    """Writes a line of ``steps.jsonl`` for each step that has ended.  Any thread may use it.

    :param directory: of the results.
    """

    def __init__(self, directory: str) -> None:
        self._file = Path(directory).absolute() / STEPS_FILE
        self._lock = threading.Lock()
        self._begin = time.monotonic()
        self._spans: list[Span] = []
        self._open = threading.local()

    @contextlib.contextmanager
    def step(self, combination: Any, name: str) -> Iterator[None]:
        """The block is this step of the combination; None: of none.  A step may have others inside."""
        start_date, begin = time.time(), time.monotonic()
        error: BaseException | None = None
        outer: list[None] | None = getattr(self._open, "inner", None)
        inner: list[None] = []
        if outer is not None:
            outer.append(None)
        self._open.inner = inner
        try:
            yield
        except BaseException as raised:
            error = raised
            raise
        finally:
            end = time.monotonic()
            self._open.inner = outer
            line = dumps({"step": name, "combination": None if combination is None else combination_name(combination),
                          "start_date": start_date, "seconds": round(end - begin, 6), "error": None if error is None else repr(error)})
            with self._lock:
                self._spans.append(Span(name, begin, end, not inner))
                try:
                    self._append(line)
                except OSError as full:         # what the block did is no worse for that
                    logger.warning("%s: %s took %.1f s, which could not be noted: %s", self._file, name, end - begin, full)

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
            spans, now = [span for span in self._spans if span.leaf], time.monotonic()
        seconds: dict[str, float] = {}
        for span in spans:
            seconds[span.name] = seconds.get(span.name, 0.0) + span.end - span.begin
        wall = now - self._begin
        return {"wall": wall, "other": max(0.0, wall - covered((span.begin, span.end) for span in spans)), "steps": seconds}

    def words(self) -> str:
        """The same in a line."""
        told = self.totals()
        parts = [f"{name} {format_duration(round(seconds, 1), True)}" for name, seconds in told["steps"].items()]
        return f"steps: {', '.join(parts) or 'none'}; {told['other'] / told['wall']:.1%} of {told['wall']:.1f} s in none of them"


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """Length of the union of (begin, end)."""
    total, reached = 0.0, float("-inf")
    for begin, end in sorted(spans):
        total += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return total


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
