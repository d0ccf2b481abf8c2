"""The arguments of the commands."""

from __future__ import annotations

import re

from .._oar.formats import oar_date_to_unixts
from ..api_utils import get_g5k_sites, get_site_clusters

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def resources_of(words: Iterable[str], default: int | None = None) -> dict[str, int]:
    """``lyon=2`` and so on, as ``{'lyon': 2}``.

    :param default: the number of a word without one; None: it must have one.
    :raises ValueError: for anything else, and what is named twice.
    """
    found: dict[str, int] = {}
    for word in words:
        name, sign, number = word.partition("=")
        if not sign and default is not None:
            number = str(default)
        if not name or not re.fullmatch(r"[1-9][0-9]*", number):
            raise ValueError(f"resources: expected NAME=NUMBER, found {word!r}")
        if name in found:
            raise ValueError(f"resources: {name} is named twice")
        found[name] = int(number)
    return found


def oar_date(text: str) -> float:
    """Unix seconds of ``YYYY-MM-DD HH:MM[:SS]`` on the clock of Paris."""
    return oar_date_to_unixts(text)


def queues_of(word: str | None) -> str | None:
    """As the functions of the API take it; ``all`` is None."""
    return None if word == "all" else word


def sites_of(words: Iterable[str]) -> list[str]:
    """Those that are named, else all that have clusters.

    :raises ValueError: for an unknown one.
    """
    named = list(words)
    for site in named:
        get_site_clusters(site)
    return named or [site for site in get_g5k_sites() if get_site_clusters(site, None)]


def job_of(word: str) -> tuple[int, str]:
    """``12@lyon`` as (12, 'lyon').

    :raises ValueError: for anything else.
    """
    found = re.fullmatch(r"([1-9][0-9]*)@([\w-]+)", word)
    if not found:
        raise ValueError(f"job: expected ID@SITE, found {word!r}")
    return int(found[1]), found[2]
