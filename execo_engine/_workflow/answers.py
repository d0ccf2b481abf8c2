"""Which hosts answer."""

from __future__ import annotations

from execo.action import Remote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from execo.host import Host

CONNECT_SECONDS = 10


def find_silent(hosts: Iterable[Host], connection_params: Any) -> list[Host]:
    """Those that do not answer to ssh."""
    quiet = {"nolog_exit_code": True, "nolog_error": True, "nolog_timeout": True, "timeout": 3 * CONNECT_SECONDS}
    params = {**(connection_params or {}), "connect_timeout": CONNECT_SECONDS}
    remote = Remote("true", list(hosts), params, name="do hosts answer", process_args=quiet).run()
    good = {process.host.address for process in remote.finished_ok_processes}
    return [host for host in remote.hosts if host.address not in good]
