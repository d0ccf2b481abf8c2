"""Reads what virsh and ping print.  Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import pairwise

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]i?)?(?:B|bytes)?")
_FACTOR = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def parse_names(output: str) -> list[str]:
    """Names in what ``virsh list --name`` prints; one that begins or ends with blanks keeps them."""
    return [line for line in output.split("\n") if line.strip() and not line.startswith("error:")]


@dataclass(frozen=True)
class JobInfo:
    """What `virsh domjobinfo` tells of a migration; None: it did not say so."""

    seconds: float | None = None
    """That the job took, or has taken so far."""
    data_bytes: int | None = None
    """Of memory and disks, sent."""
    memory_bytes: int | None = None
    rounds: int | None = None
    """Passes over the memory."""
    downtime: float | None = None
    """Seconds, of the machine as the hypervisor sees it."""
    values: dict[str, str] = field(default_factory=dict)
    """All that it printed."""


def parse_jobinfo(output: str) -> JobInfo:
    """Of the text of `virsh domjobinfo`; what cannot be read is left out."""
    values = {}
    for line in output.split("\n"):
        key, colon, value = line.partition(":")
        if colon and key.strip() and not key.startswith("error"):
            values[key.strip()] = value.strip()
    elapsed, downtime = _milliseconds(values.get("Time elapsed")), _milliseconds(values.get("Total downtime"))
    rounds = values.get("Iteration", "")
    return JobInfo(elapsed, parse_size(values.get("Data processed", "")), parse_size(values.get("Memory processed", "")),
                   int(rounds) if rounds.isascii() and rounds.isdigit() else None, downtime, values)


def parse_size(text: str) -> int | None:
    """Bytes of "96.125 MiB"; None for what is no size."""
    found = _SIZE.fullmatch(text.strip())
    return None if found is None else round(float(found[1]) * _FACTOR[(found[2] or "")[:1]])


def _milliseconds(text: str | None) -> float | None:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*ms", text or "")
    return None if found is None else float(found[1]) / 1000


@dataclass(frozen=True)
class PingLog:
    """Answers of a machine over time."""

    answers: tuple[tuple[float, float], ...]
    """(date, round trip), in seconds, in the order of the dates."""
    sent: int
    """How many were asked for, as far as the log tells."""
    interval: float

    @property
    def lost(self) -> int:
        return max(0, self.sent - len(self.answers))

    @property
    def gaps(self) -> list[tuple[float, float]]:
        """(date of the last answer before it, seconds) of each time in which at least one answer is missing."""
        dates = [date for date, _rtt in self.answers]
        return [(before, after - before) for before, after in pairwise(dates) if after - before > 1.5 * self.interval]

    @property
    def downtime(self) -> float:
        """Seconds of the longest gap beyond one interval; 0: no answer is missing.  Exact to an interval."""
        return max((length - self.interval for _date, length in self.gaps), default=0.0)

    def lines(self) -> str:
        """"date rtt" lines, rtt in milliseconds, one per answer, and 0.0 for each that is missing inside of a gap."""
        rows = list(self.answers)
        for before, length in self.gaps:
            rows += [(before + step * self.interval, 0.0) for step in range(1, round(length / self.interval))]
        return "".join(f"{date:.6f} {rtt * 1000:g}\n" for date, rtt in sorted(rows))


_ANSWER = re.compile(r"\[(\d{1,15}(?:\.\d+)?)\] \d+ bytes from .*icmp_seq=(\d{1,10}) .*time=(\d{1,12}(?:\.\d+)?) ms")
_SILENCE = re.compile(r"\[\d+(?:\.\d+)?\] (?:no answer yet for|From \S+) icmp_seq=(\d{1,10})")


def parse_ping(log: str, interval: float) -> PingLog:
    """Of ``ping -D -O``; duplicate answers count once, and a line that was cut short not at all."""
    answers: dict[int, tuple[float, float]] = {}
    last = 0
    for line in log.split("\n"):
        if found := _ANSWER.match(line):
            number = int(found[2])
            answers.setdefault(number, (float(found[1]), float(found[3]) / 1000))
            last = max(last, number)
        elif found := _SILENCE.match(line):
            last = max(last, int(found[1]))
    return PingLog(tuple(sorted(answers.values())), last, interval)
