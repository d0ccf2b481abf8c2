"""What OAR's commands print, as data.  Pure; of text that is not OAR's, these find nothing, and raise nothing.

Read are OAR 2.5's texts: the tables of `oarstat`, both full forms of `oarstat -f` (``Job_Id: 1``, and ``id: 1`` with other names of keys)
and ``oarstat -J``.  Lines may end in CR LF: frontends are asked through a terminal.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from .formats import oar_date_to_unixts, oar_duration_to_seconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

REFUSED_RESERVATION = "Reservation not valid"

# What `oarsub` says although nothing is wrong; newer releases begin such lines with '#'.
_INFORMATION = re.compile(
    r"\s*$|#(?! Reservation not valid)|OAR_(JOB|ARRAY)_ID\s*=|(Simple|Parametric) array job submission|Connection to \S+ closed\.|"
    r"Generate a job key|(Import|Export) job key|(Reservation|Interactive) mode: waiting|Reservation valid|Starting\.\.\.|"
    r"\[ADMISSION RULE\] (Modify|Set|Automatically|Add|Change)|DBD::|LINE \d+:|\s+\^| at /\S+ line \d+|"
    r"Deleting the job = \d+ \.\.\.|perl: warning|\tL(C_|ANG)|    are supported")
_GENERIC = re.compile(r"\[ERROR\] Oarsub failed, please verify your request syntax")
# Of OAR 2.5 `oarsub`, for when it says nothing else.
_EXIT_CODES = {
    1: "an unknown option", 4: "no such job, or not yours", 5: "no command", 6: "already deleted", 7: "the date cannot be read",
    8: "refused", 10: "the reservation is not possible", 18: "the request cannot be read", 127: "no such command", 248: "no such queue",
    254: "refused by a rule of the site",
}
_LONGEST_MESSAGE = 400


@dataclass(frozen=True)
class Submitted:
    """What `oarsub` said it did."""

    job_ids: tuple[int, ...] = ()
    """One, or those of an array."""
    reservation: bool | None = None
    """Its verdict on an advance reservation; None: none was printed."""
    negative: bool = False
    """It printed an id that is none, such as -5."""


def parse_oarsub(stdout: str) -> Submitted:
    """Ids and verdict in what `oarsub` printed."""
    numbers = [int(number) for number in re.findall(r"^OAR_JOB_ID\s*=\s*(-?[0-9]{1,18})\s*$", stdout, re.MULTILINE)]
    verdict = re.search(r"Reservation (not )?valid\s*-->", stdout)
    return Submitted(tuple(number for number in numbers if number > 0), None if verdict is None else verdict[1] is None,
                     any(number <= 0 for number in numbers))


def printable(text: str) -> str:
    """On one line, and fit for any log: bytes that are no text, and controls, are escapes."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def oar_message(stdout: str, stderr: str, exit_code: int | None) -> str:
    """Why OAR refused, in its own words, as one line; by its exit code if it used none."""
    if "\nOptions are:" in stdout:          # its usage, of which the first lines say nothing
        stdout = ""
    lines = [line.strip() for line in (*stderr.splitlines(), *stdout.splitlines()) if not _INFORMATION.match(line)]
    telling = [line for line in lines if not _GENERIC.match(line)]
    if not telling:
        # Only then its quarrel with the database may tell something: a name with a quote is refused like that.
        telling = re.findall(r"^DBD::.*?(ERROR:.*?)\s*$", stderr + stdout, re.MULTILINE)[:1] or lines
    message = printable("; ".join(dict.fromkeys(telling)))
    if len(message) > _LONGEST_MESSAGE:
        message = message[:_LONGEST_MESSAGE] + "..."
    if exit_code in (None, 0):
        return message
    meaning = _EXIT_CODES.get(exit_code or 0)
    code = f"exit code {exit_code}" + (f", {meaning}" if meaning and not message else "")
    return f"{message} ({code})" if message else code


@dataclass(frozen=True)
class JobFacts:
    """What `oarstat` says of one job; None: it does not say, or nothing that can be read."""

    job_id: int | None = None
    state: str | None = None
    name: str | None = None
    walltime: float | None = None
    start_date: float | None = None
    scheduled_start: float | None = None
    submission_date: float | None = None
    array_id: int | None = None
    initial_request: str | None = None


def parse_jobs(text: str) -> list[JobFacts]:
    """The jobs in what ``oarstat -f`` or ``oarstat -J`` printed, in its order."""
    return [_facts(fields) for fields in _json_jobs(text) or _text_jobs(text)]


def _json_jobs(text: str) -> list[dict[str, Any]]:
    # A login shell may say something before and after it, as perl does about locales: through a terminal all of it comes here.
    begins = re.search(r"^[ \t]*\{", text, re.MULTILINE)
    if begins is None:
        return []
    try:
        jobs, _ = json.JSONDecoder().raw_decode(text, begins.end() - 1)
    except (ValueError, RecursionError):
        return []
    return [{**job, "Job_Id": number} for number, job in jobs.items() if isinstance(job, dict) and _number(number) is not None]


def _text_jobs(text: str) -> Iterator[dict[str, Any]]:
    fields: dict[str, Any] = {}
    for line in text.splitlines():
        head = re.match(r"\s*(?:Job_Id\s*:|id\s*[:=])\s*([0-9]{1,18})\s*$", line)
        if head:
            if fields:
                yield fields
            fields = {"Job_Id": head[1]}
            continue
        if not fields:
            continue                    # what perl says of locales looks like fields
        field = re.match(r"\s*([A-Za-z_]+) =(?: (.*?))?\s*$", line)
        # The first one: a command of several lines may look like fields, and most fields come before it.
        if field and field[1] not in fields:
            fields[field[1]] = field[2] or ""
    if fields:
        yield fields


def _facts(fields: dict[str, Any]) -> JobFacts:
    def first(*names: str) -> Any:
        return next((fields[name] for name in names if fields.get(name) not in (None, "")), None)

    return JobFacts(
        job_id=_number(first("Job_Id", "id")),
        state=_text(first("state")),
        name=_text(first("name")),
        walltime=_duration(first("walltime")),
        start_date=_date(first("startTime", "start_time")),
        scheduled_start=_date(first("scheduledStart", "scheduled_start")),
        submission_date=_date(first("submissionTime", "submission_time")),
        array_id=_number(first("job_array_id", "array_id")),
        initial_request=_text(first("initial_request")),
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: Any) -> int | None:
    return int(value) if isinstance(value, (int, str)) and re.fullmatch(r"[0-9]{1,18}", str(value)) else None


def _date(value: Any) -> float | None:
    seconds = _number(value)
    if seconds is not None:
        return float(seconds) or None           # 0: not yet
    try:
        return oar_date_to_unixts(value) if isinstance(value, str) else None
    except ValueError:                          # 'no prediction'
        return None


def _duration(value: Any) -> float | None:
    seconds = _number(value)
    if seconds is not None:
        return seconds
    try:
        return oar_duration_to_seconds(value) if isinstance(value, str) else None
    except ValueError:
        return None


def parse_job_ids(text: str) -> list[int]:
    """Ids in a table that `oarstat` printed, of either form, or in its JSON."""
    if jobs := _json_jobs(text):
        return [int(job["Job_Id"]) for job in jobs]
    return [int(number) for number in re.findall(r"^\s*([0-9]{1,18})\s+\S", text, re.MULTILINE)]


def parse_host_names(text: str) -> list[str]:
    """Names of hosts that ``oarprint network_address`` printed, each once, sorted by their numbers."""
    names = {line.strip() for line in text.splitlines()}
    return sorted((name for name in names if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name)), key=natural)


def natural(name: str) -> list[tuple[int, str]]:
    """A key by which ``node-2`` comes before ``node-10``."""
    parts = re.split(r"([0-9]+)", name)
    return [(int(part), "") if number % 2 and len(part) < 1000 else (-1, part) for number, part in enumerate(parts)]


def parse_kavlan(text: str) -> list[int]:
    """Ids of VLANs in what ``kavlan -V`` printed."""
    return [int(number) for number in re.findall(r"^\s*([0-9]{1,9})\s*$", text, re.MULTILINE)]


def parse_subnet_addresses(text: str) -> list[tuple[str, str]]:
    """Pairs (IP address, hardware address) in what ``g5k-subnets -im`` printed."""
    return re.findall(r"^\s*([0-9]+(?:\.[0-9]+){3})\s+((?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2})\s*$", text, re.MULTILINE)


def parse_subnet_params(text: str) -> dict[str, str]:
    """The columns of the first subnet in what ``g5k-subnets -a`` printed."""
    names = ("ip_prefix", "broadcast", "netmask", "gateway", "network", "dns_hostname", "dns_ip")
    for line in text.splitlines():
        values = line.split()
        if values and re.fullmatch(r"[0-9]+(\.[0-9]+){3}/[0-9]+", values[0]):
            return dict(zip(names, values, strict=False))
    return {}
