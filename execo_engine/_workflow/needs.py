"""What combinations need, and what a reservation gives."""

from __future__ import annotations

from execo.time_utils import get_seconds

from .schedule import Need

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .durations import Durations
    from .experiment import Experiment


class Needs:
    """Asks the experiment, and completes what it does not say by what was learnt.

    :param alike: whether all combinations need the same, but for learnt durations.
    """

    def __init__(self, experiment: Experiment, testbed: Any, durations: Durations, alike: bool) -> None:
        self._experiment = experiment
        self._testbed = testbed
        self.durations = durations
        self.alike = alike

    def of(self, combination: Any) -> Need:
        hosts = self._experiment.hosts_needed(combination)
        if hosts < 1:
            raise ValueError(f"hosts_needed({combination!r}): expected at least 1, found {hosts!r}")
        declared = get_seconds(self._experiment.duration(combination))
        return Need(hosts, declared if declared is not None else self.durations.estimate(combination), declared is not None)

    @property
    def reservation_size(self) -> tuple[int | None, float | None]:
        """(hosts, seconds), as far as the testbed says it."""
        return getattr(self._testbed, "n_hosts", None), getattr(self._testbed, "walltime", None)
