"""What scripts for very old versions of execo did with `Engine.options_parser`, on top of argparse."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any

_TYPES = {"int": int, "long": int, "float": float, "complex": complex, "string": str, "str": str}


class OptionsParser:
    """The methods of optparse that engines used.  Positional arguments must be declared: argparse refuses those it does not know."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._parser = parser

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parser, name)

    def add_option(self, *names: str, **keywords: Any) -> None:
        """`add_argument` with the keywords of optparse."""
        kind = keywords.get("type")
        if kind == "choice":
            del keywords["type"]
        elif isinstance(kind, str):
            if kind not in _TYPES:
                raise ValueError(f"{names}: type must be one of {', '.join(_TYPES)}, or a function; found {kind!r}")
            keywords["type"] = _TYPES[kind]
        if "help" in keywords:
            keywords["help"] = _in_words_of_argparse(keywords["help"])
        self._parser.add_argument(*names, **keywords)

    def add_argument(self, *names: str, **keywords: Any) -> None:
        """As of argparse, and in the old form ``add_argument(name, description)``."""
        if len(names) == 2 and not names[0].startswith("-") and "help" not in keywords:
            self._parser.add_argument(names[0], help=names[1], **keywords)
        else:
            self._parser.add_argument(*names, **keywords)

    def set_usage(self, usage: str) -> None:
        self._parser.usage = _in_words_of_argparse(usage)

    def set_description(self, description: str) -> None:
        self._parser.description = description


def _in_words_of_argparse(text: str) -> str:
    return text.replace("%", "%%").replace("%%default", "%(default)s").replace("%%prog", "%(prog)s")
