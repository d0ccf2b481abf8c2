"""A date of one's own, for the box: it begins when one says, and runs as fast as one says."""

from __future__ import annotations

import datetime
import json
import os
import threading
import time
import zoneinfo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

FORMATS = ("%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d")
PARIS = "Europe/Paris"


def date_in_paris(text: str) -> float:
    """Unix seconds of ``YYYY-MM-DD [hh:mm[:ss]]``, as the frontends of Grid'5000 read it.

    :raises ValueError: if it is something else.
    """
    for form in FORMATS:
        try:
            naive = datetime.datetime.strptime(text.strip(), form)
        except ValueError:
            continue
        return naive.replace(tzinfo=zoneinfo.ZoneInfo(PARIS)).timestamp()
    raise ValueError(f"date: expected 'YYYY-MM-DD hh:mm:ss', found {text!r}")


class BoxClock:
    """A function that gives the date, for ``GridBox(clock=...)``; any thread may call it.

    :param start: the date when it is made: Unix seconds, a datetime, or text ``YYYY-MM-DD [hh:mm[:ss]]`` in Europe/Paris; None: now.
    :param rate: its seconds for each second of this machine, at least 0, which is a clock that only moves by `advance`.
    """

    def __init__(self, start: float | str | datetime.datetime | None = None, rate: float = 1.0) -> None:
        if not rate >= 0:
            raise ValueError(f"rate of a clock: expected a number that is not negative, found {rate!r}")
        if isinstance(start, str):
            start = date_in_paris(start)
        elif isinstance(start, datetime.datetime):
            start = start.timestamp()
        self.rate = float(rate)
        self._start = time.time() if start is None else float(start)
        self._began = time.monotonic()
        self._file: Path | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        shown = datetime.datetime.fromtimestamp(self(), zoneinfo.ZoneInfo(PARIS)).strftime(FORMATS[0])
        return f"<BoxClock {shown}, rate {self.rate:g}>"

    def __call__(self) -> float:
        """Unix seconds."""
        return self._start + (time.monotonic() - self._began) * self.rate

    def advance(self, seconds: float) -> None:
        """Let so much time have passed, at once.

        :raises ValueError: if it is negative: a date never goes back.
        """
        if seconds < 0:
            raise ValueError(f"clock: it goes forward only, found {seconds!r}")
        with self._lock:
            self._start += seconds
            self._write()

    def share(self, file: Path | None) -> None:
        """Keep a file by which other processes of this machine have the same date, see `PROGRAM`; None: no longer."""
        with self._lock:
            self._file = file
            self._write()

    def _write(self) -> None:
        if self._file is not None:
            new = self._file.with_suffix(".new")
            new.write_text(json.dumps([self._start, self._began, self.rate]), encoding="utf-8")
            os.replace(new, self._file)


PROGRAM = '''\
def clock():
    import json, time
    with open({file!r}) as state:
        start, began, rate = json.load(state)
    return start + (time.monotonic() - began) * rate
'''
"""The same clock in another process, as source: the user's configuration must not import execo_g5k."""
