"""When jobs run: the box's own scheduler as pure logic, with dates that are given."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from execo_g5k._gridbox.scheduler.model import ALIVE, Job, NotEnough, NotPossible, Schedule
from execo_g5k._gridbox.scheduler.predicate import columns_of
from execo_g5k._gridbox.scheduler.request import Wanted, parse_request

HOSTS = 4
ROWS = [{"resource_id": number, "type": "default", "host": f"h-{number}", "network_address": f"h-{number}", "state": "Alive"}
        for number in range(1, HOSTS + 1)]


class Site:
    """A schedule whose jobs start and end at once."""

    def __init__(self, **calendar: object) -> None:
        self.started: list[int] = []
        self.schedule = Schedule(ROWS, self._start, self._kill, **calendar)  # type: ignore[arg-type]
        self.killing: list[Job] = []

    def _start(self, job: Job) -> None:
        job.state = "Running"
        self.started.append(job.job_id)

    def _kill(self, job: Job) -> None:
        self.killing.append(job)

    def at(self, now: float) -> None:
        """What happens at that date, until nothing more does."""
        self.schedule.step(now)
        while self.killing:
            self.schedule.ended(self.killing.pop(), now, None)

    def submit(self, now: float, request: str, queue: str = "default", date: float | None = None, **fields: object) -> Job:
        job = Job("me", "sleep 1", queue=queue, reservation_date=date, **fields)  # type: ignore[arg-type]
        job.wanted = [Wanted(parse_request(text), ROWS, columns_of(ROWS)) for text in request.split("|")]
        self.schedule.submit([job], now)
        self.at(now)
        return job

    def check(self) -> None:
        """No resource is of two jobs that run."""
        running = [job for job in self.schedule.jobs.values() if job.state == "Running"]
        taken = [number for job in running for number in job.resources]
        assert len(taken) == len(set(taken))


def test_a_job_starts_at_once_if_it_can() -> None:
    job = Site().submit(1000, "host=2,walltime=1")
    assert (job.state, job.start_date, job.resources, job.scheduled_start) == ("Running", 1000, [1, 2], 1000)


def test_a_job_waits_for_the_end_of_others_and_is_predicted() -> None:
    site = Site()
    first = site.submit(0, "host=3,walltime=1")
    second = site.submit(10, "host=2,walltime=1")
    assert (second.state, second.scheduled_start) == ("Waiting", 3600)
    assert site.schedule.next_event(10) == 3600
    site.at(3599)
    assert second.state == "Waiting"
    site.at(3600)
    site.at(3600)
    assert (first.state, second.state, second.start_date) == ("Error", "Running", 3600)
    assert [event.kind for event in first.events] == ["FRAG_JOB_REQUEST", "WALLTIME", "SEND_KILL_JOB", "SWITCH_INTO_ERROR_STATE"]


def test_a_later_job_fills_a_hole_but_delays_no_earlier_one() -> None:
    site = Site()
    site.submit(0, "host=3,walltime=1")
    large = site.submit(1, "host=4,walltime=1")
    short, long = site.submit(2, "host=1,walltime=0:30"), site.submit(3, "host=1,walltime=2")
    assert (large.scheduled_start, short.state, long.scheduled_start) == (3600, "Running", 7200)


def test_a_job_that_ends_early_lets_the_next_one_start_earlier() -> None:
    site = Site()
    first, second = site.submit(0, "host=4,walltime=1"), site.submit(1, "host=4,walltime=1")
    site.schedule.ended(first, 100, 3 << 8)
    assert (first.state, first.exit_code, second.state, second.start_date) == ("Terminated", 768, "Running", 100)


def test_a_reservation_keeps_its_resources() -> None:
    site = Site()
    reserved = site.submit(0, "host=3,walltime=1", date=1800)
    assert (reserved.state, reserved.start_date, reserved.resources) == ("Waiting", 1800, [1, 2, 3])
    assert site.submit(0, "host=2,walltime=1").scheduled_start == 5400
    assert site.submit(0, "host=2,walltime=0:30").state == "Running"
    site.at(1800)
    assert (reserved.state, reserved.resources) == ("Running", [1, 2, 3])
    site.check()


def test_a_refused_reservation_says_when_it_could_be() -> None:
    site = Site()
    site.submit(0, "host=3,walltime=1", date=1800)
    with pytest.raises(NotPossible, match="This reservation could run at") as refused:
        site.submit(0, "host=2,walltime=1", date=3600)
    assert (refused.value.date, refused.value.job.state) == (5400, "Error")
    with pytest.raises(NotPossible, match="too old"):
        site.submit(10_000, "host=1,walltime=1", date=1000)


def test_a_reservation_that_is_late_ends_when_it_was_to_end() -> None:
    job = Site().submit(1000, "host=1,walltime=1", date=400)
    assert (job.state, job.start_date, job.walltime, job.end) == ("Running", 1000, 3000, 4000)


def test_a_waiting_job_is_no_reason_to_refuse_a_reservation() -> None:
    site = Site()
    site.submit(0, "host=4,walltime=1")
    waiting = site.submit(0, "host=4,walltime=1")
    assert waiting.scheduled_start == 3600
    site.submit(0, "host=4,walltime=1", date=3600)
    site.at(1)
    assert waiting.scheduled_start == 7200


def test_besteffort_is_served_last_and_killed_first() -> None:
    site = Site()
    guest = site.submit(0, "host=4,walltime=10", queue="besteffort")
    job = site.submit(100, "host=1,walltime=1")
    site.at(100)
    assert (guest.state, job.state, job.start_date) == ("Error", "Running", 100)
    assert "BESTEFFORT_KILL" in [event.kind for event in guest.events]
    other = site.submit(100, "host=2,walltime=1", queue="besteffort")
    assert other.state == "Running"
    free = site.submit(200, "host=1,walltime=1")
    site.at(200)
    assert (free.state, other.state) == ("Running", "Running")        # there was a free one
    site.submit(300, "host=1,walltime=1")
    site.at(300)
    assert other.state == "Error"
    site.check()


def test_a_job_never_waits_for_besteffort() -> None:
    site = Site()
    site.submit(0, "host=4,walltime=10", queue="besteffort")
    reserved = site.submit(0, "host=4,walltime=1", date=600)
    site.at(600)
    site.at(600)
    assert reserved.state == "Running"


def test_of_alternatives_the_one_that_ends_first_is_taken() -> None:
    site = Site()
    site.submit(0, "host=3,walltime=1")
    job = site.submit(0, "host=4,walltime=1|host=1,walltime=1:30")
    assert (job.state, job.walltime, job.chosen) == ("Running", 5400, 1)
    assert site.submit(0, "host=4,walltime=1|host=3,walltime=9").walltime == 3600


def test_dependencies_and_held_jobs_wait() -> None:
    site = Site()
    first = site.submit(0, "host=1,walltime=1")
    after = site.submit(0, "host=1,walltime=1", dependencies=[first.job_id])
    held = site.submit(0, "host=1,walltime=1", held=True)
    assert (after.state, after.scheduled_start, held.state) == ("Waiting", None, "Hold")
    site.schedule.ended(first, 5, 0)
    site.schedule.resume(held, 6)
    assert (after.state, held.state) == ("Running", "Running")


def test_a_deleted_job_is_an_error_and_cannot_be_deleted_again() -> None:
    site = Site()
    running, waiting = site.submit(0, "host=4,walltime=1"), site.submit(0, "host=4,walltime=1")
    assert site.schedule.delete(waiting, 1, "me")
    assert site.schedule.delete(running, 2, "me")
    assert (waiting.state, running.state) == ("Error", "Running")     # its processes still live
    assert not site.schedule.delete(running, 3, "me")
    site.at(3)
    assert (running.state, running.stop_date) == ("Error", 3)
    assert not site.schedule.delete(running, 4, "me")


def test_what_the_site_does_not_have_is_refused_at_once() -> None:
    site = Site()
    with pytest.raises(NotEnough):
        site.submit(0, "host=5,walltime=1")
    assert site.schedule.jobs == {}


def test_a_walltime_grows_until_a_reservation() -> None:
    site = Site()
    job = site.submit(0, "host=4,walltime=1")
    site.submit(0, "host=1,walltime=1", date=7200)
    assert site.schedule.change_walltime(job, 7200, 100)
    assert not site.schedule.change_walltime(job, 7201, 100)
    assert job.end == 7200


def test_types_may_shift_a_start() -> None:
    nights = [(100_000.0, 140_000.0)]
    site = Site(may_run=lambda job, start, end: "night" not in job.types or any(a <= start and end <= b for a, b in nights),
                next_change=lambda date: 100_000.0 if date < 100_000 else None)
    job = site.submit(0, "host=1,walltime=1", types=["night"])
    assert (job.state, job.scheduled_start) == ("Waiting", 100_000)
    assert site.schedule.next_event(0) == 100_000
    site.at(100_000)
    assert job.state == "Running"


SUBMISSION = st.tuples(st.integers(0, 500), st.integers(1, HOSTS), st.integers(1, 400), st.sampled_from(["default", "besteffort"]),
                       st.one_of(st.none(), st.integers(0, 900)))


@settings(max_examples=60, deadline=None)
@given(st.lists(SUBMISSION, min_size=1, max_size=14))
def test_every_job_runs_once_for_its_time_and_alone(submissions: list[tuple[int, int, int, str, int | None]]) -> None:
    site = Site()
    promised: dict[int, float] = {}
    now = 0.0

    def advance(end: float) -> None:
        nonlocal now
        for _ in range(1000):
            following = site.schedule.next_event(now)
            if following is None or following > end:
                break
            now = max(now, following)
            site.at(now)
            site.at(now)
            site.check()

    for date, hosts, seconds, queue, wait in sorted(submissions, key=lambda given: given[0]):
        advance(date)
        now = float(date)
        reservation = None if wait is None or queue == "besteffort" else now + wait
        try:
            job = site.submit(now, f"host={hosts},walltime=0:0:{seconds}", queue, reservation)
        except NotPossible:
            continue
        if reservation is not None:
            promised[job.job_id] = job.start_date
        site.check()
    advance(1e9)
    jobs = list(site.schedule.jobs.values())
    assert not [job.job_id for job in jobs if job.state in ALIVE]
    assert len(site.started) == len(set(site.started))
    for job in jobs:
        killed = "BESTEFFORT_KILL" in [event.kind for event in job.events]
        if job.job_id in site.started and not killed:
            assert job.stop_date - job.start_date == job.walltime
        if job.job_id in promised:
            assert job.start_date == promised[job.job_id]
