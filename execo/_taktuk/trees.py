"""All trees of one start: hosts with another key or port need another tree, and hosts that were lost are tried again in a new one.

Only a command that has not started is tried again.  A host that was lost with a node between us and it gets one more try, through another
parent; one that let that node not in, one from here; one that could not be reached gets `connect_retries` more, as with ssh, after a pause.
An ssh server that takes no more connections at once (MaxStartups) is met by patience: few connections at a time, several tries.
"""

from __future__ import annotations

import time
from functools import partial

from ..conductor import the_conductor
from ..config import configuration, make_connection_params
from ..hostset import fold
from ..log import logger
from ..ssh_utils import BUSY, BUSY_TRIES, retries_of
from .command import tree_command
from .seat import Seat
from .tree import LOST, REFUSED, STUCK, UNREACHABLE, Tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

BUSY_WINDOW = 5                 # connections at a time then: half of what sshd takes by default
LONGEST_PAUSE = 60.0            # seconds

_TRIES = {LOST: 1, REFUSED: 1, STUCK: 4, BUSY: BUSY_TRIES}       # the least; `connect_retries` may ask for more


class Trees:
    """The trees of some processes, planted at once.

    :param processes: each with its host, connection parameters and command, the last two alike for all.
    :param connection_params: overlay on `default_connection_params`.
    :param window: how many connections each node opens at a time; None: what TakTuk does.
    :param on_closed: called once in the I/O thread, when all trees are closed.
    :raises ValueError, TypeError: for what TakTuk or ssh would misread; nothing is started then.
    """

    def __init__(self, processes: list[Any], connection_params: Mapping[str, Any] | None, window: int | None,
                 on_closed: Callable[[], None]) -> None:
        self._params = connection_params
        self._window = window
        self._on_closed = on_closed
        self._keep = not configuration["kill_childs_at_end"]
        self._retries, self._delay = retries_of(make_connection_params(connection_params))
        self._lost: dict[str, list[Seat]] = {}      # by reason: those that are to be tried again
        self._resting: dict[str, list[Seat]] = {}   # those whose pause has begun
        self._pending = 0                           # trees that are open, and pauses before new ones
        loop = the_conductor.loop()
        seats = [Seat(loop, process) for process in processes]
        known: dict[tuple[str, ...], OSError | None] = {}
        problems = [seat.process._problem(known) for seat in seats]
        trees = self._plant([seat for seat, problem in zip(seats, problems, strict=True) if problem is None], self._window, flat=False)
        for seat in seats:
            seat.process._take(seat)
        self._pending += 1
        self._start(trees)
        for seat, problem in zip(seats, problems, strict=True):
            if problem is not None:
                loop.post(self._on_problem, seat, problem)
        loop.post(self._done_one)

    def _plant(self, seats: list[Seat], window: int | None, flat: bool) -> list[Tree]:
        """One tree for each key and port."""
        groups: dict[tuple[str | None, int | None], list[Seat]] = {}
        for seat in seats:
            groups.setdefault((seat.process.host.keyfile, seat.process.host.port), []).append(seat)
        trees = []
        for (keyfile, port), group in groups.items():
            group.sort(key=lambda seat: seat.process._login or "")
            argv = tree_command(keyfile, port, self._params, window, flat)
            trees.append(Tree(argv, group, self._keep, self._on_lost, self._on_tree_closed))
        return trees

    def _start(self, trees: list[Tree]) -> None:
        self._pending += len(trees)
        for tree in trees:
            tree.start(the_conductor.new_run(tree))

    # I/O thread

    def _on_problem(self, seat: Seat, problem: OSError) -> None:
        if not seat.over:                       # killed meanwhile
            seat.on_over()
            seat.process._on_lost(problem)

    def _on_lost(self, seat: Seat, why: str) -> bool:
        """Shall it be tried again?"""
        if seat.tries.get(why, 0) >= max(_TRIES.get(why, 0), self._retries if why in (UNREACHABLE, BUSY) else 0):
            return False
        failure = seat.process.connection_failure
        if why == UNREACHABLE and failure is not None and not failure.retryable:
            return False
        seat.tries[why] = seat.tries.get(why, 0) + 1
        if not self._lost:
            self._pending += 1
            seat.loop.post(self._plan_tries)        # when all are known that were lost with it
        self._lost.setdefault(why, []).append(seat)
        return True

    def _plan_tries(self) -> None:
        lost, self._lost = self._lost, {}
        for why, seats in lost.items():
            if why in self._resting:        # it takes them along
                self._resting[why] += seats
                continue
            pause = 0.0
            if why in (BUSY, UNREACHABLE):
                import random  # two milliseconds of everybody's import otherwise

                tries = max(seat.tries[why] for seat in seats)
                pause = random.uniform(0.0, min(self._delay * 2.0 ** min(tries - 1, 30), max(self._delay, LONGEST_PAUSE)))
            self._resting[why] = seats
            self._pending += 1
            seats[0].loop.call_at(time.monotonic() + pause, partial(self._try_again, why))
        self._done_one()

    def _try_again(self, why: str) -> None:
        seats = [seat for seat in self._resting.pop(why) if not seat.cancelled]
        if seats:
            logger.info("taktuk: %s; %d hosts are tried again: %s", why, len(seats), fold([seat.process.host.address for seat in seats]))
            self._start(self._plant(seats, BUSY_WINDOW if why == BUSY else self._window, flat=why in (BUSY, REFUSED)))
        self._done_one()

    def _on_tree_closed(self, tree: Tree) -> None:
        self._done_one()

    def _done_one(self) -> None:
        self._pending -= 1
        if not self._pending:
            self._on_closed()
