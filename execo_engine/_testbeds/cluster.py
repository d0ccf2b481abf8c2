"""Throw-away ssh hosts of this machine, which go away at the end of the job."""

from __future__ import annotations

import threading
import time

from execo.host import Host
from execo.localcluster import LocalCluster
from execo.log import logger
from execo.time_utils import format_duration, get_seconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta
    from typing import Any


class ClusterTestbed:
    """A new `LocalCluster` for each reservation: to write a campaign, and to see it survive the end of its jobs.

    :param n_hosts: number of hosts, node-1 to node-N.
    :param walltime: duration of a reservation.  Then the hosts are killed, with all that runs on them.  None: no end.
    :param cluster_options: further keywords of `LocalCluster`: isolation, server, sshd_options.

    The attribute ``cluster`` is the `LocalCluster` of the current reservation: its hosts have faults on demand.
    """

    def __init__(self, n_hosts: int, walltime: float | str | timedelta | None = None, **cluster_options: Any) -> None:
        self.n_hosts = n_hosts
        self.walltime = get_seconds(walltime)
        if self.walltime is not None and self.walltime <= 0:
            raise ValueError(f"ClusterTestbed: expected a walltime of more than 0 s, found {walltime!r}")
        self._options = cluster_options
        LocalCluster(n_hosts, **cluster_options)        # so that a wrong argument is told here
        self.cluster: LocalCluster | None = None
        self._end: float | None = None
        self._timer: threading.Timer | None = None

    def __repr__(self) -> str:
        return f"ClusterTestbed({self.n_hosts} hosts" + (f", {format_duration(self.walltime)})" if self.walltime is not None else ")")

    @property
    def hosts(self) -> list[Host]:
        # By name, which is the same in each reservation; the addresses are not.
        cluster = self.cluster
        return [Host(name) for name in cluster.names] if cluster is not None else []

    @property
    def connection_params(self) -> dict[str, Any] | None:
        cluster = self.cluster
        return cluster.connection_params if cluster is not None else None

    def reserve(self, prefer: Sequence[str] = ()) -> None:
        """All hosts are always given."""
        if self.cluster is not None:
            raise RuntimeError(f"{self!r} has a reservation already")
        self.cluster = LocalCluster(self.n_hosts, **self._options)

    def wait(self, timeout: float | None = None) -> bool:
        cluster = self.cluster
        if cluster is None:
            raise RuntimeError(f"{self!r} has no reservation to wait for")
        cluster.start()
        if self.walltime is not None and self._timer is None:
            self._end = time.monotonic() + self.walltime
            self._timer = threading.Timer(self.walltime, self._expire, (cluster,))
            self._timer.name = "execo-job-end"
            self._timer.daemon = True
            self._timer.start()
        return True

    @staticmethod
    def _expire(cluster: LocalCluster) -> None:
        logger.debug("%r: the job is over", cluster)
        cluster.stop()

    def time_left(self) -> float | None:
        cluster = self.cluster
        if cluster is None or cluster.directory is None:
            return 0
        return None if self._end is None else self._end - time.monotonic()

    def release(self) -> None:
        timer, self._timer = self._timer, None
        cluster, self.cluster = self.cluster, None
        self._end = None
        if timer is not None:
            timer.cancel()
            timer.join()
        if cluster is not None:
            cluster.stop()
