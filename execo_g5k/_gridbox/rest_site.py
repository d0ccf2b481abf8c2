"""The dynamic part of the API of one site: its jobs, status, VLANs, metrics, and OAR's own resources."""

from __future__ import annotations

import json
import re
from dataclasses import replace

from . import status
from .http import ANONYMOUS, NOBODY, Answer, Problem, Request, page
from .metrics import RECENT, date_of, measured
from .rest_reference import clusters_in_queues
from .rest_vlans import VlanApi
from .site import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .reference import Reference
    from .site import SiteOar

    Json = dict[str, Any]

UNMATCHED_STATES = ("tolaunch", "toerror", "toackreservation")
"""The filter compares with the words of OAR's database after it has capitalised what was asked."""
INVALID = "The job you are trying to submit is not valid: "
START = re.compile(r"\s*(now|(\d{4}-\d\d?-\d\d?\s+)?\d\d?(:\d\d?){0,2})\s*(,|$)")
MANY = 10_000
"""Values that the metrics give at most: the oldest ones.  That of the real service is a setting, and not known."""


class SiteApi:
    """What the API says and does at one site; any thread may ask.

    :param clock: the date.
    :param vlan_rights: VLANs are only changed by who holds them, and the nodes, in a running job.
    """

    def __init__(self, reference: Reference, site: str, oar: SiteOar, clock: Callable[[], float], vlan_rights: bool) -> None:
        self._reference = reference
        self._site = site
        self._described = reference.sites[site]
        self._oar = oar
        self._clock = clock
        self.vlans = VlanApi(reference, site, oar, vlan_rights)
        """Which interface is in which VLAN."""

    def answer(self, request: Request) -> Answer | None:
        """None for a path that is not of this part."""
        words = list(request.path[2:])
        if words == ["health"]:
            return Answer({"status": "OK"})
        if words == ["status"]:
            return self._status(request, clusters_in_queues(self._described, request.query.get("queues")), status.KINDS)
        if words[:1] == ["clusters"] and words[2:] == ["status"] and words[1] in self._described["clusters"]:
            return self._status(request, [words[1]], ("nodes", "disks"))
        if words[:1] == ["jobs"]:
            return self._jobs(request, words[1:])
        if words[:1] == ["vlans"]:
            return self.vlans.answer(request, words[1:])
        if words[:2] == ["internal", "oarapi"]:
            return self._oar.oarapi(replace(request, path=tuple(words[2:])))
        if words == ["metrics"]:
            return self._metrics(request)
        return None

    def _status(self, request: Request, clusters: list[str], kinds: tuple[str, ...]) -> Answer:
        query, hidden = request.query, request.user == ANONYMOUS
        body = status.site_status(
            self._oar.resources(), self._oar.jobs(), clusters, address=query.get("network_address"),
            kinds=[kind for kind in kinds if query.get(kind) != "no"], waiting=query.get("waiting") != "no" and not hidden,
            details=query.get("job_details") != "no" and not hidden)
        links = [request.link("self", request.url), request.link("parent", request.url.rpartition("/")[0])]
        return Answer({"uid": int(self._clock()), "links": links, **body})

    # -- jobs ---------------------------------------------------------------------------------------------------------------------------

    def _jobs(self, request: Request, words: list[str]) -> Answer:
        if not words:
            if request.method == "POST":
                return self._submit(request)
            return self._list(request)
        known = {job["uid"]: job for job in self._oar.jobs()}
        job = known.get(int(words[0])) if words[0].isdigit() else None
        if job is None:
            raise Problem(404, f"Couldn't find OAR::Job with 'job_id'={words[0]}")
        if words[1:] == ["walltime"]:
            return self._walltime(request, job)
        if len(words) > 1:
            raise Problem(404, "Not Found")
        if request.method == "DELETE":
            return self._delete(request, job)
        if request.method not in ("GET", "HEAD"):
            raise Problem(405, "Method Not Allowed", {"Allow": "GET,DELETE"})
        return Answer(self._shown(request, job, True), headers={"Allow": "GET,DELETE", "Vary": "Accept"})

    def _url(self, job_id: int | None = None) -> str:
        return f"/sites/{self._site}/jobs" + ("" if job_id is None else f"/{job_id}")

    def _links(self, request: Request, job: Json) -> list[Json]:
        return [request.link("self", self._url(job["uid"])), request.link("parent", f"/sites/{self._site}")]

    def _shown(self, request: Request, job: Json, resources: bool) -> Json:
        absent = () if resources else ("resources_by_type", "assigned_nodes")
        shown = {name: value for name, value in job.items() if value is not None and name not in absent}
        return {**shown, "links": self._links(request, job)}

    def _list(self, request: Request) -> Answer:
        query, jobs = request.query, self._oar.jobs()
        if request.method not in ("GET", "HEAD"):
            raise Problem(405, "Method Not Allowed", {"Allow": "GET,POST"})
        if "state" in query:
            states = {word.strip().lower() for word in query["state"].split(",")} - set(UNMATCHED_STATES)
            jobs = [job for job in jobs if job["state"] in states]
        for name in ("user", "name", "project", "queue"):
            if query.get(name):
                jobs = [job for job in jobs if job.get(name) == query[name]]
        if query.get("job_id"):
            jobs = [job for job in jobs if str(job["uid"]) == query["job_id"]]
        shown = page(request, jobs, self._url(), f"/sites/{self._site}")
        resources = query.get("resources", "no") != "no"
        shown["items"] = [self._shown(request, job, resources) for job in shown["items"]]
        return Answer(shown, headers={"Allow": "GET,POST", "Vary": "Accept"})

    def _relayed(self, refused: Refused) -> Problem:
        """As the API passes on what OAR says."""
        asked = f"http://api-server/sites/{self._site}/internal/oarapi/jobs.json"
        return Problem(refused.status, f"Request to {asked} failed with status {refused.status}: {refused.text}")

    def _submit(self, request: Request) -> Answer:
        user, fields = request.writer(), request.fields()
        reservation = fields.get("reservation")
        if not fields.get("command") and not reservation:
            raise Problem(400, INVALID + "you must give a :command to execute on launch")
        if reservation is not None and not isinstance(reservation, str):
            raise Problem(400, INVALID + "`reservation` should be a String.")
        if reservation and not START.match(reservation):
            raise Problem(400, INVALID + "Syntax error in reservation start date, should at least match the format: 'YYYY-MM-DD hh:mm:ss'. "
                                         "Please see documentation for available date syntaxes.")
        try:
            job_id = self._oar.submit(fields, user)
        except Refused as refused:
            raise self._relayed(refused) from None
        job = next(job for job in self._oar.jobs() if job["uid"] == job_id)
        return Answer(self._shown(request, job, True), 201, request.location(self._url(job_id)))

    def _owned(self, request: Request, job: Json, refusal: str) -> str:
        user = request.writer()
        if user != job["user"]:
            raise Problem(403, refusal)
        return user

    def _delete(self, request: Request, job: Json) -> Answer:
        user = self._owned(request, job, "You are not authorized to access this resource")
        try:
            self._oar.delete(job["uid"], user)
        except Refused as refused:
            raise self._relayed(refused) from None
        said = f"Deleting the job = {job['uid']} ...REGISTERED. The job(s) [ {job['uid']} ] will be deleted in the near future."
        return Answer("", 202, {**request.location(self._url(job["uid"])), "X-Oar-Info": said})

    def _walltime(self, request: Request, job: Json) -> Answer:
        if request.method == "POST":
            user, fields = self._owned(request, job, f"Job {job['uid']} does not belong to you"), request.json()
            if not isinstance(fields, dict):
                raise Problem(400, "Bad Request")
            if fields.get("force"):
                raise Problem(403, "Walltime change for this job is not allowed to be forced")
            if job["state"] != "running":
                raise Problem(403, f"Job {job['uid']} is not running")
            try:
                self._oar.change_walltime(job["uid"], fields, user)
            except Refused as refused:
                raise self._relayed(refused) from None
            said = f"Walltime change request updated for job {job['uid']}, it will be handled shortly"
            return Answer({"status": said}, 202, request.location(self._url(job["uid"]) + "/walltime"), plain_json=True)
        if request.user in NOBODY:
            raise Problem(403, "You are not authorized to access this resource")
        told = self._oar.oarapi(Request("GET", ("jobs", str(job["uid"])), user=request.user))
        if told.status != 200 or not isinstance(told.body, dict):
            raise self._relayed(Refused(told.status, json.dumps(told.body)))
        return Answer({"uid": job["uid"], **told.body.get("walltime-change", {}), "links": self._links(request, job)})

    # -- services behind ----------------------------------------------------------------------------------------------------------------

    def _metrics(self, request: Request) -> Answer:
        query = request.query
        nodes = [name.partition(".")[0] for name in query.get("nodes", "").split(",") if name]
        if query.get("job_id"):
            job = next((job for job in self._oar.jobs() if str(job["uid"]) == query["job_id"]), {})
            nodes += [name.partition(".")[0] for name in job.get("assigned_nodes", ())]
        offered: dict[str, list[Json]] = {}
        for name, described in self._described["clusters"].items():
            offered |= dict.fromkeys(self._described["nodes"].get(name, {}), described["metrics"])
        wanted = set(query["metrics"].split(",")) if query.get("metrics") else None
        start, end = query.get("start_time"), query.get("end_time")
        try:
            if start and not end and not query.get("job_id"):           # so it is with Kwollect
                end = str(date_of(start, 0) + RECENT)
            values = measured({node: offered[node] for node in nodes if node in offered}, wanted, start, end, self._clock(),
                              bool(query.get("summary")))
        except ValueError as error:
            raise Problem(400, f"Bad Request: {error}") from None
        return Answer(values[:MANY], plain_json=True)


