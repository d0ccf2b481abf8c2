"""An earlier run that is to be done again: its seed, its order, its hosts."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

SWEEP_FOLDER = "sweep"


@dataclass(frozen=True)
class Earlier:
    """What a run did."""

    seed: int | None = None
    order: dict[Any, int] = field(default_factory=dict)
    """{combination: place in the order in which they began}."""
    placement: dict[str, list[str]] = field(default_factory=dict)
    """{name of the combination: names of its hosts}."""
    hosts: list[str] = field(default_factory=list)

    def sorted(self, combinations: Iterable[Any]) -> list[Any]:
        """In the order of that run; those it did not have come last, in theirs."""
        return sorted(combinations, key=lambda combination: self.order.get(combination, len(self.order)))


def earlier_run(records: Iterable[Any], results: Iterable[Any], notebook: Mapping[str, Any]) -> Earlier:
    """From what the run left.

    :param records: of its sweep, with `combination` and `start_date`.
    :param results: rows with `directory` and `host`.
    """
    begun = [record for record in records if record.start_date is not None]
    begun.sort(key=lambda record: record.start_date)
    placement = {}
    for result in results:
        names = [result.host] if isinstance(result.host, str) else list(result.host or ())
        if result.directory:
            placement[Path(result.directory).name] = names
    hosts = [name for names in placement.values() for name in names]
    order = {record.combination: place for place, record in enumerate(begun)}
    return Earlier(notebook.get("seed"), order, placement, list(dict.fromkeys(hosts)))


def read_run(directory: str | Path) -> Earlier:
    """:raises FileNotFoundError: if no campaign was run there."""
    from ..notebook import read_notebook
    from ..results import Results
    from ..sweep import SweepDirectory

    folder = Path(directory)
    if not (folder / SWEEP_FOLDER).is_dir():
        raise FileNotFoundError(f"{folder} is not the directory of a campaign: it has no folder {SWEEP_FOLDER!r}")
    with SweepDirectory(folder / SWEEP_FOLDER) as sweep:
        records = sweep.records()
    return earlier_run(records, Results(folder).read(), read_notebook(folder))
