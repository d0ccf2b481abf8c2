"""Which combination begins next, and on which hosts."""

from __future__ import annotations

from itertools import islice

from ..results import combination_name
from .plan import size_of
from .schedule import fits, has_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from execo.host import Host

    from ..sweep import ParamSweeper
    from .experiment import Experiment
    from .needs import Needs
    from .replay import Earlier
    from .schedule import Room

MAX_TO_SEARCH = 1_000_000
"""Combinations of a plan: among more, the next one is taken or none."""


class Choice:
    """Claims combinations that fit, in the order of the plan."""

    def __init__(self, experiment: Experiment, sweeper: ParamSweeper, plan: Sequence[Any], needs: Needs, earlier: Earlier | None) -> None:
        self._experiment = experiment
        self._sweeper = sweeper
        self._plan = plan
        self._needs = needs
        self._earlier = earlier

    def take(self, free: list[Host], room: Room) -> Any:
        """Claim the first combination that may begin now; None if there is none."""
        if self._needs.alike and has_time(self._needs.durations.bound, False, room):
            return self._sweeper.get_next()
        if size_of(self._plan) > MAX_TO_SEARCH:
            # Nobody looks through all of these for one that fits.
            combination = self._sweeper.get_next()
            if combination is not None and not self._may_begin(combination, free, room):
                self._sweeper.cancel(combination)
                return None
            return combination

        def that_fit(remaining: Any) -> Iterator[Any]:
            found = (one for one in self._plan if one in remaining and self._may_begin(one, free, room))
            # Several, for other programs may take the first.
            return islice(found, 32)
        return self._sweeper.get_next(that_fit)

    def _may_begin(self, combination: Any, free: list[Host], room: Room) -> bool:
        return fits(self._needs.of(combination), room) and bool(self.hosts_for(combination, free))

    def hosts_for(self, combination: Any, free: list[Host]) -> list[Host]:
        """Out of those that are free; [] if they will not do."""
        if self._earlier is not None:
            placement = self._earlier.placement.get(combination_name(combination), [])
            free = sorted(free, key=lambda host: placement.index(host.address) if host.address in placement else len(placement))
        chosen = list(self._experiment.choose_hosts(combination, list(free)))
        if strange := [host for host in chosen if host not in free]:
            raise ValueError(f"choose_hosts({combination!r}) gave {strange[0]!r}, which is not free")
        return chosen
