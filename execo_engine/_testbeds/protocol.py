"""What a testbed is."""

from __future__ import annotations

from typing import Protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from execo.host import Host


class Testbed(Protocol):
    """Gives hosts for a time, again and again: `reserve`, `wait`, use the `hosts` while there is `time_left`, `release`.

    One thread calls the methods, except `time_left`, which any thread may call.  A testbed may also have

    - ``deploy()``: put an environment on the hosts, once the reservation has begun; returns those that are ready (list of `Host`);
    - ``connection_params``: how the hosts are reached (else those of the configuration);
    - ``n_hosts`` and ``walltime``: hosts of a reservation, and its seconds (None: without end), so that a campaign can be planned.
    """

    def reserve(self, prefer: Sequence[str] = ()) -> None:
        """Ask for hosts; returns before they are there.

        :param prefer: names of hosts to be given if that can be.
        :raises Exception: if it is refused; the campaign asks again later.
        """

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the reservation begins; False if it has not after `timeout` seconds.

        :raises Exception: if it will never begin.
        """

    @property
    def hosts(self) -> list[Host]:
        """The hosts of the reservation; [] without one."""

    def time_left(self) -> float | None:
        """Seconds until the reservation ends, 0 or less if it is over, also before its time; None if it has no end."""

    def release(self) -> None:
        """Give the hosts back, or withdraw the request; does nothing without one."""
