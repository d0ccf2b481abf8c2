"""Processes behind an OpenSSH client: remote commands, copies, forwarded ports.

OpenSSH does the work, so ssh_config, jump hosts, agents and its own multiplexing are honoured.  `Connecting` adds what the client cannot
do alone: it recognises a connection that could not be made, and tries again.  A command is never run twice: only words of the
client itself, with exit code 255 and without any output, count as a failed connection.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from functools import partial

from ..config import make_connection_params
from ..exception import ProcessesFailed
from ..host import Host
from ..log import logger, style
from ..ssh_utils import (
    BUSY,
    BUSY_TRIES,
    checked_address,
    connection_failure,
    get_rewritten_host_address,
    get_ssh_command,
    retries_of,
    shared_connections,
)
from ..time_utils import get_seconds
from ..utils import get_port, name_from_cmdline, singleton_to_collection
from .local import Process
from .masters import masters
from .output import STDOUT, ProcessOutputHandler
from .shared import WAIT, way

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from typing_extensions import Self, Unpack

    from .._conductor.run import Run
    from .._ssh_failure import ConnectionFailure
    from .masters import Place
    from .shared import Way
    from .state import Command, ProcessOptions

FAILURE_TEXT = 16384        # what ssh says of a failure is shorter
PIPE_CAPACITY = 65536       # of the pipes that we make
LONGEST_PAUSE = 60.0        # seconds between two tries
LOOK_EACH = 0.01            # seconds between two looks for the socket of a master
BUSY_SILENCE = 60.0         # seconds without such a refusal, after which the next one is news
LISTEN_GRACE = 2.0          # seconds that ssh may take from saying that it listens to doing so


_busy_said = [float("-inf")]        # when, on the monotonic clock


def _say_busy() -> None:
    """One line for all that a server refuses in these seconds."""
    now = time.monotonic()
    if now - _busy_said[0] > BUSY_SILENCE:
        logger.info("%s: those are tried again, at random dates; a smaller fanout or control_persist avoids it", BUSY)
    _busy_said[0] = now


class Connecting(Process):
    """A process whose command is an OpenSSH client, with `connect_retries` and `connect_retry_delay` of its connection params.

    A server that refuses because too many connect at once is tried again even without `connect_retries`.
    Between two tries it waits a random time of at most `connect_retry_delay` (default 1 s) doubled at each try ("full jitter", so that a
    thousand clients refused at once do not come back at once), and of at most LONGEST_PAUSE.  `timeout` counts from the first try.
    """

    _retries: int = 0
    _retry_delay: float = 1.0
    _try: int = 0
    _stderr_is_local: bool = True
    _said: bytes = b""                          # standard error of this try, its beginning
    _session_is_open: bool = False              # as far as we can tell
    _last_try: bool = False
    _failure: ConnectionFailure | None = None   # of the try before
    _held_eof: tuple[tuple[int, bool], ...] = ()        # a stream has not ended before the last try has
    _held_write_error: OSError | None = None
    _sent: list[bytes | None] | None = None     # standard input so far, for the next try
    _piped: int = 0                             # bytes of this try that the pipe has taken
    _address: str = ""
    _way: Way | None = None                     # if it shares connections
    _place: Place | None = None
    _has_waited: bool = False                   # in this try, for a master

    def _share(self, tool: str, words: tuple[str, ...], address: str, params: Mapping[str, Any]) -> None:
        """Share the connection, if the connection params say so.

        :param tool: 'ssh' or 'scp', of which `words` are the command up to the address.
        """
        asked = shared_connections(params)
        if asked is not None:
            self._way = way(tool, words, address, *asked)
            masters.prepare()

    def _set_retries(self, params: Mapping[str, Any]) -> None:
        self._retries, self._retry_delay = retries_of(params)

    def _may_retry(self) -> bool:
        return max(self._retries, BUSY_TRIES) > self._try and not self._session_is_open and not self._last_try

    def _set_write_error(self, error: OSError) -> None:
        if self._may_retry() and not self.ended:
            self._held_write_error = error      # the next try may take it
        else:
            super()._set_write_error(error)

    def reset(self) -> Self:
        super().reset()
        for fact in ("_try", "_said", "_session_is_open", "_last_try", "_failure", "_held_eof", "_held_write_error", "_sent", "_piped",
                     "_place", "_has_waited"):
            self.__dict__.pop(fact, None)
        return self

    # I/O thread

    def _on_command(self) -> tuple[list[str] | tuple[str, ...], bool] | None:
        command = super()._on_command()
        if self._way is None or command is None:
            return command
        if self._place is None:             # else the loop asks again
            self._place = masters.take(self._way, self, not self._has_waited)
        if self._place.to_do == WAIT and self._run is not None:
            self._has_waited = True
            # Not at once: the loop has to know first that it waits.
            self._run.loop.call_at(time.monotonic(), partial(self._on_wait, self._run, self._place))
            return None
        argv, pty = command
        return (argv[0], *self._place.words, *argv[1:]), pty

    def _on_wait(self, run: Run, place: Place) -> None:
        if place is self._place and not masters.look(place):
            run.loop.call_at(time.monotonic() + LOOK_EACH, partial(self._on_wait, run, place))

    def _on_turn(self) -> None:
        """It has waited enough for a master."""
        self._place = None
        run = self._run
        if run is not None:
            run.loop.restart(run)

    def _leave(self, lost: bool) -> None:
        place, self._place = self._place, None
        if place is not None:
            masters.leave(place, self, lost)

    def _on_output(self, stream: int, data: bytes, eof: bool = False, error: bool = False) -> None:
        if data:
            if stream == STDOUT:
                self._on_session()
            elif len(self._said) < FAILURE_TEXT:
                self._said += data
        super()._on_output(stream, data, eof, error)

    def _on_session(self) -> None:
        """The other side has begun: from now on nothing is tried again."""
        if not self._session_is_open:
            self._session_is_open = True
            self._sent = None

    def _on_eof(self, stream: int, error: bool) -> None:
        self._held_eof = tuple(held for held in self._held_eof if held[0] != stream)
        if self._may_retry():
            self._held_eof += ((stream, error),)
        else:
            super()._on_eof(stream, error)

    def _on_write(self, run: Run, data: bytes, written: threading.Event) -> None:
        if not self._may_retry():
            super()._on_write(run, data, written)
            return
        if self._sent is None:
            self._sent = []
        self._sent.append(data)

        def done(error: OSError | None) -> None:
            if error is None:
                self._piped += len(data)
                if self._piped > PIPE_CAPACITY:         # ssh reads its input only when it has a session
                    self._on_session()
            else:
                self._set_write_error(error)
            written.set()

        run.write(data, done)
        if not run.pid:
            written.set()

    def _on_close_stdin(self, run: Run) -> None:
        if self._may_retry():
            if self._sent is None:
                self._sent = []
            self._sent.append(None)
        super()._on_close_stdin(run)

    def _on_exit(self, status: int | None) -> float | None:
        super()._on_exit(status)
        self._leave(lost=self.killed)
        self._has_waited = False
        run = self._run
        failure = None if status is None else self._diagnose(status)
        most = self._tries_after(failure)
        if failure is None or self._try >= most or not self._may_retry() or self.killed or run is None:
            self.connection_failure = failure
            self._end_of_tries()
            return None
        import random  # two milliseconds of everybody's import otherwise

        ceiling = min(self._retry_delay * 2.0 ** min(self._try, 30), max(self._retry_delay, LONGEST_PAUSE))
        pause = random.uniform(0.0, ceiling)
        self._try += 1
        self._said = b""
        self._piped = 0
        self._held_write_error = None
        self._failure = failure
        if failure.server_is_busy and most != self._retries:
            _say_busy()
            level = logging.DEBUG
        else:
            level = logging.INFO
        logger.log(level, "no connection to %s (%s), try %d of %d in %.1f s", self.host, failure.message, self._try + 1, most + 1, pause)
        sent = self._sent or ()
        if not self._may_retry():
            self._sent = None
        for data in sent:
            run.write(data, self._on_written_again)         # kept for the next child
        return pause

    def _tries_after(self, failure: ConnectionFailure | None) -> int:
        if failure is None or not failure.retryable:
            return 0
        return max(self._retries, BUSY_TRIES) if failure.server_is_busy else self._retries

    def _on_written_again(self, error: OSError | None) -> None:
        if error is not None:
            self._set_write_error(error)

    def _diagnose(self, status: int) -> ConnectionFailure | None:
        if not self._said or status not in (255 << 8, 1 << 8):
            return None
        return connection_failure(status >> 8, not self._session_is_open, self._words_of_ssh(), self._address, self._stderr_is_local)

    def _words_of_ssh(self) -> str:
        return self._said.decode("utf-8", "replace")

    def _end_of_tries(self) -> None:
        """There is no further try: tell what was held back for it."""
        self._last_try = True
        self._sent = None
        held, self._held_eof = self._held_eof, ()
        for stream, error in held:
            super()._on_eof(stream, error)
        if self._held_write_error is not None:
            super()._set_write_error(self._held_write_error)
            self._held_write_error = None

    def _on_failed(self, reason: BaseException) -> None:
        self._leave(lost=False)
        self._end_of_tries()
        super()._on_failed(reason)

    def _on_cancelled(self) -> None:
        if self._run is not None and self._place is not None and self._place.to_do == WAIT:
            self._run.loop.restart(self._run)       # it gives its place in the window to the next
        self._leave(lost=False)
        self._end_of_tries()
        self.connection_failure = self._failure
        super()._on_cancelled()


class SshProcess(Connecting):
    """A command on another host, by ssh.

    :param cmd: a string, given to the remote shell; of a list or tuple, ssh joins the words with blanks.
    :param host: a `Host` or an address.
    :param connection_params: overlay on `default_connection_params`; user, keyfile and port of the host win.  They also say
      whether to use a `pty`.
    :raises ValueError: for an address, user or port that ssh would misread.
    """

    _shares: bool = True

    def __init__(self, cmd: Command, host: Host | str, connection_params: Mapping[str, Any] | None = None,
                 **options: Unpack[ProcessOptions]) -> None:
        self.remote_cmd = cmd
        self.host = Host(host)
        self.connection_params: Any = connection_params
        params = make_connection_params(connection_params)
        self._address = checked_address(get_rewritten_host_address(self.host.address, connection_params))
        ssh = get_ssh_command(self.host.user, self.host.keyfile, self.host.port, connection_params)
        words = (cmd,) if isinstance(cmd, str) else tuple(cmd)
        own: dict[str, Any] = {**options, "pty": params["pty"]}      # the contract: connection params decide on the pty
        if own.get("name") is None:
            own["name"] = name_from_cmdline(cmd)
        if words and words[0][:1] == "-":
            ssh = (*ssh, "--")              # ssh reads options after the address too
        super().__init__((*ssh, self._address, *words), **own)
        # With a terminal on the other side, what the command says there comes on standard output.
        self._stderr_is_local = "-T" not in ssh and ("-tt" in ssh or ssh.count("-t") > (0 if self.pty else 1))
        self._set_retries(params)
        if self._shares:
            self._share("ssh", ssh, self._address, params)

    def _args(self) -> list[str]:
        return [style.command(repr(self.remote_cmd)), repr(self.host)]

    def _kwargs(self) -> list[str]:
        params = [] if not self.connection_params else [f"connection_params={self.connection_params!r}"]
        return [*super()._kwargs(), *params]

    def _infos(self) -> list[str]:
        return [*super()._infos(), f"real cmd={self.cmd!r}"]


class ScpProcess(Connecting):
    """One scp client, for `Put` and `Get`."""

    def __init__(self, scp: tuple[str, ...], files: tuple[str, ...], host: Host, address: str, params: Mapping[str, Any],
                 **options: Unpack[ProcessOptions]) -> None:
        """`address` is the host's after rewriting."""
        super().__init__((*scp, *files), **options)
        self.host = host
        self._address = host.address
        self._set_retries(params)
        self._share("scp", scp, checked_address(address), params)


class port_forwarder_stderr_handler(ProcessOutputHandler):
    """Sets `process.forwarding` when ssh says that it listens."""

    def __init__(self, local_port: int, bind_address: str) -> None:
        super().__init__()
        # ssh says the numeric address, also of a `bind_address` that is a name.
        self.pf_open_re = re.compile(rf"^debug1: Local forwarding listening on \S+ port {local_port}\.")

    def read_line(self, process: Any, stream: int, string: str) -> None:
        if self.pf_open_re.match(string):
            process.forwarding.set()
            process._on_announced()
        elif process.forwarding.is_set() and string.startswith("debug1: Entering interactive session"):
            process._settled.set()          # the ssh that goes to a jump host says so too, before there is any port


class PortForwarder(SshProcess):
    """A port of this machine that leads to a port of another one, through a host.

    As context manager it starts, waits until ssh listens, and ends with the block.

    :param host: the host that ssh connects to.
    :param remote_host: where the port leads, as seen from `host`.
    :param remote_port: its port.
    :param local_port: default: `get_port()`.
    :param bind_address: default: 127.0.0.1.

    It has a connection of its own, whatever `control_persist` says: what it forwards over a shared one would outlive it.
    """

    _shares = False

    def __init__(self, host: Host | str, remote_host: str, remote_port: int, local_port: int | None = None,
                 bind_address: str | None = None, connection_params: Mapping[str, Any] | None = None,
                 **options: Unpack[ProcessOptions]) -> None:
        self.remote_host = remote_host
        self.remote_port = remote_port
        self.bind_address = "127.0.0.1" if bind_address is None else bind_address
        self.local_port = get_port() if local_port is None else local_port
        self.forwarding = threading.Event()
        """Set while the local port accepts connections."""
        self._settled = threading.Event()           # it listens, or never will
        params = make_connection_params(connection_params)
        # Without ExitOnForwardFailure ssh goes on when the local port is taken.
        params["ssh_options"] = (
            *params["ssh_options"], "-o", "ExitOnForwardFailure=yes", "-v", "-L",
            f"{_in_brackets(self.bind_address)}:{self.local_port}:{_in_brackets(remote_host)}:{remote_port}")
        handlers = [*singleton_to_collection(options.get("stderr_handlers")),
                    port_forwarder_stderr_handler(self.local_port, self.bind_address)]
        own: dict[str, Any] = {**options, "stderr_handlers": handlers}
        super().__init__("sleep 31536000", host, connection_params=params, **own)

    def _args(self) -> list[str]:
        return [repr(self.host), repr(self.remote_host), repr(self.remote_port), f"local_port={self.local_port}",
                f"bind_address={self.bind_address!r}"]

    def reset(self) -> Self:
        super().reset()
        self.forwarding.clear()
        self._settled.clear()
        return self

    def _on_announced(self) -> None:
        """ssh says that it listens just before it does, and may still find the port taken; it begins its session after that."""
        run = self._run
        if run is not None:
            run.loop.call_at(time.monotonic() + LISTEN_GRACE, lambda: self._settled.set() if self._run is run else None)

    def _words_of_ssh(self) -> str:
        lines = super()._words_of_ssh().splitlines(keepends=True)
        return "".join(line for line in lines if not line.startswith(("debug1: ", "OpenSSH_")))

    def _announce_end(self) -> None:
        self.forwarding.clear()
        self._settled.set()         # before a waiter is woken that may reset it
        super()._announce_end()

    def __enter__(self) -> Self:
        """Start, and wait until it listens.

        :raises ProcessesFailed: if it does not within `connection_params['forwarding_timeout']`.
        """
        self.start()
        try:
            self._settled.wait(get_seconds(self.connection_params["forwarding_timeout"]))
        except BaseException:               # Ctrl-C: nobody will call __exit__
            self.kill()
            raise
        if not self.forwarding.is_set() or self.ended:
            self.kill()
            raise ProcessesFailed([self])
        return self


def _in_brackets(address: str) -> str:
    return f"[{address}]" if ":" in address and not address.startswith("[") else address


def get_process(*args: Any, **kwargs: Any) -> Process:
    """An `SshProcess` if the keyword `host` is given and not None, else a `Process`; other arguments are passed on."""
    if kwargs.get("host") is not None:
        return SshProcess(*args, **kwargs)
    return Process(*args, **{key: value for key, value in kwargs.items() if key not in ("host", "connection_params")})
