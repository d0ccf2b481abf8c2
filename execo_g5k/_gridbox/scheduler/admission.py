"""What happens to a submission before it becomes a job: OAR's rules of admission, and those of Grid'5000.  Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from .request import Group, Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

DEFAULT_WALLTIME = 7200
TYPES = re.compile(
    r"container(?:=\w+)?|deploy(?:=standby)?|desktop_computing|besteffort|cosystem(?:=standby)?|idempotent|placeholder=\w+|allowed=\w+|"
    r"inner=\w+|timesharing=(?:(?:\*|user),(?:\*|name)|(?:\*|name),(?:\*|user))|token:\w+=\d+|noop(?:=standby)?|"
    r"(?:postpone|deadline|expire)=\d{4}-\d\d-\d\d(?:\s+\d\d:\d\d(?::\d\d)?)?|state=permissive|"
    # Grid'5000's own
    r"allow_classic_ssh|origin=[a-z]+|day|night|exotic|destructive|monitor(?:=.*)?|maintenance")
NOT_FOR_USERS = frozenset({
    "type", "state", "next_state", "finaud_decision", "next_finaud_decision", "state_num", "suspended_jobs", "scheduler_priority", "cpuset",
    "besteffort", "deploy", "expiry_date", "desktop_computing", "last_job_date", "available_upto", "last_available_upto"})
NOT_FOR_DEPLOY = frozenset({"cpu", "core", "thread", "resource_id"})
_SAYS_TYPE = re.compile(r"[\s(]type[\s=]|^type[\s=]")
_MARK = "[ADMISSION RULE]"


class AdmissionError(Exception):
    """A rule refuses it; in OAR's words."""


@dataclass
class Submission:
    """What somebody asks for, and what the rules make of it."""

    requests: list[Request]
    properties: str = ""
    queue: str | None = None
    types: list[str] = field(default_factory=list)
    reserved: bool = False
    said: list[str] = field(default_factory=list)
    """What the rules tell the user."""


def admit(asked: Submission, queues: Collection[str], columns: Collection[str]) -> None:
    """Apply the rules, in their order.

    :param columns: the properties that resources of the site have: there are no rules about others.
    :raises AdmissionError: if one refuses it.
    """
    queue = asked.queue or "default"
    names = [name for request in asked.requests for group in request.groups for name, _ in group.levels]
    for name in names:
        if name in NOT_FOR_USERS:
            raise AdmissionError(f"{_MARK} '{name}' resource is not allowed")
    if "besteffort" in asked.types and queue != "besteffort":
        queue = "besteffort"
        asked.said.append(f"{_MARK} Automatically redirect in the besteffort queue")
    if queue == "besteffort" and "besteffort" not in asked.types:
        asked.types.append("besteffort")
        asked.said.append(f"{_MARK} Automatically add the besteffort type")
    if "besteffort" in asked.types:
        _restrict(asked, "besteffort = 'YES'")
        asked.said.append(f"{_MARK} Automatically add the besteffort constraint on the resources")
        if asked.reserved:
            raise AdmissionError(f"{_MARK} Error: a job cannot both be of type besteffort and be a reservation.")
    if "deploy" in asked.types:
        _restrict(asked, "deploy = 'YES'")
        for name in names:
            if name in NOT_FOR_DEPLOY:
                raise AdmissionError(f"{_MARK} '{name}' resource is not allowed with a deploy job")
    if "exotic" in columns and "exotic" not in asked.types:
        _restrict(asked, "exotic = 'NO'")
    if "production" in columns and queue in ("default", "production"):
        _restrict_by_queue(asked, queue)
    if "maintenance" in columns and queue != "testing" and not {"maintenance", "allowed=maintenance"} & set(asked.types):
        _restrict(asked, "maintenance = 'NO'")
    _restrict(asked, "desktop_computing = 'NO'")
    for index, request in enumerate(asked.requests):
        if request.walltime is None:
            asked.said.append(f"{_MARK} Set default walltime to {DEFAULT_WALLTIME}.")
            asked.requests[index] = replace(request, walltime=DEFAULT_WALLTIME)
    for job_type in asked.types:
        if not TYPES.fullmatch(job_type):
            raise AdmissionError(f"{_MARK} Error: unknown job type: {job_type}")
    asked.requests = [replace(request, groups=tuple(_with_type(group) for group in request.groups)) for request in asked.requests]
    asked.said.append(f"{_MARK} Modify resource description with type constraints")
    asked.properties = f"({asked.properties}) AND drain='NO'"
    asked.queue = queue


def _restrict(asked: Submission, condition: str) -> None:
    asked.properties = f"({asked.properties}) AND {condition}" if asked.properties else condition


def _restrict_by_queue(asked: Submission, queue: str) -> None:
    wanted = "YES" if queue == "production" else "NO"
    # VLANs and subnets are in no cluster, and for all queues
    _restrict(asked, f"(production = '{wanted}' OR host = '')")


def _with_type(group: Group) -> Group:
    if _SAYS_TYPE.search(group.condition):
        return group
    kind = "type = 'subnet'" if any(name.startswith("slash_") for name, _ in group.levels) else "type = 'default'"
    return replace(group, condition=f"({group.condition}) AND {kind}" if group.condition else kind)
