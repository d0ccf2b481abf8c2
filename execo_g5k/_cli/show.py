"""How answers are printed: a table for people, JSON for programs.  Dates are those of Paris, as on the frontends."""

from __future__ import annotations

import json

from .._oar.formats import format_oar_date

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=1, ensure_ascii=False))


def table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Columns as wide as their longest value; numbers to the right."""
    cells = [[_text(value) for value in row] for row in rows]
    kinds = [any(isinstance(value, (int, float)) for value in column) for column in zip(*rows, strict=True)] if cells else []
    widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]
    lines = []
    for line in [list(heads), *cells]:
        parts = [value.rjust(width) if right else value.ljust(width)
                 for value, width, right in zip(line, widths, kinds or [False] * len(widths), strict=True)]
        lines.append("  ".join(parts).rstrip())
    return "\n".join(lines)


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:g}" if isinstance(value, float) else str(value)


def date(ts: float | None) -> str | None:
    """On the clock of Paris."""
    return None if ts is None else format_oar_date(ts)
