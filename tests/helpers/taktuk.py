"""TakTuk trees without a network, and what is left of them."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

HERE: dict[str, Any] = {"taktuk_connector": str(Path(__file__).with_name("connect-here")), "taktuk_connector_options": ()}
"""Connection params by which all hosts of a tree are this machine; see connect-here for names with a meaning."""

_numbers = itertools.count()


def unique(word: str = "h") -> str:
    """A host name, or a part of one, that no other test has."""
    return f"{word}{os.getpid()}x{next(_numbers)}"


def of_hosts(word: str) -> dict[int, str]:
    """What runs, zombies aside, on the hosts of connect-here whose names begin so: {pid: command line}."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                environment = (folder / "environ").read_bytes()
                if b"\0EXECO_HOST=" + word.encode() in b"\0" + environment:
                    found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
    return found
