"""Any sequence of steps of several sweepers on one directory, against a model of a few lines."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from execo_engine.sweep import ClaimLost, ParamSweeper, SweepDirectory

PLAN = list(range(6))
OBJECTS = st.integers(0, 1)
COMBINATIONS = st.sampled_from(PLAN)
MAX_ATTEMPTS = 3


class Sweepers(RuleBasedStateMachine):
    """The model: state, claims so far and counted attempts of each combination; what each object claimed and skips."""

    def __init__(self) -> None:
        super().__init__()
        parent = "/dev/shm" if Path("/dev/shm").is_dir() else None
        self.path = Path(tempfile.mkdtemp(prefix="execo-model-", dir=parent))
        self.state = dict.fromkeys(PLAN, "todo")
        self.serial = dict.fromkeys(PLAN, 0)
        self.attempts = dict.fromkeys(PLAN, 0)
        self.checkpoints: dict[int, Any] = {}
        self.claims: list[dict[int, int]] = [{}, {}]
        self.skips: list[set[int]] = [set(), set()]
        self.ever_done: set[int] = set()

    def open(self) -> ParamSweeper:
        return ParamSweeper(self.path / "s", PLAN, max_attempts=MAX_ATTEMPTS)

    @initialize()
    def begin(self) -> None:
        self.sweepers = [self.open(), self.open()]

    def teardown(self) -> None:
        self.sweepers = []
        shutil.rmtree(self.path)

    def attempt(self, who: int, combination: int, step: Any) -> bool:
        """Whether the step was allowed, and raised nothing."""
        taken = combination in self.claims[who] and self.serial[combination] > self.claims[who][combination]
        try:
            step()
        except ClaimLost:
            assert taken
            del self.claims[who][combination]
            return False
        assert not taken
        return True

    def free_for(self, who: int) -> set[int]:
        return {one for one in PLAN if self.state[one] == "todo" and one not in self.skips[who]}

    @rule(who=OBJECTS, number=st.integers(1, 3), backwards=st.booleans())
    def take(self, who: int, number: int, backwards: bool) -> None:
        filtr = (lambda remaining: sorted(remaining, reverse=True)) if backwards else None
        free = self.free_for(who)
        taken = self.sweepers[who].get_next_batch(number, filtr)
        assert len(set(taken)) == len(taken) == min(number, len(free))
        assert set(taken) <= free
        if backwards:
            assert taken == sorted(free, reverse=True)[:number]
        for combination in taken:
            self.state[combination] = "inprogress"
            self.serial[combination] += 1
            self.attempts[combination] += 1
            self.claims[who][combination] = self.serial[combination]

    @rule(who=OBJECTS, combination=COMBINATIONS)
    def done(self, who: int, combination: int) -> None:
        if self.attempt(who, combination, lambda: self.sweepers[who].done(combination)):
            self.claims[who].pop(combination, None)
            self.state[combination] = "done"
            self.ever_done.add(combination)
            self.checkpoints.pop(combination, None)

    @rule(who=OBJECTS, combination=COMBINATIONS)
    def fail(self, who: int, combination: int) -> None:
        if self.attempt(who, combination, lambda: self.sweepers[who].fail(combination, "why")):
            self.claims[who].pop(combination, None)
            if self.state[combination] != "done":
                self.state[combination] = "todo" if self.attempts[combination] < MAX_ATTEMPTS else "failed"

    @rule(who=OBJECTS, combination=COMBINATIONS)
    def skip(self, who: int, combination: int) -> None:
        if self.attempt(who, combination, lambda: self.sweepers[who].skip(combination)):
            self.claims[who].pop(combination, None)
            if self.state[combination] != "done":
                self.state[combination] = "todo"
                self.skips[who].add(combination)

    @rule(who=OBJECTS, combination=COMBINATIONS)
    def cancel(self, who: int, combination: int) -> None:
        if self.attempt(who, combination, lambda: self.sweepers[who].cancel(combination)):
            self.claims[who].pop(combination, None)
            self.skips[who].discard(combination)
            if self.state[combination] == "inprogress":
                self.state[combination] = "todo"
                self.attempts[combination] -= 1

    @rule(who=OBJECTS, combination=COMBINATIONS, value=st.integers())
    def checkpoint(self, who: int, combination: int, value: int) -> None:
        def step() -> None:
            try:
                self.sweepers[who].checkpoint(combination, value)
            except ValueError:
                assert self.state[combination] == "done"

        if self.attempt(who, combination, step) and self.state[combination] != "done":
            self.checkpoints[combination] = value

    @rule(who=OBJECTS)
    def retry_failed(self, who: int) -> None:
        failed = {one for one in PLAN if self.state[one] == "failed"}
        assert set(self.sweepers[who].retry_failed()) == failed
        for one in failed:
            self.state[one], self.attempts[one] = "todo", 0

    @rule(who=OBJECTS, inprogress=st.booleans())
    def reset(self, who: int, inprogress: bool) -> None:
        self.sweepers[who].reset(inprogress)
        self.skips[who].clear()
        if inprogress:
            self.claims[who].clear()
            for one in PLAN:
                if self.state[one] == "inprogress":
                    self.state[one] = "todo"
                    self.attempts[one] -= 1

    @rule(who=OBJECTS)
    def open_again(self, who: int) -> None:
        self.sweepers[who] = self.open()
        self.claims[who].clear()
        self.skips[who].clear()

    @rule(who=OBJECTS)
    def compact(self, who: int) -> None:
        self.sweepers[who].directory.compact()

    @rule(who=OBJECTS)
    def full_update(self, who: int) -> None:
        self.sweepers[who].full_update()

    @precondition(lambda self: hasattr(self, "sweepers"))
    @invariant()
    def all_see_what_the_model_says(self) -> None:
        for who, sweeper in enumerate(self.sweepers):
            expected = {one: "skipped" if self.state[one] == "todo" and one in self.skips[who] else self.state[one] for one in PLAN}
            found = {one: state for state, chosen in (("todo", sweeper.get_remaining()), ("inprogress", sweeper.get_inprogress()),
                                                      ("done", sweeper.get_done()), ("skipped", sweeper.get_skipped()),
                                                      ("failed", sweeper.get_failed())) for one in chosen}
            assert found == expected
            assert {one: sweeper.get_checkpoint(one) for one in PLAN if sweeper.get_checkpoint(one) is not None} == self.checkpoints
            for record in sweeper.records():
                assert (record.serial, record.attempts) == (self.serial[record.combination], self.attempts[record.combination])
        assert self.ever_done == self.sweepers[0].get_done()
        with SweepDirectory(self.path / "s") as directory:
            assert directory.verify().ok


Sweepers.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestSweepers = Sweepers.TestCase
