"""What a user sees of a chain copy for one host: a process without a child of its own."""

from __future__ import annotations

import signal
import time

from .._process.base import ProcessBase
from .._process.output import STDERR
from ..host import Host
from ..log import style
from ..time_utils import get_seconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from typing_extensions import Self

    from .._process.state import Duration
    from .._ssh_failure import ConnectionFailure


class ChainProcess(ProcessBase):
    """One host of a `ChainPut`, which starts it and says how it went.

    `error_reason` says why a host has not got its files: an OSError with the `errno` of the host (no space, no permission, a checksum
    that differs: EBADMSG, no progress: ETIMEDOUT), else a ChildProcessError.
    """

    def __init__(self, cmd: str, host: Host, **options: Any) -> None:
        super().__init__(cmd, **options)
        if self.idle_timeout is not None:
            raise ValueError("idle_timeout of a ChainPut: it is the connection parameter chainput_nc_server_timeout")
        self.host = Host(host)
        self._kill: Callable[[], None] | None = None
        self.deadline: float | None = None
        """Of `timeout`, on the monotonic clock."""

    def _args(self) -> list[str]:
        return [style.command(repr(self.cmd)), repr(self.host)]

    def start(self) -> Self:
        """:raises ValueError: always: the action starts all of them."""
        raise ValueError(f"a part of a chain is started by its action: {self!r}")

    def run(self, timeout: Duration = None) -> Self:
        """As `start`."""
        return self.start()

    def begin(self, kill: Callable[[], None]) -> None:
        """It is started; `kill` is what `kill` calls."""
        self._state_requested()
        self._kill = kill
        self._state_started(None, time.time())
        seconds = get_seconds(self.timeout)
        if seconds is not None and self.start_date is not None:
            self.timeout_date = self.start_date + seconds
            self.deadline = time.monotonic() + seconds
        self._announce_start()

    def succeeded(self) -> None:
        if not self.ended:
            self._state_ended(0, time.time())
            self._announce_end()

    def failed(self, reason: BaseException, stderr: str, connection_failure: ConnectionFailure | None) -> None:
        if self.ended:
            return
        if stderr:
            self._on_output(STDERR, stderr.encode("utf-8", "surrogateescape"))
        self.connection_failure = connection_failure
        self._state_failed(reason, time.time())
        self._announce_end()

    def cancelled(self) -> None:
        """Its hop has ended; if this has not, then because it was killed."""
        if not self.ended:
            self.killed = True
            self._state_ended(signal.SIGTERM, time.time())
            self._announce_end()

    def kill(self, sig: int = signal.SIGTERM, auto_force_kill_timeout: Any = True) -> Self:
        """Take the host out of the chain, and its temporary files away; does not wait.  The signal makes no difference."""
        if self._kill is not None and not self.ended:
            self._kill()
        return self

    def reset(self) -> Self:
        super().reset()
        self._kill = self.deadline = None
        return self
