"""Sweeps over parameters: what is to be run, who runs what, and what was done.

`sweep` lists the combinations of parameters, `ParameterSpace` does so without holding them; `ParamSweeper` hands them out, each once, to
all threads, processes and hosts that share a directory, and remembers what was done, whatever dies on the way.
"""

from __future__ import annotations

from execo_engine._sweep.combinations import HashableDict, geom, igeom, sweep
from execo_engine._sweep.journal import STATES
from execo_engine._sweep.lease import Owner
from execo_engine._sweep.plan import PlanChange, PlanInfo
from execo_engine._sweep.sweeper import ClaimLost, ParamSweeper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet
    from typing import Any

    from execo_engine._space.space import ParameterSpace
    from execo_engine._sweep.records import OwnerStatus, Record, SweepDirectory, Verification, export_execo2
    from execo_engine.log import logger

__all__ = [
    "HashableDict", "ParamSweeper", "ParameterSpace", "geom", "igeom", "sweep", "sweep_stats",
    "ClaimLost", "Owner", "OwnerStatus", "PlanChange", "PlanInfo", "Record", "STATES", "SweepDirectory", "Verification", "export_execo2",
    "logger",
]


def sweep_stats(stats: tuple[AbstractSet[Any], ...]) -> dict[str, dict[Any, dict[Any, float]]]:
    """How far each value of each parameter is, from `ParamSweeper.stats()`.

    :returns: {"total", "remaining", "skipped", "inprogress", "done": {parameter: {value: count}}}, and with "_ratio" appended, but for the
      total, {parameter: {value: share of the total, 0 to 1}}.
    """
    kinds = ("total", "remaining", "skipped", "inprogress", "done")
    counts = {kind: _count(combinations) for kind, combinations in zip(kinds, stats, strict=True)}
    total = counts["total"]
    ratios: dict[str, dict[Any, dict[Any, float]]] = {
        f"{kind}_ratio": {name: {value: found.get(name, {}).get(value, 0) / number for value, number in values.items()}
                          for name, values in total.items()}
        for kind, found in counts.items() if kind != "total"
    }
    return {**counts, **ratios}


def _count(combinations: AbstractSet[Mapping[Any, Any]]) -> dict[Any, dict[Any, float]]:
    found: dict[Any, dict[Any, float]] = {}
    for combination in combinations:
        for name, value in combination.items():
            values = found.setdefault(name, {})
            values[value] = values.get(value, 0) + 1
    return found


# What a worker of a sweep may not need: {name: module}.
_LATER = {
    "ParameterSpace": "_space.space", "OwnerStatus": "_sweep.records", "Record": "_sweep.records", "SweepDirectory": "_sweep.records",
    "Verification": "_sweep.records", "export_execo2": "_sweep.records", "logger": "log",
}


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module 'execo_engine.sweep' has no attribute {name!r}")
    from importlib import import_module

    found: object = getattr(import_module(f"execo_engine.{_LATER[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


for _public in (HashableDict, ParamSweeper, ClaimLost, Owner, PlanChange, PlanInfo):
    _public.__module__ = "execo_engine.sweep"
for _function in (geom, igeom, sweep):
    _function.__module__ = "execo_engine.sweep"
