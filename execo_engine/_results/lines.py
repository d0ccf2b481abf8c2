"""One result as one line: JSON that carries a checksum of itself.  Pure."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass, field, fields

from .._plain_json import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LINE = re.compile(rb'\{"crc32":"([0-9a-f]{8})","result":(.*)\}', re.DOTALL)


@dataclass(frozen=True)
class Result:
    """What was measured for one combination, once.  Dates are Unix seconds."""

    parameters: dict[str, Any]
    """The combination; one that is not a mapping is ``{"combination": ...}``."""
    metrics: dict[str, Any]
    start_date: float | None = None
    end_date: float | None = None
    attempt: int | None = None
    """1 for the first."""
    host: str | list[str] | None = None
    run: str | None = None
    """The identity of the run, as in its notebook."""
    date: float | None = None
    """When it was recorded."""
    directory: str | None = None
    """The folder of the combination, relative to that of the results; None if there is none."""
    more: dict[str, Any] = field(default_factory=dict)
    """What a later version wrote and this one does not know."""

    @property
    def duration(self) -> float | None:
        """Seconds."""
        return None if self.start_date is None or self.end_date is None else self.end_date - self.start_date


_KNOWN = tuple(known.name for known in fields(Result) if known.name != "more")


@dataclass(frozen=True)
class DamagedLine:
    """A line of the file that is not what was written."""

    number: int
    """1 for the first."""
    text: bytes


def pack(result: Result) -> bytes:
    """The line, with its end.

    :raises TypeError: if a value has no form in JSON.
    """
    text = dumps({**result.more, **{name: getattr(result, name) for name in _KNOWN}}).encode("ascii")
    return b'{"crc32":"%08x","result":%b}\n' % (zlib.crc32(text), text)


def unpack(line: bytes) -> Result | None:
    """The result of a line, given without its end; None if it is damaged."""
    found = _LINE.fullmatch(line)
    if found is None or zlib.crc32(found[2]) != int(found[1], 16):
        return None
    try:
        read = loads(found[2])
        if not isinstance(read["parameters"], dict) or not isinstance(read["metrics"], dict):
            return None
    except (ValueError, TypeError, KeyError):       # sound, but not ours
        return None
    more = {name: value for name, value in read.items() if name not in _KNOWN}
    return Result(**{name: value for name, value in read.items() if name in _KNOWN}, more=more) if more else Result(**read)


def parse(content: bytes) -> tuple[list[Result], list[DamagedLine]]:
    """All results of a file, and the lines that are damaged."""
    results: list[Result] = []
    damaged: list[DamagedLine] = []
    for number, line in enumerate(content.split(b"\n"), 1):
        if not line.strip():
            continue
        result = unpack(line)
        if result is None:
            damaged.append(DamagedLine(number, line))
        else:
            results.append(result)
    return results, damaged
