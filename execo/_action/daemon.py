"""Daemons on many hosts: see `execo.daemon`."""

from __future__ import annotations

import math

from .._process.output import STDERR, STDOUT, stream_name
from .._process.ssh import SshProcess
from ..config import make_connection_params
from ..host import Host, get_hosts_list
from ..substitutions import get_caller_context, needs_context, remote_substitute
from ..time_utils import get_seconds
from .daemon_script import DaemonStatus, checked_name, parse_answer, script_command
from .remote import Remote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from .._process.local import Process
    from .._process.state import Command, Duration

SILENT = ("nolog_exit_code", "nolog_error", "nolog_timeout")


class _Script(Remote):
    """A command of its own for each host; what went wrong is for who asked, not for the log."""

    _kind_at_date = None

    def __init__(self, verb: str, commands: list[str], hosts: list[Host], connection_params: Mapping[str, Any] | None,
                 process_args: Mapping[str, Any] | None = None) -> None:
        self._commands = commands
        # Without a terminal: output as it is, and standard input that ends when we do.
        options = make_connection_params(connection_params)["ssh_options"]
        params = {**(connection_params or {}), "ssh_options": tuple(option for option in options if option not in ("-t", "-tt")),
                  "pty": False}
        super().__init__(f"daemon: {verb}", hosts, params, {**dict.fromkeys(SILENT, True), **(process_args or {})},
                         **({"fanout": None} if verb == "follow" else {}))

    def _make_process(self, host: Host, index: int) -> Process:
        return SshProcess(self._commands[index], host, self.connection_params, name=self.cmd, **self._process_args_of(index))


class Daemons:
    """A daemon on each of some hosts, as `start_daemon` and `find_daemon` give it.

    What went wrong on a host is a value in `statuses`; nothing is raised for it.  The methods ask all hosts at once.  Those of what
    `start_daemon` gives ask only the hosts where it has started one; the other entries of `statuses` stay as they are.
    """

    def __init__(self, name: str, names: list[str], hosts: list[Host], connection_params: Mapping[str, Any] | None,
                 directory: str) -> None:
        self.name = name
        """As it was given."""
        self.hosts = hosts
        self.names = names
        """On each host."""
        self.statuses: list[DaemonStatus] = []
        """As last seen, in the order of `hosts`."""
        self._connection_params = connection_params
        self._directory = directory
        self._asked = list(range(len(hosts)))       # places of the hosts that the methods ask

    def __repr__(self) -> str:
        states = [status.state for status in self.statuses]
        return f"<Daemons({self.name!r} on {len(self.hosts)} hosts: " + ", ".join(
            f"{states.count(state)} {state}" for state in dict.fromkeys(states)) + ")>"

    @property
    def ok(self) -> bool:
        """All ran when they were last seen."""
        return all(status.running for status in self.statuses)

    @property
    def failed(self) -> list[DaemonStatus]:
        """Those that did not run when they were last seen."""
        return [status for status in self.statuses if not status.running]

    def status(self) -> list[DaemonStatus]:
        """Ask, and return `statuses`."""
        return self._ask("status")

    def stop(self, timeout: Duration = 10) -> list[DaemonStatus]:
        """SIGTERM to the process group of each that runs, SIGKILL after `timeout` to what is left of it; returns `statuses`.

        Returns when they have ended.  Nothing to do is not an error.
        """
        seconds = get_seconds(timeout)
        if seconds is None or not 0 <= seconds < math.inf:
            raise ValueError(f"timeout: expected a duration, found {timeout!r}")
        return self._ask("stop", str(math.ceil(seconds)))

    def remove(self) -> list[DaemonStatus]:
        """Remove the files of those that do not run; returns `statuses`, in which these are 'none'."""
        return self._ask("remove")

    def logs(self, stream: int = STDOUT) -> list[str]:
        """All that they have printed, in the order of `hosts`; '' for those that cannot be read."""
        action = self._read("read", stream, "").run()
        texts = [""] * len(self.hosts)
        for place, process in zip(self._asked, action.processes, strict=True):
            texts[place] = process.stdout
        return texts

    def tail(self, lines: int = 10, stream: int = STDOUT, follow: bool = False, process_args: Mapping[str, Any] | None = None) -> Remote:
        """An action whose output is the last lines of what they have printed.

        :param follow: and all that comes; then the action is started only.  It ends with the daemons, or by its `kill`, which leaves them
            alone.
        :param process_args: for its processes: ``stdout_handlers``, for example.
        """
        if type(lines) is not int or lines < 0:
            raise ValueError(f"lines: expected a number, 0 or more, found {lines!r}")
        action = self._read("follow" if follow else "read", stream, str(lines), process_args)
        return action.start() if follow else action.run()

    def _read(self, verb: str, stream: int, lines: str, process_args: Mapping[str, Any] | None = None) -> _Script:
        stream_name(stream)
        return self._script(verb, ["stderr" if stream == STDERR else "stdout", lines], process_args)

    def _script(self, verb: str, arguments: list[str], process_args: Mapping[str, Any] | None = None) -> _Script:
        commands = [script_command(verb, self.names[place], self._directory, *arguments) for place in self._asked]
        return _Script(verb, commands, [self.hosts[place] for place in self._asked], self._connection_params, process_args)

    def _ask(self, verb: str, *arguments: str) -> list[DaemonStatus]:
        self._take(self._script(verb, list(arguments)))
        return self.statuses

    def _take(self, action: _Script) -> None:
        action.run()
        statuses = self.statuses or [DaemonStatus(host, name, "none") for host, name in zip(self.hosts, self.names, strict=True)]
        for place, process in zip(self._asked, action.processes, strict=True):
            statuses[place] = parse_answer(self.hosts[place], self.names[place], process.stdout, _failure(process))
        self.statuses = statuses

    def _start(self, commands: list[str]) -> None:
        texts = [script_command("start", name, self._directory, command) for name, command in zip(self.names, commands, strict=True)]
        self._take(_Script("start", texts, self.hosts, self._connection_params))
        self._asked = [place for place, status in enumerate(self.statuses) if status.running]


def _failure(process: Any) -> str:
    """Why a script gave no answer."""
    if process.unreachable:
        return f"unreachable: {process.connection_failure.message}"
    if process.error:
        return str(process.error_reason)
    return f"exit code {process.exit_code}: {process.stderr.strip() or process.stdout.strip() or 'no answer'}"


def start_daemon(cmd: Command, hosts: Iterable[Host | str] | Host | str, name: str, connection_params: Mapping[str, Any] | None = None,
                 directory: str = "") -> Daemons:
    """Start a command on each host that goes on when we end, in whatever way.

    :param cmd: a string, for the login shell there; of a list or tuple, the words are joined with blanks.  With substitution, as in
        `Remote`, and so is the name.
    :param hosts: one host or an iterable of hosts.
    :param name: letters, digits and some signs.  On a host where a daemon of this name runs, none is started ('taken'); of one that has
        ended, the files are replaced.
    :param connection_params: overlay on `default_connection_params`.
    :param directory: on the hosts, private; default: .execo/daemons/HOSTNAME in the home directory.
    :raises ValueError: for a bad name.

    Each runs in a session of its own, with /dev/null as standard input, in the directory in which commands run there.  What it prints
    goes to files.  A system that kills the processes of a user at logout (KillUserProcesses of systemd-logind) kills them too.
    """
    text = cmd if isinstance(cmd, str) else " ".join(cmd)
    if not text.strip():
        raise ValueError(f"start_daemon: expected a command, found {cmd!r}")
    context = get_caller_context() if needs_context(text) or needs_context(name) else ({}, {})
    listed = get_hosts_list(hosts)
    daemons = Daemons(name, _names(name, listed, context), listed, connection_params, directory)
    daemons._start([remote_substitute(text, listed, index, context) for index in range(len(listed))])
    return daemons


def find_daemon(name: str, hosts: Iterable[Host | str] | Host | str, connection_params: Mapping[str, Any] | None = None,
                directory: str = "") -> Daemons:
    """The daemons of this name, whoever has started them; arguments as for `start_daemon`."""
    context = get_caller_context() if needs_context(name) else ({}, {})
    listed = get_hosts_list(hosts)
    daemons = Daemons(name, _names(name, listed, context), listed, connection_params, directory)
    daemons.status()
    return daemons


def _names(name: str, hosts: list[Host], context: tuple[dict[str, Any], dict[str, Any]]) -> list[str]:
    return [checked_name(remote_substitute(name, hosts, index, context)) for index in range(len(hosts))]
