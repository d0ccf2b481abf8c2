"""Jobs of a site and when they run.  Pure: no clock, no process.

First come, first served with conservative backfilling: each waiting job has a predicted start, and no later one may delay it.  Advance
reservations keep their resources from the moment that they are granted; jobs of the queue ``besteffort`` run on what is left, and are
killed when others want it.  States, dates and events are those of OAR 2.5.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .request import Wanted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from typing import Any, TypeAlias

    Row: TypeAlias = "Mapping[str, Any]"

ALIVE = frozenset({"Waiting", "Hold", "toLaunch", "Launching", "Running", "Finishing", "toError", "Suspended"})
QUEUES = {"admin": 0, "default": 1, "production": 1, "testing": 1, "besteffort": 2}
"""{queue: rank}; a lower rank is served first."""


@dataclass
class Event:
    """What happened to a job."""

    number: int
    date: int
    kind: str
    text: str


@dataclass(eq=False)
class Job:
    """One job.  Dates are Unix seconds, 0: not yet."""

    user: str
    command: str = ""
    name: str | None = None
    project: str = "default"
    queue: str = "default"
    types: list[str] = field(default_factory=list)
    directory: str = "/"
    properties: str = ""
    """As OAR shows them, after its rules of admission."""
    reservation_date: float | None = None
    dependencies: list[int] = field(default_factory=list)
    initial_request: str = ""
    stdout_file: str = ""
    stderr_file: str = ""
    key: str | None = None
    held: bool = False
    job_id: int = 0
    array_id: int = 0
    array_index: int = 1
    wanted: list[Wanted] = field(default_factory=list)
    chosen: int = 0
    """Index in `wanted` of the alternative that it runs with, or will."""
    walltime: int = 0
    """Of this one."""
    state: str = "Waiting"
    submission_date: int = 0
    start_date: int = 0
    stop_date: int = 0
    scheduled_start: int | None = None
    resources: list[int] = field(default_factory=list)
    """Ids, assigned or reserved."""
    exit_code: int | None = None
    """As wait(2) has it."""
    events: list[Event] = field(default_factory=list)
    killing: bool = False
    looked_at: bool = False
    """The scheduler has seen it."""

    @property
    def besteffort(self) -> bool:
        return self.queue == "besteffort"

    @property
    def reserved(self) -> bool:
        """Whether it is an advance reservation."""
        return self.reservation_date is not None

    @property
    def end(self) -> int:
        return self.start_date + self.walltime


class NotEnough(Exception):
    """The site has not so many resources, whenever."""


class NotPossible(Exception):
    """An advance reservation is refused.

    :param reason: in OAR's words.
    :param date: when it could start; None: never, or nobody asked.
    """

    def __init__(self, job: Job, reason: str, date: int | None = None) -> None:
        super().__init__(reason)
        self.job = job
        self.reason = reason
        self.date = date


class Schedule:
    """All jobs of a site.

    :param rows: its resources.
    :param may_run: (job, start, end): whether the types of the job allow these dates.
    :param next_change: the date after this one at which `may_run` may answer otherwise; None: never.
    :param start: starts a job whose resources are free.
    :param kill: ends a job that runs; `ended` is called later.
    """

    def __init__(self, rows: Sequence[Row], start: Callable[[Job], object], kill: Callable[[Job], object],
                 may_run: Callable[[Job, float, float], bool] = lambda job, start, end: True,
                 next_change: Callable[[float], float | None] = lambda date: None) -> None:
        self.rows = {row["resource_id"]: row for row in rows}
        self.jobs: dict[int, Job] = {}
        self._start, self._kill, self._may_run, self._next_change = start, kill, may_run, next_change
        self._events = 0

    # From outside

    def submit(self, jobs: Sequence[Job], now: float) -> None:
        """Take jobs, of which several are an array; each gets its id.

        :raises NotEnough: if there are not so many resources.
        :raises NotPossible: if an advance reservation is refused; it has an id nevertheless.
        """
        usable = self._usable()
        for job in jobs:
            if all(wanted.choose(usable) is None for wanted in job.wanted):
                raise NotEnough
        first = max(self.jobs, default=0) + 1
        for index, job in enumerate(jobs):
            job.job_id, job.array_id, job.array_index = first + index, first, index + 1
            job.submission_date = int(now)
            job.walltime = job.wanted[0].request.walltime or 0
            job.state = "Hold" if job.held else "Waiting"
            self.jobs[job.job_id] = job
        for job in jobs:
            if job.reserved:
                self._reserve(job, now)
        self.step(now)

    def delete(self, job: Job, now: float, who: str) -> bool:
        """Whether it was registered: not for a job that has ended, or is being deleted."""
        if job.state not in ALIVE or job.killing:
            return False
        self._tell(job, now, "FRAG_JOB_REQUEST", f"User {who} requested to frag the job {job.job_id}")
        self._end_it(job, now)
        self.step(now)
        return True

    def ended(self, job: Job, now: float, exit_code: int | None) -> None:
        """Its processes are gone."""
        if job.state not in ALIVE:
            return
        job.stop_date = int(now)
        job.scheduled_start = None
        if job.killing:
            job.state = "Error"
            self._tell(job, now, "SWITCH_INTO_ERROR_STATE", f"[bipbip {job.job_id}] Ask to change the job state")
        else:
            job.exit_code = exit_code
            job.state = "Terminated"
            self._tell(job, now, "SWITCH_INTO_TERMINATE_STATE", f"[bipbip {job.job_id}] Ask to change the job state")
        self.step(now)

    def resume(self, job: Job, now: float) -> None:
        """Of one that is held."""
        if job.state == "Hold":
            job.state = "Waiting"
            self.step(now)

    def change_walltime(self, job: Job, walltime: int, now: float) -> bool:
        """Whether a job that runs may last so many seconds: nobody who has a reservation wants its resources until then."""
        if walltime > job.walltime:
            busy = self._busy_until(job.start_date, job.start_date + walltime, besteffort=False, but=job)
            if not busy.isdisjoint(job.resources):
                return False
        job.walltime = max(walltime, 0)
        self.step(now)
        return True

    def next_event(self, now: float) -> float | None:
        """The next date at which `step` has something to do, if nobody calls before."""
        dates = [float(job.end) for job in self._running() if not job.killing]
        waiting = [job for job in self.jobs.values() if job.state == "Waiting"]
        dates += [float(job.scheduled_start) for job in waiting if job.scheduled_start is not None and job.scheduled_start > now]
        return min(dates, default=None)

    # Planning

    def step(self, now: float) -> None:
        """Kill what has had its time, predict, and start what can run now."""
        for job in self._running():
            if not job.killing and now >= job.end:
                elapsed = f"[sarko] Job [{job.job_id}] from {job.start_date} with {job.walltime}; current time={int(now)} (Elapsed)"
                self._tell(job, now, "FRAG_JOB_REQUEST", f"User root requested to frag the job {job.job_id}")
                self._tell(job, now, "WALLTIME", elapsed)
                self._end_it(job, now)
        for job in self._granted():
            if now >= job.start_date:
                self._launch(job, now)
        planned: list[tuple[float, float, set[int], Job]] = []
        waiting = [job for job in self.jobs.values() if job.state == "Waiting" and not job.reserved]
        for job in sorted(waiting, key=lambda job: (QUEUES.get(job.queue, 1), job.job_id)):
            job.looked_at = True
            job.scheduled_start = None
            if any(self.jobs[number].state in ALIVE for number in job.dependencies if number in self.jobs):
                continue
            found = self._earliest(job, now, planned)
            if found is None:
                continue
            start, index, resources = found
            job.chosen, job.walltime, job.scheduled_start = index, job.wanted[index].request.walltime or 0, int(start)
            planned.append((start, start + job.walltime, set(resources), job))
            if start <= now:
                job.resources = resources
                self._launch(job, now)

    def _running(self) -> list[Job]:
        return [job for job in self.jobs.values() if job.state in ("Launching", "Running", "Finishing")]

    def _granted(self) -> list[Job]:
        return [job for job in self.jobs.values() if job.state == "Waiting" and job.reserved and job.resources]

    def _usable(self) -> set[int]:
        # 'Absent' with a date is a node that is switched off to save power
        return {number for number, row in self.rows.items() if row.get("state", "Alive") == "Alive"
                or (row["state"] == "Absent" and row.get("available_upto", 0) > 0)}

    def _occupied(self, besteffort: bool, but: Job | None = None) -> list[tuple[float, float, Collection[int]]]:
        """(start, end, resources) of the jobs that run and of the reservations, whose turn comes whatever others want."""
        jobs = [*self._running(), *self._granted()]
        return [(job.start_date, max(job.end, job.start_date + 1), job.resources) for job in jobs
                if job is not but and (besteffort or not job.besteffort)]

    def _busy_until(self, start: float, end: float, besteffort: bool, but: Job | None = None) -> set[int]:
        return {number for begins, ends, resources in self._occupied(besteffort, but) if begins < end and ends > start
                for number in resources}

    def _earliest(self, job: Job, now: float,
                  planned: Sequence[tuple[float, float, Collection[int], Job]]) -> tuple[float, int, list[int]] | None:
        """(start, index of the alternative, resources), of all alternatives the one that ends first."""
        usable = self._usable()
        taken: list[tuple[float, float, Collection[int]]] = [(begins, ends, resources) for begins, ends, resources, other in planned
                                                             if not other.besteffort or job.besteffort]
        # Better free resources than those of a besteffort job, which would be killed.
        rounds = [self._occupied(True) + taken] + ([] if job.besteffort else [self._occupied(False) + taken])
        best: tuple[float, float, int, int, list[int]] | None = None
        for order, occupied in enumerate(rounds):
            # What is being killed has its resources until it is gone.
            dates = {now, *(end for _, end, _ in occupied if end > now)}
            change = self._next_change(now)
            while change is not None and len(dates) < 100:
                dates.add(change)
                change = self._next_change(change) if change < now + 14 * 86400 else None
            for index, wanted in enumerate(job.wanted):
                walltime = wanted.request.walltime or 0
                for start in sorted(dates):
                    if best is not None and start + walltime >= best[0]:
                        break
                    if not self._may_run(job, start, start + walltime):
                        continue
                    busy = {number for begins, ends, resources in occupied if begins < start + max(walltime, 1) and ends > start
                            for number in resources}
                    resources = wanted.choose(usable - busy)
                    if resources is not None:
                        best = (start + walltime, start, order, index, resources)
                        break
        return None if best is None else (best[1], best[3], best[4])

    def _reserve(self, job: Job, now: float) -> None:
        assert job.reservation_date is not None
        start, walltime = max(job.reservation_date, now), job.walltime
        walltime -= int(start - job.reservation_date)       # one that is late does not last longer for it
        usable = self._usable()
        for index, wanted in enumerate(job.wanted):
            if walltime <= 0 and job.reservation_date < now:
                break
            resources = wanted.choose(usable - self._busy_until(start, start + walltime, besteffort=False))
            if resources is not None and self._may_run(job, start, start + walltime):
                job.chosen, job.resources, job.start_date, job.walltime = index, resources, int(start), walltime
                job.scheduled_start = job.start_date
                return
        job.state = "Error"
        job.stop_date = int(now)
        if walltime <= 0:
            raise NotPossible(job, "Reservation too old")
        self._tell(job, now, "RESERVATION_NO_NODE", f"[MetaSched] reservation: no node for the job {job.job_id}")
        occupied = self._occupied(besteffort=False)
        for date in sorted({end for _, end, _ in occupied if end > start}):
            busy = self._busy_until(date, date + walltime, besteffort=False)
            if self._may_run(job, date, date + walltime) and any(wanted.choose(usable - busy) for wanted in job.wanted):
                raise NotPossible(job, "This reservation could run at", int(date))
        raise NotPossible(job, "There are not enough resources for this reservation")

    def _launch(self, job: Job, now: float) -> None:
        """Start it, unless others have its resources: besteffort jobs there are killed, and it starts when they are gone."""
        wanted = set(job.resources)
        others = [other for other in self._running() if other is not job and not wanted.isdisjoint(other.resources)]
        for other in others:
            if other.besteffort and not other.killing:
                self._tell(other, now, "BESTEFFORT_KILL", f"[MetaSched] kill the besteffort job {other.job_id}")
                self._tell(other, now, "FRAG_JOB_REQUEST", f"User oar requested to frag the job {other.job_id}")
                self._end_it(other, now)
        if any(other.state in ALIVE for other in others):
            return
        if job.reserved:
            job.walltime -= max(0, int(now) - job.start_date)
        job.looked_at = True
        job.start_date = int(now)
        job.scheduled_start = job.start_date
        job.state = "Launching"
        self._start(job)

    def _end_it(self, job: Job, now: float) -> None:
        job.killing = True
        if job.state in ("Launching", "Running", "Finishing"):
            node = next((name for number in job.resources if (name := self.rows[number].get("network_address"))), "the frontend")
            self._tell(job, now, "SEND_KILL_JOB", f"[Leon] Send the kill signal to oarexec on {node} for job {job.job_id}")
            self._kill(job)
        else:
            job.stop_date = int(now)
            job.scheduled_start = None
            job.resources = []
            job.state = "Error"
            self._tell(job, now, "SWITCH_INTO_ERROR_STATE", f"[Leon] job {job.job_id} is not running")

    def _tell(self, job: Job, now: float, kind: str, text: str) -> None:
        self._events += 1
        job.events.append(Event(self._events, int(now), kind, text))
