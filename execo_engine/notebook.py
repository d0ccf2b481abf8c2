"""The laboratory notebook: what each run of an experiment was made of, what it ran, and what differs between two runs."""

from __future__ import annotations

from ._notebook.book import Notebook, read_notebook, read_notebooks
from ._notebook.differ import Difference, differences, format_differences

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os

    StrPath = str | os.PathLike[str]

__all__ = ["Difference", "Notebook", "diff_runs", "format_differences", "read_notebook", "read_notebooks"]

for _name in (Difference, Notebook, format_differences, read_notebook, read_notebooks):
    _name.__module__ = __name__         # so that reprs, pickles and the documentation show the public path


def diff_runs(run1: StrPath, run2: StrPath) -> list[Difference]:
    """What differed between two runs: code, command line, seed, packages, machines, environment, outcome.

    :param run1: a directory of results (of its last run, if it has several), or the file of a notebook.
    :raises FileNotFoundError: if there is no notebook.
    """
    return differences(read_notebook(run1), read_notebook(run2))
