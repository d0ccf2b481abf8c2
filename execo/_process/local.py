"""`Process`: a child of this Python, run by the conductor."""

from __future__ import annotations

import logging
import re
import shlex
import signal as signals
import threading
import time
from functools import partial

from .._conductor.run import Run, Window
from .._conductor.spawn import Spawned
from ..conductor import the_conductor
from ..config import configuration
from ..log import logger
from ..time_utils import get_seconds
from ..utils import str_from_cmdline
from .base import ProcessBase
from .output import STDOUT, encoding
from .tree import descendants, signal_process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from .._conductor.timers import Timer
    from .state import Command, Duration, ProcessOptions

_NEEDS_SHLEX = re.compile(r"[^!#-&(-\[\]-~ \t\n\r]").search       # quotes, the backslash, and what str.split sees differently


def command_arguments(cmd: Command, shell: bool) -> list[str] | tuple[str, ...]:
    """The argument list of a command.

    :raises ValueError: for an unbalanced quote, or an empty command.
    :raises TypeError: for a command or an argument that is not text.
    """
    if shell:
        return "/bin/sh", "-c", str_from_cmdline(cmd) if not isinstance(cmd, str) else cmd
    if isinstance(cmd, str):
        arguments: list[str] | tuple[str, ...] = shlex.split(cmd) if _NEEDS_SHLEX(cmd) else cmd.split()
    elif isinstance(cmd, (list, tuple)):
        arguments = cmd
        for argument in cmd:
            if not isinstance(argument, (str, bytes)):
                raise TypeError(f"a command is made of strings, but {argument!r} in {cmd!r} is {type(argument).__name__}")
    else:
        raise TypeError(f"a command is a string, list or tuple, not {cmd!r}")
    if not arguments:
        raise ValueError(f"an empty command: {cmd!r}")
    return arguments


class Process(ProcessBase):
    """A process on this machine, asynchronous: `start` it, leave it, come back to it.

    :param cmd: a string or a list of strings.
    :param shell: run it by /bin/sh.  If not, a string is split as a shell splits words.
    :param pty: standard input and output are a terminal (lines end in CR LF, input is echoed); standard error stays a pipe.
    :param kill_subprocesses: a signal goes to all descendants too; None: if `shell`.

    Any thread may call its methods.  Output handlers run in the I/O thread and must not block.
    """

    pty: bool = False
    shell: bool = False
    kill_subprocesses: bool | None = None
    _own_options = ("shell", "pty", "kill_subprocesses")
    _run: Run | None = None
    _timeouts: tuple[float | None, float | None] = (None, None)      # seconds: total, idle
    _window: Window | None = None       # fan-out: who else has to end first
    _deadline_timer: Timer | None = None
    _idle_timer: Timer | None = None
    _force_timer: Timer | None = None
    _force_deadline: float = 0.0
    _last_output: float = 0.0
    _kill_at_start: tuple[int, float | None] | None = None
    _status: int | None = None

    def __init__(self, cmd: Command, shell: bool = False, pty: bool = False, kill_subprocesses: bool | None = None,
                 **options: Unpack[ProcessOptions]) -> None:
        super().__init__(cmd, **options)
        if shell:
            self.shell = shell
        if pty:
            self.pty = pty
        if kill_subprocesses is not None:
            self.kill_subprocesses = kill_subprocesses

    def _infos(self) -> list[str]:
        infos = super()._infos()
        if self.forced_kill:
            infos.append("forced_kill=True")
        return [*infos, f"pid={self.pid}"]

    # any thread

    def start(self) -> Self:
        """Have it started, in its turn; nothing if that was asked before."""
        if self._requested:
            return self
        self._check_settings()
        run = the_conductor.new_run(self, self._window)
        with self._lock:
            if not self._state_requested():
                return self
            self._run = run                 # before the I/O thread can ask for it
            self._timeouts = get_seconds(self.timeout), get_seconds(self.idle_timeout)
        run.loop.submit(run)
        return self

    def run(self, timeout: Duration = None) -> Self:
        """`start`, then `wait`."""
        return self.start().wait(timeout)

    def _check_owner(self) -> None:
        run = self._run
        if run is not None and not self.ended and not the_conductor.owns(run):
            raise RuntimeError(f"this process belongs to the Python that was forked after its start: {self!r}" if not run.loop.over
                               else f"Python is about to exit, this process is not followed any more: {self!r}")

    def _check_may_wait(self) -> None:
        self._check_owner()
        super()._check_may_wait()

    def kill(self, sig: int = signals.SIGTERM, auto_force_kill_timeout: Duration | bool = True) -> Self:
        """Send a signal; does not wait.  Nothing if it was not started or has ended.  One that waits for its turn is cancelled.

        :param sig: the signal.
        :param auto_force_kill_timeout: after SIGTERM or SIGINT, SIGKILL follows after this duration; True:
          `configuration['kill_timeout']`; False or None: never.
        """
        with self._lock:
            run = self._run
        if run is None or self.ended:
            return self
        self._check_owner()
        if auto_force_kill_timeout is True:
            auto_force_kill_timeout = configuration["kill_timeout"]
        force_after = None if auto_force_kill_timeout is False else get_seconds(auto_force_kill_timeout)
        if sig not in (signals.SIGTERM, signals.SIGINT):
            force_after = None
        self.killed = True
        run.doomed = True                   # from now on it inherits no place in a window
        if not self._signal(sig):
            run.loop.post(self._on_kill, run, sig, force_after)
        elif force_after is not None:
            run.loop.post(self._on_force_later, run, force_after)
        return self

    def _signal(self, sig: int) -> bool:
        """Signal the child, and its descendants if asked for; False if there is no child (any more)."""
        run = self._run
        if run is None or not run.pid:
            return False
        with_descendants = self.shell if self.kill_subprocesses is None else self.kill_subprocesses
        found = descendants(run.pid) if with_descendants else []
        try:
            sent = run.signal(sig)
        except PermissionError:             # set-user-id: a terminal can still be hung up
            sent = True
            if self.pty:
                run.loop.post(run.close_pty)
        for pid, start_time in found if sent else ():       # if not, the pid may have been another's when /proc was read
            signal_process(pid, start_time, sig)
        return sent

    def write(self, s: str | bytes) -> None:
        """Write to standard input; returns when it is in the pipe.

        A full pipe blocks only the caller.  What is written before the child exists is kept for it, without blocking.  An
        error sets `write_error`.  `print(..., file=process)` works.

        :raises ValueError: if it was not started.
        :raises TypeError: for what is neither text nor bytes.
        """
        self._wait_written(self._write_later(s))

    def _write_later(self, s: str | bytes) -> threading.Event:
        """Queue it; the event is set when it is in the pipe, has failed, or is kept for a child that does not exist yet."""
        with self._lock:                    # start() sets both under it
            requested, run = self._requested, self._run
        if not requested:
            raise ValueError(f"write to a process that was not started: {self!r}")
        data = s.encode(encoding(), "surrogateescape") if isinstance(s, str) else bytes(memoryview(s))
        written = threading.Event()
        if run is None or self.ended:
            self._set_write_error(BrokenPipeError(32, "the process has ended"))
            written.set()
        else:
            self._check_owner()
            run.loop.post(self._on_write, run, data, written)
        return written

    def _wait_written(self, written: threading.Event) -> None:
        if the_conductor.in_io_thread():
            return
        written.wait()

    def flush(self) -> None:
        """Nothing to do; makes it a file for `print`."""

    def close_stdin(self) -> Self:
        """Close standard input when all is written that was given to `write` before; on a pty, send the end-of-file character.

        :raises ValueError: if it was not started.
        """
        if not self._requested:
            raise ValueError(f"close_stdin of a process that was not started: {self!r}")
        run = self._run
        if run is not None and not self.ended:
            self._check_owner()
            run.loop.post(self._on_close_stdin, run)
        return self

    def _stream_ended(self, stream: int) -> bool:
        run = self._run
        if self.ended:
            return True
        return bool(run and run.pid and (run.stdout if stream == STDOUT else run.stderr) < 0 and self.started)

    def _set_write_error(self, error: OSError) -> None:
        self.write_error = True
        level = logging.DEBUG if self.nolog_write_error else logging.WARNING
        if logger.isEnabledFor(level):
            logger.log(level, "cannot write to standard input (%s) of %s", error.strerror or error, self)

    def reset(self) -> Self:
        super().reset()
        with self._lock:
            for fact in ("_run", "_deadline_timer", "_idle_timer", "_force_timer", "_kill_at_start", "_status"):
                self.__dict__.pop(fact, None)
        return self

    # I/O thread: the protocol of the loop

    def _on_command(self) -> tuple[list[str] | tuple[str, ...], bool] | None:
        return command_arguments(self.cmd, self.shell), self.pty

    def _on_started(self, spawned: Spawned) -> None:
        self.stdin_fd, self.stdout_fd, self.stderr_fd = spawned.stdin, spawned.stdout, spawned.stderr
        if self.started:                    # a further try
            self.pid = spawned.pid
        else:
            self._state_started(spawned.pid, spawned.date)
            self._set_timers(*self._timeouts)
            self._announce_start()
        if self._kill_at_start is not None and self._run is not None:
            self._on_kill(self._run, *self._kill_at_start)

    def _set_timers(self, timeout: float | None, idle_timeout: float | None) -> None:
        if self._run is None or timeout is None and idle_timeout is None:
            return
        loop = self._run.loop
        begin = time.monotonic()
        if timeout is not None:
            if self.start_date is not None:
                self.timeout_date = self.start_date + timeout
            self._deadline_timer = loop.call_at(begin + timeout, self._on_timeout)
        if idle_timeout is not None:
            self._last_output = begin
            self._idle_timer = loop.call_at(begin + idle_timeout, partial(self._on_maybe_idle, idle_timeout))

    def _on_output(self, stream: int, data: bytes, eof: bool = False, error: bool = False) -> None:
        if self._idle_timer is not None:
            self._last_output = time.monotonic()
        super()._on_output(stream, data, eof, error)

    def _on_timeout(self) -> None:
        if not self.ended:
            self.timeouted = True
            self._kill_late()

    def _on_maybe_idle(self, idle_timeout: float) -> None:
        if self.ended or self._run is None:
            return
        deadline = self._last_output + idle_timeout
        if deadline > time.monotonic():
            self._idle_timer = self._run.loop.call_at(deadline, partial(self._on_maybe_idle, idle_timeout))
            return
        self.idle_timeouted = True
        self._kill_late()

    def _kill_late(self) -> None:
        try:
            self.kill()
        except (TypeError, ValueError) as error:
            logger.error("configuration['kill_timeout']: %s; no SIGKILL will follow the SIGTERM to %s", error, self)
            self.kill(auto_force_kill_timeout=None)

    def _on_kill(self, run: Run, sig: int, force_after: float | None) -> None:
        if run.over or run is not self._run:
            return
        if run.pid:
            self._signal(sig)
            if force_after is not None:
                self._on_force_later(run, force_after)
        elif run.loop.starts_soon(run):
            self._kill_at_start = (sig, force_after)
        else:
            run.loop.cancel_run(run)

    def _on_force_later(self, run: Run, after: float) -> None:
        deadline = time.monotonic() + after
        if run.over or (self._force_timer is not None and deadline >= self._force_deadline):
            return
        if self._force_timer is not None:
            run.loop.cancel(self._force_timer)
        self._force_deadline = deadline
        self._force_timer = run.loop.call_at(deadline, partial(self._on_force, run))

    def _on_force(self, run: Run) -> None:
        if run.pid and not run.over:
            self.forced_kill = True
            self._signal(signals.SIGKILL)

    def _on_write(self, run: Run, data: bytes, written: threading.Event) -> None:
        def done(error: OSError | None) -> None:
            if error is not None:
                self._set_write_error(error)
            written.set()

        run.write(data, done)
        if not run.pid:
            written.set()

    def _on_close_stdin(self, run: Run) -> None:
        run.write(None, None)

    def _on_failed(self, reason: BaseException) -> None:
        was_started = self.started
        self._forget_child()
        self._state_failed(reason, time.time())
        for stream in () if was_started else (1, 2):
            self._on_eof(stream, False)
        if not was_started:
            self._announce_start()
        self._announce_end()

    def _on_cancelled(self) -> None:
        self._forget_child()
        if self.started:            # between two tries
            self._state_ended(self._status, time.time())
        else:
            self._state_cancelled(time.time())
            for stream in (1, 2):
                self._on_eof(stream, False)
        self._announce_end()

    def _on_exit(self, status: int | None) -> float | None:
        self._status = status
        return None

    def _on_ended(self) -> None:
        self._forget_child()
        if self._status is None:
            self.error = True
            self.error_reason = ChildProcessError(
                "its exit status is lost: another part of the program took it (SIGCHLD ignored, or os.wait() called)")
        self._state_ended(self._status, time.time())
        self._announce_end()

    def _forget_child(self) -> None:
        self.stdin_fd = self.stdout_fd = self.stderr_fd = None
        run = self._run
        if run is None:
            return
        for timer in (self._deadline_timer, self._idle_timer, self._force_timer):
            if timer is not None:
                run.loop.cancel(timer)
        # The run refers to us: without this its output, however large, would be freed by the cyclic garbage collector only.
        self._run = None
