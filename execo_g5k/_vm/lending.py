"""Addresses of VMs, lent to those who run at once: pure."""

from __future__ import annotations

import contextlib
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    Address = tuple[str, str]
    """(ip, mac)."""


class Addresses:
    """Addresses of a reservation.  Any thread may borrow."""

    def __init__(self, pairs: Iterable[Address] = ()) -> None:
        self._free = list(dict.fromkeys((str(ip), str(mac)) for ip, mac in pairs))
        self._size = len(self._free)
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def lent(self, number: int, taken: Iterable[str | None] = ()) -> Iterator[Sequence[Address]]:
        """Addresses that nobody else has during the block.

        :param taken: ips that were chosen without asking, not to be given.
        :raises ValueError: if there are not enough.
        """
        chosen = set(taken)
        with self._lock:
            found = [pair for pair in self._free if pair[0] not in chosen][:number]
            if len(found) < number:
                raise ValueError(f"{number} addresses are needed for VMs, {len(found)} of {self._size} are free")
            self._free = [pair for pair in self._free if pair not in found]
        try:
            yield found
        finally:
            with self._lock:
                self._free += found         # last, so that caches of the network forget who had them
