"""Dates and durations of OAR: the wall clock of Paris, whatever the local zone, also when the clocks change."""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execo_g5k.oar import format_oar_date, format_oar_duration, oar_date_to_unixts, oar_duration_to_seconds

UTC = datetime.timezone.utc


@pytest.fixture(params=["America/New_York", "UTC", "Asia/Kolkata", "Europe/Paris"], autouse=True)
def _local_zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", request.param)
        time.tzset()
        yield
    time.tzset()


def at(*parts: int) -> float:
    return datetime.datetime(*parts, tzinfo=UTC).timestamp()  # type: ignore[misc,arg-type]   # as many parts as are given


@pytest.mark.parametrize(("utc", "text"), [
    ((2024, 1, 1), "2024-01-01 01:00:00"),
    ((2024, 7, 1), "2024-07-01 02:00:00"),
    # the clocks go from 02:00 to 03:00
    ((2024, 3, 31, 0, 59, 59), "2024-03-31 01:59:59"),
    ((2024, 3, 31, 1, 0, 0), "2024-03-31 03:00:00"),
    # and from 03:00 back to 02:00
    ((2024, 10, 26, 23, 59, 59), "2024-10-27 01:59:59"),
    ((2024, 10, 27, 0, 30, 0), "2024-10-27 02:30:00"),
    ((2024, 10, 27, 2, 0, 0), "2024-10-27 03:00:00"),
])
def test_a_date_there_and_back(utc: tuple[int, ...], text: str) -> None:
    assert format_oar_date(at(*utc)) == text
    assert oar_date_to_unixts(text) == at(*utc)


def test_the_hour_that_is_repeated_is_read_as_its_first_pass() -> None:
    second_pass = at(2024, 10, 27, 1, 30, 0)
    assert format_oar_date(second_pass) == "2024-10-27 02:30:00"
    assert oar_date_to_unixts("2024-10-27 02:30:00") == second_pass - 3600


@given(st.integers(0, 4_000_000_000))
def test_every_date_but_those_of_the_repeated_hour_comes_back(date: int) -> None:
    back = oar_date_to_unixts(format_oar_date(date))
    assert back == date or (back == date - 3600 and format_oar_date(back) == format_oar_date(date))


def test_any_date_of_execo_can_be_written() -> None:
    assert format_oar_date(1600000000.9) == "2020-09-13 14:26:40"
    assert format_oar_date("2020-01-02 03:04:05Z") == "2020-01-02 04:04:05"
    assert format_oar_date(datetime.datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)) == "2020-01-02 04:04:05"


@pytest.mark.parametrize("junk", [
    "", "no prediction", "2024-13-01 00:00:00", "2024-02-30 00:00:00", "12:00:00", "2024-01-01", "1600000000"])
def test_what_is_no_date_of_oar_is_refused(junk: str) -> None:
    with pytest.raises(ValueError, match="not a date of OAR"):
        oar_date_to_unixts(junk)


@pytest.mark.parametrize(("duration", "text"), [
    (0, "0:0:0"), (59, "0:0:59"), (3661, "1:1:1"), (90061, "25:1:1"), ("1:02:03", "1:2:3"), (1.9, "0:0:1"),
    (datetime.timedelta(days=14), "336:0:0"),
])
def test_a_duration_there_and_back(duration: float | str | datetime.timedelta, text: str) -> None:
    assert format_oar_duration(duration) == text
    assert format_oar_duration(oar_duration_to_seconds(text)) == text


@pytest.mark.parametrize("junk", [-1, float("inf"), float("nan"), "an hour"])
def test_what_no_job_can_last_is_refused(junk: float | str) -> None:
    with pytest.raises(ValueError):
        format_oar_duration(junk)
