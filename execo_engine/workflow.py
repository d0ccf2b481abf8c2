"""Campaigns: all combinations of an experiment, run over as many reservations as that takes."""

from __future__ import annotations

import contextlib
import hashlib
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from queue import Empty, SimpleQueue

from execo.action import Remote
from execo.conductor import the_conductor
from execo.time_utils import format_duration, get_seconds

from ._files import write_atomically
from ._words import combination_words
from ._workflow.durations import Durations
from ._workflow.plan import describe_parameters, describe_time, size_of
from ._workflow.replay import SWEEP_FOLDER, Earlier, read_run
from ._workflow.schedule import Need, Room, fits, has_time, obstacle
from ._workflow.stint import Stint
from .engine import Engine
from .log import logger
from .notebook import read_notebooks
from .results import combination_name
from .sweep import ClaimLost, ParameterSpace, ParamSweeper, SweepDirectory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any

    from execo.host import Host

__all__ = ["ReservationOver", "SweepEngine"]

TICK = 1.0
"""Seconds between looks at the reservation."""
MAX_TO_SORT = 10_000_000
"""Combinations of a plan: more cannot be replayed."""
MAX_TO_SEARCH = 1_000_000
"""Combinations of a plan: among more, the next one is taken or none."""
_CONNECT_SECONDS = 10
_HISTORY = 100_000


# Of the script: nothing changes by another try.
_MISTAKES = (TypeError, AttributeError, NameError, ImportError, NotImplementedError)


class ReservationOver(RuntimeError):
    """The hosts of this combination are gone, or about to go: it returns to those that remain."""


class _Refused(Exception):
    """A reservation that gave no hosts that can be used."""


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
        self._ends: SimpleQueue[Stint | None] = SimpleQueue()
        self._stop_signal: int | None = None
        self._running: list[Stint] = []
        self._bad: set[Host] = set()

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
        """Called with the hosts of each new reservation, before the first combination; an exception gives them back."""

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
        if self._stop_signal is not None or (left is not None and left <= 0):
            raise ReservationOver(f"no time left for {combination!r}")
        self.sweeper.check(combination)

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
        self._plan = self._ordered(_value_of(self, "parameters"))
        self._testbed = _value_of(self, "testbed", "reserve")
        if self.args.dry_run:
            self._print_plan()
            return
        assert self.result_dir is not None
        self._note(seed=self.seed, order="random" if self._shuffled else "plan", testbed=repr(self._testbed), replay=self.args.replay)
        folder = str(Path(self.result_dir) / SWEEP_FOLDER)
        with ParamSweeper(folder, self._plan, name=type(self).__name__, max_attempts=self.max_attempts) as self.sweeper:
            for record in self.sweeper.records("done")[-_HISTORY:]:
                if record.seconds is not None:
                    self._durations.add(record.combination, record.seconds)
            with self._signals():
                self._use_reservations()
            self._say_how_it_ended()
        if self._stop_signal is not None:
            raise SystemExit(128 + self._stop_signal)

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

    def _ordered(self, parameters: Any) -> Sequence[Any]:
        space: Any = ParameterSpace(parameters) if isinstance(parameters, Mapping) else parameters
        if not isinstance(space, ParameterSpace):
            space = list(space)
            if self._shuffled:
                space.sort(key=combination_name)        # a set has another order in each interpreter
                random.Random(self.seed).shuffle(space)
        elif self._shuffled:
            space = space.shuffled(self.seed)
        if self._earlier is not None:
            if size_of(space) > MAX_TO_SORT:
                raise ValueError(f"--replay: {size_of(space)} combinations are too many to be put into the order of another run")
            space = self._earlier.sorted(space)
        plan: Sequence[Any] = space
        return plan

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
        print(describe_time(self._plan, finished, self._need, *self._reservation_size))

    def _need(self, combination: Any) -> Need:
        hosts = self.hosts_needed(combination)
        if hosts < 1:
            raise ValueError(f"hosts_needed({combination!r}): expected at least 1, found {hosts!r}")
        declared = get_seconds(self.duration(combination))
        return Need(hosts, declared if declared is not None else self._durations.estimate(combination), declared is not None)

    @property
    def _reservation_size(self) -> tuple[int | None, float | None]:
        """(hosts, seconds), as far as the testbed says it."""
        return getattr(self._testbed, "n_hosts", None), getattr(self._testbed, "walltime", None)

    @property
    def _all_alike(self) -> bool:
        """Do all combinations need the same, but for learnt durations?"""
        cls = type(self)
        return all(getattr(cls, name) is getattr(SweepEngine, name) for name in ("hosts_needed", "choose_hosts", "duration"))

    # Reservations

    def _use_reservations(self) -> None:
        refusals = 0
        while self._stop_signal is None and self._work_remains():
            refusals += 1
            try:
                hosts = self._reserve()
                if self._use(hosts):
                    refusals = 0
            except _Refused as refused:
                logger.warning("%r: %s", self._testbed, refused)
                if refusals >= self.max_refusals:
                    raise RuntimeError(f"{refusals} reservations in a row could not be used; the last: {refused}") from refused.__cause__
            finally:
                self._release()
            if refusals >= self.max_refusals:
                remaining = self.sweeper.remaining_count
                raise RuntimeError(f"{remaining} combinations remain, and none was begun in {refusals} reservations in a row")
            if refusals and self._stop_signal is None:
                self._pause(min(300.0, (get_seconds(self.retry_delay) or 0) * 2 ** (refusals - 1)))

    def _work_remains(self) -> bool:
        if not self._all_alike and size_of(self._plan) <= MAX_TO_SEARCH:
            self._skip_impossible()
        self.sweeper.update()
        return self.sweeper.remaining_count > 0

    def _skip_impossible(self) -> None:
        for combination in self.sweeper.get_remaining():
            if why := obstacle(self._need(combination), *self._reservation_size):
                logger.warning("%s is skipped: %s", combination_words(combination), why)
                self.sweeper.skip(combination, why)

    def _pause(self, seconds: float) -> None:
        """Ends early if the campaign is to stop."""
        deadline = time.monotonic() + seconds
        while self._stop_signal is None and (left := deadline - time.monotonic()) > 0:
            self._next_end(left)

    def _reserve(self) -> list[Host]:
        """Hosts that are ready, [] if the campaign is to stop.

        :raises _Refused: if there are none.
        """
        testbed = self._testbed
        logger.info("reserve %r: %s", testbed, self.sweeper)
        try:
            testbed.reserve(**({"prefer": self._earlier.hosts} if self._earlier and self._earlier.hosts else {}))
            while not testbed.wait(TICK):
                if self._stop_signal is not None:
                    return []
            return self._ready_hosts()
        except _MISTAKES:
            raise
        except Exception as error:
            raise _Refused(f"{type(error).__name__}: {error}") from error

    def _release(self) -> None:
        try:
            self._testbed.release()
        except Exception:
            logger.exception("%r could not be released", self._testbed)

    def _ready_hosts(self) -> list[Host]:
        testbed = self._testbed
        deploy = getattr(testbed, "deploy", None)
        hosts: list[Host] = list(deploy() if deploy is not None else testbed.hosts)
        if self.check_hosts:
            bad = self._find_bad(hosts)
            if bad:
                logger.warning("left alone, for they do not answer: %s", ", ".join(host.address for host in bad))
            hosts = [host for host in hosts if host not in bad]
        if not hosts:
            raise RuntimeError("none of the hosts of the reservation can be used")
        logger.info("%d hosts are ready", len(hosts))
        self._describe(hosts)
        self.prepare(hosts)
        return hosts

    def _find_bad(self, hosts: Iterable[Host]) -> list[Host]:
        quiet = {"nolog_exit_code": True, "nolog_error": True, "nolog_timeout": True, "timeout": 3 * _CONNECT_SECONDS}
        params = {**(self.connection_params or {}), "connect_timeout": _CONNECT_SECONDS}
        remote = Remote("true", list(hosts), params, name="do hosts answer", process_args=quiet).run()
        good = {process.host.address for process in remote.finished_ok_processes}
        return [host for host in remote.hosts if host.address not in good]

    def _describe(self, hosts: list[Host]) -> None:
        if self.notebook is None or not self.check_hosts:
            return
        known = self.notebook.facts["hosts"]
        if new := [host for host in hosts if host.address not in known]:
            self.notebook.describe_hosts(new, self.connection_params)

    def _use(self, hosts: list[Host]) -> bool:
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
                if self._stop_signal is not None or (left is not None and left <= 0):
                    break
                stint = self._next_end(TICK if left is None else min(left, TICK))
                if stint is not None:
                    ended += 1
                    self._settle(stint)
        finally:
            self._end_all(before)
        return started > 0 or self.sweeper.remaining_count == 0

    def _next_end(self, timeout: float) -> Stint | None:
        try:
            stint = self._ends.get(timeout=max(0.0, timeout))
        except Empty:
            return None
        return None if stint is not None and stint.abandoned else stint

    # Combinations

    def _begin_what_fits(self, hosts: list[Host], fresh: bool) -> int:
        """How many were begun."""
        begun = 0
        while self._stop_signal is None:
            taken = {host for stint in self._running for host in stint.hosts} | self._bad
            free = [host for host in hosts if host not in taken]
            if not free or not self._begin_one(free, Room(len(free), self._testbed.time_left(), fresh)):
                break
            begun += 1
        return begun

    def _begin_one(self, free: list[Host], room: Room) -> bool:
        combination = self._take(free, room)
        if combination is None:
            return False
        try:
            stint = self._new_stint(combination, free)
        except BaseException:
            self.sweeper.cancel(combination)
            raise
        if stint is None:
            logger.info("%s is done: its result was recorded by a program that died then", combination_words(combination))
            self.sweeper.done(combination)
            return True
        logger.info("begin %s on %s", combination_words(combination), ", ".join(host.address for host in stint.hosts))
        self._running.append(stint)
        stint.start(lambda stint: self.run_combination(stint.combination, list(stint.hosts), stint.directory), self._testbed.time_left,
                    self._ends, self._look_at_hosts)
        return True

    def _new_stint(self, combination: Any, free: list[Host]) -> Stint | None:
        """None if there is a result already."""
        record = self.sweeper.record(combination)
        serial = record.serial if record is not None else 1
        directory = self.results.combination_dir(combination)
        if serial > 1 and self._was_recorded(directory.name, serial - 1):
            return None
        return Stint(combination, self._chosen(combination, free), directory, serial)

    def _take(self, free: list[Host], room: Room) -> Any:
        """Claim the first combination that may begin now."""
        if self._all_alike and has_time(self._durations.bound, False, room):
            return self.sweeper.get_next()
        if size_of(self._plan) > MAX_TO_SEARCH:
            # Nobody looks through all of these for one that fits.
            combination = self.sweeper.get_next()
            if combination is not None and not self._may_begin(combination, free, room):
                self.sweeper.cancel(combination)
                return None
            return combination

        def that_fit(remaining: Any) -> Iterator[Any]:
            found = (one for one in self._plan if one in remaining and self._may_begin(one, free, room))
            # Several, for other programs may take the first.
            return islice(found, 32)
        return self.sweeper.get_next(that_fit)

    def _may_begin(self, combination: Any, free: list[Host], room: Room) -> bool:
        return fits(self._need(combination), room) and bool(self._chosen(combination, free))

    def _chosen(self, combination: Any, free: list[Host]) -> list[Host]:
        if self._earlier is not None:
            placement = self._earlier.placement.get(combination_name(combination), [])
            free = sorted(free, key=lambda host: placement.index(host.address) if host.address in placement else len(placement))
        chosen = list(self.choose_hosts(combination, list(free)))
        if strange := [host for host in chosen if host not in free]:
            raise ValueError(f"choose_hosts({combination!r}) gave {strange[0]!r}, which is not free")
        return chosen

    def _was_recorded(self, name: str, serial: int) -> bool:
        """Was the result of this earlier claim recorded?  Then its program died before it could say so in the sweep."""
        return any(result.attempt == serial and result.directory is not None and Path(result.directory).name == name
                   for result in self.results.read())

    def _look_at_hosts(self, stint: Stint) -> None:
        """In the thread of a combination that has failed."""
        if self.check_hosts:
            stint.bad_hosts = self._find_bad(stint.hosts)

    def _settle(self, stint: Stint) -> None:
        """Record how it ended."""
        self._running.remove(stint)
        self._bad |= set(stint.bad_hosts)
        try:
            if not stint.in_time or isinstance(stint.error, ReservationOver):
                self._give_back(stint)
            elif stint.error is not None:
                self._fail(stint, stint.reason)
            elif stint.value is not None and not isinstance(stint.value, Mapping):
                self._fail(stint, f"run_combination returned a {type(stint.value).__name__}: expected {{name: value}} or None")
            else:
                self._record(stint)
        except ClaimLost as lost:
            logger.warning("%s: its result is left out: %s", combination_words(stint.combination), lost)

    def _record(self, stint: Stint) -> None:
        if stint.value is not None:
            self.sweeper.check(stint.combination)
            try:
                self.results.append(stint.combination, stint.value, start_date=stint.start_date, end_date=stint.start_date + stint.seconds,
                                    attempt=stint.serial, host=stint.host_names)
            except TypeError as error:
                self._fail(stint, f"TypeError: {error}")
                return
        # In this order: a death in between is found by `_was_recorded`.
        self.sweeper.done(stint.combination)
        self._durations.add(stint.combination, stint.seconds)
        logger.info("done %s in %s", combination_words(stint.combination), format_duration(stint.seconds, True))

    def _fail(self, stint: Stint, reason: str) -> None:
        if stint.bad_hosts:
            reason += f" (no answer from {', '.join(host.address for host in stint.bad_hosts)})"
        if stint.error is not None:
            with contextlib.suppress(OSError):
                write_atomically(stint.directory / "failure.txt", stint.report)
        if isinstance(stint.error, ClaimLost):
            raise stint.error
        again = "for good" if self.sweeper.fail(stint.combination, reason) == "failed" else "to be tried again"
        logger.warning("failed %s, %s: %s", combination_words(stint.combination), again, reason)

    def _give_back(self, stint: Stint) -> None:
        """It returns to those that remain; but for one that had a whole reservation this is a failure, or it would be tried for ever."""
        _, walltime = self._reservation_size
        # Also of one that a thread has not ended yet.
        seconds = stint.seconds or time.monotonic() - stint.begun
        self._durations.add_at_least(stint.combination, seconds)
        if self._stop_signal is None and walltime is not None and seconds > 0.8 * walltime:
            self._fail(stint, f"it was not done after {format_duration(round(seconds, 1), True)}, when the reservation ended")
        else:
            self.sweeper.cancel(stint.combination)
            logger.info("returned %s: the reservation is over", combination_words(stint.combination))

    def _end_all(self, before: Sequence[object]) -> None:
        """End what runs on the hosts: kill its processes, wait for its threads, give back its combinations.

        :param before: the processes that are not of combinations.
        """
        while (stint := self._next_end(0)) is not None or not self._ends.empty():
            if stint is not None:                       # it ended while we decided to stop
                self._settle(stint)
        over = time.monotonic()
        while self._running and time.monotonic() < over + (get_seconds(self.end_timeout) or 0):
            for process in the_conductor.processes():
                # A combination may start the next process when this one has ended, so more than once.
                if process not in before and not getattr(process, "killed", False):
                    process.kill()                      # type: ignore[attr-defined]   # a Child is a Process here
            stint = self._next_end(0.1)
            if stint is not None:
                stint.in_time = False
                self._settle(stint)
        for stint in list(self._running):
            logger.error("%s does not end; its thread is left behind", combination_words(stint.combination))
            stint.in_time = False
            self._settle(stint)
            # Its end, if it comes, is for nobody.
            stint.abandoned = True

    # Signals, words

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGTERM, as a batch system sends it at the end of a job, and SIGHUP: end in good order.  The second one has its usual effect."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        saved: dict[signal.Signals, Any] = {}

        def stop(number: int, frame: object) -> None:
            self._stop_signal = number
            self._ends.put(None)
            signal.signal(number, signal.SIG_DFL)

        for one in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(one) == signal.SIG_DFL:         # what the program or nohup has decided stays
                saved[one] = signal.signal(one, stop)
        try:
            yield
        finally:
            for one, handler in saved.items():
                signal.signal(one, handler)

    def _note(self, **facts: Any) -> None:
        if self.notebook is not None:
            self.notebook.note(**facts)

    def _say_how_it_ended(self) -> None:
        counts = self.sweeper.counts()
        self._note(combinations=counts)
        logger.info("%s", self.sweeper)
        if self._stop_signal is not None:
            logger.warning("stopped by signal %d; continue with -c %s", self._stop_signal, self.result_dir)
        elif counts["failed"]:
            logger.warning("%d combinations have failed: python -m execo_engine list --state failed %s", counts["failed"], self.result_dir)


def _value_of(engine: SweepEngine, name: str, method: str | None = None) -> Any:
    """The attribute, or what it gives if it is a method."""
    value = getattr(engine, name)
    if callable(value) and not (method and hasattr(value, method)):
        value = value()
    if value is None or (method and not hasattr(value, method)):
        wanted = f"expected an object with a method {method}" if method else "expected combinations"
        raise TypeError(f"{type(engine).__name__}.{name}: {wanted}, found {value!r}")
    return value
