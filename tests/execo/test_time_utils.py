"""Dates, durations, sleep and Timer."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execo import time_utils
from execo.time_utils import (
    Timer,
    datetime_to_unixts,
    format_date,
    format_duration,
    format_seconds,
    format_unixts,
    get_seconds,
    get_unixts,
    sleep,
    unixts_to_datetime,
)

UTC = datetime.timezone.utc


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    def use(name: str) -> None:
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield use
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    "duration, seconds",
    [
        (None, None), (0, 0.0), (5, 5.0), (2.5, 2.5), (-3, -3.0), ("5", 5.0), ("2.5", 2.5), (".5", 0.5),
        ("0:00:10", 10), ("1:02:03", 3723), ("100:00:00", 360000), ("1:2:3", 3723), ("0:00:01.5", 1.5),
        ("0:99:99", 6039), (datetime.timedelta(days=1, microseconds=500000), 86400.5),
    ],
)  # fmt: skip
def test_get_seconds_reads_durations(duration: time_utils.Duration | None, seconds: float | None) -> None:
    assert get_seconds(duration) == seconds


@pytest.mark.parametrize("duration", ["", "1:2", "abc", "-1", "5.", "1:2:3:4", " 5", "1e3", "1:2:3.", "٣", "5\n", "nan", float("nan")])
def test_get_seconds_refuses_and_names_it(duration: object) -> None:
    with pytest.raises(ValueError) as refused:
        get_seconds(duration)  # type: ignore[call-overload]  # refused at run time
    assert repr(duration) in str(refused.value)


def test_wrong_types_are_type_errors() -> None:
    for call in (get_seconds, get_unixts):
        with pytest.raises(TypeError):
            call([1])  # type: ignore[call-overload]  # refused at run time


@given(st.integers(0, 10**9), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999))
def test_written_duration_is_read_back(hours: int, minutes: int, seconds: int, milliseconds: int) -> None:
    assert get_seconds(f"{hours}:{minutes:02}:{seconds}.{milliseconds:03}") == pytest.approx(
        hours * 3600 + minutes * 60 + seconds + milliseconds / 1000
    )


def _read_formatted(text: str) -> int:
    """Milliseconds of what format_seconds writes."""
    sign = -1 if text.startswith("-") else 1
    total = 0
    number = ""
    for character in text.lstrip("-"):
        if character in "dhms":
            total += round(float(number) * {"d": 86400, "h": 3600, "m": 60, "s": 1}[character] * 1000)
            number = ""
        else:
            number += character
    return sign * total


@given(st.integers(-(10**12), 10**12))
def test_formatted_duration_tells_every_millisecond(milliseconds: int) -> None:
    text = format_seconds(milliseconds / 1000, showms=True)
    assert text is not None
    assert _read_formatted(text) == milliseconds


@pytest.mark.parametrize(
    "duration, plain, with_ms",
    [
        (None, None, None), (0, "0s", "0s"), (59, "59s", "59s"), (60, "1m0s", "1m0s"), (3600, "1h0m0s", "1h0m0s"),
        (86400, "1d0h0m0s", "1d0h0m0s"), (90061, "1d1h1m1s", "1d1h1m1s"), (0.5, "0s", "0.500s"),
        (59.999, "59s", "59.999s"), (59.9999, "59s", "1m0s"), (3599.9996, "59m59s", "1h0m0s"), (-1, "-1s", "-1s"),
        (-90061, "-1d1h1m1s", "-1d1h1m1s"), (-0.25, "0s", "-0.250s"), ("1:02:03", "1h2m3s", "1h2m3s"),
        (datetime.timedelta(days=2, seconds=1), "2d0h0m1s", "2d0h0m1s"),
    ],
)  # fmt: skip
def test_format_duration(duration: time_utils.Duration | None, plain: str | None, with_ms: str | None) -> None:
    assert (format_duration(duration), format_duration(duration, True)) == (plain, with_ms)


@pytest.mark.parametrize(
    "date, seconds",
    [
        (None, None), (0, 0.0), (1.5, 1.5), ("12345", 12345.0), ("12345.5", 12345.5),
        ("2020-01-02 03:04:05", 1577930645), ("2020-07-02 03:04:05", 1593651845),
        ("2020-01-02T03:04:05", 1577930645), ("2020-01-02t03:04:05.25", 1577930645.25),
        ("2020-01-02 03:04:05Z", 1577934245), ("2020-01-02T03:04:05z", 1577934245),
        ("2020-01-02 03:04:05+02:00", 1577927045), ("2020-01-02 03:04:05-01:30", 1577939645),
        ("20-01-02 03:04:05", 1577930645), ("70-01-02 03:04:05", 93845), ("2020-1-2 3:4:5", 1577930645),
        (" 2020-01-02 03:04:05 ", 1577930645), (datetime.datetime(2020, 1, 2, 3, 4, 5), 1577930645),
        (datetime.datetime(2020, 7, 2, 3, 4, 5, 250000), 1593651845.25),
        (datetime.datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC), 1577934245),
    ],
)  # fmt: skip
def test_get_unixts_reads_dates_in_paris(date: time_utils.Date | None, seconds: float | None, zone: Callable[[str], None]) -> None:
    zone("Europe/Paris")
    assert get_unixts(date) == seconds


@pytest.mark.parametrize(
    "date",
    ["2020-01-02", "nonsense", "", "2020-13-02 03:04:05", "2020-01-02 25:00:00", "2020-02-30 01:02:03",
     "0000-01-01 00:00:00Z", "2020-01-02 03:04:05+99:00", "2020-01-02 03:04:05+01:60", "nan"],
)  # fmt: skip
def test_get_unixts_refuses_and_names_it(date: str) -> None:
    with pytest.raises(ValueError) as refused:
        get_unixts(date)
    assert repr(date) in str(refused.value)


def test_missing_parts_of_a_date_are_todays() -> None:
    def expected(month: int | None, day: int | None) -> float:
        now = time.localtime()
        return time.mktime((now.tm_year, month or now.tm_mon, day or now.tm_mday, 10, 20, 30, 0, 0, -1))

    for text, month, day in (("03-04 10:20:30", 3, 4), ("05 10:20:30", None, 5), ("10:20:30", None, None)):
        before = expected(month, day)
        assert get_unixts(text) in (before, expected(month, day)), text  # midnight may pass between


@given(st.integers(-(10**10), 10**10))
def test_formatted_date_is_read_back(seconds: int) -> None:
    assert get_unixts(format_unixts(seconds)) == seconds


ZONES = ["UTC", "Europe/Paris", "America/New_York", "Asia/Kolkata", "America/St_Johns", "Pacific/Auckland"]


@pytest.mark.parametrize("name", ZONES)
def test_dates_are_read_back_in_each_zone(name: str, zone: Callable[[str], None]) -> None:
    zone(name)
    for seconds in (0, -1, 1600000000, 1609459200, 1622548800):
        assert get_unixts(format_date(seconds)) == seconds
        assert datetime_to_unixts(unixts_to_datetime(seconds)) == seconds
        assert datetime_to_unixts(unixts_to_datetime(seconds, UTC)) == seconds


@pytest.mark.parametrize(
    "name, seconds, text",
    [
        ("America/St_Johns", 1609459200, "2020-12-31 20:30:00-03:30"),
        ("Asia/Kolkata", 1600000000, "2020-09-13 17:56:40+05:30"),
        ("America/New_York", 1600000000, "2020-09-13 08:26:40-04:00"),
        ("Europe/Paris", -1, "1970-01-01 00:59:59+01:00"),
        ("UTC", 0, "1970-01-01 00:00:00+00:00"),
    ],
)
def test_format_date_writes_the_offset_of_the_zone(name: str, seconds: int, text: str, zone: Callable[[str], None]) -> None:
    zone(name)
    assert format_date(seconds) == text


def test_format_date_rounds_milliseconds_into_the_next_second(zone: Callable[[str], None]) -> None:
    zone("UTC")
    assert format_date(1600000000.123) == "2020-09-13 12:26:40+00:00"
    assert format_date(1600000000.123, showms=True) == "2020-09-13 12:26:40.123+00:00"
    assert format_date(1600000000, showms=True) == "2020-09-13 12:26:40+00:00"
    assert format_date(1600000000.9999, showms=True) == "2020-09-13 12:26:41+00:00"
    assert format_date(-0.5, showms=True) == "1969-12-31 23:59:59.500+00:00"
    assert format_date(None) is None


def test_sleep_takes_the_longer_of_delay_and_date() -> None:
    for delay, ahead, length in ((0.05, None, 0.05), ("0:00:00.05", None, 0.05), (None, 0.06, 0.06),
                                 (0.01, 0.06, 0.06), (0.06, 0.01, 0.06)):  # fmt: skip
        started = time.monotonic()
        asked = sleep(delay, None if ahead is None else time.time() + ahead)
        took = time.monotonic() - started
        assert asked == pytest.approx(length, abs=0.01)
        assert took >= length - 0.01


def test_nothing_to_sleep_gives_none() -> None:
    assert [sleep(), sleep(0), sleep(-5), sleep(until=time.time() - 10)] == [None] * 4


def test_delay_does_not_follow_the_wall_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    wall = iter([0.0, 1e9, 2e9, 3e9, 4e9])
    monkeypatch.setattr(time, "time", lambda: next(wall))
    started = time.monotonic()
    assert sleep(0.05) == 0.05
    assert time.monotonic() - started >= 0.05


def test_timer_measures_and_waits() -> None:
    before = time.time()
    timer, limited = Timer(), Timer("0:00:10")
    assert timer.wait_elapsed(0.05) is timer
    assert 0.05 <= timer.elapsed() <= time.time() - before + 0.05
    assert timer.wait_elapsed(0.01) is timer
    assert before <= timer.start_date() <= time.time()
    assert timer.remaining() is None
    remaining = limited.remaining()
    assert remaining is not None
    assert remaining < 10
    over = Timer(0).remaining()
    assert over is not None
    assert over <= 0
