"""The console of a node, through its frontend."""

from __future__ import annotations

import threading

from execo.config import default_connection_params, make_connection_params
from execo.host import Host
from execo.log import logger
from execo.process import ProcessLifecycleHandler, SshProcess
from execo.time_utils import get_seconds

from ..config import default_frontend_connection_params
from ..utils import get_default_frontend
from .command import frontend_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    from collections.abc import Mapping
    from typing import Any

    from execo.time_utils import Duration

_OPENED = (r"Connection to console .* opened", r"\[Kaconsole\] kill sequence: (\S+)")
_LOGIN, _PASSWORD = r"(?s:.*)login: ", r"[Pp]assword: "       # one answer to a question that was repeated

QUIET_SECONDS = 0.3
"""A console that has been silent for so long, after it has asked who logs in, waits for an answer."""


class KaconsoleProcessLifecycleHandler(ProcessLifecycleHandler):
    """Logs in to the console, once it is there."""

    def start(self, p: Any) -> None:
        """Answers what the console asks, and says so in `console_connected`."""
        try:
            if p._log_in():
                p.console_connected.set()
            elif not p.ended:
                logger.warning("no shell on the console of %s within %s s", p.kaconsole_host.address, p.console_connection_timeout)
        finally:
            p._settled.set()

    def end(self, p: Any) -> None:
        """It is not connected any more."""
        p.console_connected.clear()
        p._settled.set()

    def reset(self, p: Any) -> None:
        """As new."""
        p.console_connected.clear()
        p._settled.clear()


class KaconsoleProcess(SshProcess):
    """The console of a node, by kaconsole3 on the frontend of its site: `start` it, `wait_connected`, then `write` and `expect`.

    :param host: the node.
    :param frontend_connection_params: overlay on `default_frontend_connection_params`.
    :param connection_timeout: a duration, for the console to be there and for each of its questions.
    :param prompt: regular expression of the prompt of a shell of root.
    :param connection_params: `user` and `password` on the console, by default root and grid5000.
    :raises ValueError: for a host whose site is not known.
    """

    def __init__(self, host: Host | str, frontend_connection_params: Mapping[str, Any] | None = None, connection_timeout: Duration = 20,
                 prompt: str | re.Pattern[str] = r"root@[^#]*#", connection_params: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        self.kaconsole_host = Host(host)
        self.console_connected = threading.Event()
        self.console_connection_timeout = connection_timeout
        get_seconds(connection_timeout)
        self.prompt = prompt
        self.console_connection_params = make_connection_params(
            connection_params, {**default_connection_params, "user": "root", "password": "grid5000"})
        self._settled = threading.Event()       # connected, or never
        address = self.kaconsole_host.address
        frontend = frontend_of(address) or get_default_frontend()
        if frontend is None:
            raise ValueError(f"console of {address!r}: its site is not known; write host-1.site.grid5000.fr")
        if not address or address.startswith("-") or any(not (letter.isalnum() or letter in "._-") for letter in address):
            raise ValueError(f"console: expected the name of a host, found {address!r}")
        super().__init__(f"kaconsole3 {address}", frontend,
                         make_connection_params(frontend_connection_params, {**default_connection_params,
                                                                             **default_frontend_connection_params}), **kwargs)
        self.lifecycle_handlers.append(KaconsoleProcessLifecycleHandler())

    def _args(self) -> list[str]:
        return [repr(self.kaconsole_host)]

    def _log_in(self) -> bool:
        timeout = self.console_connection_timeout
        if self._awaited(_OPENED, timeout) is None:
            return False
        self.write("\x04\n\x04\n")              # ends what another one left, so that there is a question or a prompt
        params = self.console_connection_params
        answers = (params["user"], params["password"])
        for _ in range(10):
            asked = self._awaited((self.prompt, _LOGIN, _PASSWORD), timeout)
            if asked is None:
                return False
            while asked == 1 and (later := self._awaited((self.prompt, _LOGIN, _PASSWORD), QUIET_SECONDS)) is not None:
                asked = later           # the question may come again, for each line that was typed before; only the last one waits
            if asked == 0:
                return True
            self.write(f"{answers[asked - 1]}\n")
        return False

    def _awaited(self, regexes: Any, timeout: Duration) -> int | None:
        before = self.expect_fail
        index, _ = self.expect(regexes, timeout)
        if index is None and not before:
            self.expect_fail = False            # `wait_connected` tells, not `ok`
        return index

    def wait_connected(self, timeout: Duration | None = None) -> bool:
        """Wait until a shell of root is there; False if it is not by then, or never will."""
        self._settled.wait(get_seconds(timeout))
        return self.console_connected.is_set() and not self.ended

    def expect_prompt(self, timeout: Duration | None = None) -> tuple[int | None, re.Match[str] | None]:
        """`expect` of the prompt."""
        return self.expect(self.prompt, timeout)

    def close(self) -> None:
        """Leave the console, by the sequence that it knows: that of conserver, or the one of kaconsole3."""
        self.write("\x1b" * 4 if "[Kaconsole] kill sequence" in self.stdout else "&.")

