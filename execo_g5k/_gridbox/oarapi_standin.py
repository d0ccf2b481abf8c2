"""What OAR's own REST API answers, for an OAR that has none: resources, jobs, submission, deletion and walltimes, in JSON.

Paths, fields, statuses and texts are those of OAR 2.5.9; whatever else the real one has is "no way to handle your request" here.
"""

from __future__ import annotations

import json
import re

from .._oar.formats import format_oar_duration
from .._oar.parse import parse_oarsub
from .http import Answer, Problem
from .oarapi import user_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, TypeAlias

    from .http import Request

    Json: TypeAlias = "dict[str, Any]"
    Fields: TypeAlias = "Mapping[str, Any]"

MANY = 500
"""Items in an answer, unless a limit says another number."""
ENDED = ("Terminated", "Error")
RENAMED = {"Job_Id": "id", "startTime": "start_time", "stopTime": "stop_time", "scheduledStart": "scheduled_start",
           "submissionTime": "submission_time", "jobType": "type", "launchingDirectory": "launching_directory"}
DROPPED = ("job_user", "reserved_resources", "assigned_resources", "assigned_network_address")
COMMANDS = ("script", "command", "script_path")
TOGGLES = ("hold", "use-job-key")
USERS_FAULT = (4, 5, 6, 7, 8, 10, 16, 17)
"""Exit codes of `oarsub` that are 400; the others are 500."""


class _Error(Problem):
    def __init__(self, status: int, title: str, message: str) -> None:
        super().__init__(status, message)
        self.title = title


class StandIn:
    """Any thread may ask.

    :param jobs: what gives all jobs, oldest first: (fields as those of ``oarstat -f -J``, resources).
    :param rows: what gives the resources.
    :param run: runs a command of OAR: (words, user) to (standard output, standard error, exit code); None: jobs cannot be changed.
    """

    def __init__(self, jobs: Callable[[], Sequence[tuple[Fields, Sequence[Fields]]]], rows: Callable[[], Sequence[Fields]],
                 clock: Callable[[], float], run: Callable[[list[str], str], tuple[str, str, int]] | None = None) -> None:
        self._jobs = jobs
        self._rows = rows
        self._clock = clock
        self._run = run

    def answer(self, request: Request) -> Answer:
        """See `SiteOar.oarapi`."""
        path, user = "/".join(request.path), user_of(request)
        number = re.fullmatch(r"jobs/(\d+)", path)
        try:
            if request.method in ("GET", "HEAD"):
                return Answer(self._get(request, path, user), plain_json=True)
            if request.method == "POST" and path == "jobs" and self._run:
                return self._submit(request, self._writer(user, "posting jobs"))
            if request.method == "DELETE" and number and self._run:
                return self._delete(int(number[1]), self._writer(user, "deleting jobs"))
            if request.method == "POST" and number and self._run:
                return self._change(request, int(number[1]), self._writer(user, "modifying jobs"))
            raise _Error(404, "Not found", f"No way to handle your request /{path}.json")
        except Problem as problem:
            title = problem.title if isinstance(problem, _Error) else "Bad query"
            return Answer({"code": problem.status, "title": title, "message": problem.text}, problem.status, plain_json=True)

    # What there is

    def _get(self, request: Request, path: str, user: str | None) -> Json:
        now = {"api_timestamp": int(self._clock())}
        if path == "version":
            return {"oar_version": "2.5.9 (not OAR)", "api_version": "1.0.2", "apilib_version": "1.0.2", "api_timezone": "CET", **now}
        if path == "whoami":
            return {"authenticated_user": user or "", **now}
        if path in ("resources", "resources/details"):
            few = ("id", "state", "available_upto", "network_address")
            items = [self._resource(row) for row in self._rows()]
            if path == "resources":
                items = [{name: item.get(name) for name in (*few, "links", *now)} for item in items]
            return self._page(request, path, items)
        if path in ("jobs", "jobs/details"):
            chosen = self._chosen(request)
            return self._page(request, path, [self._short(job) if path == "jobs" else self._details(job, rows) for job, rows in chosen])
        if found := re.fullmatch(r"resources/(\d+)", path):
            for row in self._rows():
                if str(row["resource_id"]) == found[1]:
                    return self._resource(row)
            raise _Error(404, "Resource not found", "Resource not found")
        if found := re.fullmatch(r"jobs/(\d+)(/details|/resources|/nodes)?", path):
            if found[2] in ("/resources", "/nodes"):
                known = [self._details(job, rows)[found[2][1:]] for job, rows in self._jobs() if str(job["Job_Id"]) == found[1]]
                return self._page(request, path, known[0] if known else [])
            self._writer(user, "looking at jobs")
            for job, rows in self._jobs():
                if str(job["Job_Id"]) == found[1]:
                    details = self._details(job, rows)
                    absent = () if found[2] else ("resources", "nodes")
                    return {**{name: value for name, value in details.items() if name not in absent},
                            "walltime-change": _walltime_change(job)}
            raise _Error(404, "Job not found", "Job not found")
        raise _Error(404, "Not found", f"No way to handle your request /{path}.json")

    def _page(self, request: Request, path: str, items: list[Json]) -> Json:
        offset, limit = request.number("offset", 0), request.number("limit", MANY)
        if not items:
            return {"items": [], "total": 0, "offset": 0, "links": []}
        href = f"/oarapi/{path}.json?" + (f"limit={limit}&" if "limit" in request.query else "")
        links = [{"rel": "self", "href": f"{href}offset={offset}"}]
        if offset + limit < len(items):
            links.append({"rel": "next", "href": f"{href}offset={offset + limit}"})
        return {"api_timestamp": int(self._clock()), "total": len(items), "offset": offset, "items": items[offset:offset + limit],
                "links": links}

    def _chosen(self, request: Request) -> list[tuple[Fields, Sequence[Fields]]]:
        query = request.query
        states = {word.strip().lower() for word in query["state"].split(",")} if "state" in query else None
        ids = set(query["ids"].split(":")) if "ids" in query else None
        return [(job, rows) for job, rows in self._jobs()
                if (states is None or job["state"].lower() in states) and (ids is None or str(job["Job_Id"]) in ids)
                and (states is not None or ids is not None or job["state"] not in ENDED)
                and query.get("user") in (None, job["owner"])]

    def _resource(self, row: Fields) -> Json:
        number = row["resource_id"]
        links = [{"rel": "self", "href": f"/oarapi/resources/{number}"},
                 {"rel": "collection", "title": "jobs", "href": f"/oarapi/resources/{number}/jobs"}]
        if row.get("network_address"):
            links.insert(0, {"rel": "member", "title": "node", "href": f"/oarapi/resources/nodes/{row['network_address']}"})
        shown = {name: value for name, value in row.items() if name != "resource_id"}
        return {**shown, "id": number, "links": links, "api_timestamp": int(self._clock())}

    def _links(self, number: int) -> list[Json]:
        return [{"rel": "self", "href": f"/oarapi/jobs/{number}"},
                *({"rel": "collection", "title": part, "href": f"/oarapi/jobs/{number}/{part}"} for part in ("resources", "nodes"))]

    def _short(self, job: Fields) -> Json:
        return {"id": job["Job_Id"], "state": job["state"], "owner": job["owner"], "name": job["name"], "queue": job["queue"],
                "submission": job["submissionTime"], "api_timestamp": int(self._clock()), "links": self._links(job["Job_Id"])}

    def _details(self, job: Fields, rows: Sequence[Fields]) -> Json:
        status = {"status": "assigned" if job["state"] != "Waiting" else "reserved" if job["reservation"] == "Scheduled" else "scheduled"}
        date = {"api_timestamp": int(self._clock())}
        nodes = dict.fromkeys(row["network_address"] for row in rows if row.get("network_address"))
        shown = {RENAMED.get(name, name): value for name, value in job.items() if name not in DROPPED}
        return {**shown, **date, "links": self._links(job["Job_Id"]),
                "resources": [{**self._resource(row), **status} for row in rows],
                "nodes": [{"network_address": node, **status, **date,
                           "links": [{"rel": "self", "href": f"/oarapi/resources/nodes/{node}"}]} for node in nodes]}

    # Changes

    @staticmethod
    def _writer(user: str | None, what: str) -> str:
        if user is None:
            raise _Error(401, "Permission denied", f"A suitable authentication must be done before {what}")
        return user

    def _submit(self, request: Request, user: str) -> Answer:
        sent = _sent(request)
        if not sent.get("reservation") and not any(sent.get(name) for name in COMMANDS):
            raise _Error(400, "Missing Required Field",
                         "A job must have a script, a command (script_path) or must be a reservation!")
        words = oarsub_words(sent)
        said, complaint, code = self._command(words, user)
        if code:
            raise _Error(400 if code in USERS_FAULT else 500, "Bad query" if code in USERS_FAULT else "Oar server error",
                         f"Oarsub command exited with status {code}: {said}{complaint}\nCmd:\n{' '.join(words)}")
        number = parse_oarsub(said).job_ids[0]
        body = {"id": number, "cmd_output": said + complaint, "api_timestamp": int(self._clock()), "links": self._links(number)[:1]}
        return Answer(body, 201, {"Location": f"/oarapi/jobs/{number}"}, plain_json=True)

    def _delete(self, number: int, user: str) -> Answer:
        said, complaint, code = self._command(["oardel", str(number)], user)
        if code:
            raise _Error(400, "Oardel error",
                         f"Oardel command exited with status {code << 8}: {said}{complaint}. (Command was: oardel {number}).")
        body = {"id": str(number), "status": "Delete request registered", "oardel_output": said, "api_timestamp": int(self._clock())}
        return Answer(body, 202, plain_json=True)

    def _change(self, request: Request, number: int, user: str) -> Answer:
        sent = _sent(request)
        if sent.get("method") != "walltime-change":
            raise _Error(400, "Bad query", f"Could not understand {sent.get('method')} method")
        if sent.get("walltime") is None:
            raise _Error(400, "Missing Required Field", "Walltime change request must have a walltime field")
        if all(job["Job_Id"] != number for job, _ in self._jobs()):
            raise _Error(404, "Not found", f"Could not find job {number}")
        said, complaint, code = self._command(["oarwalltime", str(number), str(sent["walltime"])], user)
        title, _, message = (complaint or said).strip().rstrip(".").partition(": ")
        message = message[:1].upper() + message[1:]
        if code:
            raise _Error(403 if title == "Forbidden" else 400, title, message)
        body = {"id": str(number), "status": title, "cmd_output": message, "api_timestamp": int(self._clock()),
                "links": self._links(number)[:1]}
        return Answer(body, 202, plain_json=True)

    def _command(self, words: list[str], user: str) -> tuple[str, str, int]:
        assert self._run is not None
        return self._run(words, user)


def _sent(request: Request) -> Json:
    if request.content_type.startswith("application/x-www-form-urlencoded"):
        return request.fields()
    try:
        sent = json.loads(request.body)
    except ValueError as error:
        raise _Error(400, "JSON data not understood", str(error)) from None
    if not isinstance(sent, dict):
        raise _Error(400, "JSON data not understood", f"expected an object, found {type(sent).__name__}")
    return sent


def oarsub_words(sent: Mapping[str, Any]) -> list[str]:
    """The command that OAR's API makes of what was posted: each field is a long option."""
    words = ["oarsub"]
    command = next((str(sent[name]) for name in COMMANDS if sent.get(name)), None)
    for name, value in sent.items():
        if name in COMMANDS or name == "workdir" or value in (None, "", []):
            continue
        option = "resource" if name == "resources" else name
        if name in TOGGLES:
            words += [f"--{option}"] if str(value) not in ("0", "False") else []
        else:
            words += [f"--{option}={_literal(str(one))}" for one in (value if isinstance(value, list) else [value])]
    return words if command is None else [*words, command]


def _literal(text: str) -> str:
    """What is left of a value when, escaped as the real one escapes, it has gone through two shells, each time between double quotes.

    :raises Problem: for what a shell would expand, or would take for the closing quote.
    """
    line = re.sub(r'(\\*)"', r'\1\1\\"', text)
    line = re.sub(r'(\\*)"', r'\1\1\\"', f'"{line}"')
    line = re.sub(r"(\\*)([$`])", r"\1\1\\\2", line)
    line = _unquoted(line)
    if not re.fullmatch(r'"([^"\\$`]|\\.)*"', line, re.DOTALL):
        raise _Error(500, "Oar server error", f"a shell would not take {line} as it is")
    return _unquoted(line[1:-1])


def _unquoted(text: str) -> str:
    return re.sub(r'\\([\\"$`])|\\\n', r"\1", text)


def _walltime_change(job: Fields) -> Json:
    running = job["state"] == "Running"
    forbidden = {"possible": "UNLIMITED" if running else "0:0:0", "force": "FORBIDDEN", "delay_next_jobs": "FORBIDDEN"}
    if not job["startTime"] or job["state"] == "Waiting":
        return forbidden
    none = dict.fromkeys(("pending", "granted", "granted_with_force", "granted_with_delay_next_jobs"), "0:0:0")
    return {**forbidden, **none, "walltime": format_oar_duration(job["walltime"])}
