"""Dates and durations in their many spellings, sleeping, and a timer.

A *date* is a number or string of Unix seconds, a datetime, or a string ``[[[CC]YY-]MM-]DD H:M:S[.frac][zone]``.
A *duration* is a number or string of seconds, a timedelta, or a string ``H:M:S[.frac]``.
"""

from __future__ import annotations

import re
import sys
import time

from execo.log import logger

TYPE_CHECKING = False
if not TYPE_CHECKING:

    def overload(function: object) -> object:
        """Stands in for that of `typing`, whose import takes as long as that of all our modules."""
        return function
else:
    import datetime
    from typing import TypeAlias, overload

    Duration: TypeAlias = int | float | str | datetime.timedelta
    Date: TypeAlias = int | float | str | datetime.datetime


__all__ = [
    "Timer",
    "datetime_to_unixts",
    "format_date",
    "format_duration",
    "format_seconds",
    "format_unixts",
    "get_seconds",
    "get_unixts",
    "logger",
    "numeric_date_to_unixts",
    "numeric_duration_to_seconds",
    "sleep",
    "str_date_to_unixts",
    "str_duration_to_seconds",
    "timedelta_to_seconds",
    "unixts_to_datetime",
]

_NUMBER = r"[0-9]+(?:\.[0-9]+)?|\.[0-9]+"
_DURATION = r"(?P<h>[0-9]+):(?P<m>[0-9]{1,2}):(?P<s>[0-9]{1,2})(?P<frac>\.[0-9]+)?"
_DATE = (
    r"(?:(?:(?:(?P<year>[0-9]{4}|[0-9]{2})-)?(?P<month>[0-9]{1,2})-)?(?P<day>[0-9]{1,2})[ Tt])?"
    r"(?P<h>[0-9]{1,2}):(?P<m>[0-9]{1,2}):(?P<s>[0-9]{1,2})(?P<frac>\.[0-9]+)?"
    r"(?P<zone>[Zz]|[+-][0-9]{2}:[0-9]{2})?"
)


def timedelta_to_seconds(td: datetime.timedelta) -> float:
    """Length of `td` in seconds."""
    return td.total_seconds()


def datetime_to_unixts(dt: datetime.datetime) -> float:
    """Unix seconds of `dt`; without a zone it is local time."""
    return dt.timestamp()


def unixts_to_datetime(ts: float, tz: datetime.tzinfo | None = None) -> datetime.datetime:
    """Datetime in zone `tz`; None: local time, without zone."""
    import datetime  # about 1 ms, only where a datetime is asked for

    return datetime.datetime.fromtimestamp(ts, tz)


def numeric_date_to_unixts(d: float) -> float:
    """Unix seconds as a float."""
    return _number(d, "date")


def numeric_duration_to_seconds(d: float) -> float:
    """Seconds as a float."""
    return _number(d, "duration")


def _number(value: float, what: str) -> float:
    number = float(value)
    if number != number:
        raise ValueError(f"{what}: {value!r} is not a number of seconds")
    return number


def str_date_to_unixts(d: str) -> float:
    """Unix seconds of a date given as a string (see this module's description).

    Missing parts are today's; two digits of a year mean 1969 to 2068; without a zone it is local time.

    :raises ValueError: unless it is a date with a time of day.
    """
    import datetime

    text = d.strip(" \t")
    if re.fullmatch(_NUMBER, text):
        return float(text)
    found = re.fullmatch(_DATE, text)
    if not found:
        raise ValueError(f"not a date: {d!r}; expected seconds or '[[[CC]YY-]MM-]DD H:M:S[.frac][Z|+HH:MM|-HH:MM]'")
    today = time.localtime()
    year = int(found["year"]) if found["year"] else today.tm_year
    if found["year"] and len(found["year"]) == 2:
        year += 1900 if year >= 69 else 2000
    try:
        moment = datetime.datetime(
            year,
            int(found["month"]) if found["month"] else today.tm_mon,
            int(found["day"]) if found["day"] else today.tm_mday,
            int(found["h"]),
            int(found["m"]),
            int(found["s"]),
            tzinfo=_zone(found["zone"]) if found["zone"] else None,
        )
        return moment.timestamp() + float(found["frac"] or 0)
    except (OverflowError, ValueError) as impossible:
        raise ValueError(f"not a date: {d!r}: {impossible}") from None


def _zone(text: str) -> datetime.timezone:
    import datetime

    if text in "Zz":
        return datetime.timezone.utc
    hours, minutes = int(text[1:3]), int(text[4:6])
    if minutes > 59:
        raise ValueError(f"zone {text} has more than 59 minutes")
    offset = datetime.timedelta(hours=hours, minutes=minutes)
    return datetime.timezone(-offset if text[0] == "-" else offset)


def str_duration_to_seconds(duration: str) -> float:
    """Seconds of a duration given as a string; an int for ``H:M:S`` without a fraction.

    :raises ValueError: unless it is ``N``, ``N.N``, ``.N`` or ``H:M:S[.frac]``.
    """
    if re.fullmatch(_NUMBER, duration):
        return float(duration)
    found = re.fullmatch(_DURATION, duration)
    if not found:
        raise ValueError(f"not a duration: {duration!r}; expected seconds or 'H:M:S[.frac]'")
    seconds = int(found["h"]) * 3600 + int(found["m"]) * 60 + int(found["s"])
    return seconds + float(found["frac"]) if found["frac"] else seconds


def _is_a(value: object, class_name: str) -> bool:
    # A datetime or timedelta exists only once its module is loaded, so it need not be loaded to recognize one.
    module = sys.modules.get("datetime")
    return module is not None and isinstance(value, getattr(module, class_name))


@overload
def get_seconds(duration: None) -> None: ...
@overload
def get_seconds(duration: Duration) -> float: ...
def get_seconds(duration: Duration | None) -> float | None:
    """Seconds of any duration; None for None.

    :raises ValueError: for a string that is no duration.
    """
    if duration is None:
        return None
    if isinstance(duration, str):
        return str_duration_to_seconds(duration)
    if _is_a(duration, "timedelta"):
        return timedelta_to_seconds(duration)  # type: ignore[arg-type]  # _is_a has just checked it
    return numeric_duration_to_seconds(duration)  # type: ignore[arg-type]  # float() refuses what is no number


@overload
def get_unixts(d: None) -> None: ...
@overload
def get_unixts(d: Date) -> float: ...
def get_unixts(d: Date | None) -> float | None:
    """Unix seconds of any date; None for None.

    :raises ValueError: for a string that is no date with a time of day.
    """
    if d is None:
        return None
    if isinstance(d, str):
        return str_date_to_unixts(d)
    if _is_a(d, "datetime"):
        return datetime_to_unixts(d)  # type: ignore[arg-type]  # _is_a has just checked it
    return numeric_date_to_unixts(d)  # type: ignore[arg-type]  # float() refuses what is no number


def _whole_and_milliseconds(secs: float, showms: bool) -> tuple[int, int]:
    """Whole seconds (floor) and milliseconds; rounded to a millisecond when these are shown."""
    if not showms:
        return int(secs // 1), 0
    return divmod(round(secs * 1000), 1000)


def format_unixts(secs: float | None, showms: bool = False) -> str | None:
    """``YYYY-MM-DD HH:MM:SS[.mmm]+HH:MM`` in local time; None for None.

    :param showms: show milliseconds, unless they are zero.
    """
    if secs is None:
        return None
    whole, milliseconds = _whole_and_milliseconds(secs, showms)
    local = time.localtime(whole)
    minutes = abs(local.tm_gmtoff) // 60
    return (
        f"{local.tm_year:04d}-{local.tm_mon:02d}-{local.tm_mday:02d} "
        f"{local.tm_hour:02d}:{local.tm_min:02d}:{local.tm_sec:02d}"
        + (f".{milliseconds:03d}" if milliseconds else "")
        + ("-" if local.tm_gmtoff < 0 else "+")
        + f"{minutes // 60:02d}:{minutes % 60:02d}"
    )


def format_date(d: Date | None, showms: bool = False) -> str | None:
    """As `format_unixts`, for any date."""
    return format_unixts(get_unixts(d), showms)


def format_seconds(secs: float | None, showms: bool = False) -> str | None:
    """``1d1h1m1s``, or the shorter forms ``1h1m1s``, ``1m1s`` and ``1s``; None for None.

    :param showms: show milliseconds, unless they are zero.
    """
    if secs is None:
        return None
    whole, milliseconds = _whole_and_milliseconds(abs(secs), showms)
    text = "-" if secs < 0 and (whole or milliseconds) else ""
    if whole >= 86400:
        text += f"{whole // 86400}d"
    if whole >= 3600:
        text += f"{whole % 86400 // 3600}h"
    if whole >= 60:
        text += f"{whole % 3600 // 60}m"
    return text + f"{whole % 60}" + (f".{milliseconds:03d}" if milliseconds else "") + "s"


def format_duration(duration: Duration | None, showms: bool = False) -> str | None:
    """As `format_seconds`, for any duration."""
    return format_seconds(get_seconds(duration), showms)


def sleep(delay: Duration | None = None, until: Date | None = None) -> float | None:
    """Sleep for `delay` and until the date `until`, whichever ends later.

    :returns: the seconds to sleep at the time of the call, or None if there was nothing to sleep.

    The delay is counted on the monotonic clock, the date on the wall clock, also if that is set meanwhile.
    """
    started = time.monotonic()
    length = get_seconds(delay) or 0.0
    date = get_unixts(until)
    asked = max(length, date - time.time()) if date is not None else length
    if asked <= 0:
        return None
    logger.debug("sleeping %s", format_seconds(asked, showms=True))
    while True:
        left = length - (time.monotonic() - started)
        if date is not None:
            left = max(left, date - time.time())
        if left <= 0:
            break
        time.sleep(left)
    logger.debug("end of sleep")
    return asked


class Timer:
    """Measures the time since it was made, on the monotonic clock.

    :param timeout: a duration, for `remaining`; None: no limit.
    """

    def __init__(self, timeout: Duration | None = None) -> None:
        self._timeout = get_seconds(timeout)
        self._start_date = time.time()
        self._started = time.monotonic()

    def wait_elapsed(self, elapsed: Duration) -> Timer:
        """Sleep until `elapsed` has passed since the timer was made."""
        sleep(get_seconds(elapsed) - self.elapsed())
        return self

    def start_date(self) -> float:
        """When the timer was made, in Unix seconds."""
        return self._start_date

    def elapsed(self) -> float:
        """Seconds since the timer was made."""
        return time.monotonic() - self._started

    def remaining(self) -> float | None:
        """Seconds until the timeout, negative after it; None without one."""
        return None if self._timeout is None else self._timeout - self.elapsed()
