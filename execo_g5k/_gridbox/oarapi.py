"""OAR's own REST API, ``/sites/SITE/internal/oarapi``, as the API of Grid'5000 uses it to submit, delete and change jobs."""

from __future__ import annotations

import json
import re

from .._oar.formats import format_oar_date, oar_date_to_unixts
from .http import ANONYMOUS, NOBODY, Request
from .site import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from .http import Answer
    from .site import SiteSetup

NAMES = {"resources": "resource", "properties": "property", "types": "type", "command": "script"}
"""{field of the API's POST: that of OAR's own API}, of those that are not called the same."""
SAME = ("queue", "name", "project", "directory", "stdout", "stderr", "notify", "signal", "checkpoint", "import-job-key-from-file")


def submission(fields: Mapping[str, Any], now: float) -> dict[str, Any]:
    """What is posted to OAR's own API for the fields of the API's POST.

    :raises Refused: as the API refuses: 400 and why.
    """
    wants = dict(fields)
    if wants.get("walltime") is not None and "walltime" not in str(wants.get("resources", "")):
        wants["resources"] = f"{wants.get('resources') or '/host=1'},walltime={wants['walltime']}"
    reservation = wants.get("reservation")
    if reservation is None and not wants.get("command"):
        raise _not_valid("you must give a :command to execute on launch")
    if reservation is not None and not isinstance(reservation, str):
        raise _not_valid("`reservation` should be a String.")
    if isinstance(wants.get("types"), str):
        wants["types"] = [wants["types"]]
    sent = {NAMES.get(name, name): wants[name] for name in (*NAMES, *SAME) if wants.get(name) not in (None, "", [])}
    if wants.get("directory"):
        sent["workdir"] = wants["directory"]
    return sent if reservation is None else {**sent, "reservation": reservation_date(reservation, now)}


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


def user_of(request: Request) -> str | None:
    """Who asks; None: nobody."""
    return None if request.user in NOBODY or request.user == ANONYMOUS else request.user


class ByOarApi:
    """The part of a `SiteOar` that changes jobs, by its `oarapi`: what that refuses is passed on as it is, a text of JSON."""

    _setup: SiteSetup

    def oarapi(self, request: Request) -> Answer:
        """See `SiteOar`."""
        raise NotImplementedError

    def submit(self, fields: Mapping[str, Any], user: str) -> int:
        """See `SiteOar`."""
        return int(self._change("POST", "jobs", user, submission(fields, self._setup.clock()))["id"])

    def delete(self, job_id: int, user: str) -> None:
        """See `SiteOar`."""
        self._change("DELETE", f"jobs/{int(job_id)}", user)

    def change_walltime(self, job_id: int, fields: Mapping[str, Any], user: str) -> None:
        """See `SiteOar`."""
        self._change("POST", f"jobs/{int(job_id)}", user, {**fields, "method": "walltime-change"})

    def _change(self, method: str, path: str, user: str, sent: Mapping[str, Any] | None = None) -> dict[str, Any]:
        body = b"" if sent is None else json.dumps(sent).encode()
        answer = self.oarapi(Request(method, tuple(path.split("/")), user=user, content_type="application/json", body=body))
        if answer.status >= 400 or not isinstance(answer.body, dict):
            raise Refused(answer.status, answer.body if isinstance(answer.body, str) else json.dumps(answer.body, ensure_ascii=False))
        return answer.body
