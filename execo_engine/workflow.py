"""Campaigns: all combinations of an experiment, run over as many reservations as that takes."""

from __future__ import annotations

import contextlib
import hashlib
import random
import sys
import tempfile
from functools import partial
from pathlib import Path
from queue import SimpleQueue

from ._workflow.choice import Choice
from ._workflow.durations import Durations
from ._workflow.needs import Needs
from ._workflow.order import in_order
from ._workflow.outcome import Outcome, ReservationOver
from ._workflow.plan import describe_parameters, describe_time
from ._workflow.replay import SWEEP_FOLDER, Earlier, read_run
from ._workflow.reservations import Reservations
from ._workflow.runner import Runner
from ._workflow.signals import StopSignal
from ._workflow.steps import Steps
from ._workflow.stint import Stint
from .engine import Engine
from .log import logger
from .notebook import read_notebooks
from .results import combination_name
from .sweep import ParamSweeper, SweepDirectory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from execo.host import Host

__all__ = ["ReservationOver", "SweepEngine"]

_HISTORY = 100_000


class SweepEngine(Engine):
    """A campaign: derive from it, say what `parameters` and `testbed` are, and define `run_combination`; then ``MyCampaign().start()``.

    While combinations remain: reserve hosts, deploy and check them, and begin on them all that has place and time, several combinations at
    once on hosts of their own; release the hosts on any error and at the end of the reservation; reserve again.  Run the script again with
    ``-c DIR`` to continue a campaign after anything, on any machine that sees the directory, also while others work on it.

    `run_combination`, `choose_hosts` and the like may be called by several threads at once.
    """

    keep_notebook = True

    # What a campaign says about itself: values, or methods without arguments that give them, called once, after all `init`.
    parameters: Any = None
    """{name: values} as for `sweep`, a `ParameterSpace`, or combinations."""
    testbed: Any = None
    """Where the hosts come from: see `execo_engine.testbeds`."""
    max_attempts: int | None = 3
    """A combination that failed so often is put aside; None: at its first failure."""
    check_hosts = True
    """Whether hosts that do not answer to ssh are left alone: at the begin of a reservation, and after each failure.  Set it to False if
    the hosts are not reached by ssh."""
    max_refusals = 8
    """After so many reservations in a row without any use, the campaign gives up."""
    retry_delay: Any = 2.0
    """Duration of the pause after the first of these; doubled for each further one, up to 5 minutes."""
    end_timeout: Any = 15.0
    """Duration that combinations have to end when their processes were killed at the end of a reservation."""

    def __init__(self) -> None:
        super().__init__()
        options = self.args_parser.add_argument_group("campaign")
        options.add_argument("--dry-run", action="store_true", help="print what would be run, and how long it may take; reserve nothing")
        options.add_argument("--seed", type=int, default=None,
                             help="run the combinations in the random order of this seed, also that of self.random. Default = 0, in order")
        options.add_argument("--replay", metavar="RUN", default=None,
                             help="directory of an earlier campaign: same seed, same order, same hosts where they can be had")
        self.seed = 0
        self.random = random.Random(0)
        """Made from the seed.  For one combination, take `combination_seed`."""
        self.sweeper: ParamSweeper
        """The state of the combinations, from `run` on."""
        self._shuffled = False
        self._earlier: Earlier | None = None
        self._plan: Sequence[Any] = ()
        self._testbed: Any = None
        self._durations = Durations()
        self._steps: Steps | None = None
        self._ends: SimpleQueue[Stint | None] = SimpleQueue()
        self._stop_signal = StopSignal(wake=partial(self._ends.put, None))

    # What a campaign defines

    def run_combination(self, combination: Any, hosts: list[Host], directory: Path) -> Mapping[str, Any] | None:
        """The experiment for one combination.

        :param hosts: its hosts, nobody else's as long as it runs.
        :param directory: its folder in the directory of results, for files.
        :returns: what was measured, {name: value}, which goes to `results`; None if there is nothing, or it was appended already.

        Any exception is a failure: the combination will be tried again, `max_attempts` times in all.  So raise
        ``ValueError("too few answers")`` rather than return what is wrong.  What ends after its reservation does not count.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define run_combination")

    def tidy_up(self, combination: Any, hosts: list[Host]) -> None:
        """Called in the same thread after `run_combination`, however it ended, before its hosts are another's; not if they are gone.

        What has succeeded is on the disk already, whatever happens here; an exception is logged.
        """

    def hosts_needed(self, combination: Any) -> int:
        """How many hosts a combination needs; 1 unless you override it."""
        return 1

    def choose_hosts(self, combination: Any, free: list[Host]) -> list[Host]:
        """Hosts for a combination out of those that are free; [] if they will not do.  By default the first ones."""
        return free[:self.hosts_needed(combination)]

    def duration(self, combination: Any) -> Any:
        """How long a combination takes, as any duration; None: it is learnt from those that are done."""
        return None

    def prepare(self, hosts: list[Host]) -> None:
        """Called with the hosts of each new reservation, before the first combination; an exception gives them back.

        :param hosts: take those out of this list that are of no use.
        """

    def clean_up(self, hosts: list[Host]) -> None:
        """Called with the same hosts before they are given back, also after an exception or a signal, while the reservation lasts: by then
        no combination runs, and what the last ones had to tidy up may have been killed."""

    # What a campaign uses

    @property
    def connection_params(self) -> Any:
        """How the hosts are reached: the third argument of `Remote`."""
        return getattr(self._testbed, "connection_params", None)

    def combination_seed(self, combination: Any) -> int:
        """A seed for this combination, whenever and wherever it runs: 64 bits from the seed of the campaign and the combination."""
        text = f"{self.seed} {combination_name(combination, 64)}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")

    def check(self, combination: Any) -> None:
        """To be called between the steps of a long combination: raises if it is in vain to go on.

        :raises ReservationOver: if the reservation is over, or the campaign stops.
        :raises ClaimLost: if the claim was given to another, for this one was silent too long.
        """
        left = self._testbed.time_left()
        if self._stop_signal.number is not None or (left is not None and left <= 0):
            raise ReservationOver(f"no time left for {combination!r}")
        self.sweeper.check(combination)

    def step(self, combination: Any, name: str) -> contextlib.AbstractContextManager[None]:
        """``with self.step(combination, "boot"):`` notes in ``steps.jsonl`` of the results how long the block took."""
        if self._steps is None:
            raise RuntimeError(f"{type(self).__name__} has no steps before it is started")
        return self._steps.step(combination, name)

    # The campaign

    def start(self, engineargs: Sequence[str] = sys.argv[1:]) -> None:
        args = self.args_parser.parse_args(list(engineargs))
        self._settle_seed(args)
        if not args.dry_run:
            super().start(engineargs)
            return
        self.keep_notebook = False
        with contextlib.ExitStack() as stack:
            if args.log_level is None:
                stack.callback(logger.setLevel, logger.level)
                logger.setLevel("WARNING")
            if args.use_dir is None or not Path(args.use_dir).is_dir():
                # A plan leaves nothing behind.
                engineargs = [*engineargs, "-c", stack.enter_context(tempfile.TemporaryDirectory(prefix="execo-dry-run-"))]
            super().start(engineargs)

    def run(self) -> None:
        """Run the combinations until none remains.

        :raises SystemExit: 128 + signal, after SIGTERM or SIGHUP.  By then the running combinations are among those that remain, and the
          hosts are released.
        """
        assert self.args is not None
        self._plan = in_order(_value_of(self, "parameters"), self.seed if self._shuffled else None, self._earlier)
        self._testbed = _value_of(self, "testbed", "reserve")
        if self.args.dry_run:
            self._print_plan()
            return
        assert self.result_dir is not None
        self._note(seed=self.seed, order="random" if self._shuffled else "plan", testbed=repr(self._testbed), replay=self.args.replay)
        self._steps = Steps(self.result_dir)
        folder = str(Path(self.result_dir) / SWEEP_FOLDER)
        with ParamSweeper(folder, self._plan, name=type(self).__name__, max_attempts=self.max_attempts) as self.sweeper:
            for record in self.sweeper.records("done")[-_HISTORY:]:
                if record.seconds is not None:
                    self._durations.add(record.combination, record.seconds)
            with self._stop_signal.awaited():
                self._use_reservations(self.sweeper)
            self._say_how_it_ended()
        if self._stop_signal.number is not None:
            raise SystemExit(128 + self._stop_signal.number)

    def _use_reservations(self, sweeper: ParamSweeper) -> None:
        stop, testbed, earlier = self._stop_signal, self._testbed, self._earlier
        needs = self._needs()
        choice = Choice(self, sweeper, self._plan, needs, earlier)
        outcome = Outcome(self, sweeper, needs, stop)
        runner = Runner(self, sweeper, testbed, choice, outcome, stop, self._ends)
        Reservations(self, sweeper, self._plan, testbed, needs, runner, stop, earlier.hosts if earlier is not None else []).use()

    # Plan

    def _settle_seed(self, args: Any) -> None:
        """From the command line, the run that is replayed, or the earlier runs of a campaign that is continued."""
        if args.replay is not None:
            self._earlier = read_run(args.replay)
        noted = read_notebooks(args.use_dir) if args.use_dir is not None and Path(args.use_dir).is_dir() else []
        if args.seed is not None:
            self.seed, self._shuffled = args.seed, True
        elif self._earlier is not None:
            self.seed = self._earlier.seed or 0
        elif noted and noted[-1].get("seed") is not None:
            self.seed, self._shuffled = noted[-1]["seed"], noted[-1].get("order") == "random"
        self.random = random.Random(self.seed)

    def _print_plan(self) -> None:
        assert self.result_dir is not None
        folder = Path(self.result_dir) / SWEEP_FOLDER
        finished: set[Any] = set()
        if folder.is_dir():
            with SweepDirectory(str(folder)) as sweep:
                for record in sweep.records():
                    if record.state in ("done", "failed"):
                        finished.add(record.combination)
                    if record.state == "done" and record.seconds is not None:
                        self._durations.add(record.combination, record.seconds)
        print(describe_parameters(type(self).__name__, self._plan, len(finished)))
        order = f"in the random order of seed {self.seed}" if self._shuffled else "in order"
        print(f"{'in the order of an earlier run' if self._earlier else order} on {self._testbed!r}")
        needs = self._needs()
        print(describe_time(self._plan, finished, needs.of, *needs.reservation_size))

    def _needs(self) -> Needs:
        cls = type(self)
        alike = all(getattr(cls, name) is getattr(SweepEngine, name) for name in ("hosts_needed", "choose_hosts", "duration"))
        return Needs(self, self._testbed, self._durations, alike)

    # Words

    def _note(self, **facts: Any) -> None:
        if self.notebook is not None:
            self.notebook.note(**facts)

    def _say_how_it_ended(self) -> None:
        counts = self.sweeper.counts()
        assert self._steps is not None
        self._note(combinations=counts, steps=self._steps.totals())
        logger.info("%s", self.sweeper)
        logger.info("%s", self._steps.words())
        if self._stop_signal.number is not None:
            logger.warning("stopped by signal %d; continue with -c %s", self._stop_signal.number, self.result_dir)
        elif counts["failed"]:
            logger.warning("%d combinations have failed: python -m execo_engine list --state failed %s", counts["failed"], self.result_dir)


ReservationOver.__module__ = "execo_engine.workflow"


def _value_of(engine: SweepEngine, name: str, method: str | None = None) -> Any:
    """The attribute, or what it gives if it is a method."""
    value = getattr(engine, name)
    if callable(value) and not (method and hasattr(value, method)):
        value = value()
    if value is None or (method and not hasattr(value, method)):
        wanted = f"expected an object with a method {method}" if method else "expected combinations"
        raise TypeError(f"{type(engine).__name__}.{name}: {wanted}, found {value!r}")
    return value
