"""A real OAR as that of a site of the box."""

from __future__ import annotations

import json
import os
from pathlib import Path

from ..http import Answer, Problem
from ..oarapi import ByOarApi, user_of
from ..scheduler import fields as api
from . import cgi, oarsite, sql
from .oarsite import TOO_LONG, USER, OarSite

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from ..http import Request
    from ..site import SiteSetup


class RealOar(ByOarApi):
    """A `SiteOar`.  All methods may be called from any thread.

    The clock of OAR is that of the system, and its hosts are addresses in its own namespace, whatever the box has.
    """

    user = USER

    def __init__(self, setup: SiteSetup) -> None:
        self.kind = "OAR"
        self._setup = setup
        self._site = OarSite(setup.site, rows=setup.rows, public_key=Path(f"{setup.key}.pub"))
        self._rows = {row["resource_id"]: row for row in setup.rows}
        # Both are known before it runs.
        self.commands = setup.directory / "commands"
        self.proxy_command = [str(setup.directory / "frontend")]

    @property
    def site(self) -> OarSite:
        """The site, for what only a real OAR has."""
        return self._site

    def start(self) -> None:
        """See `SiteOar`."""
        self._site.start()
        frontend = Path(self.proxy_command[0])
        frontend.write_text(f"#!/bin/sh\nexec {' '.join(self._site.enter)} /usr/sbin/sshd -i\n", encoding="utf-8")
        frontend.chmod(0o755)
        os.symlink(self._site.bin, self.commands)
        version = self._site.run("oarsub", "-V").stdout
        self.kind = "OAR " + (version.partition(":")[2].split() or ["2.5"])[0]

    def stop(self) -> None:
        """See `SiteOar`."""
        self._site.stop()

    @property
    def shared(self) -> Path:
        """See `SiteFrontend`."""
        assert self._site.directory is not None
        return self._site.directory

    def add_commands(self, names: Iterable[str], socket: str) -> None:
        """See `SiteFrontend`."""
        self._site.add_commands(names, socket)

    def jobs(self) -> list[dict[str, Any]]:
        """See `SiteOar`."""
        return [api.job_item(job, [self._rows[number] for number in job["resources"] if number in self._rows], self._setup.site)
                for job in json.loads(self._site.query(sql.JOBS))]

    def resources(self) -> list[dict[str, Any]]:
        """See `SiteOar`."""
        states = json.loads(self._site.query(sql.STATES))
        return [{**row, "state": states.get(str(row["resource_id"]), row["state"])} for row in self._setup.rows]

    def oarapi(self, request: Request) -> Answer:
        """See `SiteOar`."""
        user = user_of(request)
        try:
            if user is not None:
                self._site.add_account(user)
            done = self._site.cgi(cgi.variables(request, user), request.body)
        except ValueError as error:         # no name of a user, or no character of a path
            raise Problem(403, str(error)) from None
        if done.returncode == TOO_LONG:
            raise Problem(504, f"OAR's API of {self._setup.site} takes longer than {oarsite.API_SECONDS:g} s")
        try:
            status, headers, body = cgi.parse(done.stdout)
            answer = json.loads(body)
        except ValueError as error:
            said = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
            raise Problem(502, f"OAR's API of {self._setup.site} does not answer (exit code {done.returncode}): {said or error}") from None
        kept = {name.title(): headers[name] for name in ("location", "allow") if name in headers}
        return Answer(answer, status, kept, headers.get("content-type"), plain_json=True)
