"""Files that are given by URL: keys, and descriptions of environments."""

from __future__ import annotations

FETCH_SECONDS = 10.0
LARGEST = 1 << 20


def fetch(url: str) -> str:
    """The text there.

    :raises OSError: if it cannot be had.
    """
    from urllib.request import urlopen

    with urlopen(url, timeout=FETCH_SECONDS) as answer:
        return bytes(answer.read(LARGEST)).decode("utf-8", "replace")
