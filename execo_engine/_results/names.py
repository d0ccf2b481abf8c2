"""A name for each combination that is safe in a path.  Pure."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_DEFAULT_REPR: Any = object.__repr__
_READABLE = 80
_DIGITS = 16
"""Of the hash, four bits each."""


def combination_name(combination: object, digits: int = _DIGITS) -> str:
    """A name of at most 97 ASCII characters (with the default of `digits`): something to read, and a hash that tells it from all others.

    It is the same whatever the order of the keys, on all machines.  Values of different types, as 1, 1.0, True and "1", differ.

    :raises TypeError: if a value has no text that would be the same in another program.
    """
    digest = hashlib.sha256(canonical(combination).encode("utf-8", "surrogatepass")).hexdigest()[:digits]
    return f"{_readable(combination)}-{digest}"


def canonical(value: Any) -> str:
    """A text that is the same for equal values and different for others, types included."""
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes)) and type(value).__module__ == "builtins":
        return f"{type(value).__name__}:{value!r}"
    if isinstance(value, Mapping):
        items = sorted(f"{canonical(key)}={canonical(item)}" for key, item in value.items())
        return "{" + ",".join(items) + "}"
    if isinstance(value, (set, frozenset)):
        return "set(" + ",".join(sorted(map(canonical, value))) + ")"
    if isinstance(value, (tuple, list)):
        return f"{type(value).__name__}(" + ",".join(map(canonical, value)) + ")"
    if callable(getattr(value, "tolist", None)):            # of numpy, whose repr changes from version to version
        return f"{type(value).__name__}({canonical(value.tolist())})"
    if type(value).__repr__ is _DEFAULT_REPR:
        raise TypeError(f"a {type(value).__name__} has no text that names it: {value!r} (give its class a method __repr__)")
    return f"{type(value).__qualname__}:{value!r}"


def _readable(combination: object) -> str:
    text = unicodedata.normalize("NFKD", _words(combination)).encode("ascii", "ignore").decode("ascii")
    return re.sub(r"[^\w.]+", "-", text)[:_READABLE].strip("-.") or "combination"


def _words(value: object) -> str:
    """Its text, in an order that is the same in all programs."""
    if isinstance(value, Mapping):
        return "-".join(sorted(f"{_words(key)}-{_words(item)}" for key, item in value.items()))
    if isinstance(value, (set, frozenset)):
        return "-".join(sorted(map(_words, value)))
    if isinstance(value, (tuple, list)):
        return "-".join(map(_words, value))
    return str(value)
