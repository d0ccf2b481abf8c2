"""Results as a table: one row for each, one column for each parameter, metric and fact.  Pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping

from .._plain_json import dumps
from .lines import Result

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_FACTS: dict[str, Callable[[Result], Any]] = {
    "run.start_date": lambda result: result.start_date,
    "run.end_date": lambda result: result.end_date,
    "run.duration": lambda result: result.duration,
    "run.attempt": lambda result: result.attempt,
    "run.host": lambda result: ",".join(result.host) if isinstance(result.host, list) else result.host,
    "run.name": lambda result: result.run,
    "run.date": lambda result: result.date,
    "run.directory": lambda result: result.directory,
}


def table(results: Iterable[Result]) -> tuple[list[str], list[dict[str, Any]]]:
    """The columns, and rows that all have them; None where there is no value.

    Parameters come first, then metrics, then facts about the run, each in the order in which they are met.  A metric that has the name of
    a parameter is in column ``metric.NAME``.
    """
    results = list(results)
    parameters = _named((result.parameters for result in results), "parameter", set(_FACTS))
    metrics = _named((result.metrics for result in results), "metric", {*_FACTS, *parameters.values()})
    columns = [*parameters.values(), *metrics.values(), *_FACTS]
    rows = []
    for result in results:
        row: dict[str, Any] = dict.fromkeys(columns)
        row.update((parameters[name], value) for name, value in result.parameters.items())
        row.update((metrics[name], value) for name, value in result.metrics.items())
        row.update((name, fact(result)) for name, fact in _FACTS.items())
        rows.append(row)
    return columns, rows


def _named(mappings: Iterable[Mapping[str, Any]], kind: str, taken: set[str]) -> dict[str, str]:
    """{name: its column}"""
    columns: dict[str, str] = {}
    used = set(taken)
    for mapping in mappings:
        for name in mapping:
            if name not in columns:
                column = name
                while column in used:
                    column = f"{kind}.{column}"
                columns[name] = column
                used.add(column)
    return columns


def as_csv(columns: list[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """With a header.  No value is an empty field, lists and mappings are JSON."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_field(row[column]) for column in columns] for row in rows)
    return text.getvalue()


def _field(value: Any) -> Any:
    return dumps(value) if isinstance(value, (list, dict)) else value


def as_json(rows: Iterable[Mapping[str, Any]]) -> str:
    """A list of objects, one a line."""
    lines = ",\n".join(map(dumps, rows))
    return f"[\n{lines}\n]\n" if lines else "[]\n"
