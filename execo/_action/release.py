"""A command that waits on its host for a date: what is run there, and what is said.  Pure: no process, no clock.

The command is wrapped by a short program for sh, which hands over to perl where it is (Time::HiRes: exact to a fraction of a
millisecond).  It talks to a `Gate` by lines on its standard input and output that begin with a random token:

    TOKEN hello perl        it runs; or: sh
    > TOKEN probe           what is its time?
    TOKEN time 1700000000.123456
    > TOKEN go DATE         perl: run the command at this date of its own clock
    TOKEN late DATE         the date has passed: it is not run, ever
    TOKEN start DATE        the next byte is the command's

Without perl nothing there can wait exactly, so `go` itself is sent at the date, less the time that it travels; `ready` tells it before to
put the terminal back.  The end of standard input ends the wrapper: a killed process does not start its command later.  We write nothing
of the user's before `start`, so no byte of it is lost in a buffer; and as our lines begin with the token, a terminal that echoes them
does no harm.  The programs hold no single quote, backslash, exclamation mark or end of line, for the login shell may be any.
"""

from __future__ import annotations

from .quoting import quoted

PROBES = 8
MEASURE_BEFORE = 6.0
"""Seconds before the date at which clocks are measured: a clock that nobody steers drifts by a second in some hours."""

_PERL = """
use Time::HiRes qw(time);
my ($t, $tty, @command) = @ARGV;
my ($end, $date) = (chr 10);
sub say_ { syswrite STDOUT, "$t $_[0]" . ($_[1] ? sprintf(" %.6f", $_[1]) : "") . $end }
say_("hello perl");
while (defined(my $line = <STDIN>)) {
  if ($line =~ /^$t probe/) { say_("time", time) }
  if ($line =~ /^$t go ([0-9.]+)/) { $date = $1; last }
}
defined $date or exit 255;
system "stty", $tty if length $tty;
if (time > $date) { say_("late", time); exit 255 }
while ((my $left = $date - time) > 0) {
  my $in = "";
  vec($in, 0, 1) = 1;
  if (select($in, undef, undef, $left > 1 ? 1 : $left) > 0) { sysread(STDIN, my $byte, 1) or exit 255 }
}
say_("start", time);
exec {$command[0]} @command;
print STDERR "cannot run $command[0]$end";
exit 127
"""
_SH = """
t=$1; s=${3:-${SHELL:-/bin/sh}}; o=;
if [ -t 0 ]; then o=$(stty -g) && stty -echo; fi;
if perl -MTime::HiRes -e 0 >/dev/null 2>&1; then exec perl -e "$2" -- "$t" "$o" "$s" -c "$4"; fi;
case $(date +%N) in [0-9]*) f=+%s.%N;; *) f=+%s;; esac;
echo "$t hello sh";
while read -r a b c; do case $b in
probe) echo "$t time $(date $f)";;
ready) if [ "$o" ]; then stty "$o"; fi;;
go) echo "$t start $(date $f)"; exec "$s" -c "$4";;
esac; done; exit 255
"""


def wrapped(command: str, token: str, shell: str = "") -> str:
    """A command that waits for its date, in one line, for any login shell.

    :param shell: what runs it; "": the login shell, as under ssh.
    """
    sh, perl = (" ".join(program.split()) for program in (_SH, _PERL))
    return f"exec /bin/sh -c '{sh}' sh {token} '{perl}' {quoted(shell)} {quoted(command)}"


def clock(probes: list[tuple[float, float, float]]) -> tuple[float, float]:
    """How many seconds the other clock is ahead of ours, and by how many this may be wrong (half of the shortest round trip).

    :param probes: (sent, received, what the other clock told) of each question.
    """
    sent, received, told = min(probes, key=lambda probe: probe[1] - probe[0])
    return told - (sent + received) / 2, (received - sent) / 2


class Gate:
    """Our end: hears what comes from one host, and says what is to be sent.

    :param start_at: Unix seconds of our clock.
    """

    def __init__(self, token: str, start_at: float, measure_before: float = MEASURE_BEFORE) -> None:
        self.start_at = start_at
        self.open = False
        """All that comes is the command's."""
        self.released = False
        """It has been told to go."""
        self.late: float | None = None
        """So many seconds after the date it heard of it."""
        self.kind = ""
        """'perl' or 'sh', once it has said hello."""
        self.offset: float | None = None
        self.error: float | None = None
        self.start_date: float | None = None
        """When the command was started, in our clock."""
        self._token = token.encode()
        self._measure_at = start_at - measure_before
        self._probes: list[tuple[float, float, float]] = []
        self._asked: float | None = None
        self._told_ready = False
        self._held = b""

    def receive(self, data: bytes, now: float) -> bytes:
        """What of standard output is the command's (or the login shell's, which may greet)."""
        data, self._held = self._held + data, b""
        passed = b""
        while data and not self.open:
            before, found, rest = data.partition(self._token)
            line, end, after = rest.partition(b"\n")
            if found and end:
                passed += before
                self._hear(line.decode("ascii", "replace").split(), now)
                data = after
                continue
            keep = len(before) if found else len(data) - _overlap(data, self._token)
            passed, self._held = passed + data[:keep], data[keep:]
            return passed
        return passed + data

    def rest(self) -> bytes:
        """What was held back as it could have been ours; the stream has ended."""
        held, self._held = self._held, b""
        return held

    def _hear(self, words: list[str], now: float) -> None:
        what, value = (*words, "", "")[:2]
        if what == "hello":
            self.kind = value
        elif what == "time" and self._asked is not None:
            resolution = 0.0 if "." in value else 0.5       # its `date` knows seconds only: it is half a second more on average
            self._probes.append((self._asked, now, float(value) + resolution))
            self._asked = None
            self.offset, error = clock(self._probes)
            self.error = error + resolution
        elif what == "late" and self.offset is not None:
            self.late = float(value) - self.offset - self.start_at
        elif what == "start" and self.offset is not None and self.error is not None:
            self.open = True
            self.start_date = float(value) - self.offset if self.kind == "perl" else now - self._travel()

    def _travel(self) -> float:
        return clock(self._probes)[1]

    def step(self, now: float) -> tuple[bytes, float | None]:
        """A line to be sent now, or b""; and the date of the next look, if not after the next `receive`."""
        if not self.kind or self.released or self._asked is not None:
            return b"", None
        if now < self._measure_at:
            return b"", self._measure_at
        in_time = not self._probes or now + 4 * self._travel() < self.start_at
        if len(self._probes) < PROBES and in_time:
            self._asked = now
            return self._line("probe"), None
        assert self.offset is not None
        if self.kind == "perl":
            self.released = True
            return self._line(f"go {self.start_at + self.offset:.6f}"), None
        if not self._told_ready:
            self._told_ready = True
            return self._line("ready"), now
        release_at = self.start_at - self._travel()
        if now < release_at:
            return b"", release_at
        self.released = True
        return self._line("go"), None

    def _line(self, text: str) -> bytes:
        return b"%s %s\n" % (self._token, text.encode())


def _overlap(data: bytes, token: bytes) -> int:
    """Length of the longest end of `data` with which the token begins."""
    return next((n for n in range(min(len(data), len(token) - 1), 0, -1) if data.endswith(token[:n])), 0)
