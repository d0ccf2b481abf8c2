"""Addresses of VMs, lent to those who run at once: pure."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    Address = tuple[str, str]
    """(ip, mac)."""


SLICE = 1.0
"""Seconds between two looks at whether it is still worth to wait."""


@dataclass(eq=False)
class Loan:
    """Addresses that nobody else has for a while."""

    pairs: Sequence[Address]
    """As many as were asked for."""
    chosen: Sequence[Address]
    """Those that were there of the ones chosen by their ip."""
    unclean: set[str] = field(default_factory=set)
    """Hosts where VMs may have them still, though they were given back."""


class Addresses:
    """Addresses of a reservation, and which of its hosts may have VMs left.  Any thread may borrow."""

    def __init__(self, pairs: Iterable[Address] = ()) -> None:
        self._free = list(dict.fromkeys((str(ip), str(mac)) for ip, mac in pairs))
        self._size = len(self._free)
        self._lent: list[Loan] = []
        self._kept: list[Loan] = []
        self._changed = threading.Condition()

    def lend(self, number: int, chosen: Iterable[str | None] = (), check: Callable[[], None] = lambda: None) -> Loan:
        """Addresses for VMs, until `give_back`; waits for those that others have to give back, and has none meanwhile.

        :param number: of VMs that take any.
        :param chosen: ips of the others; only those that are in the pool matter here.
        :param check: called once a second while it waits; what it raises ends the wait.
        :raises ValueError: if there are not enough, whatever is given back.
        """
        wanted = set(chosen)
        while True:
            with self._changed:
                if (loan := self._loan(number, wanted)) is not None:
                    return loan
                self._changed.wait(SLICE)
            check()

    def _loan(self, number: int, wanted: set[str | None]) -> Loan | None:
        lent = [pair for loan in self._lent for pair in (*loan.pairs, *loan.chosen)]
        if number > (most := sum(pair[0] not in wanted for pair in (*self._free, *lent))):
            raise ValueError(f"{number} addresses are needed for VMs, {most} of {self._size} can be had")
        theirs = [pair for pair in self._free if pair[0] in wanted]
        found = [pair for pair in self._free if pair[0] not in wanted][:number]
        if len(found) < number or any(pair[0] in wanted for pair in lent):
            return None
        gone = {*theirs, *found}
        self._free = [pair for pair in self._free if pair not in gone]
        self._lent.append(Loan(found, theirs))
        return self._lent[-1]

    def give_back(self, loan: Loan, unclean: Iterable[str] = ()) -> None:
        """:param unclean: hosts where VMs may have them still: nobody gets them until these are `cleaned`."""
        loan.unclean = set(unclean)
        with self._changed:
            self._lent.remove(loan)
            if loan.unclean:
                self._kept.append(loan)
            else:
                self._take(loan)
            self._changed.notify_all()

    def unclean(self, hosts: Iterable[str]) -> list[str]:
        """Those of the hosts that may have VMs left."""
        with self._changed:
            return [host for host in hosts if any(host in loan.unclean for loan in self._kept)]

    def cleaned(self, hosts: Iterable[str]) -> None:
        """These hosts have no VMs any more."""
        clean = set(hosts)
        with self._changed:
            for loan in self._kept:
                loan.unclean -= clean
                if not loan.unclean:
                    self._take(loan)
            self._kept = [loan for loan in self._kept if loan.unclean]
            self._changed.notify_all()

    def _take(self, loan: Loan) -> None:
        self._free += [*loan.chosen, *loan.pairs]       # last, so that caches of the network forget who had them
