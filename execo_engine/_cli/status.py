"""The text and the JSON of `status`.  Pure."""

from __future__ import annotations

from execo.time_utils import format_date, format_duration
from execo_engine._cli.look import by_value
from execo_engine._words import combination_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from execo_engine._cli.look import Snapshot

_MARKS = {"done": "#", "inprogress": "+", "failed": "x", "skipped": "-", "todo": "."}
_WORDS = {"done": "done", "inprogress": "in progress", "failed": "failed", "skipped": "skipped", "todo": "to do"}
_MANY_VALUES = 12
_MANY_FAILURES = 10


def bar(counts: Mapping[str, int | None], width: int) -> str:
    """``[####++..]``: each state that occurs has at least one mark, if there is room."""
    known = {state: counts.get(state) or 0 for state in _MARKS}
    total = sum(known.values())
    if not total or width < sum(map(bool, known.values())):
        return "[" + "." * max(0, width) + "]"
    marks = {state: max(1, number * width // total) if number else 0 for state, number in known.items()}
    # The largest one gives or takes what rounding has left.
    largest = max(marks, key=lambda state: marks[state])
    marks[largest] += width - sum(marks.values())
    return "[" + "".join(mark * marks[state] for state, mark in _MARKS.items()) + "]"


def status_text(found: Snapshot, width: int = 80) -> str:
    """For a terminal of so many columns."""
    counts = found.counts
    total = counts["total"]
    lines = [f"{found.name}: {total if total is not None else 'an unknown number of'} combinations"]
    if total:
        lines.append(f"{bar(counts, max(10, width - 8))} {100 * (counts['done'] or 0) // total:3d} %")
    lines.append(", ".join(f"{counts[state]} {word} {mark}" for (state, word), mark in zip(_WORDS.items(), _MARKS.values(), strict=True)
                           if counts[state]) or "nothing yet")
    if speed := _speed(found):
        lines.append(speed)
    for owner in found.owners:
        alive = "" if owner.alive else ", which is gone" if owner.alive is False else ", of which nothing was heard yet"
        lines.append(f"{owner.owner}{alive}: {owner.claims} in progress")
    for parameter, values in by_value(found.items).items():
        lines += ["", parameter, *_value_lines(values, width)]
    failures = [item for item in found.items if item.state == "failed"]
    if failures:
        lines += ["", "failed"]
        for item in failures[:_MANY_FAILURES]:
            tries = f" ({item.record.attempts} attempts)" if item.record is not None and item.record.attempts > 1 else ""
            lines.append(f"  {combination_words(item.combination)}: {item.record.reason if item.record is not None else None}{tries}")
        if len(failures) > _MANY_FAILURES:
            lines.append(f"  and {len(failures) - _MANY_FAILURES} more: list --state failed")
    return "\n".join(lines)


def _speed(found: Snapshot) -> str:
    numbers = found.progress
    parts = []
    if numbers.per_hour is not None:
        parts.append(f"{numbers.per_hour:,.0f} per hour" if numbers.per_hour >= 10 else f"{numbers.per_hour:.2g} per hour")
    if numbers.mean_seconds is not None:
        parts.append(f"{format_duration(round(numbers.mean_seconds, 3), True)} each")
    if numbers.end_date is not None and numbers.seconds_left is not None:
        parts.append(f"about {format_duration(round(numbers.seconds_left))} left, until {format_date(round(numbers.end_date))}")
    return ", ".join(parts)


def _value_lines(values: Mapping[Any, Mapping[str, int]], width: int) -> list[str]:
    shown = list(values.items())[:_MANY_VALUES]
    label = min(24, max(len(str(value)) for value, _ in shown))
    lines = []
    for value, states in shown:
        number = sum(states.values())
        drawn = bar(states, max(10, min(40, width - label - 16)))
        lines.append(f"  {str(value)[:label]:<{label}} {drawn} {states.get('done', 0)}/{number}")
    if len(values) > len(shown):
        lines.append(f"  and {len(values) - len(shown)} more values")
    return lines


def status_json(found: Snapshot) -> dict[str, Any]:
    numbers = found.progress
    return {
        "path": found.path,
        "name": found.name,
        "counts": found.counts,
        "per_hour": numbers.per_hour,
        "mean_seconds": numbers.mean_seconds,
        "seconds_left": numbers.seconds_left,
        "end_date": numbers.end_date,
        "owners": [{"host": one.owner.host, "pid": one.owner.pid, "user": one.owner.user, "alive": one.alive, "claims": one.claims}
                   for one in found.owners],
        "parameters": {name: [{"value": value, **states} for value, states in values.items()]
                       for name, values in by_value(found.items).items()},
        "failed": [{"combination": item.combination, "reason": item.record.reason if item.record else None,
                    "attempts": item.record.attempts if item.record else 0} for item in found.items if item.state == "failed"],
    }
