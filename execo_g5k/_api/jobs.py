"""Jobs of OAR by the REST API: the same as by the frontends, without ssh."""

from __future__ import annotations

import re
import shlex
import time

from execo.log import logger
from execo.time_utils import get_seconds

from .._oar.formats import format_oar_date, format_oar_duration
from .._oar.submission import DEFAULT_COMMAND, ORIGIN, OarSubmission
from ..config import g5k_configuration
from .connection import APIException, configured

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from execo.time_utils import Duration

    Job = dict[str, Any]

ENDED = ("terminated", "error")


def _path(site: str, job_id: int | str | None = None, more: str = "") -> str:
    if not re.fullmatch(r"[a-z0-9_-]+", str(site)):
        raise ValueError(f"site: expected its name, found {site!r}")
    if job_id is None:
        return f"/sites/{site}/jobs"
    if not re.fullmatch(r"[1-9][0-9]*", str(job_id)):
        raise ValueError(f"job id: expected a positive number, found {job_id!r}")
    return f"/sites/{site}/jobs/{job_id}{more}"


def request_of(job_spec: OarSubmission) -> dict[str, Any]:
    """What is posted for a submission.

    :raises ValueError: for a date or duration that cannot be read, a directory that a shell would change, or `additional_options` that
        the API has no word for.
    """
    if job_spec.directory and not re.fullmatch(r"[\w./~+@%:=,-]+", job_spec.directory):
        raise ValueError(f"directory of a job: expected one that OAR's API can go to, of letters, digits and ./~+@%:=,-_, "
                         f"found {job_spec.directory!r}")
    groups = [job_spec.resources] if isinstance(job_spec.resources, str) else list(job_spec.resources or [])
    resources = "+".join(group for group in groups if group)
    if job_spec.walltime is not None:
        resources += f"{',' if resources else ''}walltime={format_oar_duration(job_spec.walltime)}"
    types = [job_spec.job_type] if isinstance(job_spec.job_type, str) else list(job_spec.job_type or [])
    request: dict[str, Any] = {
        "command": DEFAULT_COMMAND if job_spec.command is None else job_spec.command,
        "resources": resources, "types": list(dict.fromkeys([*types, ORIGIN])), "properties": job_spec.sql_properties,
        "queue": job_spec.queue, "name": job_spec.name, "project": job_spec.project, "directory": job_spec.directory,
        "reservation": None if job_spec.reservation_date is None else format_oar_date(job_spec.reservation_date),
        "import-job-key-from-file": g5k_configuration["oar_job_key_file"],
    }
    request.update(_additional(job_spec.additional_options))
    return {name: value if name == "command" else _escaped(value) for name, value in request.items() if value}


def _escaped(value: Any) -> Any:
    # OAR's own API writes what is posted between double quotes, for two shells; the command alone goes into a file.  It escapes `"` for
    # both; `$`, `` ` `` and what would be an escape of the closing quote for the first one; and no other backslash.
    if isinstance(value, list):
        return [_escaped(one) for one in value]
    text = re.sub(r'\\+(?=[^"$`\\])', lambda found: 4 * found[0], str(value))
    return re.sub(r"(\\*)([$`]|\Z)", lambda found: 2 * found[1] + ("\\" if found[2] else "") + found[2], text)


def _additional(options: str | None) -> dict[str, Any]:
    words = {"-O": "stdout", "--stdout": "stdout", "-E": "stderr", "--stderr": "stderr", "--notify": "notify", "--signal": "signal",
             "--checkpoint": "checkpoint"}
    request: dict[str, Any] = {}
    rest = shlex.split(options or "")
    while rest:
        option, equals, value = rest.pop(0).partition("=")
        if option not in words:
            raise ValueError(f"additional_options of a job: the API has no word for {option!r}, only for {', '.join(words)}")
        if not equals:
            if not rest:
                raise ValueError(f"additional_options of a job: {option} has no value")
            value = rest.pop(0)
        request[words[option]] = value
    return request


def api_submit_job(job_spec: OarSubmission, site: str) -> int:
    """Submit a job; its id.  It is posted once, whatever happens.

    :raises APIException: if it is refused: its text has OAR's reason; or if there is no answer: then it may have been accepted or not.
    :raises ValueError: for what the API has no word for, and for a directory that a shell would change.
    """
    path = _path(site)
    with configured() as api:
        response = api.post(path, request_of(job_spec))
        try:
            return int(response.json()["uid"])
        except (KeyError, TypeError, ValueError) as wrong:
            raise APIException(api.uri(path), "POST", response, ValueError(f"no job: {wrong!r}")) from None


def api_get_job(job_id: int | str, site: str) -> Job:
    """A job as the API describes it: ``uid``, ``state`` (lower case), ``user``, ``queue``, ``types``, ``walltime`` (seconds), dates (Unix
    seconds) ``submitted_at``, ``scheduled_at``, ``started_at`` (0 before) ..., ``assigned_nodes``, ``resources_by_type``.

    :raises APIException: for an unknown one (``status`` 404).
    """
    with configured() as api:
        job: Job = api.get_json(_path(site, job_id))
    return job


def api_get_jobs(site: str, state: str | Iterable[str] | None = None, user: str | None = None, queue: str | None = None,
                 name: str | None = None, project: str | None = None, resources: bool = False) -> list[Job]:
    """All jobs of a site that meet all conditions, newest first, as `api_get_job` has them.

    :param state: one or several, in lower case; None: any, also of jobs that have ended.
    :param resources: also what they were given: `assigned_nodes` and `resources_by_type`.
    :raises APIException: if it is refused.
    """
    states = None if state is None else state if isinstance(state, str) else ",".join(state)
    with configured() as api:
        return api.get_items(_path(site), state=states, user=user, queue=queue, name=name, project=project,
                             resources="yes" if resources else None)


def api_change_job_walltime(job_id: int | str, site: str, walltime: str | Duration, force: bool = False,
                            delay_next_jobs: bool = False) -> dict[str, Any]:
    """Ask for another walltime of a running job; what the API says of the change then: ``granted``, ``pending``, ``possible`` ...

    :param walltime: ``"+0:30:00"`` or ``"-0:30:00"``, or a duration: the new one as a whole.
    :param force: also at once, where the site allows it.
    :param delay_next_jobs: also if jobs that wait must then start later, where the site allows it.
    :raises APIException: if it is refused; its text has the reason.
    """
    if isinstance(walltime, str) and walltime[:1] in ("+", "-"):
        text = walltime[0] + format_oar_duration(walltime[1:])
    else:
        text = format_oar_duration(walltime)
    request = {"walltime": text, **({"force": True} if force else {}), **({"delay_next_jobs": True} if delay_next_jobs else {})}
    path = _path(site, job_id, "/walltime")
    with configured() as api:
        api.post(path, request)
        change: dict[str, Any] = api.get_json(path)
    return change


def api_delete_job(job_id: int | str, site: str) -> bool:
    """Delete a job; False if it had ended before.  It takes a while: see `api_wait_job` with ``states=("error", "terminated")``.

    :raises APIException: if it is refused.
    """
    path = _path(site, job_id)
    with configured() as api:
        try:
            api.delete(path)
        except APIException as failure:
            if failure.response is not None and "already killed" in failure.response.text:
                return False
            raise
    return True


def api_wait_job(job_id: int | str, site: str, states: str | Iterable[str] = "running", timeout: Duration | None = None,
                 prediction_callback: Callable[[float], object] | None = None) -> bool:
    """Wait until a job is in one of some states; False if it ends otherwise, if there is no such job, and at the timeout.

    :param timeout: a duration; None: for ever.
    :param prediction_callback: called with the predicted date of the start, Unix seconds, whenever that changes.
    :raises APIException: if the API refuses.  While it cannot be reached it is asked again.
    """
    wanted = {states} if isinstance(states, str) else set(states)
    deadline = None if timeout is None else time.monotonic() + get_seconds(timeout)
    predicted = None
    with configured() as api:
        while True:
            try:
                job = api.get_json(_path(site, job_id))
            except APIException as failure:
                if failure.status == 404:
                    return False
                if failure.status is not None and failure.status < 500:
                    raise
                logger.warning("waiting for job %s of %s: %s", job_id, site, failure)
                job = {}
            state = job.get("state")
            if state in wanted:
                return True
            if state in ENDED:
                return False
            scheduled = job.get("scheduled_at")
            if prediction_callback is not None and scheduled and scheduled != predicted:
                predicted = scheduled
                prediction_callback(float(scheduled))
            pause = get_seconds(g5k_configuration["tiny_polling_interval" if state in ("launching", "tolaunch") else "polling_interval"])
            if deadline is not None:
                if time.monotonic() >= deadline:
                    return False
                pause = min(pause, max(0.01, deadline - time.monotonic()))
            time.sleep(pause)
