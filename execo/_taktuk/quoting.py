"""Text that TakTuk takes as it is.  Pure.

TakTuk has no quotes, only an escape character, here ``%``.  We let it separate words by a blank only, and commands by ``;`` only, so
that four characters need an escape and every other byte, line ends and NUL too, passes as it is (`PARSING` are the options that say so).
A command in the arguments of a host is parsed twice, once by the root and once on the host.
"""

from __future__ import annotations

import re

PARSING = ("-E", "%", "-O", " ", "-C", ";")

_SPECIAL = re.compile(rb"[% ;\]]")
_SPECIAL_WORD = re.compile(rb"[^A-Za-z0-9\n\x80-\xff]")


def quote(data: bytes) -> bytes:
    """What stands between brackets in a command on the root's standard input."""
    return _SPECIAL.sub(rb"%\g<0>", data)


def quote_again(text: bytes) -> bytes:
    """The same text, for an argument of a host, which the root parses before it passes it on."""
    return _SPECIAL_WORD.sub(rb"%\g<0>", text)
