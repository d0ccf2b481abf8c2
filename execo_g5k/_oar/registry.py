"""The reservations of several sites that were made from this machine, one file of JSON for each, so that they outlive the script."""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ..config import g5k_configuration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

VERSION = 1


@dataclass(frozen=True)
class Grid:
    """One reservation: jobs of OAR that were accepted together."""

    jobs: tuple[tuple[int, str | None], ...]
    """Pairs (job id, frontend)."""
    submission_date: float
    start_date: float | None
    """As it was asked for, in Unix seconds; None: as soon as possible."""
    walltime: float | None
    """As it was asked for, in seconds."""
    key_file: str | None = None


def folder() -> Path:
    """Where they are noted."""
    configured = g5k_configuration.get("grid_dir")
    return Path(configured) if configured else Path.home() / ".execo" / "oargrid"


def _path(grid_id: int) -> Path:
    return folder() / f"{grid_id}.json"


def grid_ids() -> list[int]:
    """Of all that are noted, oldest first."""
    try:
        names = os.listdir(folder())
    except FileNotFoundError:
        return []
    return sorted(int(found[1]) for name in names if (found := re.fullmatch(r"([1-9][0-9]{0,17})\.json", name)))


def add(grid: Grid) -> int:
    """Note it; returns its new id.  Other programs may do so at the same time."""
    folder().mkdir(parents=True, exist_ok=True)
    with _temporary(_to_json(grid)) as complete:
        grid_id = max(grid_ids(), default=0)
        while True:
            grid_id += 1
            try:
                os.link(complete, _path(grid_id))       # whole or not at all, and never over another one
                return grid_id
            except FileExistsError:
                continue


@contextlib.contextmanager
def _temporary(text: str) -> Iterator[str]:
    descriptor, name = tempfile.mkstemp(dir=folder(), prefix=".new-")
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        yield name
    finally:
        os.unlink(name)


def _to_json(grid: Grid) -> str:
    return json.dumps({"version": VERSION, "jobs": grid.jobs, "submission_date": grid.submission_date, "start_date": grid.start_date,
                       "walltime": grid.walltime, "key_file": grid.key_file}, indent=1) + "\n"


def get(grid_id: int) -> Grid:
    """What was noted.

    :raises ValueError: if there is no such reservation, or its file is damaged.
    """
    try:
        text = _path(grid_id).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ValueError(f"no grid reservation {grid_id} in {folder()}; there are {grid_ids() or 'none'}") from None
    try:
        noted: dict[str, Any] = json.loads(text)
        if noted["version"] != VERSION:
            raise ValueError(f"version {noted['version']!r}, not {VERSION}")
        jobs = tuple((int(job_id), None if frontend is None else str(frontend)) for job_id, frontend in noted["jobs"])
        return Grid(jobs, float(noted["submission_date"]), noted["start_date"], noted["walltime"], noted["key_file"])
    except (KeyError, TypeError, ValueError) as damage:
        raise ValueError(f"{_path(grid_id)} is damaged: {damage!r}") from None


def forget(grid_id: int) -> None:
    """Delete the note; nothing if there is none."""
    _path(grid_id).unlink(missing_ok=True)
