"""Values of experiments as one line of JSON.  Pure."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import os
from collections.abc import Mapping

import simplejson

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def dumps(value: object) -> str:
    """One line of ASCII.  NaN and infinities become null, and `for_json` methods are called.

    Beside what JSON has: mappings, sets, dates, paths, enumerations, dataclasses, and scalars and arrays of numpy.

    :raises TypeError: for a value of any other kind.
    :raises ValueError: for one that contains itself.
    """
    return simplejson.dumps(value, ignore_nan=True, for_json=True, encoding=None, default=_as_json)


def loads(text: str | bytes) -> Any:
    """What `dumps` wrote.

    :raises ValueError: if it is not JSON.
    """
    return simplejson.loads(text)


def _as_json(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return value.value
    if callable(getattr(value, "tolist", None)):            # numpy's scalars and arrays, and alike
        return value.tolist()
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    if isinstance(value, (bytes, bytearray)):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=lambda item: (type(item).__name__, repr(item)))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    raise TypeError(f"a {type(value).__name__} has no form in JSON: {value!r} (give its class a method for_json)")
