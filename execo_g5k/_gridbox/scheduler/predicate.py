"""Properties of resources, as `oarsub -p` and the braces of `oarsub -l` have them: a subset of PostgreSQL's conditions, over rows.

Comparisons, ``[NOT] IN``, ``[NOT] LIKE``, ``~``, ``[NOT] BETWEEN``, ``IS [NOT] NULL``, ``AND``, ``OR``, ``NOT`` and parentheses.  As in
SQL, what is compared to NULL is neither true nor false.
"""

from __future__ import annotations

import operator
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, TypeAlias

    Row: TypeAlias = "Mapping[str, Any]"
    Condition: TypeAlias = "Callable[[Row], bool | None]"
    Term: TypeAlias = "tuple[type | None, Callable[[Row], Any]]"

_TOKEN = re.compile(r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<number>\d+(?:\.\d+)?)|(?P<word>[A-Za-z_][A-Za-z_0-9.]*)|"
                    r"(?P<mark><=|>=|<>|!=|!~|[=<>~(),]))")
_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq, "!=": operator.ne, "<>": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
    "~": lambda value, pattern: re.search(pattern, value) is not None, "!~": lambda value, pattern: re.search(pattern, value) is None,
}


class PredicateError(ValueError):
    """It cannot be read, or names what is no property; its text is PostgreSQL's."""


def columns_of(rows: Sequence[Row]) -> dict[str, type]:
    """{property: int or str}, for all properties that some row has."""
    columns: dict[str, type] = {}
    for row in rows:
        for name, value in row.items():
            if value is not None:
                columns.setdefault(name, int if isinstance(value, int) else str)
    return columns


def parse_predicate(text: str, columns: Mapping[str, type]) -> Callable[[Row], bool]:
    """A condition as a function of rows.

    :raises PredicateError: if it cannot be read, or compares what is no property.
    """
    condition = _Parser(text, columns).whole()
    return lambda row: condition(row) is True


class _Parser:
    def __init__(self, text: str, columns: Mapping[str, type]) -> None:
        self.columns = columns
        self.tokens: list[tuple[str, str]] = []
        position, text = 0, text.rstrip()
        while position < len(text):
            found = _TOKEN.match(text, position)
            if not found:
                rest = text[position:].lstrip()
                raise PredicateError("unterminated quoted string at or near " + f'"{rest}"' if rest.startswith("'")
                                     else f'syntax error at or near "{rest[:1]}"')
            self.tokens.append((str(found.lastgroup), found[found.lastgroup or 0]))
            position = found.end()
        self.next = 0

    def peek(self) -> str:
        """The next token, words in capitals; '' at the end."""
        if self.next == len(self.tokens):
            return ""
        kind, token = self.tokens[self.next]
        return token.upper() if kind == "word" else token

    def take(self, *expected: str) -> bool:
        if self.peek() in expected and self.peek():
            self.next += 1
            return True
        return False

    def need(self, expected: str) -> None:
        if not self.take(expected):
            raise self.error()

    def error(self) -> PredicateError:
        if self.next == len(self.tokens):
            return PredicateError('syntax error at or near ")"')        # it stands in parentheses of OAR's
        return PredicateError(f'syntax error at or near "{self.tokens[self.next][1]}"')

    def whole(self) -> Condition:
        condition = self.any_of()
        if self.next != len(self.tokens):
            raise self.error()
        return condition

    def any_of(self) -> Condition:
        parts = [self.all_of()]
        while self.take("OR"):
            parts.append(self.all_of())
        return parts[0] if len(parts) == 1 else lambda row: _or([part(row) for part in parts])

    def all_of(self) -> Condition:
        parts = [self.negation()]
        while self.take("AND"):
            parts.append(self.negation())
        return parts[0] if len(parts) == 1 else lambda row: _and([part(row) for part in parts])

    def negation(self) -> Condition:
        if not self.take("NOT"):
            return self.comparison()
        condition = self.negation()
        return lambda row: _not(condition(row))

    def comparison(self) -> Condition:
        if self.take("("):
            condition = self.any_of()
            self.need(")")
            return condition
        left = self.term()
        negative = self.take("NOT")
        condition = self.test(left, negative)
        return (lambda row: _not(condition(row))) if negative else condition

    def test(self, left: Term, negative: bool) -> Condition:
        if self.take("IN"):
            return self.membership(left)
        if self.take("LIKE"):
            return _compare(left, self.term(), lambda value, pattern: _like(pattern).fullmatch(value) is not None, "~~")
        if self.take("BETWEEN"):
            low = _compare(left, self.term(), operator.ge, ">=")
            self.need("AND")
            high = _compare(left, self.term(), operator.le, "<=")
            return lambda row: _and([low(row), high(row)])
        if negative:
            raise self.error()
        if self.take("IS"):
            absent = not self.take("NOT")
            self.need("NULL")
            return lambda row: (left[1](row) is None) == absent
        for mark, compare in _COMPARISONS.items():
            if self.peek() == mark:
                self.next += 1
                return _compare(left, self.term(), compare, mark)
        raise self.error()

    def membership(self, left: Term) -> Condition:
        self.need("(")
        tests = [_compare(left, self.term(), operator.eq, "=")]
        while self.take(","):
            tests.append(_compare(left, self.term(), operator.eq, "="))
        self.need(")")
        return lambda row: _or([test(row) for test in tests])

    def term(self) -> Term:
        """Its type, None for a quoted literal, which takes the type of what it is compared to; and its value in a row."""
        if self.next == len(self.tokens):
            raise self.error()
        kind, token = self.tokens[self.next]
        if kind == "mark" or (kind == "word" and token.upper() in ("AND", "OR", "NOT", "IN", "LIKE", "IS", "BETWEEN")):
            raise self.error()
        self.next += 1
        if kind == "text":
            text = token[1:-1].replace("''", "'")
            return None, lambda row: text
        if kind == "number":
            number = float(token) if "." in token else int(token)
            return int, lambda row: number
        name = token.lower()
        if name not in self.columns:
            raise PredicateError(f'column "{name}" does not exist')
        return self.columns[name], lambda row: row.get(name)


def _compare(left: Term, right: Term, compare: Callable[[Any, Any], Any], mark: str) -> Condition:
    (left_type, left_value), (right_type, right_value) = left, right
    if left_type is not None and right_type is not None and left_type is not right_type:
        names = {int: "integer", str: "character varying"}
        raise PredicateError(f"operator does not exist: {names[left_type]} {mark} {names[right_type]}")
    if left_type is int or right_type is int:
        left_value, right_value = (_as_number(value) if kind is None else value for kind, value in (left, right))

    def condition(row: Row) -> bool | None:
        a, b = left_value(row), right_value(row)
        return None if a is None or b is None else bool(compare(a, b))

    return condition


def _as_number(literal: Callable[[Row], Any]) -> Callable[[Row], Any]:
    text = literal({})
    try:
        number = int(text)
    except ValueError:
        raise PredicateError(f'invalid input syntax for type integer: "{text}"') from None
    return lambda row: number


def _like(pattern: str) -> re.Pattern[str]:
    return re.compile("".join({"%": ".*", "_": "."}.get(char, re.escape(char)) for char in pattern), re.DOTALL)


def _not(value: bool | None) -> bool | None:
    return None if value is None else not value


def _and(values: list[bool | None]) -> bool | None:
    return False if False in values else None if None in values else True


def _or(values: list[bool | None]) -> bool | None:
    return True if True in values else None if None in values else False
