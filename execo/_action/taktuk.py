"""Remote commands and copies through TakTuk: a tree of connections, where `Remote` has a flat fan.

The root connects to some hosts, these connect to others, and so on; so the hosts must be able to connect to each other, with the same
options.  What is not about connections is as in `Remote`: one process for each host, the same life, outcome and statistics.
"""

from __future__ import annotations

import os

from .._process.taktuk import TaktukGetProcess, TaktukProcess, TaktukPutProcess
from .._taktuk.trees import Trees
from ..host import Host
from .copy import Copying, file_names, with_home
from .remote import Remote
from .start_at import SynchronizedTaktukProcess

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from .._process.base import ProcessBase
    from .._process.local import Process
    from .copy import Files


class TaktukRemote(Remote):
    """One command on many hosts through a tree of connections.

    Arguments as for `Remote`; the command is given to /bin/sh on each host, and has no terminal there.  Hosts may differ in user, key and
    port; the last two need a tree each.

    :param start_at: see `Remote`.
    :param fanout: how many connections each node of the tree opens at a time; None: what TakTuk does (10).

    It ends when all commands have ended and the trees are closed.
    """

    _kind: Any = TaktukProcess
    _kind_at_date: Any = SynchronizedTaktukProcess
    _open_halves = 1

    def _launch(self, processes: list[ProcessBase]) -> None:
        if not processes:
            self._notify_terminated()
            return
        window = self._new_window()
        self._open_halves = 2               # the processes, and the trees: either may be the last to end
        Trees(processes, self.connection_params, None if window is None else window.size, self._notify_terminated)
        if self._kill_requested:
            self.kill()

    def _notify_terminated(self) -> None:
        with self._lock:
            self._open_halves -= 1
            if self._open_halves > 0:
                return
        super()._notify_terminated()


class TaktukPut(Copying, TaktukRemote):
    """Copy local files and directories to many hosts through a tree of connections; arguments as for `Put`.

    Each node passes the data on, so the network of this machine carries few copies of it.  TakTuk holds what a node cannot pass on yet in
    memory: for files of many gigabytes there is `ChainPut`.  The hosts need tar.
    """

    def __init__(self, hosts: Iterable[Host | str] | Host | str, local_files: Files, remote_location: str = ".",
                 connection_params: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        self.local_files = file_names(local_files, "local_files")
        self.remote_location = remote_location
        super().__init__(hosts, self.local_files, remote_location, connection_params, kwargs)

    def _default_name(self, cmd: Any) -> str:
        return f"TaktukPut to {len(self._hosts)} hosts"

    def _make_process(self, host: Host, index: int) -> Process:
        names = [os.path.abspath(with_home(self._substitute(name, index))) for name in self._names]
        location = self._substitute(self._location, index)
        return TaktukPutProcess(names, location, host, self.connection_params, **self._process_args_of(index))

    def _args(self) -> list[str]:
        return [repr(self._hosts), repr(self.local_files), f"remote_location={self.remote_location!r}"]


class TaktukGet(Copying, TaktukRemote):
    """Copy files and directories from many hosts through a tree of connections; arguments as for `Get`."""

    def __init__(self, hosts: Iterable[Host | str] | Host | str, remote_files: Files, local_location: str = ".",
                 connection_params: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        self.remote_files = file_names(remote_files, "remote_files")
        self.local_location = local_location
        super().__init__(hosts, self.remote_files, local_location, connection_params, kwargs)

    def _default_name(self, cmd: Any) -> str:
        return f"TaktukGet from {len(self._hosts)} hosts"

    def _make_process(self, host: Host, index: int) -> Process:
        names = [self._substitute(name, index) for name in self._names]
        location = os.path.abspath(with_home(self._substitute(self._location, index)))
        return TaktukGetProcess(names, location, host, self.connection_params, **self._process_args_of(index))

    def _args(self) -> list[str]:
        return [repr(self._hosts), repr(self.remote_files), f"local_location={self.local_location!r}"]
