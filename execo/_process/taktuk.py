"""`TaktukProcess`: a command at a place in a TakTuk tree."""

from __future__ import annotations

import time

from .._taktuk.command import checked_taktuk_address, login_of, shell_command, tree_command
from .._taktuk.copies import feed, receiver, sender, unreadable
from .._taktuk.trees import Trees
from ..host import Host
from ..log import style
from ..time_utils import get_seconds
from .base import ProcessLifecycleHandler
from .local import Process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from typing_extensions import Self, Unpack

    from .._conductor.run import Run
    from .._taktuk.seat import Seat
    from .state import Command, ProcessOptions


class TaktukProcess(Process):
    """A command on another host, by TakTuk.

    :param cmd: a string, given to /bin/sh there; of a list or tuple, the words are joined with blanks.
    :param host: a `Host` or an address.
    :param connection_params: overlay on `default_connection_params`.
    :raises ValueError: for an address or user that TakTuk or ssh would misread.

    A `TaktukRemote` makes and starts them all in one tree; one that is started alone has a tree of its own.
    It is `started` when its tree is, so that `timeout` includes the connection.  `pid` is that of the command on its host.
    A host that cannot be reached, dies or loses its link is an `error`, with its `error_reason`, a ConnectionError.
    """

    _feed: bytes | None = None          # the order that gives the command its standard input, when all in the tree have started

    def __init__(self, cmd: Command, host: Host | str, connection_params: Mapping[str, Any] | None = None,
                 **options: Unpack[ProcessOptions]) -> None:
        self.remote_cmd = cmd
        self.host = Host(host)
        self.connection_params: Any = connection_params
        self._login = login_of(self.host, connection_params)
        checked_taktuk_address(self.host, connection_params)
        tree_command(self.host.keyfile, self.host.port, connection_params, None, False)
        super().__init__(cmd, **options)

    def _check_settings(self) -> None:
        super()._check_settings()
        self._shell_command()

    def _shell_command(self) -> bytes:
        return shell_command(self.cmd)

    def _problem(self, known: dict[tuple[str, ...], OSError | None]) -> OSError | None:
        """Why it cannot be done, if that can be seen before anything is started.

        :param known: what is wrong with local files, for this start.
        """
        return None

    def _args(self) -> list[str]:
        return [style.command(repr(self.remote_cmd)), repr(self.host)]

    def start(self) -> Self:
        """Start it in a tree of its own.

        :raises ValueError: if it was started before.
        """
        if self._requested:
            raise ValueError(f"started before: {self!r}")
        self._check_settings()
        Trees([self], self.connection_params, None, lambda: None)
        return self

    def _take(self, seat: Seat) -> None:
        """It is about to be started, at this place."""
        with self._lock:
            if not self._state_requested():
                raise ValueError(f"started before: {self!r}")
            self._run = seat  # type: ignore[assignment]        # all that a Process needs of a Run
            self._timeouts = get_seconds(self.timeout), get_seconds(self.idle_timeout)

    def _signal(self, sig: int) -> bool:
        # Not those of `Process`: the pid is another machine's.
        run = self._run
        return run is not None and run.signal(sig)

    # I/O thread

    def _on_tree_started(self, date: float) -> None:
        self._state_started(None, date)
        self._set_timers(*self._timeouts)
        self._announce_start()

    def _on_kill(self, run: Run, sig: int, force_after: float | None) -> None:
        if run.pid or run.over or run is not self._run:
            super()._on_kill(run, sig, force_after)
            return
        seat: Any = run
        seat.on_over()
        seat.cancelled = True
        if seat.tree is not None:           # else it was never planted
            seat.tree.on_cancelled(seat)
        self._on_cancelled()

    def _on_cancelled(self) -> None:
        if self.started:
            for stream in (1, 2):
                self._on_eof(stream, False)
        super()._on_cancelled()

    def _on_status(self, status: int) -> None:
        """The command has ended."""
        self._status = status
        for stream in (1, 2):
            self._on_eof(stream, False)
        self._on_ended()

    def _on_lost(self, reason: BaseException) -> None:
        """It could not be started, or nothing is known of its end."""
        if self.started:
            for stream in (1, 2):
                self._on_eof(stream, False)
        self._on_failed(reason)


class _TaktukCopy(TaktukProcess):
    """A copy: what it is to the user is not the command that runs on the host."""

    _script: str

    def _shell_command(self) -> bytes:
        return shell_command(self._script)

    def _on_status(self, status: int) -> None:
        if status == 0 or self.killed:
            super()._on_status(status)
        else:
            said = "; ".join(self.stderr.split("\n")).strip("; ")
            self._on_lost(ConnectionError(f"taktuk file reception failed: {said or f'wait status {status}'}"))


class TaktukPutProcess(_TaktukCopy):
    """Local files and directories to one host.

    :param names: absolute.
    :param location: as of `TaktukPut`.
    """

    def __init__(self, names: list[str], location: str, host: Host | str, connection_params: Mapping[str, Any] | None = None,
                 **options: Unpack[ProcessOptions]) -> None:
        self._names = names
        self._script = receiver(location, names, home=True)
        super().__init__(("put", *names, location), host, connection_params, **options)

    def _problem(self, known: dict[tuple[str, ...], OSError | None]) -> OSError | None:
        names = tuple(self._names)
        if names not in known:              # as a rule these are the same for all hosts
            known[names] = unreadable(self._names)
        try:
            self._feed = feed(self._names)
        except OSError as error:
            return error
        return known[names]


class TaktukGetProcess(_TaktukCopy):
    """Files and directories from one host, unpacked by a process here.

    :param location: absolute.
    """

    _unpacker: Process | None = None

    def __init__(self, names: list[str], location: str, host: Host | str, connection_params: Mapping[str, Any] | None = None,
                 **options: Unpack[ProcessOptions]) -> None:
        self._receiver = receiver(location, names, home=False)
        self._script = sender(names, home=True)
        super().__init__(("get", *names, location), host, connection_params, **options)

    def reset(self) -> Self:
        super().reset()
        self._unpacker = None
        return self

    # I/O thread

    def _on_output(self, stream: int, data: bytes, eof: bool = False, error: bool = False) -> None:
        if stream == 2 or not data:
            super()._on_output(stream, data, eof, error)
            return
        self._last_output = time.monotonic()
        if self._unpacker is None:
            self._unpacker = Process(("/bin/sh", "-c", self._receiver), lifecycle_handlers=[_Unpacked(self)], nolog_exit_code=True,
                                     nolog_error=True, nolog_write_error=True)
            self._unpacker.start()
        self._unpacker._write_later(data)

    def _on_lost(self, reason: BaseException) -> None:
        self._drop_unpacker()
        super()._on_lost(reason)

    def _on_cancelled(self) -> None:
        self._drop_unpacker()
        super()._on_cancelled()

    def _drop_unpacker(self) -> None:
        if self._unpacker is not None:
            self._unpacker.kill()

    def _on_status(self, status: int) -> None:
        if self._unpacker is None or self._unpacker.ended:
            self._on_unpacked(status)
        else:
            self._status = status
            self._unpacker.close_stdin()

    def _on_unpacked(self, status: int) -> None:
        unpacker = self._unpacker
        if status == 0 and unpacker is not None and unpacker.exit_code != 0:
            super()._on_output(2, unpacker.stderr_bytes or str(unpacker.error_reason).encode())
            status = 1 << 8
        super()._on_status(status)


class _Unpacked(ProcessLifecycleHandler):
    """Tells a get that what came is unpacked."""

    inline = True

    def __init__(self, process: TaktukGetProcess) -> None:
        self._process = process

    def end(self, process: Process) -> None:
        if self._process._status is not None and not self._process.ended:
            self._process._on_unpacked(self._process._status)
