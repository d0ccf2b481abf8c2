"""Reservations, one after another, until no combination remains."""

from __future__ import annotations

from execo.time_utils import get_seconds

from .._words import combination_words
from ..log import logger
from .answers import find_silent
from .choice import MAX_TO_SEARCH
from .plan import size_of
from .runner import TICK
from .schedule import obstacle
from .stint import is_left

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from execo.host import Host

    from ..sweep import ParamSweeper
    from .experiment import Experiment
    from .needs import Needs
    from .runner import Runner
    from .signals import StopSignal

# Of the script: nothing changes by another try.
_MISTAKES = (TypeError, AttributeError, NameError, ImportError, NotImplementedError)
_LONGEST_PAUSE = 300.0


class _Refused(Exception):
    """A reservation that gave no hosts that can be used."""


class Reservations:
    """Reserves, hands the hosts to the runner, and releases, whatever comes.  In the thread of the campaign.

    :param prefer: names of hosts that are wanted most; [] for any.
    """

    def __init__(self, experiment: Experiment, sweeper: ParamSweeper, plan: Sequence[Any], testbed: Any, needs: Needs, runner: Runner,
                 stop: StopSignal, prefer: list[str]) -> None:
        self._experiment = experiment
        self._sweeper = sweeper
        self._plan = plan
        self._testbed = testbed
        self._needs = needs
        self._runner = runner
        self._stop = stop
        self._prefer = prefer

    def use(self) -> None:
        """Returns when nothing remains, or the campaign is to stop.

        :raises RuntimeError: after `max_refusals` reservations in a row without any use.
        """
        refusals = 0
        while self._stop.number is None and self._work_remains():
            refusals += 1
            hosts: list[Host] = []
            try:
                hosts = self._reserve()
                if self._runner.use(hosts):
                    refusals = 0
            except _Refused as refused:
                logger.warning("%r: %s", self._testbed, refused)
                if refusals >= self._experiment.max_refusals:
                    raise RuntimeError(f"{refusals} reservations in a row could not be used; the last: {refused}") from refused.__cause__
            finally:
                self._release(hosts)
            if refusals >= self._experiment.max_refusals:
                remaining = self._sweeper.remaining_count
                raise RuntimeError(f"{remaining} combinations remain, and none was begun in {refusals} reservations in a row")
            if refusals and self._stop.number is None:
                self._runner.pause(min(_LONGEST_PAUSE, (get_seconds(self._experiment.retry_delay) or 0) * 2 ** (refusals - 1)))

    def _work_remains(self) -> bool:
        if not self._needs.alike and size_of(self._plan) <= MAX_TO_SEARCH:
            self._skip_impossible()
        self._sweeper.update()
        return self._sweeper.remaining_count > 0

    def _skip_impossible(self) -> None:
        for combination in self._sweeper.get_remaining():
            if why := obstacle(self._needs.of(combination), *self._needs.reservation_size):
                logger.warning("%s is skipped: %s", combination_words(combination), why)
                self._sweeper.skip(combination, why)

    def _reserve(self) -> list[Host]:
        """Hosts that are ready, [] if the campaign is to stop.

        :raises _Refused: if there are none.
        """
        testbed = self._testbed
        logger.info("reserve %r: %s", testbed, self._sweeper)
        try:
            with self._experiment.step(None, "reserve"):
                testbed.reserve(**({"prefer": self._prefer} if self._prefer else {}))
                while not testbed.wait(TICK):
                    if self._stop.number is not None:
                        return []
            return self._ready_hosts()
        except _MISTAKES:
            raise
        except Exception as error:
            raise _Refused(f"{type(error).__name__}: {error}") from error

    def _release(self, hosts: list[Host]) -> None:
        """:param hosts: that were prepared, to be cleaned up first if the reservation still has them."""
        try:
            if hosts and is_left(self._testbed.time_left()):
                with self._experiment.step(None, "clean up"):
                    self._experiment.clean_up(hosts)
        except Exception:
            logger.exception("%r could not be cleaned up", self._testbed)
        finally:
            self._give_back()

    def _give_back(self) -> None:
        try:
            with self._experiment.step(None, "release"):
                self._testbed.release()
        except Exception:
            logger.exception("%r could not be released", self._testbed)

    def _ready_hosts(self) -> list[Host]:
        experiment, testbed = self._experiment, self._testbed
        deploy = getattr(testbed, "deploy", None)
        with experiment.step(None, "deploy"):
            hosts: list[Host] = list(deploy() if deploy is not None else testbed.hosts)
        if experiment.check_hosts:
            with experiment.step(None, "check hosts"):
                silent = find_silent(hosts, experiment.connection_params)
            if silent:
                logger.warning("left alone, for they do not answer: %s", ", ".join(host.address for host in silent))
            hosts = [host for host in hosts if host not in silent]
        if not hosts:
            raise RuntimeError("none of the hosts of the reservation can be used")
        logger.info("%d hosts are ready", len(hosts))
        with experiment.step(None, "describe"):
            self._describe(hosts)
        with experiment.step(None, "prepare"):
            experiment.prepare(hosts)
        if not hosts:
            raise RuntimeError("none of the hosts of the reservation could be prepared")
        return hosts

    def _describe(self, hosts: list[Host]) -> None:
        notebook = self._experiment.notebook
        if notebook is None or not self._experiment.check_hosts:
            return
        known = notebook.facts["hosts"]
        if new := [host for host in hosts if host.address not in known]:
            notebook.describe_hosts(new, self._experiment.connection_params)
