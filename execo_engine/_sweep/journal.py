"""The lines of the journal: how they are framed, checked, and found again among damaged ones.  Pure.

A line is a JSON array that ends with a newline.  Its first item is the CRC-32 of all that follows it, from its closing quote on, as eight
hexadecimal digits:

    ["5f3a9c1e","done",1,1,"c0ffee42",1763772000.12,1763772001.30,26,28,{"kind":"v1","size":2},{"kind":"v1","size":2.0}]

A record of a combination says all about it, so that the last one is its state: state, serial number of the claim, attempts, owner, start
and end (Unix seconds), lengths of the key and of the exact value, key; then the exact value if it is not the key (else its length is 0),
and an object if there is more to say: the reason.  Other lines are notes: ``["<crc>","plan",{...}]``.
"""

from __future__ import annotations

import json
import re
from collections import namedtuple
from zlib import crc32

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["STATES", "Damage", "Entry", "Scan", "frame", "is_sound", "kind_of", "make_note", "parse_entry", "scan", "split_key"]

STATES = ("todo", "inprogress", "done", "skipped", "failed")


class Entry(namedtuple("Entry", "state serial attempts owner start end key more value", defaults=(b"",))):
    """A record of a combination."""

    __slots__ = ()
    state: str
    serial: int
    """How many claims there have been: the number of the current one."""
    attempts: int
    """Claims that count: not those that were cancelled."""
    owner: str | None
    start: float | None
    end: float | None
    key: bytes
    more: dict[str, Any]
    """reason, persistent: those that there are."""
    value: bytes
    """Exact text, if it is not the key."""

    def body(self) -> bytes:
        """The line, without frame."""
        state, serial, attempts, owner, start, end, key, more, value = self
        head = (f'"{state}",{serial},{attempts},' + (f'"{owner}",' if owner is not None else "null,")
                + (f"{start:.6f}," if start is not None else "null,") + (f"{end:.6f}," if end is not None else "null,")
                + f"{len(key)},{len(value)},")
        tail: bytes = b"," + json.dumps(more, separators=(",", ":")).encode() if more else b""
        line: bytes = head.encode() + key + (b"," + value if value else b"") + tail
        return line


def frame(body: bytes) -> bytes:
    """The line with its checksum and newline."""
    rest = b'",' + body + b"]"
    return b'["%08x%s\n' % (crc32(rest), rest)


def make_note(kind: str, content: Any) -> bytes:
    """Line of a note; `content` is JSON."""
    return frame(json.dumps(kind).encode() + b"," + json.dumps(content, separators=(",", ":")).encode())


def is_sound(line: bytes) -> bool:
    """Whether a line (without newline) is as it was written."""
    try:
        return line[:2] == b'["' and crc32(line[10:]) == int(line[2:10], 16)
    except ValueError:
        return False


def kind_of(line: bytes) -> str:
    """The first word after the checksum."""
    return line[13:line.index(b'"', 13)].decode()


def split_key(line: bytes) -> bytes:
    """Key of the record of a combination."""
    parts = line.split(b",", 9)
    return parts[9][:int(parts[7])]


def parse_entry(line: bytes) -> Entry:
    """Of a sound line, the record of a combination."""
    _, state, serial, attempts, owner, start, end, length, extra, rest = line.split(b",", 9)
    size, place = int(length), int(length)
    value = b""
    if extra != b"0":
        place += 1 + int(extra)
        value = rest[size + 1:place]
    more: dict[str, Any] = json.loads(rest[place + 1:-1]) if rest[place:place + 1] == b"," else {}
    return Entry(state[1:-1].decode(), int(serial), int(attempts), None if owner == b"null" else owner[1:-1].decode(),
                 None if start == b"null" else float(start), None if end == b"null" else float(end), rest[:size], more, value)


class Damage(namedtuple("Damage", "offset content reason")):
    """Bytes that are no line."""

    __slots__ = ()
    offset: int
    content: bytes
    reason: str


class Scan(namedtuple("Scan", "lines damages tail")):
    """What a piece of the journal holds."""

    __slots__ = ()
    lines: list[bytes]
    """Sound ones, without newline."""
    damages: list[Damage]
    tail: bytes
    """After the last newline."""


def scan(data: bytes, offset: int) -> Scan:
    """The lines of a piece of the journal that begins at a line.

    :param offset: where the piece is in the journal, for the places of damages.
    """
    pieces = data.split(b"\n")
    tail = pieces.pop()
    try:
        # The rule is that of is_sound, written out: a journal may have a million lines.
        lines = [piece for piece in pieces if crc32(piece[10:]) == int(piece[2:10], 16) and piece[:2] == b'["']
    except ValueError:
        lines = []
    if len(lines) == len(pieces):
        return Scan(lines, [], tail)
    lines, damages, place = [], [], offset
    for piece in pieces:
        if is_sound(piece):
            lines.append(piece)
        elif piece:                     # an empty line ends what was cut off before it
            saved, lost = _salvage(piece, place)
            lines += saved
            damages += lost
        place += len(piece) + 1
    return Scan(lines, damages, tail)


def _salvage(piece: bytes, offset: int) -> tuple[list[bytes], list[Damage]]:
    """Sound lines inside of a damaged one: the newline between two can be what was damaged."""
    begins = [found.start() for found in re.finditer(rb'\["[0-9a-f]{8}",', piece)]
    lines: list[bytes] = []
    damages: list[Damage] = []
    place = 0
    for number, begin in enumerate(begins):
        # A line that was cut off may be followed by a whole one, or a whole one by rubbish of one byte.
        for end in [*reversed(begins[number + 1:]), len(piece)][::-1] if begin >= place else []:
            found = next((line for line in (piece[begin:end], piece[begin:end - 1]) if is_sound(line)), None)
            if found is None:
                continue
            if begin > place:
                damages.append(Damage(offset + place, piece[place:begin], "not a record"))
            lines.append(found)
            place = begin + len(found)
            break
    if place < len(piece):
        damages.append(Damage(offset + place, piece[place:], "wrong checksum" if begins else "not a record"))
    return lines, damages
