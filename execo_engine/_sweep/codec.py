"""Plain values to text and back, with their exact types; and the canonical text by which equal combinations are one.  Pure.

The text is JSON in ASCII on one line.  null, true, numbers and strings are themselves, a `HashableDict` with names for keys is an object;
whatever else is an array that begins with its kind: ``["t",1,2]`` is the tuple (1, 2), ``["f","nan"]`` a float that JSON has not.

`Codec.exact` keeps types.  `Codec.key` gives one text to all values that Python holds equal (1, 1.0 and True), so that what a set merges
is one combination here too; nan is equal to itself.
"""

from __future__ import annotations

import json
import math
from binascii import a2b_base64, b2a_base64
from json.encoder import encode_basestring_ascii
from operator import itemgetter

from execo_engine._sweep.combinations import HashableDict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    Write = Callable[[Any], str]
    # what picks the values of a combination in the order of their names, and the text around them
    Template = tuple[Callable[[Any], tuple[Any, ...]], str]

__all__ = ["Codec"]

_MANY_TEMPLATES = 1000
_HINT = ("combinations are made of None, bool, int, float, complex, str, bytes, tuple, frozenset and HashableDict; for other classes, give "
         "encoder= and decoder=")


def _float(value: float) -> str:
    return repr(value) if math.isfinite(value) else f'["f","{value!r}"]'


def _float_key(value: float) -> str:
    # An integer that is written as a float is equal to it, and so is -0.0 to 0.
    return int.__repr__(int(value)) if value.is_integer() else _float(float(value))


def _bytes(value: bytes) -> str:
    return f'["b","{b2a_base64(value, newline=False).decode()}"]'


class _Writers(dict):  # type: ignore[type-arg]
    """{type: what writes its values}; an unknown type is decided once."""

    def __init__(self, decide: Callable[[type], Write], known: dict[type, Write]) -> None:
        super().__init__(known)
        self._decide = decide

    def __missing__(self, kind: type) -> Write:
        self[kind] = write = self._decide(kind)
        return write


class _Writer:
    """Writes values as text, exactly or as keys."""

    def __init__(self, as_key: bool, encoder: Callable[[Any], Any] | None) -> None:
        self._as_key = as_key
        self._encoder = encoder
        self._templates: dict[tuple[Any, ...], Template] = {}
        self._writers = _Writers(self._decide, {
            int: int.__repr__, str: encode_basestring_ascii, type(None): lambda _: "null", bytes: _bytes,
            bool: (lambda value: "1" if value else "0") if as_key else (lambda value: "true" if value else "false"),
            float: _float_key if as_key else _float,
        })

    def write(self, value: Any) -> str:
        if type(value) is HashableDict:
            try:
                pick, template = self._templates[tuple(value)]
            except (KeyError, TypeError):
                return self._named(value)
            writers = self._writers
            return template % tuple([writers[type(one)](one) for one in pick(value)])
        text: str = self._writers[type(value)](value)
        return text

    def _named(self, value: dict[Any, Any]) -> str:
        """A HashableDict whose names were not met before."""
        names = tuple(value)
        if not all(type(name) is str for name in names):
            if self._as_key:
                hash(value)             # its names may have no order
            return self._pairs("h", value)
        ordered = sorted(names)
        if len(ordered) == 0:
            return "{}"
        pick: Callable[[Any], tuple[Any, ...]]
        if len(ordered) == 1:
            only = ordered[0]
            pick = lambda one: (one[only],)  # noqa: E731  the same variable has the quick one below
        else:
            pick = itemgetter(*ordered)
        template = "{" + ",".join(encode_basestring_ascii(name).replace("%", "%%") + ":%s" for name in ordered) + "}"
        if len(self._templates) >= _MANY_TEMPLATES:
            self._templates.clear()
        self._templates[names] = pick, template
        return template % tuple([self.write(one) for one in pick(value)])

    def _pairs(self, kind: str, value: dict[Any, Any]) -> str:
        pairs = sorted(f"[{self.write(name)},{self.write(one)}]" for name, one in value.items())
        return f'["{kind}"' + "".join("," + pair for pair in pairs) + "]"

    def _array(self, kind: str, values: Iterable[Any], ordered: bool = True) -> str:
        texts = [self.write(one) for one in values]
        return f'["{kind}"' + "".join("," + text for text in (texts if ordered else sorted(texts))) + "]"

    def _complex(self, value: complex) -> str:
        if self._as_key and value.imag == 0:
            return _float_key(value.real)
        return f'["c",{_float(value.real)},{_float(value.imag)}]'

    def _decide(self, kind: type) -> Write:
        """How values of a type are written that is not among the usual ones."""
        as_key, write = self._as_key, self.write
        if as_key and kind.__hash__ is None:
            raise TypeError(f"unhashable type: {kind.__name__!r}")      # in the words of a set
        exact: dict[type, Write] = {
            tuple: lambda value: self._array("t", value), list: lambda value: self._array("l", value), complex: self._complex,
            set: lambda value: self._array("s", value, ordered=False),
            frozenset: lambda value: self._array("s" if as_key else "fs", value, ordered=False),
            bytearray: lambda value: '["ba",' + _bytes(value)[5:],
            dict: lambda value: self._pairs("d", value),
            HashableDict: write,
        }
        if kind in exact:
            return exact[kind]
        if (encoder := self._encoder) is not None:
            return lambda value: f'["x",{write(encoder(value))}]'
        if hasattr(kind, "dtype") and hasattr(kind, "item"):        # a number of numpy: equal to Python's
            return lambda value: write(value.item())
        # A subclass is equal to its base, and comes back as that.  bool cannot be subclassed.
        for base in (int, float, str, bytes, complex, tuple, frozenset, dict):
            if issubclass(kind, base) and kind.__eq__ is base.__eq__:
                to_base = HashableDict if base is dict else base
                return lambda value: write(to_base(value) if to_base is not str else str.__str__(value))
        raise TypeError(f"a {kind.__module__}.{kind.__qualname__} cannot be kept in the store of a sweep: {_HINT}")


class Codec:
    """Text of values.

    :param encoder: makes a plain value of an instance of any other class.
    :param decoder: the inverse.
    """

    def __init__(self, encoder: Callable[[Any], Any] | None = None, decoder: Callable[[Any], Any] | None = None) -> None:
        self._exact = _Writer(False, encoder)
        self._key = _Writer(True, encoder)
        self._decoder = decoder

    def exact(self, value: Any) -> bytes:
        """Text from which `decode` makes the same value again.

        :raises TypeError: for a class that is neither plain nor known to the encoder.
        """
        return self._exact.write(value).encode("ascii")

    def key(self, value: Any) -> bytes:
        """Text that equal values share, and only those."""
        return self._key.write(value).encode("ascii")

    def decode(self, text: bytes | str) -> Any:
        """:raises ValueError: for a text that no codec wrote, or that needs a decoder."""
        return self._build(json.loads(text))

    def _build(self, value: Any) -> Any:
        if type(value) is list:
            return self._build_kind(value)
        if type(value) is dict:
            return HashableDict({name: self._build(one) for name, one in value.items()})
        return value

    def _build_kind(self, value: list[Any]) -> Any:
        kind, *rest = value
        simple: dict[str, Callable[[list[Any]], Any]] = {
            "f": lambda one: float(one[0]), "b": lambda one: a2b_base64(one[0]),
            "ba": lambda one: bytearray(a2b_base64(one[0])),
        }
        if kind in simple:
            return simple[kind](rest)
        if kind == "x":
            if self._decoder is None:
                raise ValueError(f"a value of a class of the program, {json.dumps(rest[0])}: give the decoder= that reads it")
            return self._decoder(self._build(rest[0]))
        built = [self._build(one) for one in rest] if kind not in ("d", "h") else [(self._build(a), self._build(b)) for a, b in rest]
        makers: dict[str, Callable[[list[Any]], Any]] = {
            "t": tuple, "l": list, "s": set, "fs": frozenset, "d": dict, "h": HashableDict, "c": lambda one: complex(*one),
        }
        if kind not in makers:
            raise ValueError(f"unknown kind of value {kind!r}: written by a later version?")
        return makers[kind](built)
