"""What is recorded of a combination that has ended."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping

from execo.time_utils import format_duration

from .._files import write_atomically
from .._words import combination_words
from ..log import logger
from ..sweep import ClaimLost

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..sweep import ParamSweeper
    from .experiment import Experiment
    from .needs import Needs
    from .signals import StopSignal
    from .stint import Stint


class ReservationOver(RuntimeError):
    """The hosts of this combination are gone, or about to go: it returns to those that remain."""


class Outcome:
    """Judges how combinations ended, and says it to the results and the sweep.  In the thread of the campaign."""

    def __init__(self, experiment: Experiment, sweeper: ParamSweeper, needs: Needs, stop: StopSignal) -> None:
        self._experiment = experiment
        self._sweeper = sweeper
        self._needs = needs
        self._stop = stop

    def record(self, stint: Stint) -> None:
        try:
            if not stint.in_time or isinstance(stint.error, ReservationOver):
                self._give_back(stint)
            elif stint.error is not None:
                self._fail(stint, stint.reason)
            elif stint.value is not None and not isinstance(stint.value, Mapping):
                self._fail(stint, f"run_combination returned a {type(stint.value).__name__}: expected {{name: value}} or None")
            else:
                self._done(stint)
        except ClaimLost as lost:
            logger.warning("%s: its result is left out: %s", combination_words(stint.combination), lost)

    def learn(self, stint: Stint) -> None:
        """For the schedule, from one whose hosts are free again: what was tidied up took its time too."""
        if stint.done:
            self._needs.durations.add(stint.combination, time.monotonic() - stint.begun)

    def _done(self, stint: Stint) -> None:
        if stint.value is not None:
            self._sweeper.check(stint.combination)
            try:
                self._experiment.results.append(stint.combination, stint.value, start_date=stint.start_date,
                                                end_date=stint.start_date + stint.seconds, attempt=stint.serial, host=stint.host_names)
            except TypeError as error:
                self._fail(stint, f"TypeError: {error}")
                return
        # In this order: a death in between is found at the next claim, see `Runner`.
        self._sweeper.done(stint.combination)
        stint.done = True
        logger.info("done %s in %s", combination_words(stint.combination), format_duration(stint.seconds, True))

    def _fail(self, stint: Stint, reason: str) -> None:
        if stint.bad_hosts:
            reason += f" (no answer from {', '.join(host.address for host in stint.bad_hosts)})"
        if stint.error is not None:
            with contextlib.suppress(OSError):
                write_atomically(stint.directory / "failure.txt", stint.report)
        if isinstance(stint.error, ClaimLost):
            raise stint.error
        again = "for good" if self._sweeper.fail(stint.combination, reason) == "failed" else "to be tried again"
        logger.warning("failed %s, %s: %s", combination_words(stint.combination), again, reason)

    def _give_back(self, stint: Stint) -> None:
        """It returns to those that remain; but for one that had a whole reservation this is a failure, or it would be tried for ever."""
        _, walltime = self._needs.reservation_size
        # Also of one that a thread has not ended yet.
        seconds = stint.seconds or time.monotonic() - stint.begun
        self._needs.durations.add_at_least(stint.combination, seconds)
        if self._stop.number is None and walltime is not None and seconds > 0.8 * walltime:
            self._fail(stint, f"it was not done after {format_duration(round(seconds, 1), True)}, when the reservation ended")
        else:
            self._sweeper.cancel(stint.combination)
            logger.info("returned %s: the reservation is over", combination_words(stint.combination))
