"""Files to many hosts along a chain of them: each host receives, writes, and feeds the next, all at once.

A program in perl, the hop, runs on each host; it is sent there through the connection that starts it, so nothing has to be installed.
Its standard input and output are a conversation in lines with the coordinator here, which decides who feeds whom
(`execo._chain.plan`).  The files travel from host to host over TCP connections of their own.

Why so:

- Each host keeps what it has received on its disk, and feeds from there.  So no host waits for the next one, a host that has failed is
  skipped without sending anything again that had arrived, and a slow one delays nobody.  It also is the cheapest way: the kernel sends
  from its page cache (sendfile), and perl touches each byte only once, to write it.
- The one that is fed says from which offset.  Only it knows, and no order can be out of date.
- Whether a file is right is decided after reading it back from where it was written, with the fastest SHA-256 that the host has; only
  then is it renamed into place.
"""

from __future__ import annotations

import secrets
import time
from functools import partial

from .._chain.coordinator import Coordinator
from .._chain.plan import HEAD, Plan, Settings
from .._chain.process import ChainProcess
from .._chain.protocol import ARGUMENTS, COMMAND, head_line, join_line, program
from .._process.local import Process
from ..config import make_connection_params
from ..host import Host, get_unique_hosts_list
from ..ssh_utils import checked_address, get_rewritten_host_address, get_ssh_command
from ..time_utils import get_seconds
from .copy import file_names, with_home
from .remote import Remote
from .taktuk import TaktukRemote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from typing_extensions import Self

    from .base import Action
    from .copy import Files

BEAT = 0.5
"""Seconds between two reports of a host, as long as that makes no more than"""
REPORTS = 100
"""reports a second in all."""
FLAT = 50
"""So many hops at most are started by a flat fan of ssh, where each connection fails alone; more by a tree of TakTuk."""
_QUIET = {"nolog_exit_code": True, "nolog_error": True, "nolog_write_error": True, "default_stdout_handler": False}


class ChainPut(Remote):
    """Copy local files and directories to many hosts along a chain of them, and verify them there.

    :param hosts: one host or an iterable of hosts; each is served once.
    :param local_files: a name or an iterable of names, the same for all hosts.
    :param remote_location: a file or an existing directory, substituted for each host as in `Remote`.
    :param connection_params: overlay on `default_connection_params`.
    :param process_args: keywords for each process.

    What arrives, where, and under which name is as with `Put`: directories with all that is in them, symbolic links as what they point to,
    modes and modification times kept.  A host has all of the files or, if it fails, none of them in general; see the guide.
    """

    _kind_at_date = None

    hide_subactions = True

    def __init__(self, hosts: Iterable[Host | str] | Host | str, local_files: Files, remote_location: str = ".",
                 connection_params: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        self.local_files = file_names(local_files, "local_files")
        for name in self.local_files:
            if not name or "\0" in name:
                raise ValueError(f"local_files: not a file name: {name!r}")
        self.remote_location = remote_location
        self.actions: list[Action] = []
        if "fanout" in kwargs:
            raise TypeError("ChainPut has no fanout: all hosts of a chain run at once")
        super().__init__(remote_location, get_unique_hosts_list(hosts), connection_params, kwargs.pop("process_args", None), **kwargs)

    def _default_name(self, cmd: Any) -> str:
        return f"ChainPut to {len(self._hosts)} hosts"

    @property
    def hosts(self) -> list[Host]:
        """A list of different `Host`; setting it takes effect at the next `reset`."""
        return self._hosts

    @hosts.setter
    def hosts(self, hosts: Iterable[Host | str] | Host | str) -> None:
        self._hosts = get_unique_hosts_list(hosts)

    def _init_processes(self) -> None:
        settings_of(make_connection_params(self.connection_params), 1)
        if self.local_files:
            super()._init_processes()
        else:
            self._adopt([])

    def _make_process(self, host: Host, index: int) -> ChainProcess:  # type: ignore[override]     # one without a child
        checked_address(get_rewritten_host_address(host.address, self.connection_params))
        get_ssh_command(host.user, host.keyfile, host.port, self.connection_params)
        location = self._substitute(self.remote_location, index)
        if "\0" in location:
            raise ValueError(f"remote_location: not a file name: {location!r}")
        return ChainProcess(location, host, **{"name": f"ChainPut to {host.address}", **self._process_args_of(index)})

    def _launch(self, processes: list[Any]) -> None:
        if not processes:
            self._notify_terminated()
            return
        params = make_connection_params(self.connection_params)
        settings = settings_of(params, len(processes))
        now = time.monotonic()
        addresses = [checked_address(get_rewritten_host_address(process.host.address, params)).rpartition("@")[2] for process in processes]
        launcher = _launcher([process.host for process in processes], params)
        head = Process(ARGUMENTS, name="ChainPut: the sender", **_QUIET)
        self.actions = [launcher]
        token = secrets.token_hex(32)

        def start_again(i: int) -> None:
            launcher = _launcher([processes[i].host], params)
            coordinator.listen_to(i, launcher.processes[0], processes[i])
            launcher.start()
            launcher.write(program() + join_line(token, settings.beat, settings.connect_timeout, processes[i].cmd))

        coordinator = Coordinator(Plan(addresses, settings, now), start_again)
        for i, (process, hop) in enumerate(zip(processes, launcher.processes, strict=True)):
            process.begin(partial(coordinator.kill, i))
            coordinator.listen_to(i, hop, process)
        coordinator.listen_to(HEAD, head, None)
        head.start()
        head.write(program() + head_line(token, settings.beat, settings.connect_timeout, map(with_home, self.local_files)))
        launcher.start()
        launcher.write(program())
        for process, hop in zip(processes, launcher.processes, strict=True):
            hop.write(join_line(token, settings.beat, settings.connect_timeout, process.cmd))
        coordinator.start()
        if self._kill_requested:
            self.kill()

    def write(self, s: str | bytes) -> None:
        """:raises TypeError: always: the standard input of a hop is not for users."""
        raise TypeError("ChainPut has no standard input")

    def close_stdin(self) -> Self:
        """:raises TypeError: as `write`."""
        raise TypeError("ChainPut has no standard input")

    def _args(self) -> list[str]:
        return [repr(self._hosts), repr(self.local_files), f"remote_location={self.remote_location!r}"]


def _launcher(hosts: list[Host], params: dict[str, Any]) -> Remote:
    """What starts the hops; its processes can be written to."""
    if len(hosts) > FLAT:
        return TaktukRemote(COMMAND, hosts, params, _QUIET, name="ChainPut: the hops", fanout=None)
    # A terminal would echo what is written, and change it.
    options = tuple(option for option in params["ssh_options"] if option not in ("-t", "-tt"))
    plain = {**params, "ssh_options": ("-T", *options), "pty": False}
    return Remote(COMMAND, hosts, plain, _QUIET, name="ChainPut: the hops", fanout=None)


def settings_of(params: Mapping[str, Any], hosts: int) -> Settings:
    """Settings from the connection parameters `chainput_*`.

    :raises ValueError: for a value that is no duration, or no number of times.
    """
    return Settings(
        beat=max(BEAT, hosts / REPORTS),
        connect_timeout=_duration(params, "chainput_nc_client_timeout"),
        silence=_duration(params, "chainput_nc_server_timeout"),
        restarts=_times(params, "chainput_host_retry"),
        losses=_times(params, "chainput_chain_retry"),
        pause=_duration(params, "chainput_try_delay"),
    )


def _duration(params: Mapping[str, Any], name: str) -> float:
    seconds = get_seconds(params[name])
    if seconds is None or not 0 < seconds < 1e6:
        raise ValueError(f"{name}: expected a duration, found {params[name]!r}")
    return float(seconds)


def _times(params: Mapping[str, Any], name: str) -> int:
    times = params[name]
    if not isinstance(times, int) or isinstance(times, bool) or times < 0:
        raise ValueError(f"{name}: expected a number of times, 0 or more, found {times!r}")
    return times
