"""A site whose jobs are given: nothing runs, nothing ends.  For tests of the API alone."""

from __future__ import annotations

import threading
import time

from .oarapi_standin import StandIn
from .site import Refused
from .status import resources_by_type

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from .http import Answer, Request

    Json = dict[str, Any]


class StaticOar:
    """A `SiteOar` whose jobs change state by request only.

    :param rows: its resources.
    :param jobs: as `make_job` makes them.
    """

    kind = "a list of jobs, not OAR"
    commands: Path

    def __init__(self, rows: Iterable[Mapping[str, Any]], jobs: Iterable[Json] = (), user: str = "jdoe",
                 clock: Callable[[], float] = time.time) -> None:
        self.user = user
        self.proxy_command: list[str] = []
        self.rows = [dict(row) for row in rows]
        self._clock = clock
        self._oarapi = StandIn(self._fields, self.resources, clock)
        self._lock = threading.Lock()
        self._jobs = {job["uid"]: {**job} for job in jobs}

    def start(self) -> None:
        """Nothing to be started."""

    def stop(self) -> None:
        """Nothing to be stopped."""

    def resources(self) -> list[Json]:
        return self.rows

    def jobs(self) -> list[Json]:
        with self._lock:
            return sorted(self._jobs.values(), key=lambda job: -int(job["uid"]))

    def oarapi(self, request: Request) -> Answer:
        """See `SiteOar`; jobs cannot be changed by it."""
        return self._oarapi.answer(request)

    def _fields(self) -> list[tuple[Json, list[Mapping[str, Any]]]]:
        return [(_oarstat_fields(job), []) for job in reversed(self.jobs())]

    def add(self, job: Json) -> None:
        """Another job, or another state of one."""
        with self._lock:
            self._jobs[job["uid"]] = {**job}

    def submit(self, fields: Mapping[str, Any], user: str) -> int:
        """It waits for ever; what it asks for is not looked at."""
        with self._lock:
            job_id = max(self._jobs, default=1000) + 1
            job = make_job(job_id, state="waiting", user=user, command=fields.get("command", ""), submitted_at=int(self._clock()))
            named = ("name", "project", "queue", "types", "properties", "directory")
            self._jobs[job_id] = {**job, **{name: fields[name] for name in named if name in fields}}
        return job_id

    def delete(self, job_id: int, user: str) -> None:
        with self._lock:
            job = self._jobs[job_id]
            if job["state"] in ("terminated", "error"):
                raise Refused(400, "This job was already killed")
            self._jobs[job_id] = {**job, "state": "error", "stopped_at": int(self._clock())}

    def change_walltime(self, job_id: int, fields: Mapping[str, Any], user: str) -> None:
        text = str(fields.get("walltime", ""))
        if text[:1] not in ("+", "-"):
            raise Refused(400, f"Walltime: expected +H:M:S or -H:M:S, found {text!r}")
        seconds = sum(int(number) * unit for number, unit in zip(text[1:].split(":"), (3600, 60, 1), strict=False))
        with self._lock:
            job = self._jobs[job_id]
            self._jobs[job_id] = {**job, "walltime": job["walltime"] + (seconds if text[0] == "+" else -seconds)}


def _oarstat_fields(job: Json) -> Json:
    state = job["state"].capitalize()
    return {"Job_Id": job["uid"], "owner": job["user"], "name": job.get("name"), "queue": job["queue"], "project": job["project"],
            "state": state.replace("To", "to") if state.startswith("To") else state, "types": job["types"], "jobType": job["mode"],
            "walltime": job["walltime"], "reservation": "None", "command": job["command"], "launchingDirectory": job["directory"],
            "properties": job["properties"], "message": job["message"], "submissionTime": job["submitted_at"],
            "startTime": job["started_at"], "stopTime": job.get("stopped_at") or 0, "scheduledStart": job.get("scheduled_at"),
            "exit_code": job.get("exit_code"), "events": job["events"]}


def make_job(uid: int, rows: Iterable[Mapping[str, Any]] = (), *, state: str = "running", walltime: int = 3600, user: str = "jdoe",
             queue: str = "default", types: Sequence[str] = (), **more: Any) -> Json:
    """A job as the API shows it.

    :param rows: the resources that it has, of `Reference.oar_rows`.
    :param more: other fields, such as ``started_at``, ``scheduled_at``, ``stopped_at``, ``submitted_at`` or ``name``.
    """
    held = list(rows)
    nodes = dict.fromkeys(row["network_address"] for row in held if row["type"] == "default")
    return {"uid": uid, "user": user, "user_uid": user, "project": "default", "queue": queue, "state": state, "types": list(types),
            "mode": "PASSIVE", "walltime": walltime, "submitted_at": 0, "started_at": 0, "command": "sleep 31536000",
            "directory": f"/home/{user}", "properties": "", "message": "", "events": [], **more,
            "resources_by_type": resources_by_type(held), "assigned_nodes": list(nodes)}
