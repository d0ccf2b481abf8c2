"""Reading JSON piece by piece, so that of some pieces also the text is known: what is stored as it came need not be written again."""

from __future__ import annotations

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_DECODE = json.JSONDecoder().raw_decode
_SPACE = (" ", "\n", "\t", "\r")


class Reader:
    """A place in a text of JSON.  All methods raise ValueError where it is none, or not what is expected."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._start = 0

    def peek(self) -> str:
        """The next character that is no space; '' at the end."""
        text, at = self._text, self._at
        while (found := text[at:at + 1]) in _SPACE:
            at += 1
        self._at = at
        return found

    def read(self) -> Any:
        """The whole value that begins here."""
        self.peek()
        self._start = self._at
        value, self._at = _DECODE(self._text, self._at)
        return value

    def text(self) -> bytes:
        """Of the value that was read last, in UTF-8."""
        return self._text[self._start:self._at].encode()

    def _pass(self, mark: str) -> None:
        if self.peek() != mark:
            raise ValueError(f"expected {mark!r} at character {self._at}, found {self._text[self._at:self._at + 20]!r}")
        self._at += 1

    def _goes_on(self, end: str) -> bool:
        """Pass a comma, or the mark that ends an object or array."""
        found = self.peek()
        if found not in (",", end):
            raise ValueError(f"expected ',' or {end!r} at character {self._at}, found {self._text[self._at:self._at + 20]!r}")
        self._at += 1
        return found == ","

    def _is_empty(self, end: str) -> bool:
        if self.peek() != end:
            return False
        self._at += 1
        return True

    def members(self) -> Iterator[str]:
        """Names of the members of the object that begins here; who asks for the next one has read the value of this one."""
        self._pass("{")
        more = not self._is_empty("}")
        while more:
            name = self.read()
            if not isinstance(name, str):
                raise ValueError(f"expected a name at character {self._start}, found {name!r}")
            self._pass(":")
            yield name
            more = self._goes_on("}")

    def end(self) -> None:
        """Nothing follows."""
        if self.peek():
            raise ValueError(f"expected the end at character {self._at}, found {self._text[self._at:self._at + 20]!r}")
