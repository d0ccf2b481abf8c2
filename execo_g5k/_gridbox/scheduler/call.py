"""How a command of OAR is called, and what it answers."""

from __future__ import annotations

import getopt
from dataclasses import dataclass, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

VERSION = "OAR version : 2.5.9 (not OAR: the box's own scheduler)\n"


@dataclass
class Call:
    """How a command was called."""

    words: Sequence[str]
    """Its name and arguments."""
    folder: str = "/"
    variables: Mapping[str, str] = field(default_factory=dict)
    text: str = ""
    """Its standard input."""


@dataclass
class Answer:
    """What a command prints, and its exit code; or the program that it becomes."""

    stdout: str = ""
    stderr: str = ""
    code: int = 0
    become: list[str] | None = None


class Exit(Exception):
    """A command ends before its time."""

    def __init__(self, code: int, stderr: str = "", stdout: str = "") -> None:
        super().__init__(stderr)
        self.answer = Answer(stdout, stderr, code)


def options_of(call: Call, short: str, long: Sequence[str], anywhere: bool = True) -> tuple[list[tuple[str, str]], list[str]]:
    """(options without their dashes, words)."""
    try:
        found, words = (getopt.gnu_getopt if anywhere else getopt.getopt)(list(call.words[1:]), short, list(long))
    except getopt.GetoptError as error:
        named = "requires" in error.msg or "not a unique" in error.msg
        raise Exit(1, f"{error.msg}\n" if named else f"Unknown option: {error.opt}\n") from None
    return [(name.lstrip("-"), value) for name, value in found], words


def getter(options: Sequence[tuple[str, str]], longs: Mapping[str, str]) -> Callable[[str], list[str]]:
    """By the long name of an option, all values that it was given; [''] if it has none."""
    values: dict[str, list[str]] = {}
    for name, value in options:
        values.setdefault(longs.get(name, name), []).append(value)
    return lambda name: values.get(name, [])


def text_of(lines: Sequence[str]) -> str:
    """Each on a line of its own."""
    return "".join(f"{line}\n" for line in lines)
