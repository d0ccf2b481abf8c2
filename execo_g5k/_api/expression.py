"""The small language in which hosts are chosen: ``cores >= 8 and memory >= 32GB and cluster in (gros, grisou)``."""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import dataclass
from fractions import Fraction

from .properties import PROPERTIES, Property

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, TypeAlias

    from .properties import Value

    Literal: TypeAlias = "str | Fraction | bool"
    Facts = Mapping[str, Value]

_TOKEN = re.compile(r"""\s*(?:
    (?P<number>\d+(?:\.\d+)?(?:[eE]\d+)?)\s*(?P<unit>(?:[kKMGTP]i?)?(?:B|Hz|bit/s|bps|b/s|flops)\b|[kKMGTP]i?\b)?(?![\w.])
  | (?P<quoted>'[^']*'|"[^"]*")
  | (?P<operator><=|>=|==|!=|<>|<|>|=|~)
  | (?P<mark>[(),])
  | (?P<sign>&&?|\|\|?|!)
  | (?P<word>[A-Za-z_][\w.+-]*)
)""", re.VERBOSE)
_PREFIXES = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15,
             "ki": 1 << 10, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40, "Pi": 1 << 50}
_SIGNS = {"&": "and", "&&": "and", "|": "or", "||": "or", "!": "not"}
_SAME = {"==": "=", "<>": "!="}
_TRUTHS = {"true": True, "yes": True, "false": False, "no": False}
_SURELY_BYTES = 10**6       # a number without unit is taken for bytes, hertz ... from here on: nobody means 32 bytes of memory


@dataclass(frozen=True)
class Comparison:
    """A property and a value, or several of which one must be equal (``in``)."""

    name: str
    operator: str
    values: tuple[Literal, ...]

    def holds(self, facts: Facts) -> bool:
        """For a host with these properties."""
        value = facts[self.name]
        if isinstance(value, list):
            fits = not set(self.values).isdisjoint(value)
            return fits if self.operator != "!=" else not fits
        if PROPERTIES[self.name].kind == "text":
            value = value or ""
        if value is None:
            return False
        return any(_COMPARE[self.operator](value, wanted) for wanted in self.values)

    def sql(self, otherwise: Callable[[Comparison], str]) -> str:
        """For OAR; `otherwise` says what it has no property for."""
        known = PROPERTIES[self.name]
        if known.oar is None or self.operator == "~":
            return otherwise(self)
        if self.operator == "in":
            return f"{known.oar} IN ({', '.join(_as_sql(known, '=', value) for value in self.values)})"
        return f"{known.oar} {self.operator} {_as_sql(known, self.operator, self.values[0])}"


@dataclass(frozen=True)
class Junction:
    """``and`` or ``or`` of several."""

    word: str
    parts: tuple[Condition, ...]

    def holds(self, facts: Facts) -> bool:
        """For a host with these properties."""
        return (all if self.word == "and" else any)(part.holds(facts) for part in self.parts)

    def sql(self, otherwise: Callable[[Comparison], str]) -> str:
        """For OAR."""
        return "(" + f" {self.word.upper()} ".join(part.sql(otherwise) for part in self.parts) + ")"


@dataclass(frozen=True)
class Negation:
    """``not``."""

    part: Condition

    def holds(self, facts: Facts) -> bool:
        """For a host with these properties."""
        return not self.part.holds(facts)

    def sql(self, otherwise: Callable[[Comparison], str]) -> str:
        """For OAR."""
        inner = self.part.sql(otherwise)
        return f"NOT {inner}" if inner.startswith("(") else f"NOT ({inner})"


Condition = Comparison | Junction | Negation

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda value, wanted: bool(value == wanted),
    "in": lambda value, wanted: bool(value == wanted),
    "!=": lambda value, wanted: bool(value != wanted),
    "<": lambda value, wanted: bool(value < wanted),
    "<=": lambda value, wanted: bool(value <= wanted),
    ">": lambda value, wanted: bool(value > wanted),
    ">=": lambda value, wanted: bool(value >= wanted),
    "~": lambda value, wanted: str(wanted).lower() in str(value).lower(),
}


def _as_sql(known: Property, operator: str, value: Literal) -> str:
    if isinstance(value, bool):
        return "'YES'" if value else "'NO'"
    if isinstance(value, str):
        return quoted_for_oar(value)
    # OAR's is rounded down: at least 1.5 units is at least 2 of them, more than 1.5 is more than 1.
    units = value / known.oar_unit
    if operator in (">=", "<"):
        return str(math.ceil(units))
    if operator in (">", "<="):
        return str(math.floor(units))
    return str(units.numerator) if units.denominator == 1 else str(float(units))


def quoted_for_oar(text: str) -> str:
    """A value in an SQL expression of OAR.

    :raises ValueError: for characters that cannot be said in the command line of `oarsub`.
    """
    if not re.fullmatch(r"[\w .:;,@()+*/%&#~=-]*", text):
        raise ValueError(f"a value for OAR must not have quotes, braces and the like: {text!r}")
    return f"'{text}'"


def parse(text: str) -> Condition:
    """What an expression means.

    :raises ValueError: if it cannot be read; for unknown properties, with the known ones.
    :raises TypeError: if it is no string.
    """
    if not isinstance(text, str):
        raise TypeError(f"condition on hosts: expected a string, found {text!r}")
    return _Parser(text).whole()


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    at: int
    unit: str | None = None


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = self._split()
        self._next = 0

    def _wrong(self, what: str, at: int | None = None) -> ValueError:
        place = "" if at is None else f" at {self._text[at:at + 20]!r}" if at < len(self._text) else " at its end"
        return ValueError(f"condition on hosts {self._text!r}{place}: {what}")

    def _split(self) -> list[_Token]:
        tokens = []
        at, end = 0, len(self._text.rstrip())
        while at < end:
            found = _TOKEN.match(self._text, at)
            if not found or not found.lastgroup:
                raise self._wrong("cannot be read", end - len(self._text[at:end].lstrip()))
            kind = "number" if found["number"] else found.lastgroup
            word = found[kind]
            if kind == "sign" or (kind == "word" and word.lower() in ("and", "or", "not", "in")):
                kind, word = "keyword", _SIGNS.get(word, word.lower())
            tokens.append(_Token(kind, word, found.start(found.lastgroup if kind == "keyword" else kind), found["unit"]))
            at = found.end()
        tokens.append(_Token("end", "", len(self._text)))
        return tokens

    def _take(self, kind: str, text: str | None = None) -> _Token | None:
        token = self._tokens[self._next]
        if token.kind != kind or (text is not None and token.text != text):
            return None
        self._next += 1
        return token

    def _expect(self, kind: str, text: str | None, what: str) -> _Token:
        token = self._take(kind, text)
        if token is None:
            raise self._wrong(f"expected {what}", self._tokens[self._next].at)
        return token

    def whole(self) -> Condition:
        condition = self._junction("or", lambda: self._junction("and", self._single))
        self._expect("end", None, "'and', 'or' or the end")
        return condition

    def _junction(self, word: str, part: Callable[[], Condition]) -> Condition:
        parts = [part()]
        while self._take("keyword", word):
            parts.append(part())
        return parts[0] if len(parts) == 1 else Junction(word, tuple(parts))

    def _single(self) -> Condition:
        if self._take("keyword", "not"):
            return Negation(self._single())
        if self._take("mark", "("):
            inner = self._junction("or", lambda: self._junction("and", self._single))
            self._expect("mark", ")", "')'")
            return inner
        name = self._expect("word", None, "a property, 'not' or '('")
        if name.text not in PROPERTIES:
            near = difflib.get_close_matches(name.text, PROPERTIES, 1)
            meant = f", do you mean {near[0]!r}?" if near else ""
            raise self._wrong(f"no property {name.text!r}{meant}; there are {', '.join(PROPERTIES)}")
        return self._comparison(name)

    def _comparison(self, name: _Token) -> Condition:
        kind = PROPERTIES[name.text].kind
        negated = self._take("keyword", "not") is not None
        if self._take("keyword", "in"):
            among = Comparison(name.text, "in", self._values(name))
            return Negation(among) if negated else among
        if negated:
            raise self._wrong("expected 'in' after 'not'", self._tokens[self._next].at)
        sign = self._take("operator")
        if sign is None:
            if kind == "truth":
                return Comparison(name.text, "=", (True,))
            raise self._wrong(f"expected a comparison of {name.text!r}", self._tokens[self._next].at)
        operator = _SAME.get(sign.text, sign.text)
        possible = {"number": ("=", "!=", "<", "<=", ">", ">="), "text": ("=", "!=", "~"), "truth": ("=", "!="), "texts": ("=", "!=")}[kind]
        if operator not in possible:
            what = {"text": "name", "texts": "set of names", "truth": "truth"}.get(kind, kind)
            raise self._wrong(f"{name.text!r} is a {what}; for these there are {' '.join(possible)}", sign.at)
        return Comparison(name.text, operator, (self._value(name),))

    def _values(self, name: _Token) -> tuple[Literal, ...]:
        self._expect("mark", "(", "'(' after 'in'")
        values = [self._value(name)]
        while self._take("mark", ","):
            values.append(self._value(name))
        self._expect("mark", ")", "',' or ')'")
        return tuple(values)

    def _value(self, name: _Token) -> Literal:
        known = PROPERTIES[name.text]
        token = self._tokens[self._next]
        if token.kind not in ("number", "quoted", "word"):
            raise self._wrong(f"expected a value for {name.text!r}", token.at)
        self._next += 1
        if known.kind == "number":
            return self._number(token, name.text, known)
        text = token.text[1:-1] if token.kind == "quoted" else token.text + (token.unit or "")
        if known.kind == "truth":
            if text.lower() not in _TRUTHS:
                raise self._wrong(f"{name.text!r} is yes or no", token.at)
            return _TRUTHS[text.lower()]
        return "production" if known.kind == "texts" and text == "abaca" else text

    def _number(self, token: _Token, name: str, known: Property) -> Fraction:
        example = {"": "8", "B": "32GB", "Hz": "2.5GHz", "bit/s": "10Gbit/s", "flops": "20Gflops"}[known.unit]
        if token.kind != "number":
            raise self._wrong(f"expected a number for {name!r}, as {example}", token.at)
        prefix, unit = "", ""
        if token.unit:
            found = re.fullmatch(r"([kKMGTP]i?)?(.*)", token.unit)
            assert found is not None
            prefix, unit = found[1] or "", {"bps": "bit/s", "b/s": "bit/s"}.get(found[2], found[2])
        number = Fraction(token.text) * _PREFIXES[prefix]
        if unit not in ("", known.unit) or (known.unit and not prefix and not unit and 0 < number < _SURELY_BYTES):
            raise self._wrong(f"{name!r} is in {known.unit or 'plain numbers'}, as {example}", token.at)
        return number
