"""`Remote(..., start_at=date)`: the commands of all hosts begin at one date; see `release` for how."""

from __future__ import annotations

import secrets
import threading
import time
from functools import partial

from .._process.local import Process
from .._process.output import STDOUT
from .._process.ssh import SshProcess
from .._process.taktuk import TaktukProcess
from ..time_utils import format_unixts, get_unixts
from ..utils import name_from_cmdline
from .release import Gate, wrapped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from typing_extensions import Self, Unpack

    from .._conductor.run import Run
    from .._process.state import Command, ProcessOptions
    from ..host import Host


def checked_start_at(date: Any) -> float | None:
    """Unix seconds.

    :raises ValueError: for what is no date, or one that has passed.
    """
    start_at: float | None = get_unixts(date)
    if start_at is not None and start_at <= (now := time.time()):
        raise ValueError(f"start_at: {date!r} has passed, {now - start_at:.3f} s ago")
    return start_at


def skew(dates: Iterable[float | None]) -> float | None:
    """Seconds between the first and the last; None for none."""
    known = [date for date in dates if date is not None]
    return max(known) - min(known) if known else None


class Synchronized(Process):
    """Mixed in before a class of remote processes: the command waits on its host for `start_at`.

    Its timeouts begin at the start of the command.  What is written before is kept.  If it cannot start at the date it does not start at
    all: `error` is set, and `error_reason` says why.
    """

    start_at: float | None = None
    """Unix seconds; set before the start."""
    clock_offset: float | None = None
    """Seconds that the clock of the host is ahead of ours."""
    clock_error: float | None = None
    """Seconds by which `clock_offset` may be wrong, at most: half of the shortest round trip."""
    command_start_date: float | None = None
    """When the command was started, in Unix seconds of our clock."""
    _gate: Gate | None = None

    def _check_settings(self) -> None:
        super()._check_settings()
        if self.start_at is None:               # whether it has passed is judged before the first of many is started
            raise ValueError(f"start_at is not set: {self!r}")

    def _state_requested(self) -> bool:
        requested = super()._state_requested()
        if requested and self.start_at is not None:
            self._gate = Gate(self._token, self.start_at)
            self._kept: list[bytes | None] = []         # standard input, before the command has started
        return requested

    @property
    def _token(self) -> str:
        """What our lines begin with: nobody else's do."""
        token: str = self.__dict__.setdefault("_secret", f"execo-{secrets.token_hex(8)}")
        return token

    def reset(self) -> Self:
        super().reset()
        for fact in ("clock_offset", "clock_error", "command_start_date", "_gate", "_kept"):
            self.__dict__.pop(fact, None)
        return self

    def _infos(self) -> list[str]:
        started = format_unixts(self.command_start_date, True)
        return [*super()._infos(), f"command_start_date={started}", f"clock_offset={self.clock_offset}"]

    # I/O thread

    def _on_date(self, run: Run) -> None:
        gate = self._gate
        if run is self._run and gate is not None and not gate.released and not self.killed:
            self._on_late(run, "the clock of its host was still being measured" if gate.kind else "it was not connected")

    def _on_late(self, run: Run, reason: str) -> None:
        self.error = True
        self.error_reason = TimeoutError(f"not started: at start_at, {reason}")
        self.kill()

    def _on_step(self, run: Run) -> None:
        gate = self._gate
        if gate is None or run is not self._run:
            return
        while True:
            line, again_at = gate.step(time.time())
            if line:
                run.write(line, None)
            if again_at is None:
                return
            if again_at > (now := time.time()):
                run.loop.call_at(time.monotonic() + again_at - now, partial(self._on_step, run))
                return

    def _on_output(self, stream: int, data: bytes, eof: bool = False, error: bool = False) -> None:
        gate, run = self._gate, self._run
        if stream == STDOUT and gate is not None and not gate.open:
            was = gate.kind
            data = gate.receive(data, time.time()) if data else data
            if eof or error:
                data += gate.rest()
            if gate.kind != was:
                self._on_hello()
            self.clock_offset, self.clock_error = gate.offset, gate.error
            if run is not None and gate.late is not None and not self.error:
                self._on_late(run, f"it was not ready until {gate.late:.3f} s later")
            elif run is not None and gate.start_date is not None:
                self._on_command_started(run, gate.start_date)
            elif run is not None:
                self._on_step(run)
            if not data and not eof and not error:
                return
        super()._on_output(stream, data, eof, error)

    def _on_hello(self) -> None:
        """The wrapper runs: there is a connection."""

    def _on_command_started(self, run: Run, date: float) -> None:
        self.command_start_date = date
        super()._set_timers(*self._timeouts)
        if self.timeout_date is not None and self.start_date is not None:
            self.timeout_date += time.time() - self.start_date
        kept, self._kept = self._kept, []
        for data in kept:                   # as if it had been in a pipe before: a command that does not read it may end
            run.write(data, None)

    def _set_timers(self, timeout: float | None, idle_timeout: float | None) -> None:
        if self._gate is None or self._gate.open:
            super()._set_timers(timeout, idle_timeout)
        elif self._run is not None:
            left = self._gate.start_at - time.time()
            self._run.loop.call_at(time.monotonic() + left, partial(self._on_date, self._run))

    def _on_write(self, run: Run, data: bytes, written: threading.Event) -> None:
        if self._gate is None or self._gate.open:
            super()._on_write(run, data, written)
        else:
            self._kept.append(data)
            written.set()

    def _on_close_stdin(self, run: Run) -> None:
        if self._gate is None or self._gate.open:
            super()._on_close_stdin(run)
        else:
            self._kept.append(None)

    def _on_ended(self) -> None:
        gate = self._gate
        if gate is not None and not gate.open and not self.killed and not self.unreachable:
            self.error = True
            self.error_reason = ConnectionError("not started: the connection ended before start_at")
        super()._on_ended()


class SynchronizedSshProcess(Synchronized, SshProcess):
    """An SshProcess whose command waits on its host for `start_at`."""

    def __init__(self, cmd: Command, host: Host | str, connection_params: Mapping[str, Any] | None = None,
                 **options: Unpack[ProcessOptions]) -> None:
        super().__init__(wrapped(_text(cmd), self._token), host, connection_params, **_with_name(cmd, options))
        self.remote_cmd = cmd

    def _on_hello(self) -> None:
        self._on_session()


class SynchronizedTaktukProcess(Synchronized, TaktukProcess):
    """A TaktukProcess whose command waits on its host for `start_at`."""

    def __init__(self, cmd: Command, host: Host | str, connection_params: Mapping[str, Any] | None = None,
                 **options: Unpack[ProcessOptions]) -> None:
        super().__init__(wrapped(_text(cmd), self._token, "/bin/sh"), host, connection_params, **_with_name(cmd, options))
        self.remote_cmd = cmd


def _text(cmd: Command) -> str:
    """As ssh and TakTuk join words."""
    return cmd if isinstance(cmd, str) else " ".join(cmd)


def _with_name(cmd: Command, options: ProcessOptions) -> ProcessOptions:
    return options if options.get("name") is not None else {**options, "name": name_from_cmdline(cmd)}
