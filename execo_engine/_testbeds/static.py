"""Hosts that are simply there."""

from __future__ import annotations

import time

from execo.host import Host, get_unique_hosts_list
from execo.time_utils import get_seconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import timedelta
    from typing import Any


class StaticTestbed:
    """Hosts that need no reservation.

    :param hosts: as all of execo takes them: names, `Host` objects, ``"node-[1-8]"``.
    :param walltime: stop to begin combinations after this duration, and pause; None: never.
    """

    def __init__(self, hosts: Iterable[Host | str] | str, walltime: float | str | timedelta | None = None,
                 connection_params: Mapping[str, Any] | None = None) -> None:
        self._all: list[Host] = get_unique_hosts_list([hosts] if isinstance(hosts, (str, Host)) else hosts)
        if not self._all:
            raise ValueError("StaticTestbed: expected at least one host, found none")
        self.walltime = get_seconds(walltime)
        self.connection_params = connection_params
        self._end: float | None = None
        self._reserved = False

    def __repr__(self) -> str:
        return f"StaticTestbed({len(self._all)} hosts)"

    @property
    def n_hosts(self) -> int:
        return len(self._all)

    @property
    def hosts(self) -> list[Host]:
        return list(self._all) if self._reserved else []

    def reserve(self, prefer: Sequence[str] = ()) -> None:
        """Preferred hosts come first."""
        rank = {name: number for number, name in enumerate(prefer)}
        self._all.sort(key=lambda host: rank.get(host.address, len(rank)))
        self._reserved = True
        self._end = None if self.walltime is None else time.monotonic() + self.walltime

    def wait(self, timeout: float | None = None) -> bool:
        return True

    def time_left(self) -> float | None:
        if not self._reserved:
            return 0
        return None if self._end is None else self._end - time.monotonic()

    def release(self) -> None:
        self._reserved = False
