"""One command on many hosts, one local command, one serial line on many hosts."""

from __future__ import annotations

import sys
import warnings

from .._process.local import Process
from .._process.serial import SerialSsh
from .._process.ssh import SshProcess
from .._process.state import ProcessState
from ..host import Host, get_hosts_list
from ..log import style
from ..substitutions import get_caller_context, needs_context, remote_substitute
from ..time_utils import get_unixts
from ..utils import name_from_cmdline, singleton_to_collection
from .base import Action, checked_fanout
from .start_at import SynchronizedSshProcess, checked_start_at, skew

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import FrameType
    from typing import Any

    from typing_extensions import Self

    from .._process.state import Command


class Local(Action):
    """One process on this machine.

    :param cmd: as `Process` takes it.
    :param process_args: keywords for the `Process`.
    """

    def __init__(self, cmd: Command, process_args: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        if kwargs.get("name") is None:
            kwargs["name"] = name_from_cmdline(cmd)
        super().__init__(**kwargs)
        self.cmd = cmd
        self.process_args: dict[str, Any] = dict(process_args or {})
        self._init_processes()

    def _init_processes(self) -> None:
        self._adopt([Process(self.cmd, **self.process_args)])

    def _args(self) -> list[str]:
        return [style.command(repr(self.cmd))]


class Remote(Action):
    """One command on many hosts in parallel, one ssh client each.

    In the command, and in file names given as output handlers, ``{{{host}}}`` stands for the address, and ``{{expr}}`` for the item
    of a Python sequence that belongs to the host; see `execo.substitutions`.

    :param cmd: the command.
    :param hosts: one host or an iterable of hosts (`Host` or address); each gets a process, duplicates too.
    :param connection_params: overlay on `default_connection_params`.
    :param process_args: keywords for each `SshProcess`.
    :param fanout: at most so many processes at a time; None: all at once; by default `configuration['fanout']`.
    :param start_at: connect first, and start all commands at this date, as exactly as the clocks of the hosts can be compared; any date
      that `execo.time_utils.get_unixts` reads.  A host that is not ready by then is an error, the others do not wait for it.
    :raises ValueError: for a `start_at` that has passed.
    """

    start_at: Any = None
    """Attribute too: set it anew before the next start."""
    _kind: Any = SshProcess                             # of its processes
    _kind_at_date: Any = SynchronizedSshProcess         # of those that wait for a date; None: there are none
    _passed_check: Any = None       # a date that was in the future

    def __init__(self, cmd: Any, hosts: Iterable[Host | str] | Host | str, connection_params: Mapping[str, Any] | None = None,
                 process_args: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        self._prepare(hosts, connection_params, process_args, kwargs)
        if kwargs.get("name") is None:
            kwargs["name"] = self._default_name(cmd)
        super().__init__(**kwargs)
        self.cmd = cmd
        self._remember_context(cmd, self.process_args.get("stdout_handlers"), self.process_args.get("stderr_handlers"))
        self._init_processes()

    def _default_name(self, cmd: Any) -> str:
        return name_from_cmdline(cmd)

    def _prepare(self, hosts: Any, connection_params: Mapping[str, Any] | None, process_args: Mapping[str, Any] | None,
                 kwargs: dict[str, Any]) -> None:
        """What all remote actions take; leaves in `kwargs` what an `Action` takes."""
        if "connexion_params" in kwargs:
            warnings.warn("connexion_params is now spelled connection_params", DeprecationWarning, stacklevel=_level_of_caller())
            old = kwargs.pop("connexion_params")
            connection_params = old if connection_params is None else connection_params
        if "fanout" in kwargs:
            fanout = kwargs.pop("fanout")
            self.fanout = fanout if fanout is None or fanout is False else checked_fanout(fanout)
        if (start_at := kwargs.pop("start_at", None)) is not None:
            if self._kind_at_date is None:
                raise TypeError(f"{type(self).__name__} has no start_at")
            self.start_at = checked_start_at(start_at)
        misplaced = kwargs.keys() & {*ProcessState.OPTIONS, "stdout_handlers", "stderr_handlers", "pty"} - {"default_expect_timeout"}
        if misplaced:
            raise TypeError(f"{type(self).__name__}: {', '.join(sorted(misplaced))} is for the processes: give it in process_args "
                            "(pty in connection_params)")
        self._hosts: list[Host] = get_hosts_list(hosts)
        self.connection_params: Any = connection_params
        self.process_args: dict[str, Any] = dict(process_args or {})

    def _check_start(self) -> None:
        if self.start_at is not None:
            window = self._new_window()
            if window is not None and window.size < len(self._hosts) and issubclass(self._kind_at_date, SshProcess):
                raise ValueError(f"start_at needs all connections at once, but fanout={window.size} for {len(self._hosts)} hosts")
            if self._passed_check is not self.start_at:         # else it is the turn of this part of a sequence, too late perhaps
                checked_start_at(self.start_at)
                self._passed_check = self.start_at
            for process in self._processes:
                process.start_at = get_unixts(self.start_at)
        super()._check_start()

    def start(self) -> Self:
        super().start()
        self._passed_check = None
        return self

    @property
    def start_skew(self) -> float | None:
        """With `start_at`: seconds between the first and the last start of a command; None if none has started."""
        return skew(getattr(process, "command_start_date", None) for process in self._processes)

    def stats(self) -> dict[str, Any]:
        stats = super().stats()
        if self.start_at is not None:
            stats["start_skew"] = self.start_skew
        return stats

    def _remember_context(self, *texts: Any) -> None:
        """Keep the names of the frame that wrote the texts, if one of them needs them."""
        self._context: tuple[dict[str, Any], dict[str, Any]] | None = None
        if any(needs_context(text) for text in _strings(texts)):
            self._context = get_caller_context()

    @property
    def hosts(self) -> list[Host]:
        """A list of `Host`; setting it takes effect at the next `reset`."""
        return self._hosts

    @hosts.setter
    def hosts(self, hosts: Iterable[Host | str] | Host | str) -> None:
        self._hosts = get_hosts_list(hosts)

    def _substitute(self, text: Any, index: int) -> Any:
        """The text (or list of texts) for one host; other things as they are."""
        if isinstance(text, str):
            return remote_substitute(text, self._hosts, index, self._context or ({}, {})) if "{{" in text else text
        if isinstance(text, (list, tuple)):
            return type(text)(self._substitute(part, index) for part in text)
        return text

    def _process_args_of(self, index: int) -> dict[str, Any]:
        args = dict(self.process_args)
        for key in ("stdout_handlers", "stderr_handlers"):
            if key in args:
                args[key] = [self._substitute(handler, index) for handler in singleton_to_collection(args[key])]
        return args

    def _init_processes(self) -> None:
        self._adopt([self._make_process(host, index) for index, host in enumerate(self._hosts)])

    def _make_process(self, host: Host, index: int) -> Process:
        kind = self._kind if self.start_at is None else self._kind_at_date
        process: Process = kind(self._substitute(self.cmd, index), host, self.connection_params, **self._process_args_of(index))
        return process

    def write(self, s: str | bytes) -> None:
        """Write to the standard input of all; returns when it is in all pipes, kept for those that wait for their turn."""
        for written in [process._write_later(s) for process in self.processes]:
            if self.processes:
                self.processes[0]._wait_written(written)

    def close_stdin(self) -> Remote:
        """Close the standard input of all when what was written is through."""
        for process in self.processes:
            process.close_stdin()
        return self

    def _args(self) -> list[str]:
        return [style.command(repr(self.cmd)), repr(self._hosts)]

    def _kwargs(self) -> list[str]:
        shown = []
        if self.connection_params:
            shown.append(f"connection_params={self.connection_params!r}")
        if self.process_args:
            shown.append(f"process_args={self.process_args!r}")
        if self.fanout is not False:
            shown.append(f"fanout={self.fanout!r}")
        if self.start_at is not None:
            shown.append(f"start_at={self.start_at!r}")
        return shown


class RemoteSerial(Remote):
    """A serial line on each of many hosts.

    :param device: its name, substituted for each host.
    :param speed: bits per second.
    """

    _kind_at_date = None

    def __init__(self, hosts: Iterable[Host | str] | Host | str, device: str, speed: int | str,
                 connection_params: Mapping[str, Any] | None = None, process_args: Mapping[str, Any] | None = None,
                 **kwargs: Any) -> None:
        self.device = device
        self.speed = speed
        super().__init__(device, hosts, connection_params, process_args, **kwargs)

    def _default_name(self, cmd: Any) -> str:
        return f"RemoteSerial to {len(self._hosts)} hosts"

    def _make_process(self, host: Host, index: int) -> Process:
        return SerialSsh(host, self._substitute(self.device, index), self.speed, self.connection_params,
                         **self._process_args_of(index))

    def _args(self) -> list[str]:
        return [repr(self._hosts), repr(self.device), repr(self.speed)]


def _level_of_caller() -> int:
    """Of the first frame that is not of execo, as `warnings.warn` counts from our caller."""
    level = 0
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and str(frame.f_globals.get("__name__")).startswith("execo."):
        frame = frame.f_back
        level += 1
    return level + 1


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, (list, tuple)):
        return [text for part in value for text in _strings(part)]
    return []
