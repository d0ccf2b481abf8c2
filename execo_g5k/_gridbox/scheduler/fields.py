"""Between the API and OAR's commands: a submission by POST as the words of `oarsub`, a job as the API shows it.  Pure."""

from __future__ import annotations

import re

from ..._oar.formats import format_oar_date, oar_date_to_unixts
from ..._oar.parse import oar_message, parse_oarsub
from ..site import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    Row = Mapping[str, Any]

OPTIONS = {"resources": "-l", "properties": "-p", "queue": "-q", "name": "-n", "project": "--project", "directory": "-d", "stdout": "-O",
           "stderr": "-E", "notify": "--notify", "signal": "--signal", "checkpoint": "--checkpoint",
           "import-job-key-from-file": "--import-job-key-from-file"}


def oarsub_words(fields: Mapping[str, Any], now: float) -> list[str]:
    """The arguments of `oarsub` for the fields of the API's POST.

    :raises Refused: as the API refuses: 400 and why.
    """
    words: list[str] = []
    wants = dict(fields)
    if wants.get("walltime") is not None and "walltime" not in str(wants.get("resources", "")):
        wants["resources"] = f"{wants.get('resources') or '/host=1'},walltime={wants['walltime']}"
    for name, option in OPTIONS.items():
        if wants.get(name) not in (None, ""):
            words += [option, str(wants[name])]
    types = wants.get("types") or ()
    for job_type in [types] if isinstance(types, str) else types:
        words += ["-t", str(job_type)]
    reservation = wants.get("reservation")
    if reservation is not None:
        if not isinstance(reservation, str):
            raise _not_valid("`reservation` should be a String.")
        words += ["-r", reservation_date(reservation, now)]
    command = wants.get("command")
    if command:
        words.append(str(command))
    elif reservation is None:
        raise _not_valid("you must give a :command to execute on launch")
    return words


def reservation_date(text: str, now: float) -> str:
    """``YYYY-MM-DD hh:mm:ss`` for that, for it without seconds, for ``now``, and for a time of today.

    :raises Refused: for what is none of them.
    """
    start = text.partition(",")[0].strip()
    if start == "now":
        return format_oar_date(now)
    if re.fullmatch(r"\d{1,2}(:\d{1,2}){0,2}", start):
        start = f"{format_oar_date(now)[:10]} {start}"
    if re.fullmatch(r"\d{4}-\d{1,2}-\d{1,2} \d{1,2}", start):
        start += ":00"
    try:
        return format_oar_date(oar_date_to_unixts(start))
    except ValueError:
        raise _not_valid(f"Syntax error in reservation start date, {text!r}") from None


def _not_valid(why: str) -> Refused:
    return Refused(400, f"The job you are trying to submit is not valid: {why}")


def submitted(stdout: str, stderr: str, exit_code: int) -> int:
    """The id in what `oarsub` said.

    :raises Refused: if it refused.
    """
    said = parse_oarsub(stdout)
    if exit_code == 0 and said.job_ids and said.reservation is not False:
        return said.job_ids[0]
    raise Refused(400, oar_message(stdout, stderr, exit_code) or "oarsub printed no job id")


def deleted(job_id: int, stdout: str, stderr: str, exit_code: int, known: bool) -> None:
    """:raises Refused: if `oardel` did."""
    if exit_code == 0:
        return
    if not known:
        raise Refused(404, f"Couldn't find OAR::Job with 'job_id'={job_id}")
    text = oar_message(stdout, stderr, exit_code)
    raise Refused(403 if "not the right user" in text else 400, text)


def resources_by_type(rows: Iterable[Row], site: str) -> dict[str, list[str]]:
    """``cores``, ``vlans``, ``subnets`` and ``disks``, those that there are."""
    found: dict[str, list[str]] = {}
    for row in rows:
        kind = row["type"]
        if kind == "default":
            found.setdefault("cores", []).append(f"{row['network_address']}/{row['cpuset']}")
        elif kind == "disk":
            found.setdefault("disks", []).append(f"{row['disk']}.{site}.grid5000.fr")
        elif kind.startswith("kavlan"):
            found.setdefault("vlans", []).append(str(row["vlan"]))
        elif kind == "subnet":
            found.setdefault("subnets", []).append(f"{row['subnet_address']}/{row['subnet_prefix']}")
    return found


def job_item(job: Mapping[str, Any], rows: Sequence[Row], site: str) -> dict[str, Any]:
    """A job as the API shows it.

    :param job: fields as those of ``oarstat -f -J``.
    :param rows: its resources, also those that are reserved or predicted.
    """
    item: dict[str, Any] = {
        "uid": job["Job_Id"], "user_uid": job["owner"], "user": job["owner"], "walltime": job["walltime"], "queue": job["queue"],
        "state": job["state"].lower(), "project": job["project"], "name": job["name"] or None, "types": job["types"],
        "mode": job["jobType"], "command": job["command"] or "", "submitted_at": job["submissionTime"],
        "scheduled_at": job["scheduledStart"] or None, "started_at": job["startTime"], "stopped_at": job["stopTime"] or None,
        "message": job["message"], "properties": job["properties"],
        "directory": job["launchingDirectory"], "exit_code": job["exit_code"],
        "events": [{"uid": event["event_id"], "created_at": event["date"], "type": event["type"], "description": event["description"]}
                   for event in job["events"]],
        "resources_by_type": resources_by_type(rows, site),
        "assigned_nodes": list(dict.fromkeys(row["network_address"] for row in rows if row["type"] == "default")),
    }
    return {name: value for name, value in item.items() if value is not None}
