"""What the coordinator and a hop say to each other, in lines of printable ASCII.  Pure.

Names and texts are in hexadecimal; `-` stands for an empty one.  A hop's program comes on its standard input too, so that the command
line is the same short one for all hosts, and shows neither names nor the token.

To a hop:
    join TOKEN BEAT CONNECT DESTINATION     receive; BEAT: seconds between two `got`, CONNECT: seconds for a connection
    head TOKEN BEAT CONNECT NAME ...        send these local files
    feed GENERATION PORT ADDRESS ...        feed the hop that listens there; the addresses are tried in turn
    drop GENERATION                         stop feeding
    commit, restart, quit

From a hop:
    port NUMBER ADDRESS                     it listens; ADDRESS: where ssh has reached it
    got OFFSET                              so much of the stream is here
    sized CONTENT TOTAL                     the head: bytes of the stream without the checksums at its end, and with them
    sealed DIGEST                           the head: all checksums are known; DIGEST is of the list of files and the checksums
    lost GENERATION REASON                  a feed that has failed
    orphan GENERATION                       its source has gone
    stranger COUNT WHO                      connections were refused
    verified DIGEST, differs NAME           all is there, and as the head has sent it, or not
    done                                    the files are in place
    fail ERRNO TEXT PATH                    its last words

Between two hops, over TCP: the feeder sends a header of 128 bytes (token, generation, sizes), the other one the offset that it has, in 20
bytes; then the stream flows from that offset.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .plan import Feed

# Reads a number, a newline, and a program of so many bytes.  One read each byte of the number: what follows is for the program.
BOOTSTRAP = ('$n="";1 while index($n,"\\n")<0&&sysread(STDIN,$n,1,length$n);$p="";'
             "1 while length($p)<$n&&sysread(STDIN,$p,$n-length$p,length$p);eval$p;die$@if$@")
COMMAND = f"exec perl -e '{BOOTSTRAP}'"
"""For a shell."""
ARGUMENTS = ("perl", "-e", BOOTSTRAP)
"""For no shell."""

_EVENT = re.compile(r"[a-z]+( [\w.:-]+)*")
_FIELDS = {"port": "nx", "got": "n", "sized": "nn", "sealed": "w", "lost": "nx", "orphan": "n", "stranger": "nx", "verified": "w",
           "differs": "x", "done": "", "fail": "nxx"}


@lru_cache(maxsize=1)
def program() -> str:
    """What a hop reads first: the length and the text of its program."""
    lines = (line.strip() for line in (Path(__file__).with_name("hop.pl")).read_text(encoding="ascii").splitlines())
    text = "".join(line + "\n" for line in lines if line and not line.startswith("#"))
    return f"{len(text)}\n{text}"


def encoded(text: str) -> str:
    return os.fsencode(text).hex() or "-"


def join_line(token: str, beat: float, connect_timeout: float, destination: str) -> str:
    return f"join {token} {beat} {connect_timeout} {encoded(destination)}\n"


def head_line(token: str, beat: float, connect_timeout: float, names: Iterable[str]) -> str:
    return f"head {token} {beat} {connect_timeout} {' '.join(map(encoded, names))}\n"


def feed_line(feed: Feed) -> str:
    return f"feed {feed.generation} {feed.port} {' '.join(map(encoded, feed.addresses))}\n"


def drop_line(generation: int) -> str:
    return f"drop {generation}\n"


def parse_event(line: str) -> tuple[str, tuple[int | str, ...]] | None:
    """(word, its fields) of a line that a hop has printed; None for anything else (a login shell may print a greeting)."""
    if not _EVENT.fullmatch(line):
        return None
    word, *fields = line.split(" ")
    kinds = _FIELDS.get(word)
    if kinds is None or len(kinds) != len(fields):
        return None
    try:
        return word, tuple(_field(kind, field) for kind, field in zip(kinds, fields, strict=True))
    except ValueError:
        return None


def _field(kind: str, field: str) -> int | str:
    if kind == "n":
        if not field.isascii() or not field.isdigit():
            raise ValueError(field)
        return int(field)
    if kind == "x":
        return "" if field == "-" else os.fsdecode(bytes.fromhex(field))
    return field
