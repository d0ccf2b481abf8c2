"""When the charter's days are: 09:00 to 19:00 in Europe/Paris, Monday to Friday, except French public holidays.  Pure."""

from __future__ import annotations

import datetime
import functools

from execo.time_utils import get_unixts

from .._oar.formats import paris

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from execo.time_utils import Date

DAY_START = datetime.time(9)
DAY_END = datetime.time(19)
_ONE_DAY = datetime.timedelta(days=1)


def _easter(year: int) -> datetime.date:
    """Easter Sunday in the Gregorian calendar (Meeus, Jones, Butcher)."""
    golden = year % 19
    century, in_century = divmod(year, 100)
    leaps, rest = divmod(century, 4)
    moon = (19 * golden + century - leaps - (century - (century + 8) // 25 + 1) // 3 + 15) % 30
    weekday = (32 + 2 * rest + 2 * (in_century // 4) - moon - in_century % 4) % 7
    late = (golden + 11 * moon + 22 * weekday) // 451
    month, day = divmod(moon + weekday - 7 * late + 114, 31)
    return datetime.date(year, month, day + 1)


@functools.lru_cache(maxsize=64)
def _holidays(year: int) -> frozenset[datetime.date]:
    easter = _easter(year)
    fixed = {datetime.date(year, month, day) for month, day in ((1, 1), (5, 1), (5, 8), (7, 14), (8, 15), (11, 1), (11, 11), (12, 25))}
    return frozenset(fixed | {easter + datetime.timedelta(days=days) for days in (1, 39, 50)})


def french_holidays(year: int) -> set[datetime.date]:
    """Public holidays of the whole of France; not those of Alsace and Moselle alone."""
    return set(_holidays(year))


def is_work_day(day: datetime.date) -> bool:
    """Monday to Friday, and no public holiday."""
    return day.weekday() < 5 and day not in _holidays(day.year)


def unixts_of(date: Date) -> float:
    """Unix seconds of any date of execo.

    :raises ValueError: if it cannot be read.
    """
    seconds = get_unixts(date)
    if seconds is None:
        raise ValueError("expected a date, found None")
    return float(seconds)


def unixts_to_oar_datetime(ts: Date) -> datetime.datetime:
    """The wall clock of Europe/Paris, as a datetime without zone: the times that OAR shows."""
    return datetime.datetime.fromtimestamp(unixts_of(ts), paris()).replace(tzinfo=None)


def oar_datetime_to_unixts(dt: datetime.datetime) -> float:
    """Unix seconds of a datetime on the wall clock of Europe/Paris; one with a zone keeps it.

    Where the clocks repeat an hour, `dt.fold` says which pass is meant.
    """
    if not isinstance(dt, datetime.datetime):
        raise TypeError(f"expected a datetime, found {dt!r}")
    return (dt if dt.tzinfo is not None else dt.replace(tzinfo=paris())).timestamp()


def as_day(day: datetime.date) -> datetime.date:
    """The same day without a time, for a datetime, which is a date and equal to none.

    :raises TypeError: for anything else.
    """
    if isinstance(day, datetime.datetime):
        return day.date()
    if not isinstance(day, datetime.date):
        raise TypeError(f"expected a day as a datetime.date, found {day!r}")
    return day


def get_oar_day_start_end(day: datetime.date) -> tuple[float, float]:
    """First and last second, in Unix seconds, of a day in Europe/Paris: 23 and 25 hours apart when the clocks change."""
    day = as_day(day)
    return _at(day, datetime.time()), _at(day, datetime.time(23, 59, 59))


def _at(day: datetime.date, time: datetime.time) -> float:
    return datetime.datetime(day.year, day.month, day.day, time.hour, time.minute, time.second, tzinfo=paris()).timestamp()


def day_of(ts: float) -> datetime.date:
    """The date in Europe/Paris."""
    return datetime.datetime.fromtimestamp(ts, paris()).date()


def day_period(day: datetime.date) -> tuple[float, float] | None:
    """(start, end) of the charter's period of a day; None if it is no work day."""
    return (_at(day, DAY_START), _at(day, DAY_END)) if is_work_day(day) else None


def charter_days(start: float, end: float) -> Iterator[tuple[datetime.date, tuple[float, float]]]:
    """Work days whose period has a part in start..end, with that period, whole."""
    day = day_of(start)
    while start < end and _at(day, DAY_START) < end:
        period = day_period(day)
        if period is not None and period[1] > start:
            yield day, period
        day += _ONE_DAY


def g5k_charter_time(t: Date) -> bool:
    """Whether a date is in the charter's day time: 09:00 to 19:00, Europe/Paris, on French work days.

    :param t: any date that `execo.time_utils.get_unixts` reads; one without zone is local time, as everywhere in execo.
    """
    ts = unixts_of(t)
    period = day_period(day_of(ts))
    return period is not None and period[0] <= ts < period[1]


def get_next_charter_period(start: Date, end: Date) -> tuple[float, float] | tuple[None, None]:
    """First period of the charter's day time inside start..end, cut to that range.

    :param start: any date that `execo.time_utils.get_unixts` reads.
    :param end: same; an `end` not after `start` finds nothing.
    :returns: (start, end) in Unix seconds, or (None, None) if no period meets the range.
    :raises ValueError: if a date cannot be read.
    """
    first, last = unixts_of(start), unixts_of(end)
    for _, (opens, closes) in charter_days(first, last):
        return max(opens, first), min(closes, last)
    return None, None
