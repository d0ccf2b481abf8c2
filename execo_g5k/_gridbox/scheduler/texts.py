"""Jobs and resources as OAR 2.5.9 prints them.  Pure."""

from __future__ import annotations

import json

from ..._oar.formats import format_oar_date, format_oar_duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from .model import Job
    from .request import Request

    Row = Mapping[str, Any]

LETTERS = {"Waiting": "W", "toAckReservation": "W", "toLaunch": "L", "Launching": "L", "Hold": "H", "Running": "R", "Terminated": "T",
           "Error": "E", "toError": "E", "Finishing": "F", "Suspended": "S", "Resuming": "S"}
INTERNAL = ("resource_id", "id", "state", "state_num", "next_state", "finaud_decision", "next_finaud_decision", "suspended_jobs",
            "scheduler_priority", "last_job_date", "expiry_date")
"""Fields of a resource that are none of its properties."""


def message(job: Job) -> str:
    """The short description of a job, as in ``R=4,W=0:10:0,J=B``."""
    count = len(job.resources) or len(job.wanted[job.chosen].choose(_all_of(job)) or ())
    words = [f"R={count}", f"W={format_oar_duration(job.walltime)}", "J=R" if job.reserved else "J=B" if job.command else "J=I"]
    if job.name:
        words.append(f"N={job.name}")
    if job.queue != "default":
        words.append(f"Q={job.queue}")
    if job.project != "default":
        words.append(f"P={job.project}")
    if job.types:
        words.append("T=" + "|".join(job_type.partition("=")[0] for job_type in job.types))
    karma = " (Karma=0.000,quota_ok)" if job.looked_at and not job.reserved and not job.besteffort else ""
    return ",".join(words) + karma


def _all_of(job: Job) -> set[int]:
    return job.wanted[job.chosen].all_ids()


def wanted_resources(requests: Iterable[Request]) -> str:
    """The request as OAR understood it, ``-l "{type = 'default'}/host=1,walltime=2:0:0" ``."""
    return "".join(f'-l "{"+".join(map(str, request.groups))},walltime={format_oar_duration(request.walltime or 0)}" '
                   for request in requests)


def _runs_or_ran(job: Job) -> bool:
    return job.start_date > 0 and (not job.reserved or job.state != "Waiting")


def short(job: Job, rows: Mapping[int, Row]) -> dict[str, Any]:
    """The fields of ``oarstat -J``."""
    assigned = job.resources if _runs_or_ran(job) else []
    fields: dict[str, Any] = {
        "Job_Id": job.job_id, "array_id": job.array_id, "array_index": job.array_index, "name": job.name, "owner": job.user,
        "state": job.state, "assigned_resources": sorted(assigned), "assigned_network_address": addresses(job, rows), "queue": job.queue,
        "command": job.command, "launchingDirectory": job.directory, "jobType": "PASSIVE" if job.command else "INTERACTIVE",
        "properties": job.properties, "reservation": "Scheduled" if job.reserved else "None", "submissionTime": job.submission_date,
        "startTime": job.start_date, "message": message(job), "resubmit_job_id": 0, "project": job.project,
        "cpuset_name": f"{job.user}_{job.job_id}", "types": job.types, "dependencies": job.dependencies, "stdout_file": job.stdout_file,
        "stderr_file": job.stderr_file,
    }
    if job.reserved and job.state == "Waiting":
        fields["reserved_resources"] = {str(number): {"network_address": rows[number].get("network_address", ""),
                                                      "current_state": rows[number].get("state", "Alive")} for number in job.resources}
    return fields


def full(job: Job, rows: Mapping[int, Row]) -> dict[str, Any]:
    """The fields of ``oarstat -f -J``."""
    return {
        **short(job, rows), "wanted_resources": wanted_resources(wanted.request for wanted in job.wanted), "walltime": job.walltime,
        "stopTime": job.stop_date, "scheduledStart": job.scheduled_start, "exit_code": job.exit_code, "job_user": job.user,
        "initial_request": job.initial_request,
        "events": [{"event_id": event.number, "job_id": job.job_id, "date": event.date, "type": event.kind, "description": event.text,
                    "to_check": "NO"} for event in job.events],
    }


def addresses(job: Job, rows: Mapping[int, Row]) -> list[str]:
    """Names of its nodes, in the order of its resources."""
    if not _runs_or_ran(job):
        return []
    return list(dict.fromkeys(str(name) for number in job.resources if (name := rows[number].get("network_address"))))


def full_text(job: Job, rows: Mapping[int, Row]) -> str:
    """As ``oarstat -f``."""
    said = full(job, rows)
    lines = [f"Job_Id: {job.job_id}"]

    def add(name: str, value: object) -> None:
        lines.append(f"    {name} = {'' if value is None else value}")

    add("job_array_id", job.array_id)
    add("job_array_index", job.array_index)
    add("name", job.name)
    add("project", job.project)
    add("owner", job.user)
    add("state", job.state)
    add("wanted_resources", said["wanted_resources"])
    add("types", ", ".join(job.types))
    add("dependencies", " ".join(map(str, job.dependencies)))
    add("assigned_resources", "+".join(map(str, said["assigned_resources"])))
    add("assigned_hostnames", "+".join(said["assigned_network_address"]))
    add("queue", job.queue)
    add("command", job.command)
    if job.exit_code is not None:
        add("exit_code", f"{job.exit_code} ({job.exit_code >> 8},{job.exit_code & 127},{job.exit_code >> 7 & 1})")
    add("launchingDirectory", job.directory)
    add("stdout_file", job.stdout_file)
    add("stderr_file", job.stderr_file)
    add("jobType", said["jobType"])
    add("properties", job.properties)
    add("reservation", said["reservation"])
    if "reserved_resources" in said:
        add("reserved_resources", "+".join(said["reserved_resources"]))
    add("walltime", format_oar_duration(job.walltime))
    add("submissionTime", format_oar_date(job.submission_date))
    if job.start_date:
        add("startTime", format_oar_date(job.start_date))
    if job.stop_date:
        add("stopTime", format_oar_date(job.stop_date))
    add("cpuset_name", said["cpuset_name"])
    add("initial_request", job.initial_request)
    add("message", said["message"])
    add("scheduledStart", "no prediction" if job.scheduled_start is None else format_oar_date(job.scheduled_start))
    add("resubmit_job_id", 0)
    add("events", "")
    lines += [f"{format_oar_date(event.date)}> {event.kind}:{event.text}" for event in job.events]
    return "\n".join(lines) + "\n\n"


def events_text(job: Job) -> str:
    """As ``oarstat -e``."""
    return "".join(f"{format_oar_date(event.date)}> [{job.job_id}] {event.kind}: {event.text}\n" for event in job.events)


def table(jobs: Sequence[Job], now: float) -> str:
    """As ``oarstat``."""
    head = ("Job id    S User     Duration   System message\n"
            "--------- - -------- ---------- ------------------------------------------------\n")
    lines = [f"{job.job_id!s:<9.9} {LETTERS.get(job.state, '?')} {job.user:<8.8} {_padded(_duration(job, now)):>10.10} {message(job)}\n"
             for job in jobs]
    return head + "".join(lines) if jobs else ""


def _duration(job: Job, now: float) -> int:
    return max(0, int((job.stop_date or now) - job.start_date)) if _runs_or_ran(job) else 0


def _padded(seconds: int) -> str:
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def as_json(value: object) -> str:
    """As OAR's commands write it."""
    return json.dumps(value, indent=3, separators=(",", " : "), ensure_ascii=False) + "\n"


def as_yaml(jobs: Mapping[str, Mapping[str, Any]]) -> str:
    """As OAR's commands write it: two levels, and lists."""
    lines = ["--- "]
    for number, fields in jobs.items():
        lines.append(f"{number}: ")
        for name, value in sorted(fields.items()):
            if isinstance(value, list) and value:
                lines += [f"  {name}: ", *(f"    - {item}" for item in value)]
            else:
                lines.append(f"  {name}: {'[]' if value == [] else '~' if value is None else value}")
    return "\n".join(lines) + "\n"


def properties_line(row: Row) -> str:
    """As a line of ``oarstat -p``."""
    return " " + " , ".join(f"{name} = '{'' if value is None else value}'" for name, value in row.items() if name not in INTERNAL) + " \n"


def printed(lines: Iterable[str], wanted: str) -> list[str]:
    """Values of a property in lines of ``oarstat -p``, each once: what `oarprint` prints."""
    values: dict[str, None] = {}
    for line in lines:
        for pair in line.strip().split(" , "):
            name, _, value = pair.strip().partition(" = ")
            if name == wanted and value.strip("'"):
                values[value.strip("'")] = None
    return list(values)


def nodes_text(rows: Iterable[Row], running: Mapping[int, Sequence[int]]) -> str:
    """As ``oarnodes``.

    :param running: {resource: jobs that have it}.
    """
    blocks = []
    for row in rows:
        number = row["resource_id"]
        jobs = ", ".join(map(str, running.get(number, ())))
        shown = {name: value for name, value in row.items() if name not in INTERNAL and value is not None}
        lines = [f"network_address : {row.get('network_address', '')}", f"resource_id : {number}", f"state : {row.get('state', 'Alive')}"]
        if jobs:
            lines.append(f"jobs: {jobs}")
            shown["jobs"] = jobs
        lines.append("properties : " + ", ".join(f"{name}={value}" for name, value in shown.items()))
        blocks.append("\n".join(lines) + "\n\n")
    return "".join(blocks)
