"""Combinations that run on the hosts of a reservation, several at once."""

from __future__ import annotations

import time
from pathlib import Path
from queue import Empty

from execo.conductor import the_conductor
from execo.time_utils import get_seconds

from .._words import combination_words
from ..log import logger
from .answers import find_silent
from .schedule import Room
from .stint import Stint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from queue import SimpleQueue
    from typing import Any

    from execo.host import Host

    from ..sweep import ParamSweeper
    from .choice import Choice
    from .experiment import Experiment
    from .outcome import Outcome
    from .signals import StopSignal

TICK = 1.0
"""Seconds between looks at the reservation."""


class Runner:
    """Begins what has place and time, and ends what a reservation leaves.  In the thread of the campaign.

    :param ends: where combinations that have succeeded or ended are put by their threads, and None to wake the campaign.
    """

    def __init__(self, experiment: Experiment, sweeper: ParamSweeper, testbed: Any, choice: Choice, outcome: Outcome, stop: StopSignal,
                 ends: SimpleQueue[Stint | None]) -> None:
        self._experiment = experiment
        self._sweeper = sweeper
        self._testbed = testbed
        self._choice = choice
        self._outcome = outcome
        self._stop = stop
        self._ends = ends
        self._running: list[Stint] = []
        self._bad: set[Host] = set()

    def use(self, hosts: list[Host]) -> bool:
        """Run combinations on the hosts until the reservation is over, or nothing fits any more.  Was any begun?"""
        self._running, self._bad = [], set()
        started = ended = 0
        before = the_conductor.processes()
        try:
            while True:
                started += self._begin_what_fits(hosts, fresh=ended == 0)
                if not self._running:
                    break
                left = self._testbed.time_left()
                if self._stop.number is not None or (left is not None and left <= 0):
                    break
                stint = self._next_end(TICK if left is None else min(left, TICK))
                if stint is not None:
                    self._settle(stint)
                    ended += stint not in self._running
        finally:
            self._end_all(before)
        return started > 0 or self._sweeper.remaining_count == 0

    def pause(self, seconds: float) -> None:
        """Ends early if the campaign is to stop."""
        deadline = time.monotonic() + seconds
        while self._stop.number is None and (left := deadline - time.monotonic()) > 0:
            self._next_end(left)

    def _begin_what_fits(self, hosts: list[Host], fresh: bool) -> int:
        """How many were begun."""
        begun = 0
        while self._stop.number is None:
            taken = {host for stint in self._running for host in stint.hosts} | self._bad
            free = [host for host in hosts if host not in taken]
            if not free or not self._begin_one(free, Room(len(free), self._testbed.time_left(), fresh)):
                break
            begun += 1
        return begun

    def _begin_one(self, free: list[Host], room: Room) -> bool:
        combination = self._choice.take(free, room)
        if combination is None:
            return False
        try:
            stint = self._new_stint(combination, free)
        except BaseException:
            self._sweeper.cancel(combination)
            raise
        if stint is None:
            logger.info("%s is done: its result was recorded by a program that died then", combination_words(combination))
            self._sweeper.done(combination)
            return True
        logger.info("begin %s on %s", combination_words(combination), ", ".join(host.address for host in stint.hosts))
        self._running.append(stint)
        stint.start(self._run, self._testbed.time_left, self._ends, self._look_at_hosts, self._tidy_up)
        return True

    def _run(self, stint: Stint) -> Any:
        """In the thread of the combination."""
        with self._experiment.step(stint.combination, "run"):
            return self._experiment.run_combination(stint.combination, list(stint.hosts), stint.directory)

    def _new_stint(self, combination: Any, free: list[Host]) -> Stint | None:
        """None if there is a result already."""
        record = self._sweeper.record(combination)
        serial = record.serial if record is not None else 1
        directory = self._experiment.results.combination_dir(combination)
        if serial > 1 and self._was_recorded(directory.name, serial - 1):
            return None
        return Stint(combination, self._choice.hosts_for(combination, free), directory, serial)

    def _was_recorded(self, name: str, serial: int) -> bool:
        """Was the result of this earlier claim recorded?  Then its program died before it could say so in the sweep."""
        return any(result.attempt == serial and result.directory is not None and Path(result.directory).name == name
                   for result in self._experiment.results.read())

    def _look_at_hosts(self, stint: Stint) -> None:
        """In the thread of a combination that has failed."""
        if self._experiment.check_hosts:
            stint.bad_hosts = find_silent(stint.hosts, self._experiment.connection_params)

    def _tidy_up(self, stint: Stint) -> None:
        self._experiment.tidy_up(stint.combination, list(stint.hosts))

    def _next_end(self, timeout: float) -> Stint | None:
        try:
            stint = self._ends.get(timeout=max(0.0, timeout))
        except Empty:
            return None
        return None if stint is not None and stint.abandoned else stint

    def _settle(self, stint: Stint, given_up: bool = False) -> None:
        """Record how it ended.  What failed may be tried again at once, so not before its hosts are tidied up."""
        if stint not in self._running:          # put twice before we looked
            return
        over = given_up or stint.ended
        if not stint.recorded and (over or stint.succeeded):
            stint.recorded = True
            self._outcome.record(stint)
        if over:
            self._running.remove(stint)
            self._bad |= set(stint.bad_hosts)
            self._outcome.learn(stint)

    def _end_all(self, before: Sequence[object]) -> None:
        """End what runs on the hosts: kill its processes, wait for its threads, give back its combinations.

        :param before: the processes that are not of combinations.
        """
        while (stint := self._next_end(0)) is not None or not self._ends.empty():
            if stint is not None:                       # it ended while we decided to stop
                self._settle(stint)
        # Of those, only the tidying up is disturbed by what follows.
        judged = {stint for stint in self._running if stint.judged}
        over = time.monotonic()
        while self._running and time.monotonic() < over + (get_seconds(self._experiment.end_timeout) or 0):
            for child in the_conductor.processes():
                if child in before:
                    continue
                # A combination may start the next process when this one has ended, so more than once.
                for process in getattr(child, "processes", [child]):        # a tree of TakTuk has many
                    if not process.ended and not process.killed:
                        process.kill()
            stint = self._next_end(0.1)
            if stint is not None:
                stint.in_time = stint.in_time and stint in judged
                self._settle(stint)
        for stint in list(self._running):
            logger.error("%s does not end; its thread is left behind", combination_words(stint.combination))
            # Its end, if it comes, is for nobody.
            stint.abandoned = True
            stint.in_time = stint.in_time and stint in judged
            self._settle(stint, given_up=True)
