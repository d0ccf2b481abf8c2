"""A real OAR as that of a site of the box."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from ..scheduler import fields as api
from ..site import Refused
from . import sql
from .oarsite import USER, OarSite

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from ..site import SiteSetup


class RealOar:
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

    def submit(self, fields: Mapping[str, Any], user: str) -> int:
        """See `SiteOar`."""
        done = self._run(user, "oarsub", *api.oarsub_words(fields, time.time()))
        return api.submitted(*done)

    def delete(self, job_id: int, user: str) -> None:
        """See `SiteOar`."""
        done = self._run(user, "oardel", str(int(job_id)))
        api.deleted(job_id, *done, known=done[2] == 0 or self._knows(job_id))

    def change_walltime(self, job_id: int, fields: Mapping[str, Any], user: str) -> None:
        """See `SiteOar`."""
        if not self._knows(job_id):
            raise Refused(404, f"Couldn't find OAR::Job with 'job_id'={job_id}")
        out, err, code = self._run(user, "oarwalltime", str(int(job_id)), str(fields.get("walltime", "")))
        text = (err + out).strip()
        if code:
            raise Refused(403 if "orbidden" in text or "belong" in text else 400, text)

    def resources(self) -> list[dict[str, Any]]:
        """See `SiteOar`."""
        states = json.loads(self._site.query(sql.STATES))
        return [{**row, "state": states.get(str(row["resource_id"]), row["state"])} for row in self._setup.rows]

    def _knows(self, job_id: int) -> bool:
        return self._site.query(f"SELECT 1 FROM jobs WHERE job_id = {int(job_id)}").strip() == "1"

    def _run(self, user: str, *words: str) -> tuple[str, str, int]:
        try:
            self._site.add_account(user)
        except ValueError as error:
            raise Refused(403, str(error)) from None
        done = self._site.run(*words, user=user)
        return done.stdout, done.stderr, done.returncode
