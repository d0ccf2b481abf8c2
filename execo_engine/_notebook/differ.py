"""What differed between two runs.  Pure."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

# Different for all runs, or told under another name.
_IGNORED = frozenset("run_id run_name result_dir start_date end_date pid path processes".split())
_LONG = 60


@dataclass(frozen=True)
class Difference:
    """One fact of which two runs have different values; None: the run does not have it."""

    what: str
    """Its path in the notebook, as ``packages.numpy``."""
    first: Any
    second: Any


def differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Difference]:
    """Of two notebooks, in the order of their facts."""
    found = list(_compare("", {name: value for name, value in first.items() if name not in _IGNORED},
                          {name: value for name, value in second.items() if name not in _IGNORED}))
    for name in ("number", "failed"):
        one, two = ((notebook.get("processes") or {}).get(name) for notebook in (first, second))
        if one != two:
            found.append(Difference(f"processes.{name}", one, two))
    return found


def _compare(path: str, first: Any, second: Any) -> Iterator[Difference]:
    if isinstance(first, dict) and isinstance(second, dict):
        for name in [*first, *(name for name in second if name not in first)]:
            yield from _compare(f"{path}.{name}" if path else name, first.get(name), second.get(name))
    elif first != second:
        yield Difference(path, first, second)


def format_differences(found: Iterable[Difference]) -> str:
    """For a terminal: a line for each, and the difference of texts of several lines; '' if there is none."""
    lines: list[str] = []
    for difference in found:
        what, first, second = difference.what, difference.first, difference.second
        if any(isinstance(value, str) and "\n" in value for value in (first, second)):
            lines.append(f"{what}:")
            changes = list(difflib.unified_diff(str(first or "").splitlines(), str(second or "").splitlines(), "first", "second",
                                                n=1, lineterm=""))
            lines += [f"  {line}" for line in changes]
        else:
            lines.append(f"{what}: {_short(first)} -> {_short(second)}")
    return "".join(f"{line}\n" for line in lines)


def _short(value: Any) -> str:
    if value is None:
        return "none"
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= _LONG else f"{text[:_LONG]}..."
