"""kadeploy3 on a frontend, as a process that knows what it said, and that is cancelled before it is killed."""

from __future__ import annotations

import shlex
import signal as signals
import time
from functools import partial

from execo.config import DETAIL, make_connection_params
from execo.log import logger
from execo.process import Process, ProcessLifecycleHandler, ProcessOutputHandler, SshProcess, handle_process_output
from execo.time_utils import format_seconds, get_seconds

from ..config import default_frontend_connection_params
from ..utils import get_default_frontend, get_frontend_host
from .parse import KadeployOutput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from typing_extensions import Self

CANCEL_SECONDS = 10.0
"""kadeploy3 has so long to cancel the deployment on its server, before it is killed."""
_ALIVE = ("-o", "ServerAliveInterval=30", "-o", "ServerAliveCountMax=4")
"""A frontend that vanished is noticed after two minutes, also without a timeout."""


class _Cancelled(Process):
    """A `kill` first interrupts kadeploy3, as Ctrl-C does.  It then cancels the deployment on the server, which would go on else, and would
    keep the nodes from the next one."""

    frontend: str | None = None
    """Name of the site."""
    kadeploy_hosts: list[str]
    """Addresses of the hosts that it deploys."""
    output: KadeployOutput
    """What it has said."""
    _is_asked = False

    @property
    def deployed_hosts(self) -> set[str]:
        """Addresses, as the final list of kadeploy3 says."""
        return set(self.output.deployed)

    @property
    def undeployed_hosts(self) -> set[str]:
        """Addresses, as the final list of kadeploy3 says; hosts that it does not mention are in neither set."""
        return set(self.output.undeployed)

    def _adopt(self, frontend: str | None, hosts: list[str]) -> None:
        self.frontend, self.kadeploy_hosts, self.output = frontend, hosts, KadeployOutput(hosts)

    def _ask(self) -> bool:
        """Have it interrupted; False if that cannot be."""
        super().kill(signals.SIGINT, None)
        return True

    def kill(self, sig: int = signals.SIGTERM, auto_force_kill_timeout: Any = True) -> Self:
        """As `Process.kill`, but SIGTERM waits for up to 10 s until it has cancelled the deployment."""
        run = self._run
        if sig != signals.SIGTERM or self._is_asked or run is None or not run.pid or self.ended:
            return super().kill(sig, auto_force_kill_timeout)
        self._is_asked = True
        if not self._ask():
            return super().kill(sig, auto_force_kill_timeout)
        self.killed = True

        def later() -> None:
            run.loop.call_at(time.monotonic() + CANCEL_SECONDS, partial(self._on_asked, run, auto_force_kill_timeout))

        run.loop.post(later)
        return self

    def _on_asked(self, run: object, auto_force_kill_timeout: Any) -> None:
        if self._run is run and not self.ended:
            super().kill(signals.SIGTERM, auto_force_kill_timeout)

    def reset(self) -> Self:
        super().reset()
        self._is_asked = False
        self.output = KadeployOutput(self.kadeploy_hosts)
        return self


class LocalKadeploy(_Cancelled):
    """kadeploy3 here, on the frontend itself."""

    def _on_command(self) -> tuple[list[str] | tuple[str, ...], bool] | None:
        # A shell that stays would die of a SIGTERM, and leave a deaf kadeploy3 alone.
        command = f"exec {self.cmd}" if is_simple(str(self.cmd)) else str(self.cmd)
        return ("/bin/sh", "-c", command), self.pty


def is_simple(command: str) -> bool:
    """Whether a line of shell is one command; False if in doubt."""
    try:
        words = list(shlex.shlex(command, posix=True, punctuation_chars=True))
    except ValueError:
        return False
    return bool(words) and "=" not in words[0] and not any(set(word) <= set(";&|<>()") for word in words)


class RemoteKadeploy(_Cancelled, SshProcess):
    """kadeploy3 on a frontend, by ssh."""

    def _ask(self) -> bool:
        if not self.pty:
            return False
        self._write_later(b"\x03")          # the terminal on the other side makes a SIGINT of it
        return True


class _Listener(ProcessOutputHandler):
    def read_line(self, process: Any, stream: int, string: str) -> None:
        step = process.output.feed(string, time.time(), stream)
        if step is not None:
            logger.log(DETAIL, "kadeploy3 on %s: %s", place(process.frontend), step)


class _Follower(ProcessLifecycleHandler):
    inline = True

    def start(self, process: Any) -> None:
        process.output.progress.start = process.start_date

    def end(self, process: Any) -> None:
        process.output.finish(process.end_date or time.time(), why(process))


class FrontendPrefixWrapper(ProcessOutputHandler):
    """Gives each line to another handler, after the name of the frontend: ``nancy: Deployment #D-... started``.

    :param handler: of any kind.  One that overrides `ProcessOutputHandler.read` gets the lines without their ends; files get whole lines.
    """

    def __init__(self, handler: Any) -> None:
        super().__init__()
        self.handler = handler
        of_lines = isinstance(handler, ProcessOutputHandler) and type(handler).read is ProcessOutputHandler.read
        self._end = "" if isinstance(handler, ProcessOutputHandler) else "\n"
        self._give_line = handler.read_line if of_lines else None

    def read(self, process: Any, stream: int, string: str, eof: bool, error: bool) -> None:
        super().read(process, stream, string, eof, error)
        if eof or error:
            handle_process_output(process, stream, self.handler, "", eof, error)

    def read_line(self, process: Any, stream: int, string: str) -> None:
        line = f"{getattr(process, 'frontend', None) or place(None)}: {string}"
        if self._give_line is not None:
            self._give_line(process, stream, line)
        else:
            handle_process_output(process, stream, self.handler, line + self._end, False, False)


def place(frontend: str | None) -> str:
    """A frontend in words."""
    return frontend or get_default_frontend() or "here"


def make_process(command: str, frontend: str | None, hosts: list[str], params: Mapping[str, Any] | None,
                 stdout_handlers: Iterable[Any] = (), stderr_handlers: Iterable[Any] = ()) -> _Cancelled:
    """kadeploy3 on a frontend; not started.

    :param params: overlay on `default_frontend_connection_params`.
    """
    listener = _Listener()
    options: dict[str, Any] = {
        "stdout_handlers": [listener, *map(FrontendPrefixWrapper, stdout_handlers)],
        "stderr_handlers": [listener, *map(FrontendPrefixWrapper, stderr_handlers)],
        "lifecycle_handlers": [_Follower()],
    }
    all_params = {**default_frontend_connection_params, **(params or {})}
    host = get_frontend_host(frontend)
    process: _Cancelled
    if host is None:
        process = LocalKadeploy(command, shell=True, pty=make_connection_params(all_params)["pty"], **options)
    else:
        ssh_options = make_connection_params(all_params)["ssh_options"]
        if not any("serveralive" in str(option).lower() for option in ssh_options):
            all_params["ssh_options"] = (*ssh_options, *_ALIVE)
        process = RemoteKadeploy(command, host, all_params, **options)
    process._adopt(frontend, hosts)
    return process


def why(process: _Cancelled) -> str:
    """Why kadeploy3 told nothing of some nodes, once it has ended."""
    if process.error:
        return f"kadeploy3 cannot be started: {process.error_reason}"
    if process.timeouted:
        return f"kadeploy3 did not end within {format_seconds(get_seconds(process.timeout) or 0)}"
    if process.connection_failure is not None:
        return f"the frontend {place(process.frontend)} cannot be reached: {process.connection_failure.message}"
    if process.killed:
        return "kadeploy3 was killed"
    complaint, code = process.output.complaint, process.exit_code
    if process.output.error is not None:
        return complaint
    if code == 255 and isinstance(process, SshProcess):
        return f"the connection to the frontend {place(process.frontend)} was lost"
    if code is not None and code < 0:
        return f"kadeploy3 was ended by signal {-code}"
    if code != 0:
        return f"kadeploy3 failed with exit code {code}{': ' if complaint else ''}{complaint}"
    return f"kadeploy3 says nothing of it{', but: ' if complaint else ''}{complaint}"
