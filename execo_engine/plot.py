"""Pictures of a sweep; they need matplotlib: pip install 'execo-engine[plot]'."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

__all__ = ["Cells", "count_cells", "plot_states"]

_COLOURS = {"done": "#3a7d44", "inprogress": "#e0a100", "failed": "#b3261e", "skipped": "#8a8a8a", "todo": "#e8e8e8"}
_WORDS = {"inprogress": "in progress", "todo": "to do"}


class Cells:
    """How many combinations are in which state, for each pair of values of two parameters."""

    def __init__(self, x_values: list[Any], y_values: list[Any], counts: dict[tuple[Any, Any], dict[str, int]]) -> None:
        self.x_values = x_values
        self.y_values = y_values
        self.counts = counts
        """{(x, y): {state: number}}; pairs without combinations are not in it."""


def count_cells(states: Iterable[tuple[Any, str]], x: str, y: str) -> Cells:
    """:param states: (combination, state) of each.
    :raises LookupError: if no combination has both parameters.
    """
    counts: dict[tuple[Any, Any], dict[str, int]] = {}
    names: dict[str, None] = {}
    for combination, state in states:
        if not isinstance(combination, Mapping):
            continue
        names.update(dict.fromkeys(map(str, combination)))
        if x in combination and y in combination:
            cell = counts.setdefault((combination[x], combination[y]), {})
            cell[state] = cell.get(state, 0) + 1
    if not counts:
        raise LookupError(f"no combination has the parameters {x!r} and {y!r}; there are {', '.join(names) or 'none'}")
    return Cells(_in_order(pair[0] for pair in counts), _in_order(pair[1] for pair in counts), counts)


def _in_order(values: Iterable[Any]) -> list[Any]:
    unique = list(dict.fromkeys(values))
    try:
        return sorted(unique)
    except TypeError:               # of several types: as they come
        return unique


def plot_states(states: Iterable[tuple[Any, str]], x: str, y: str, file: str | os.PathLike[str] | None = None, title: str = "") -> Any:
    """A heat map of two parameters: each cell has the colours of the states of its combinations, by their share, and how many are done.

    :param states: (combination, state) of each combination.
    :param file: where to save it; the suffix says how.
    :returns: a matplotlib Figure.
    :raises ImportError: without matplotlib.
    :raises LookupError: if there are no such parameters.
    """
    try:
        # Not pyplot: it keeps each figure, and may want a display.
        figure_module = importlib.import_module("matplotlib.figure")
        patches = importlib.import_module("matplotlib.patches")
    except ModuleNotFoundError as missing:
        if not (missing.name or "").startswith("matplotlib"):
            raise
        raise ImportError("plots need matplotlib: pip install 'execo-engine[plot]'") from missing
    cells = count_cells(states, x, y)
    width, height = len(cells.x_values), len(cells.y_values)
    figure = figure_module.Figure(figsize=(2 + 0.9 * min(width, 20), 1.6 + 0.6 * min(height, 20)), layout="constrained")
    axes = figure.add_subplot()
    small = width * height <= 400
    for (x_value, y_value), counts in cells.counts.items():
        left, bottom = cells.x_values.index(x_value), cells.y_values.index(y_value)
        total = sum(counts.values())
        begin = 0.0
        for state, colour in _COLOURS.items():          # each cell is a bar of its states
            share = counts.get(state, 0) / total
            axes.add_patch(patches.Rectangle((left + begin, bottom), share, 1, facecolor=colour, linewidth=0))
            begin += share
        axes.add_patch(patches.Rectangle((left, bottom), 1, 1, fill=False, edgecolor="white", linewidth=1.5))
        if small:
            axes.text(left + 0.5, bottom + 0.5, f"{counts.get('done', 0)}/{total}", ha="center", va="center", fontsize=9,
                      bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "boxstyle": "round,pad=0.2"})
    axes.set_xlim(0, width)
    axes.set_ylim(0, height)
    axes.set_xticks([place + 0.5 for place in range(width)], [str(value) for value in cells.x_values])
    axes.set_yticks([place + 0.5 for place in range(height)], [str(value) for value in cells.y_values])
    axes.tick_params(length=0)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_title(title)
    for spine in axes.spines.values():
        spine.set_visible(False)
    shown = [state for state in _COLOURS if any(state in counts for counts in cells.counts.values())]
    colours = [patches.Patch(color=_COLOURS[state]) for state in shown]
    figure.legend(colours, [_WORDS.get(state, state) for state in shown], loc="outside lower center", ncols=len(shown), frameon=False)
    if file is not None:
        figure.savefig(file, dpi=120)
    return figure
