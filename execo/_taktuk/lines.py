"""What TakTuk prints.  Pure: bytes in pieces in, calls of a `Listener` out.

`TEMPLATES` make it print one line for each event: its kind, the place of the host on the command line, and what there is to tell, last
what may hold any byte.  Only a line feed ends a line here.  Output of a command comes in blocks, after a line that says how many bytes.
A line that is none of these is passed on as such: it is never dropped, and never taken for something else.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Listener(Protocol):
        """Places are numbers from 1, as on the command line; 0 is the root."""

        def on_output(self, place: int, stream: int, data: bytes) -> None:
            """Some bytes; stream 1 or 2."""

        def on_status(self, place: int, status: int) -> None:
            """The command has ended, with this raw wait status, and its output is complete."""

        def on_connector(self, place: int, words: bytes) -> None:
            """A line that the connector said of the connection to this place."""

        def on_state(self, place: int, state: int, rank: int, pid: int, peer: int | None, below: list[int]) -> None:
            """Something has become of this place, or, if `peer` is given, of that one; `below` are those that depend on the peer."""

        def on_noise(self, words: bytes) -> None:
            """TakTuk's own words, or a line that we do not know."""

STDOUT, STDERR = 1, 2

# States, of which only these are printed.
NUMBERED = 1                # the host has its rank, and takes orders
CONNECTION_FAILED = 3
CONNECTION_LOST = 5
COMMAND_STARTED = 6
COMMAND_FAILED = 7

# An expression of Perl, evaluated where the event is, for each line.  That takes 15 microseconds, so 10 MB of short lines would take 10
# seconds.  TakTuk 3.7 has what it read, and its place in it, in $message; so the first line takes it all.  If there is no $message, each is
# told alone, and says whether it has a line end.
_OUTPUT = ('defined $message ? do {{ pos($message) = length $message; "D $position {stream} ".length($message)."\\n".$message }}'
           ' : "{kind} $position ".($eol eq "" ? 0 : 1)." $line\\n"')
_WANTED = "$line == 1 || $line == 3 || $line > 4 && $line < 8"
TEMPLATES = (
    "output=" + _OUTPUT.format(kind="O", stream=1),
    "error=" + _OUTPUT.format(kind="E", stream=2),
    'status="S $position $line\\n"',
    'connector="C $peer_position $line\\n"',
    f'state={_WANTED} ? "X $position $line $rank $pid $peer_position $peers_given\\n" : ""',
    'taktuk="T $position $level_name $line\\n"',
    "info",
    "message",
)


class LineParser:
    """Feed it what the root prints."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._begun: list[bytes] = []       # pieces of the line that is not complete
        self._block = (0, 0)                # place and stream of a block
        self._left = 0                      # bytes of it that have not come

    def feed(self, data: bytes) -> None:
        begin = 0
        while begin < len(data):
            if self._left:
                piece = data[begin:begin + self._left]
                self._left -= len(piece)
                begin += len(piece)
                self._listener.on_output(*self._block, piece)
                continue
            end = data.find(b"\n", begin)
            if end < 0:
                self._begun.append(data[begin:])
                return
            line = data[begin:end]
            begin = end + 1
            if self._begun:
                line = b"".join((*self._begun, line))
                self._begun = []
            self._tell(line)

    def end(self) -> None:
        """Nothing comes after this."""
        rest = b"".join(self._begun)
        self._begun = []
        if rest:
            self._tell(rest)

    def _tell(self, line: bytes) -> None:
        kind = line[:2]
        head, _, rest = line[2:].partition(b" ")
        if not head.isdigit() or not self._tell_known(kind, int(head), rest):
            self._listener.on_noise(line)

    def _tell_known(self, kind: bytes, place: int, rest: bytes) -> bool:
        """False for a line that we do not know."""
        listener = self._listener
        if kind == b"D ":
            stream, _, size = rest.partition(b" ")
            if stream not in (b"1", b"2") or not size.isdigit():
                return False
            self._block, self._left = (place, int(stream)), int(size)
        elif kind in (b"O ", b"E "):
            if rest[:2] not in (b"0 ", b"1 "):
                return False
            listener.on_output(place, STDOUT if kind == b"O " else STDERR, rest[2:] + (b"\n" if rest[:1] == b"1" else b""))
        elif kind == b"S " and rest.isdigit():
            listener.on_status(place, int(rest))
        elif kind == b"C ":
            listener.on_connector(place, rest)
        elif kind == b"X ":
            words = rest.split(b" ")
            if len(words) < 5 or not words[0].isdigit() or not all(_is_number(word) for word in words[1:3]):
                return False
            below = [int(given.rpartition(b":")[2]) for given in words[4:] if given.rpartition(b":")[2].isdigit()]
            listener.on_state(place, int(words[0]), int(words[1] or -1), int(words[2] or 0), int(words[3]) if words[3].isdigit() else None,
                              below)
        else:
            return False
        return True


def _is_number(word: bytes) -> bool:
    return word.isdigit() or (word[:1] == b"-" and word[1:].isdigit()) or not word
