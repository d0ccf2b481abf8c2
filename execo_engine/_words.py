"""Combinations for human readers, in one line.  Pure."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["combination_words"]


def combination_words(combination: object) -> str:
    """``method=gzip level=9``."""
    if isinstance(combination, Mapping):
        return " ".join(f"{name}={value}" for name, value in combination.items()) or "{}"
    return repr(combination)
