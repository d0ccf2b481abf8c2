"""Dates and durations as OAR writes them: the wall clock of Europe/Paris without a zone, and ``H:M:S`` without padding."""

from __future__ import annotations

import datetime
import functools
import re

from execo.time_utils import get_seconds, get_unixts, str_duration_to_seconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from execo.time_utils import Date, Duration

_DATE = re.compile(r"\s*(\d{4})-(\d{1,2})-(\d{1,2})[ T](\d{1,2}):(\d{1,2})(?::(\d{1,2}))?\s*")


@functools.cache
def paris() -> datetime.tzinfo:
    """The time zone of all sites.

    :raises ImportError: without a database of time zones.
    """
    import zoneinfo  # some milliseconds, only where a date is read or written

    try:
        return zoneinfo.ZoneInfo("Europe/Paris")
    except zoneinfo.ZoneInfoNotFoundError:
        raise ImportError("no time zone Europe/Paris on this machine: apt-get install tzdata, or pip install tzdata") from None


def format_oar_date(ts: Date) -> str:
    """``YYYY-MM-DD HH:MM:SS`` in Europe/Paris, whatever the local zone; fractions are cut off.

    :param ts: any date; a string without zone is local time, as everywhere in execo.

    In the hour that the clocks repeat in October, OAR can only be told of its first pass.
    """
    return datetime.datetime.fromtimestamp(get_unixts(ts) // 1, paris()).strftime("%Y-%m-%d %H:%M:%S")


def oar_date_to_unixts(date: str) -> float:
    """Unix seconds of a date that OAR wrote; in the hour that the clocks repeat, those of its first pass, as OAR reads it.

    :raises ValueError: unless it is one.
    """
    found = _DATE.fullmatch(date)
    if not found:
        raise ValueError(f"not a date of OAR: {date!r}; expected 'YYYY-MM-DD HH:MM:SS'")
    try:
        year, month, day, hour, minute, second = (int(part or 0) for part in found.groups())
        return datetime.datetime(year, month, day, hour, minute, second, tzinfo=paris()).timestamp()
    except (OverflowError, ValueError) as impossible:
        raise ValueError(f"not a date of OAR: {date!r}: {impossible}") from None


def format_oar_duration(duration: Duration) -> str:
    """``H:M:S`` without padding, and without days: ``25:1:1``; fractions are cut off.

    :raises ValueError: for what is no duration, or a negative one.
    """
    seconds = get_seconds(duration)
    if not 0 <= seconds < float("inf"):
        raise ValueError(f"a duration for OAR must not be negative or infinite, found {duration!r}")
    minutes, second = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60}:{second}"


def oar_duration_to_seconds(duration: str) -> float:
    """Seconds of a duration that OAR wrote.

    :raises ValueError: unless it is one.
    """
    return str_duration_to_seconds(duration.strip())
