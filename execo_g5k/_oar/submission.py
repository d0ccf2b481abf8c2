"""What to submit, and the command line for it."""

from __future__ import annotations

import os
import re
import shlex

from execo.log import logger
from execo.time_utils import format_date, format_duration, get_unixts
from execo.utils import singleton_to_collection

from ..config import g5k_configuration
from .formats import format_oar_date, format_oar_duration, oar_date_to_unixts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from execo.time_utils import Date, Duration

DEFAULT_COMMAND = "sleep 31536000"
ORIGIN = "origin=execo"
"""A type that every job gets, by which a site sees what its jobs come from."""


class OarSubmission:
    """A request for a job.  All attributes may be changed; None: not given.

    :param resources: what `oarsub -l` takes, without walltime, or a list of such, joined by ``+``.
    :param walltime: a duration.
    :param job_type: one or several types: ``deploy``, ``["deploy", "exotic"]``.
    :param sql_properties: what `oarsub -p` takes.
    :param queue: name of the queue.
    :param reservation_date: a date: an advance reservation.
    :param directory: where the command runs.
    :param project: name of the project.
    :param name: name of the job.
    :param additional_options: more options for `oarsub`, as words of a shell.
    :param command: what the job runs; by default it sleeps.
    """

    def __init__(self, resources: str | Iterable[str] | None = None, walltime: Duration | None = None,
                 job_type: str | Iterable[str] | None = None, sql_properties: str | None = None, queue: str | None = None,
                 reservation_date: Date | None = None, directory: str | None = None, project: str | None = None, name: str | None = None,
                 additional_options: str | None = None, command: str | None = None) -> None:
        self.resources = resources
        self.walltime = walltime
        self.job_type = job_type
        self.sql_properties = sql_properties
        self.queue = queue
        self.reservation_date = reservation_date
        self.directory = directory
        self.project = project
        self.name = name
        self.additional_options = additional_options
        self.command = command

    def __repr__(self) -> str:
        shown = {**vars(self)}
        shown["walltime"] = format_duration(self.walltime)
        shown["reservation_date"] = format_date(self.reservation_date)
        return f"OarSubmission({', '.join(f'{name}={value!r}' for name, value in shown.items() if value is not None)})"


def double_quoted(text: str) -> str:
    """One word of a shell, in double quotes; nothing in it is expanded.

    :raises ValueError: for a NUL, which no argument can hold.
    """
    if "\0" in text:
        raise ValueError(f"no argument of a command can hold a NUL: {text!r}")
    return '"' + re.sub(r'([\\"$`])', r"\\\1", text) + '"'


def _quoted_path(path: str) -> str:
    """A path of which the shell of the frontend still expands the ``~/``."""
    return "~/" + shlex.quote(path[2:]) if path.startswith("~/") else shlex.quote(path)


def _option(flag: str, value: str | None, what: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError(f"{what} of a job: expected a string, found {value!r}")
    return f" {flag} {double_quoted(value)}"


def _resources(job_spec: OarSubmission) -> str:
    groups = list(singleton_to_collection(job_spec.resources))
    for group in groups:
        if not isinstance(group, str):
            raise TypeError(f"resources of a job: expected a string or a list of strings, found {job_spec.resources!r}")
    joined = "+".join(group for group in groups if group)
    if job_spec.walltime is None:
        return joined
    return f"{joined}{',' if joined else ''}walltime={format_oar_duration(job_spec.walltime)}"


def _job_types(job_spec: OarSubmission) -> list[str]:
    return list(dict.fromkeys([*singleton_to_collection(job_spec.job_type), ORIGIN]))


def _reservation(date: Date) -> str:
    text = format_oar_date(date)
    if oar_date_to_unixts(text) != get_unixts(date) // 1:
        logger.warning("the reservation of %s is in the hour that the clocks repeat: OAR will take %s in its first pass, an hour earlier",
                       format_date(date), text)
    return text


def get_oarsub_commandline(job_spec: OarSubmission) -> str:
    """The line of shell that submits it.  All values but `additional_options` are quoted: the shell expands nothing in them.

    :raises ValueError: for a date or duration that cannot be read, a NUL, or a command that `oarsub` would take for an option.
    :raises TypeError: for a value of a wrong type.
    """
    command = DEFAULT_COMMAND if job_spec.command is None else job_spec.command
    if not isinstance(command, str):
        raise TypeError(f"command of a job: expected a string, found {command!r}")
    if command.startswith("-"):
        raise ValueError(f"the command of a job must not begin with '-', for oarsub would take it for an option: {command!r}")
    line = "oarsub"
    if job_spec.additional_options:
        line += f" {job_spec.additional_options}"
    if resources := _resources(job_spec):
        line += _option("-l", resources, "resources")
    key = g5k_configuration["oar_job_key_file"] or os.environ.get("OAR_JOB_KEY_FILE")
    if key:
        line += f" -k -i {_quoted_path(key)}"
    for job_type in _job_types(job_spec):
        line += _option("-t", job_type, "type")
    line += _option("-p", job_spec.sql_properties or None, "sql_properties") + _option("-q", job_spec.queue or None, "queue")
    if job_spec.reservation_date is not None:
        line += _option("-r", _reservation(job_spec.reservation_date), "reservation_date")
    line += _option("-d", job_spec.directory or None, "directory") + _option("--project", job_spec.project or None, "project")
    line += _option("-n", job_spec.name or None, "name")
    return f"{line} {double_quoted(command)}"
