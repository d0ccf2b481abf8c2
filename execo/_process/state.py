"""What a process is asked to do, and what has become of it.  Pure: no process, thread or file.

Each option and each fact is written once, as a class attribute with its default; the constructor, `repr`, `reset` and the
statistics read these tables.  Facts change only through the methods below, which refuse an impossible step.
"""

from __future__ import annotations

import os

from ..config import configuration
from ..report import Report

TYPE_CHECKING = False
if TYPE_CHECKING:
    import datetime
    from typing import Any, TypeAlias, TypedDict

    from .._ssh_failure import ConnectionFailure

    Duration: TypeAlias = "int | float | str | datetime.timedelta | None"
    Command: TypeAlias = "str | list[str] | tuple[str, ...]"


    class ProcessOptions(TypedDict, total=False):
        """Keywords of every process; each is also an attribute that may be changed before the start."""

        timeout: Duration
        ignore_exit_code: bool
        nolog_exit_code: bool
        ignore_timeout: bool
        nolog_timeout: bool
        ignore_error: bool
        nolog_error: bool
        ignore_expect_fail: bool
        nolog_expect_fail: bool
        ignore_write_error: bool
        nolog_write_error: bool
        default_expect_timeout: Duration
        default_stdout_handler: bool
        default_stderr_handler: bool
        idle_timeout: Duration
        lifecycle_handlers: Any
        stdout_handlers: Any
        stderr_handlers: Any
        name: str | None


class ProcessState:
    """Options and facts of one process.  Written by the I/O thread (and `kill`, `write`, `expect`), read by any."""

    timeout: Duration = None
    """SIGTERM after this time since the start; None: never."""
    ignore_exit_code: bool = False
    """Count a non-zero exit code as success."""
    nolog_exit_code: bool = False
    """Do not log a non-zero exit code as a warning."""
    ignore_timeout: bool = False
    """Count a timeout, total or idle, as success."""
    nolog_timeout: bool = False
    """Do not log a timeout as a warning."""
    ignore_error: bool = False
    """Count a process that could not be started as success, if `ignore_exit_code` is set too."""
    nolog_error: bool = False
    """Do not log a failure to start as a warning."""
    ignore_expect_fail: bool = False
    """Count an `expect` without a match as success."""
    nolog_expect_fail: bool = False
    """Do not log an `expect` without a match as a warning."""
    ignore_write_error: bool = False
    """Count a failed write to standard input as success."""
    nolog_write_error: bool = False
    """Do not log a failed write as a warning."""
    default_expect_timeout: Duration = None
    """Timeout of `expect` where none is given; None: no limit."""
    default_stdout_handler: bool = True
    """Keep standard output in `stdout`."""
    default_stderr_handler: bool = True
    """Keep standard error in `stderr`."""
    idle_timeout: Duration = None
    """SIGTERM after this time without output on either stream; None: never."""

    started: bool = False
    """The child exists or has existed, or could not be started."""
    ended: bool = False
    error: bool = False
    """It could not be started, or was lost."""
    error_reason: BaseException | None = None
    """Why: the OSError of the system call, or another exception."""
    timeouted: bool = False
    """It was killed because of `timeout`."""
    idle_timeouted: bool = False
    """It was killed because of `idle_timeout`."""
    connection_failure: ConnectionFailure | None = None
    """What ssh or scp itself said when it could not make the connection."""
    killed: bool = False
    """We sent it a signal, or cancelled it before its start."""
    forced_kill: bool = False
    """It ignored SIGTERM for `kill_timeout` and was sent SIGKILL."""
    expect_fail: bool = False
    """The last `expect` found no match."""
    write_error: bool = False
    """Something could not be written to its standard input."""
    exit_code: int | None = None
    """As `subprocess.Popen.returncode`: 3 for `exit 3`, -9 for signal 9; None before the end, or if there was no child."""
    start_date: float | None = None
    """Unix seconds."""
    end_date: float | None = None
    """Unix seconds."""
    timeout_date: float | None = None
    """Unix seconds; for reading only: the deadline itself is kept on the monotonic clock."""
    pid: int | None = None
    """None until the child exists."""
    stdout_ioerror: bool = False
    stderr_ioerror: bool = False
    _requested: bool = False        # start() was called

    # order of `repr`
    OPTIONS = (
        "timeout", "ignore_exit_code", "nolog_exit_code", "ignore_timeout", "nolog_timeout", "ignore_error", "nolog_error",
        "ignore_expect_fail", "nolog_expect_fail", "ignore_write_error", "nolog_write_error", "default_expect_timeout",
        "default_stdout_handler", "default_stderr_handler", "idle_timeout")
    FACTS = (
        "started", "ended", "error", "error_reason", "timeouted", "idle_timeouted", "connection_failure", "killed", "forced_kill",
        "expect_fail", "write_error", "exit_code", "start_date", "end_date", "timeout_date", "pid", "stdout_ioerror",
        "stderr_ioerror", "_requested")

    name: str

    @property
    def running(self) -> bool:
        return self.started and not self.ended

    @property
    def ok(self) -> bool:
        """Nothing went wrong so far.  True before the end, unless `expect` or `write` failed."""
        if (self.expect_fail and not self.ignore_expect_fail) or (self.write_error and not self.ignore_write_error):
            return False
        if not self.ended:
            return True
        return ((not self.error or self.ignore_error)
                and (not (self.timeouted or self.idle_timeouted) or self.ignore_timeout)
                and (self.exit_code == 0 or self.ignore_exit_code or self.killed))

    @property
    def finished_ok(self) -> bool:
        """It was started, has ended, and nothing went wrong."""
        return self.started and self.ended and self.ok

    @property
    def unreachable(self) -> bool:
        """ssh or scp itself said that it could not make the connection."""
        return self.connection_failure is not None

    @property
    def connect_timeouted(self) -> bool:
        """The connection could not be made in `connect_timeout`."""
        return self.connection_failure is not None and self.connection_failure.timed_out

    @property
    def outcome(self) -> str:
        """What has become of it, in few words: 'ok', 'running', 'exit code 3', 'signal 9', 'timeout', 'unreachable' ...

        'ok' for all that is `ok` and has ended, whatever was ignored.
        """
        if not self.ended:
            return "running" if self.started else "not started"
        if self.ok:
            return "ok"
        if self.unreachable:
            return "unreachable"
        if self.error:
            return "error"
        if self.timeouted or self.idle_timeouted:
            return "timeout"
        if self.exit_code is not None and self.exit_code != 0:
            return f"exit code {self.exit_code}" if self.exit_code > 0 else f"signal {-self.exit_code}"
        return "expect failed" if self.expect_fail else "write error"

    def stats(self) -> dict[str, Any]:
        """Counts for a `Report`, for this one process."""
        stats = Report.empty_stats()
        stats.update(
            name=self.name, start_date=self.start_date, end_date=self.end_date, num_processes=1, num_started=int(self.started),
            num_ended=int(self.ended), num_errors=int(self.error), num_timeouts=int(self.timeouted),
            num_forced_kills=int(self.forced_kill), num_non_zero_exit_codes=int(self.ended and self.exit_code != 0),
            num_expect_fail=int(self.expect_fail), num_write_error=int(self.write_error), num_ok=int(self.ok),
            num_finished_ok=int(self.finished_ok), connect_timeouts=int(self.connect_timeouted),
            idle_timeouts=int(self.idle_timeouted), unreachable=int(self.unreachable))
        return stats

    @property
    def deserves_warning(self) -> bool:
        """Is its end one that the user wants to see in the log?"""
        return ((self.error and not self.nolog_error)
                or ((self.timeouted or self.idle_timeouted) and not self.nolog_timeout)
                or (self.exit_code != 0 and not (self.nolog_exit_code or self.killed)))

    # the steps of a life

    def _state_requested(self) -> bool:
        """start() is called: False if it was before."""
        if self._requested:
            return False
        self._requested = True
        return True

    def _state_started(self, pid: int | None, at: float) -> None:
        if self.started:
            raise ValueError(f"already started: {self.name}")
        self.pid = pid
        self.start_date = at
        self.started = True

    def _state_failed(self, reason: BaseException, at: float) -> None:
        """It could not be started, or was lost."""
        if self.ended:
            raise ValueError(f"already ended: {self.name}")
        self.error = True
        self.error_reason = reason
        if not self.started:
            self.start_date = at
        self.end_date = at
        self.started = self.ended = True

    def _state_cancelled(self, at: float) -> None:
        """Killed before its start."""
        if self.ended:
            raise ValueError(f"already ended: {self.name}")
        self.killed = True
        self.end_date = at
        self.ended = True

    def _state_ended(self, status: int | None, at: float) -> None:
        """`status`: raw wait status; None: lost."""
        if not self.started or self.ended:
            raise ValueError(f"cannot end: {self.name}")
        if status is not None:
            self.exit_code = status if configuration.get("raw_exit_code") else os.waitstatus_to_exitcode(status)
        self.end_date = at
        self.ended = True

    def _state_reset(self) -> None:
        for fact in self.FACTS:
            self.__dict__.pop(fact, None)
