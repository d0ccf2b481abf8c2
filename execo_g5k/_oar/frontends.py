"""Commands on frontends: started together, each with its timeout, and their failures in words."""

from __future__ import annotations

import os
import re
import shlex

from execo.exception import ProcessesFailed
from execo.log import logger
from execo.time_utils import format_seconds, get_seconds

from ..config import g5k_configuration
from ..utils import get_default_frontend, get_frontend_process
from .parse import oar_message

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any, Literal, TypeAlias

    from execo.host import Host
    from execo.process import Process
    from execo.time_utils import Duration

    Frontend: TypeAlias = "str | Host | None"
    Params: TypeAlias = "Mapping[str, Any] | None"
    Timeout: TypeAlias = "Duration | Literal[False] | None"


class OarError(ProcessesFailed):
    """Commands of OAR failed.

    :param processes: those that failed.
    :param reasons: one line for each, which its text begins with.
    """

    def __init__(self, processes: Iterable[Any], reasons: Sequence[str] = ()) -> None:
        super().__init__(processes)
        self.reasons = list(reasons)

    def __str__(self) -> str:
        said = "".join(f"{reason}\n" for reason in self.reasons)
        return said + super().__str__()


def seconds_of(timeout: Timeout) -> float | None:
    """Seconds of a timeout as the functions of `execo_g5k` take it: False is the configured one, None is none."""
    return get_seconds(g5k_configuration["default_timeout"] if timeout is False else timeout)


def place(frontend: Frontend) -> str:
    """A frontend in words."""
    name = get_default_frontend() if frontend is None else getattr(frontend, "address", frontend)
    return "here" if name is None else str(name)


def command_of(process: Process) -> str:
    """What it runs on the frontend, as a line of shell."""
    command = getattr(process, "remote_cmd", process.cmd)
    return command if isinstance(command, str) else shlex.join(command)


def given_job_id(oar_job_id: int | str | None) -> int:
    """The id itself, or that of the job that this program runs in.

    :raises ValueError: if there is none, or it is no number.
    """
    given = os.environ.get("OAR_JOB_ID") if oar_job_id is None else oar_job_id
    if given is None:
        raise ValueError("no job id: none was given, and OAR_JOB_ID is not in the environment")
    if not re.fullmatch(r"[1-9][0-9]*", str(given)):
        raise ValueError(f"job id: expected a positive number, found {given!r}")
    return int(given)


def run_on_frontends(commands: Iterable[tuple[str, Frontend]], params: Params, timeout: float | None) -> list[Process]:
    """Run lines of shell on frontends, at once; returns when all have ended.  Logs nothing of their failures."""
    processes = make_processes(commands, params, timeout)
    run_all(processes)
    return processes


def make_processes(commands: Iterable[tuple[str, Frontend]], params: Params, timeout: float | None) -> list[Process]:
    """For lines of shell on frontends; not started."""
    return [get_frontend_process(command, frontend, params, timeout=timeout, nolog_exit_code=True, nolog_timeout=True, nolog_error=True)
            for command, frontend in commands]


def run_all(processes: Sequence[Process]) -> None:
    """Start all, and wait for their ends."""
    try:
        for process in processes:
            process.start()
        for process in processes:
            process.wait()
    except BaseException:           # Ctrl-C: nobody waits for them any more
        for process in processes:
            process.kill()
        raise


def connection_broke(process: Process) -> bool:
    """Whether it ended in a way after which the frontend may have done what it was asked, or not."""
    if process.connection_failure is not None:
        return False                # it never began
    code = process.exit_code
    # 128 and the number of a signal, if a shell tells
    return bool(process.timeouted or process.killed or (code is not None and (code < 0 or code == 255 or 128 < code < 160)))


def failure_of(process: Process) -> str:
    """Why it failed, as one line; '' if it did not."""
    if process.error:
        return f"cannot be started: {process.error_reason}"
    if process.timeouted:
        return f"no answer within {format_seconds(get_seconds(process.timeout))}"
    failure = process.connection_failure
    if failure is not None:
        return f"the frontend cannot be reached: {failure.message}"
    if process.exit_code == 0:
        return ""
    if process.exit_code is not None and process.exit_code < 0:
        return f"ended by signal {-process.exit_code}"
    return oar_message(process.stdout, process.stderr, process.exit_code)


def complain(reason: str, quiet: bool = False) -> None:
    """One line in the log."""
    if not quiet:
        logger.warning("%s", reason)
