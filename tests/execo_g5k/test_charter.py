"""The charter: its calendar on the clock of Paris wherever the program runs, and its rules."""

from __future__ import annotations

import datetime
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execo_g5k.charter import (
    CHARTER_RULES,
    CharterJob,
    charter_quotas,
    charter_use,
    charter_violations,
    french_holidays,
    g5k_charter_remaining,
    g5k_charter_time,
    get_next_charter_period,
    get_oar_day_start_end,
    oar_datetime_to_unixts,
    unixts_to_oar_datetime,
)
from execo_g5k.config import g5k_configuration

HOUR = 3600.0


@pytest.fixture(params=["UTC", "America/New_York", "Pacific/Auckland", "Europe/Paris"], autouse=True)
def _local_zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", request.param)
        time.tzset()
        yield
    time.tzset()


def paris(text: str) -> float:
    """Unix seconds of ``2026-11-23 09:00`` on the clock of Paris."""
    return oar_datetime_to_unixts(datetime.datetime.fromisoformat(text))


# The calendar

@pytest.mark.parametrize(("year", "days"), [
    (2019, "01-01 04-22 05-01 05-08 05-30 06-10 07-14 08-15 11-01 11-11 12-25"),
    (2020, "01-01 04-13 05-01 05-08 05-21 06-01 07-14 08-15 11-01 11-11 12-25"),
    (2026, "01-01 04-06 05-01 05-08 05-14 05-25 07-14 08-15 11-01 11-11 12-25"),
    (2038, "01-01 04-26 05-01 05-08 06-03 06-14 07-14 08-15 11-01 11-11 12-25"),       # the latest Easter there is
    (2008, "01-01 03-24 05-01 05-08 05-12 07-14 08-15 11-01 11-11 12-25"),             # Ascension is on the first of May
])
def test_the_holidays_of_a_year(year: int, days: str) -> None:
    assert sorted(map(str, french_holidays(year))) == [f"{year}-{day}" for day in days.split()]


def test_who_changes_the_set_of_holidays_changes_only_his() -> None:
    french_holidays(2026).clear()
    assert len(french_holidays(2026)) == 11


@pytest.mark.parametrize(("date", "is_day"), [
    ("2026-11-23 08:59:59", False), ("2026-11-23 09:00", True), ("2026-11-23 18:59:59", True), ("2026-11-23 19:00", False),
    ("2026-11-22 12:00", False),            # Sunday
    ("2026-11-21 12:00", False),
    ("2026-11-11 12:00", False),            # armistice
    ("2026-04-06 12:00", False),            # Easter Monday
    ("2026-03-30 09:00", True),             # the first Monday of summer time
    ("2026-03-30 08:59:59", False),
    ("2026-10-26 09:00", True),             # and of winter time
    ("2026-10-26 18:59:59", True), ("2026-10-26 19:00", False),
])
def test_day_time(date: str, is_day: bool) -> None:
    assert g5k_charter_time(paris(date)) is is_day


def test_a_date_without_zone_is_local_as_everywhere_in_execo() -> None:
    local = datetime.datetime(2026, 11, 23, 12)
    assert g5k_charter_time(local) == g5k_charter_time(local.timestamp())
    assert g5k_charter_time("2026-11-23 12:00:00+01:00")
    assert not g5k_charter_time("2026-11-23 12:00:00-12:00")


@pytest.mark.parametrize(("start", "period"), [
    ("2026-11-23 08:30", ("2026-11-23 09:00", "2026-11-23 19:00")),     # in UTC, the original's began at 08:30 and ended at 20:00
    ("2026-11-23 18:30", ("2026-11-23 18:30", "2026-11-23 19:00")),     # and here it went on to Tuesday
    ("2026-11-23 19:00", ("2026-11-24 09:00", "2026-11-24 19:00")),
    ("2026-11-20 20:00", ("2026-11-23 09:00", "2026-11-23 19:00")),     # over the week-end
    ("2026-03-27 19:00", ("2026-03-30 09:00", "2026-03-30 19:00")),     # over the change to summer time
    ("2026-10-23 19:00", ("2026-10-26 09:00", "2026-10-26 19:00")),
    ("2026-12-24 19:00", ("2026-12-28 09:00", "2026-12-28 19:00")),     # Christmas is on a Friday
])
def test_the_next_period(start: str, period: tuple[str, str]) -> None:
    assert get_next_charter_period(paris(start), paris(start) + 7 * 86400) == (paris(period[0]), paris(period[1]))


def test_a_period_is_cut_to_the_range_and_may_be_none() -> None:
    assert get_next_charter_period(paris("2026-11-23 10:00"), paris("2026-11-23 11:00")) == (paris("2026-11-23 10:00"),
                                                                                             paris("2026-11-23 11:00"))
    for start, end in (("2026-11-23 19:00", "2026-11-24 09:00"), ("2026-11-21 00:00", "2026-11-23 09:00"),
                       ("2026-11-23 12:00", "2026-11-23 12:00"), ("2026-11-23 12:00", "2026-11-23 10:00")):
        assert get_next_charter_period(paris(start), paris(end)) == (None, None)


def test_what_is_no_date_is_refused() -> None:
    with pytest.raises(ValueError, match="'tomorrow'"):
        get_next_charter_period("tomorrow", 0)
    with pytest.raises(ValueError, match="None"):
        g5k_charter_time(None)  # type: ignore[arg-type]


@given(st.integers(1_000_000_000, 3_000_000_000))
def test_a_period_is_where_the_day_time_is(date: int) -> None:
    found = get_next_charter_period(date, date + 14 * 86400)
    assert found[0] is not None
    assert found[1] is not None
    assert g5k_charter_time(date) == (found[0] == date)
    assert g5k_charter_time(found[0])
    assert g5k_charter_time(found[1] - 1)
    assert not g5k_charter_time(found[1])


@pytest.mark.parametrize(("day", "hours"), [((2026, 3, 29), 23), ((2026, 10, 25), 25), ((2026, 11, 23), 24)])
def test_a_day_has_its_own_number_of_hours(day: tuple[int, int, int], hours: int) -> None:
    start, end = get_oar_day_start_end(datetime.date(*day))
    assert end - start == hours * HOUR - 1
    assert unixts_to_oar_datetime(start) == datetime.datetime(*day)
    assert unixts_to_oar_datetime(end) == datetime.datetime(*day, 23, 59, 59)
    assert get_oar_day_start_end(datetime.datetime(*day, 17)) == (start, end)


@pytest.mark.parametrize("day", ["2026-01-05", None, 1767571200.0])
def test_what_is_no_day_is_refused(day: Any) -> None:
    for ask in (get_oar_day_start_end, lambda day: charter_use([], day), lambda day: g5k_charter_remaining("lyon", day)):
        with pytest.raises(TypeError, match=re.escape(f"expected a day as a datetime.date, found {day!r}")):
            ask(day)


def test_datetimes_of_oar() -> None:
    assert str(unixts_to_oar_datetime(1600000000)) == "2020-09-13 14:26:40"
    assert oar_datetime_to_unixts(datetime.datetime(2020, 9, 13, 12)) == 1599991200.0
    utc = datetime.datetime(2020, 9, 13, 10, tzinfo=datetime.timezone.utc)
    assert oar_datetime_to_unixts(utc) == 1599991200.0
    first, second = (oar_datetime_to_unixts(datetime.datetime(2026, 10, 25, 2, 30, fold=fold)) for fold in (0, 1))
    assert second - first == HOUR
    assert unixts_to_oar_datetime(first) == unixts_to_oar_datetime(second)
    with pytest.raises(TypeError, match="datetime"):
        oar_datetime_to_unixts(datetime.date(2026, 1, 1))  # type: ignore[arg-type]


# The rules

def job(start: str, hours: float, cores: int = 1, submitted: str = "2026-11-20 10:00", **more: object) -> CharterJob:
    return CharterJob(paris(start), hours * HOUR, {"gros": cores} if cores else {}, paris(submitted), **more)  # type: ignore[arg-type]


def test_each_rule_has_a_name_of_its_own_and_a_date() -> None:
    assert len({rule.name for rule in CHARTER_RULES}) == len(CHARTER_RULES) > 5
    assert all(datetime.date(2016, 1, 1) <= rule.known_since <= datetime.date(2026, 12, 31) for rule in CHARTER_RULES)


def test_the_quota_is_that_of_the_official_tool() -> None:
    # usagepolicycheck said so in September 2026: gros had one of its 124 nodes dead
    assert charter_quotas({"gros": 123 * 18}) == {"gros": 15940800}


@pytest.mark.parametrize(("start", "hours"), [
    ("2026-11-23 09:00", 10),           # a whole day
    ("2026-11-23 19:00", 14),           # a whole night
    ("2026-11-20 19:00", 62),           # a whole week-end
    ("2026-10-23 19:00", 63),           # with an hour more in October
    ("2026-03-27 19:00", 61),           # and one less in March
    ("2026-11-10 19:00", 38),           # over a holiday
])
def test_between_the_boundaries_all_is_well(start: str, hours: float) -> None:
    assert charter_violations(job(start, hours, submitted="2026-01-01 00:00")) == []
    after = charter_violations(job(start, hours + 1 / 3600, submitted="2026-01-01 00:00"))
    assert len(after) == 1
    assert "runs across" in after[0]


def test_a_night_job_must_not_reach_the_next_morning() -> None:
    found = charter_violations(job("2026-11-23 20:00", 14))
    assert found == ["the job (2026-11-23 20:00:00 to 2026-11-24 10:00:00) runs across 09:00 of Tuesday 2026-11-24, where the day begins"]


@pytest.mark.parametrize(("submitted", "allowed"), [("2026-11-23 16:59:59", False), ("2026-11-23 17:00", True)])
def test_late_jobs_may_run_into_the_night(submitted: str, allowed: bool) -> None:
    assert (charter_violations(job("2026-11-23 18:00", 3, submitted=submitted)) == []) is allowed
    # but not into the next day
    assert charter_violations(job("2026-11-23 18:00", 16, submitted=submitted))


def test_the_quota_counts_the_other_jobs_of_the_day_only() -> None:
    quotas = {"gros": 100 * HOUR}
    others = [job("2026-11-23 10:00", 2, 30), job("2026-11-22 10:00", 2, 30), job("2026-11-23 20:00", 2, 30),
              job("2026-11-24 10:00", 2, 30)]
    assert charter_use(others, datetime.date(2026, 11, 23)) == {"gros": 60 * HOUR}
    assert charter_violations(job("2026-11-23 14:00", 4, 10), quotas, others) == []
    assert charter_violations(job("2026-11-23 14:00", 4, 11), quotas, others) == [
        "the job (11 cores for 4h0m0s) uses 44 core hours of gros on Monday 2026-11-23, of which 40 core hours are left of 100 core hours"]
    assert charter_violations(job("2026-11-22 14:00", 4, 1000), quotas, others) == []
    assert charter_violations(job("2026-11-23 14:00", 4, 1000), {"other": 1.0}, others) == []


@pytest.mark.parametrize(("hours", "submitted", "free"), [
    (1, "2026-11-23 13:50:01", True), (1, "2026-11-23 13:50", False), (1.01, "2026-11-23 13:59", False)])
def test_short_jobs_at_short_notice_are_not_counted(hours: float, submitted: str, free: bool) -> None:
    short = job("2026-11-23 14:00", hours, 10, submitted)
    assert (charter_violations(short, {"gros": 1.0}) == []) is free
    assert (charter_use([short], datetime.date(2026, 11, 23)) == {}) is free


def test_a_short_job_still_keeps_to_the_boundaries() -> None:
    assert charter_violations(job("2026-11-23 08:30", 1, submitted="2026-11-23 08:25"))


@pytest.mark.parametrize("more", [{"types": ("deploy", "besteffort")}, {"queue": "besteffort"}, {"queue": "production"}, {"cores": 0}])
def test_exempt_jobs(more: dict[str, object]) -> None:
    exempt = job("2026-11-23 10:00", 300, **{"cores": 10000, **more})  # type: ignore[arg-type]
    assert charter_violations(exempt, {"gros": 1.0}) == []
    assert charter_use([exempt], datetime.date(2026, 11, 23)) == {}


def test_disks_are_for_two_weeks() -> None:
    assert charter_violations(job("2026-11-23 10:00", 14 * 24, 0)) == []
    assert charter_violations(job("2026-11-23 10:00", 14 * 24 + 1, 0)) == ["the job (14d1h0m0s) has disks for more than 14d0h0m0s"]


def test_a_planned_job_is_submitted_now_by_the_configured_clock() -> None:
    planned = CharterJob(paris("2026-11-23 18:00"), 3 * HOUR, {"gros": 1})
    g5k_configuration["clock"] = lambda: paris("2026-11-23 16:00")
    assert charter_violations(planned)
    g5k_configuration["clock"] = lambda: paris("2026-11-23 17:30")
    assert charter_violations(planned) == []


def test_impossible_jobs_are_refused() -> None:
    with pytest.raises(ValueError, match="not negative"):
        CharterJob(0, -1, {"gros": 1})
    with pytest.raises(ValueError, match="not negative"):
        CharterJob(0, 1, {"gros": -1})
