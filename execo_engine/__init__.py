"""Experiments that are run again: an engine, sweeps over parameters that never lose a result, and a laboratory notebook.

Importing starts no thread and no process.  All but the sweeps is imported when it is first asked for: a worker of a sweep starts quickly.
"""

from __future__ import annotations

from execo_engine._version import __version__
from execo_engine.sweep import ClaimLost, HashableDict, ParamSweeper, geom, igeom, sweep, sweep_stats

TYPE_CHECKING = False
if TYPE_CHECKING:
    from execo_engine import engine, log, notebook, results, testbeds, utils, workflow
    from execo_engine.engine import Engine
    from execo_engine.log import logger
    from execo_engine.notebook import Notebook, diff_runs
    from execo_engine.results import Results
    from execo_engine.sweep import ParameterSpace
    from execo_engine.utils import copy_outputs, redirect_outputs, slugify
    from execo_engine.workflow import ReservationOver, SweepEngine

__all__ = [
    "ClaimLost", "Engine", "HashableDict", "Notebook", "ParamSweeper", "ParameterSpace", "ReservationOver", "Results", "SweepEngine",
    "__version__", "copy_outputs", "diff_runs", "engine", "geom", "igeom", "log", "logger", "notebook", "redirect_outputs", "results",
    "slugify", "sweep", "sweep_stats", "testbeds", "utils", "workflow",
]

# {name: module that has it}; a module is its own.
_LATER = {
    "Engine": "engine", "engine": "engine", "log": "log", "logger": "log", "Notebook": "notebook", "diff_runs": "notebook",
    "notebook": "notebook", "Results": "results", "results": "results", "copy_outputs": "utils", "redirect_outputs": "utils",
    "slugify": "utils", "utils": "utils", "ParameterSpace": "sweep", "ReservationOver": "workflow", "SweepEngine": "workflow",
    "testbeds": "testbeds", "workflow": "workflow",
}


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module 'execo_engine' has no attribute {name!r}")
    from importlib import import_module

    module = import_module(f"execo_engine.{_LATER[name]}")
    found: object = module if name == _LATER[name] else getattr(module, name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
