"""Words for the login shell of a host, whichever it is."""

from __future__ import annotations

import re


def quoted(word: str) -> str:
    r"""The word as one argument for sh, fish and csh (for which it must be one line).

    As `shlex.quote`, but between quotes there is neither a backslash, of which fish makes something of its own, nor an exclamation mark,
    of which csh does.
    """
    parts = re.split(r"(['\\!])", word)
    return "".join(f"\\{part}" if part in ("'", "\\", "!") else f"'{part}'" for part in parts if part) or "''"
