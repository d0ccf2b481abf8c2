"""Results of experiments: recorded so that none is lost, read back as one table."""

from __future__ import annotations

from ._results.lines import DamagedLine, Result
from ._results.names import combination_name
from ._results.store import Results

for _name in (DamagedLine, Result, Results, combination_name):
    _name.__module__ = __name__         # so that reprs, pickles and the documentation show the public path

__all__ = ["DamagedLine", "Result", "Results", "combination_name"]
