"""Files to and from many hosts, one scp client each."""

from __future__ import annotations

import os

from .._process.ssh import ScpProcess
from ..config import make_connection_params
from ..host import Host
from ..ssh_utils import get_rewritten_host_address, get_scp_command, scp_local_path, scp_location
from ..utils import name_from_cmdline
from .remote import Remote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any, TypeAlias

    from .._process.local import Process

    File: TypeAlias = "str | os.PathLike[str]"
    Files: TypeAlias = "Iterable[File] | File"


def file_names(files: Any, what: str) -> list[str]:
    """A list of names; a single name is one file.

    :raises TypeError: for what is not a name.
    """
    names = [files] if isinstance(files, (str, os.PathLike)) else list(files)
    for name in names:
        if not isinstance(os.fspath(name), str):
            raise TypeError(f"{what}: expected file names, found {name!r}")
    return [os.fspath(name) for name in names]


def with_home(path: str) -> str:
    """``~`` for the home directory, as a shell has it, unless a file is really called so: no shell sees the command of scp."""
    return os.path.expanduser(path) if path.startswith("~") and not os.path.lexists(path) else path


class Copying(Remote):
    """`names` and `location` are substituted for each host; no name, no process."""

    _kind_at_date = None

    def __init__(self, hosts: Any, names: list[str], location: str, connection_params: Mapping[str, Any] | None,
                 kwargs: dict[str, Any]) -> None:
        self._names = names
        self._location = os.fspath(location)
        super().__init__((*names, self._location), hosts, connection_params, kwargs.pop("process_args", None), **kwargs)

    def _init_processes(self) -> None:
        if self._names:
            super()._init_processes()
        else:
            self._adopt([])


class _ScpCopy(Copying):
    def _make_process(self, host: Host, index: int) -> Process:
        params = make_connection_params(self.connection_params)
        address = get_rewritten_host_address(host.address, self.connection_params)
        scp = get_scp_command(host.user, host.keyfile, host.port, self.connection_params)
        files = self._files([self._substitute(name, index) for name in self._names], self._substitute(self._location, index), address)
        args = self._process_args_of(index)
        args.setdefault("name", name_from_cmdline(["scp", *files]))        # the options are the same for all
        return ScpProcess(scp, files, host, address, params, **args)

    def _files(self, names: list[str], location: str, address: str) -> tuple[str, ...]:
        raise NotImplementedError


class Put(_ScpCopy):
    """Copy local files and directories to many hosts.

    :param hosts: one host or an iterable of hosts.
    :param local_files: a name or an iterable of names, substituted for each host as in `Remote`.
    :param remote_location: a file or an existing directory, substituted too.
    :param connection_params: overlay on `default_connection_params`.
    :param process_args: keywords for each process.
    :param fanout: see `Remote`.
    """

    def __init__(self, hosts: Iterable[Host | str] | Host | str, local_files: Files, remote_location: str = ".",
                 connection_params: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        names = file_names(local_files, "local_files")
        self.local_files = names
        self.remote_location = remote_location
        super().__init__(hosts, names, remote_location, connection_params, kwargs)

    def _default_name(self, cmd: Any) -> str:
        return f"Put to {len(self._hosts)} hosts"

    def _files(self, names: list[str], location: str, address: str) -> tuple[str, ...]:
        return *(scp_local_path(with_home(name)) for name in names), scp_location(address, location)

    def _args(self) -> list[str]:
        return [repr(self._hosts), repr(self.local_files), f"remote_location={self.remote_location!r}"]


class Get(_ScpCopy):
    """Copy files and directories from many hosts.

    :param hosts: one host or an iterable of hosts.
    :param remote_files: a name or an iterable of names, substituted for each host as in `Remote`.
    :param local_location: a file or an existing directory, substituted too.
    :param connection_params: overlay on `default_connection_params`.
    :param process_args: keywords for each process.
    :param fanout: see `Remote`.
    """

    def __init__(self, hosts: Iterable[Host | str] | Host | str, remote_files: Files, local_location: str = ".",
                 connection_params: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        names = file_names(remote_files, "remote_files")
        self.remote_files = names
        self.local_location = local_location
        super().__init__(hosts, names, local_location, connection_params, kwargs)

    def _default_name(self, cmd: Any) -> str:
        return f"Get from {len(self._hosts)} hosts"

    def _files(self, names: list[str], location: str, address: str) -> tuple[str, ...]:
        return *(scp_location(address, name) for name in names), scp_local_path(with_home(location))

    def _args(self) -> list[str]:
        return [repr(self._hosts), repr(self.remote_files), f"local_location={self.local_location!r}"]
