"""`ParamSweeper` as scripts use it: the methods of execo 2.8, and what is new."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from execo_engine.sweep import ClaimLost, HashableDict, ParameterSpace, ParamSweeper, SweepDirectory, sweep


def make(path: Path, n: int = 4, **options: Any) -> ParamSweeper:
    return ParamSweeper(path / "s", sweep({"n": list(range(n))}), **options)


def one(n: int) -> HashableDict:
    return HashableDict(n=n)


def numbers(combinations: Any) -> list[int]:
    return sorted(combination["n"] for combination in combinations)


def states(sweeper: ParamSweeper) -> dict[str, list[int]]:
    return {"todo": numbers(sweeper.get_remaining()), "inprogress": numbers(sweeper.get_inprogress()), "done": numbers(sweeper.get_done()),
            "skipped": numbers(sweeper.get_skipped()), "failed": numbers(sweeper.get_failed())}


def down(remaining: Any) -> Any:
    return sorted(remaining, key=lambda combination: -combination["n"])


def test_the_life_of_combinations(tmp_path: Path) -> None:
    sweeper = make(tmp_path)
    assert str(sweeper) == "s <4 total, 0 done, 0 skipped, 0 in progress, 4 remaining>"
    first = sweeper.get_next()
    assert first == one(0)
    sweeper.done(first)
    last = sweeper.get_next(down)
    assert last == one(3)
    sweeper.skip(last)
    other = sweeper.get_next(filtr=down)
    assert states(sweeper) == {"todo": [1], "inprogress": [2], "done": [0], "skipped": [3], "failed": []}
    sweeper.cancel(other)
    assert str(sweeper) == "s <4 total, 1 done, 1 skipped, 0 in progress, 2 remaining>"
    sweeps, remaining, skipped, inprogress, done = sweeper.stats()
    assert list(map(numbers, (sweeps, remaining, skipped, inprogress, done))) == [[0, 1, 2, 3], [1, 2], [3], [], [0]]
    assert sweeper.counts() == {"total": 4, "todo": 2, "inprogress": 0, "done": 1, "skipped": 1, "failed": 0}
    assert (sweeper.remaining_count, sweeper.failed_count) == (2, 0)


def test_batches_and_exhaustion(tmp_path: Path) -> None:
    sweeper = make(tmp_path, 6)
    first, second = sweeper.get_next_batch(2), sweeper.get_next_batch(3, down)
    assert (numbers(first), [c["n"] for c in second]) == ([0, 1], [5, 4, 3])
    sweeper.done_batch(first)
    sweeper.skip_batch(second[:2])
    sweeper.cancel_batch(second[2:])
    assert states(sweeper) == {"todo": [2, 3], "inprogress": [], "done": [0, 1], "skipped": [4, 5], "failed": []}
    assert numbers(sweeper.get_next_batch(10)) == [2, 3]
    assert sweeper.get_next_batch(10) == sweeper.get_next_batch(0) == []
    assert sweeper.get_next() is None
    assert sweeper.get_next(lambda remaining: remaining) is None


def test_new_ones_come_in_the_order_of_the_plan_and_those_that_came_back_last(tmp_path: Path) -> None:
    sweeper = make(tmp_path)
    sweeper.cancel(sweeper.get_next())
    assert [sweeper.get_next()["n"] for _ in range(4)] == [1, 2, 3, 0]


def test_a_filter_may_ask_the_sweeper_and_raise_and_spoil_its_set(tmp_path: Path) -> None:
    sweeper = make(tmp_path)

    def spoil(remaining: Any) -> Any:
        assert sweeper.get_next() is not None
        chosen = list(remaining)
        remaining.clear()
        return [one(77), "stranger", *chosen]

    assert sweeper.get_next(spoil) is not None
    assert len(sweeper.get_inprogress()) == 2
    with pytest.raises(ZeroDivisionError):
        sweeper.get_next(lambda remaining: 1 / 0)  # type: ignore[arg-type, return-value]
    assert sweeper.get_next(lambda remaining: []) is None
    assert len(sweeper.get_inprogress()) == 2
    assert sweeper.get_next() is not None


def test_a_new_object_sees_what_is_done_and_in_progress_and_nothing_skipped(tmp_path: Path) -> None:
    sweeper = make(tmp_path)
    sweeper.done(sweeper.get_next())
    sweeper.get_next()
    sweeper.skip(sweeper.get_next())
    assert states(make(tmp_path)) == {"todo": [2, 3], "inprogress": [1], "done": [0], "skipped": [], "failed": []}
    assert states(sweeper)["skipped"] == [2]


def test_what_one_object_does_the_other_sees(tmp_path: Path) -> None:
    first, second = make(tmp_path), make(tmp_path)
    mine, theirs = first.get_next(), second.get_next()
    assert (mine, theirs) == (one(0), one(1))
    first.done(mine)
    second.cancel(theirs)
    assert states(first) == states(second) == {"todo": [1, 2, 3], "inprogress": [], "done": [0], "skipped": [], "failed": []}


def test_reset_brings_back_skipped_ones_and_those_in_progress_if_asked(tmp_path: Path) -> None:
    sweeper = make(tmp_path)
    sweeper.skip(sweeper.get_next())
    sweeper.get_next()
    sweeper.reset()
    assert states(sweeper) == {"todo": [0, 2, 3], "inprogress": [1], "done": [], "skipped": [], "failed": []}
    sweeper.reset(reset_inprogress=True)
    assert states(sweeper)["todo"] == [0, 1, 2, 3]
    assert numbers(sweeper.get_next_batch(9)) == [0, 1, 2, 3]


def test_persistent_skips_hold_for_all_until_reset(tmp_path: Path) -> None:
    sweeper = make(tmp_path, persistent_skip=True)
    sweeper.skip(sweeper.get_next(), "too small")
    again = make(tmp_path)
    assert numbers(again.get_skipped()) == [0]
    record = again.record(one(0))
    assert record is not None
    assert (record.state, record.reason) == ("skipped", "too small")
    assert numbers(again.get_next_batch(9)) == [1, 2, 3]
    again.reset()
    assert numbers(sweeper.get_remaining()) == [0]


def test_what_was_skipped_is_not_handed_out_again_by_this_object(tmp_path: Path) -> None:
    sweeper = make(tmp_path, 2)
    sweeper.skip(one(1))
    assert sweeper.get_next() == one(0)
    assert sweeper.get_next() is None
    sweeper.cancel(one(1))
    assert sweeper.get_next() == one(1)


def test_done_needs_no_claim_and_lasts(tmp_path: Path) -> None:
    sweeper = make(tmp_path, 3)
    sweeper.done(one(0))
    sweeper.done(one(0))
    sweeper.done(one(99))
    for step in (sweeper.cancel, sweeper.skip, sweeper.fail):
        step(one(0))
    assert states(sweeper) == {"todo": [1, 2], "inprogress": [], "done": [0], "skipped": [], "failed": []}
    assert states(make(tmp_path, 100))["done"] == [0, 99]


def test_sweeps_can_change(tmp_path: Path) -> None:
    sweeper = make(tmp_path)
    sweeper.done(sweeper.get_next())
    sweeper.get_next()
    sweeper.set_sweeps(sweep({"n": [1, 2, 7]}))
    assert states(sweeper) == {"todo": [2, 7], "inprogress": [1], "done": [], "skipped": [], "failed": []}
    assert sweeper.get_next_batch(5) == [one(2), one(7)]
    sweeper.set_sweeps(sweep({"n": [0, 1, 2, 3]}))
    assert states(sweeper) == {"todo": [3], "inprogress": [1, 2], "done": [0], "skipped": [], "failed": []}


@pytest.mark.parametrize("sweeps", [None, [], set(), ()], ids=str)
def test_without_sweeps_the_saved_ones_are_taken_if_there_are_any(sweeps: Any, tmp_path: Path) -> None:
    make(tmp_path)
    with pytest.raises(EOFError, match="none were saved"):
        ParamSweeper(tmp_path / "s", sweeps)
    make(tmp_path, save_sweeps=True)
    sweeper = ParamSweeper(tmp_path / "s", sweeps)
    assert sweeper.get_sweeps() == set(sweep({"n": range(4)}))
    assert ParamSweeper(tmp_path / "s").get_next() == one(0)


def test_any_hashable_is_a_combination(tmp_path: Path) -> None:
    values = [("a", 1), "s", 3, None, float("nan"), frozenset("ab"), HashableDict(x=HashableDict(y=(1,))), 2.5, b"\xff", True]
    sweeper = ParamSweeper(tmp_path / "s", values)
    for _ in range(3):
        sweeper.done(sweeper.get_next())
    sweeper = ParamSweeper(tmp_path / "s", values)
    while (combination := sweeper.get_next()) is not None or sweeper.get_remaining():
        sweeper.done(combination)
    assert str(ParamSweeper(tmp_path / "s", values)) == "s <10 total, 10 done, 0 skipped, 0 in progress, 0 remaining>"


def test_names(tmp_path: Path) -> None:
    assert str(ParamSweeper(tmp_path / "d" / "my_sweep", "ab")).startswith("my_sweep <2 total")
    assert str(ParamSweeper(str(tmp_path / "e"), {"x"}, name="given")).startswith("given <1 total")


def test_what_is_handed_out_are_copies(tmp_path: Path) -> None:
    sweeper = make(tmp_path, 2)
    for found in (sweeper.get_remaining(), sweeper.get_sweeps(), *sweeper.stats()):
        found.clear()
    assert str(sweeper) == "s <2 total, 0 done, 0 skipped, 0 in progress, 2 remaining>"


def test_equal_combinations_are_one(tmp_path: Path) -> None:
    sweeper = ParamSweeper(tmp_path / "s", [1, True, 1.0, 2])
    assert str(sweeper).startswith("s <2 total")
    sweeper.done(1.0)
    assert ParamSweeper(tmp_path / "s", [1, 2]).get_done() == {1}


# Failures

def test_a_failure_has_a_reason_and_stays_until_it_is_retried(tmp_path: Path) -> None:
    sweeper = make(tmp_path)
    assert sweeper.fail(sweeper.get_next(), "no route to host") == "failed"
    assert sweeper.fail(sweeper.get_next(), ValueError("bad")) == "failed"
    again = make(tmp_path)
    assert states(again)["failed"] == [0, 1]
    assert str(again) == "s <4 total, 0 done, 0 skipped, 0 in progress, 2 remaining, 2 failed>"
    assert [record.reason for record in again.records("failed")] == ["no route to host", "ValueError: bad"]
    assert numbers(again.retry_failed([one(1), one(3)])) == [1]
    assert states(sweeper) == {"todo": [1, 2, 3], "inprogress": [], "done": [], "skipped": [], "failed": [0]}
    assert numbers(again.retry_failed()) == [0]
    assert numbers(sweeper.get_next_batch(9)) == [0, 1, 2, 3]


def test_a_failure_is_tried_again_as_often_as_wanted(tmp_path: Path) -> None:
    sweeper = make(tmp_path, 1, max_attempts=3)
    assert [sweeper.fail(sweeper.get_next(), "again") for _ in range(3)] == ["todo", "todo", "failed"]
    assert sweeper.get_next() is None
    record = sweeper.record(one(0))
    assert record is not None
    assert (record.attempts, record.serial, record.reason) == (3, 3, "again")
    sweeper.retry_failed()
    sweeper.cancel(sweeper.get_next())          # does not count
    assert [sweeper.fail(sweeper.get_next()) for _ in range(3)] == ["todo", "todo", "failed"]


def test_a_record_says_who_when_and_how_long_whatever_the_clock_does(tmp_path: Path) -> None:
    sweeper = make(tmp_path)
    store = sweeper._store
    now, ticks = [1000.0], [50.0]
    store.clock, store.monotonic = lambda: now[0], lambda: ticks[0]
    combination = sweeper.get_next()
    now[0], ticks[0] = 400.0, 62.5              # somebody sets the clock back ten minutes
    sweeper.done(combination)
    record = sweeper.record(combination)
    assert record is not None
    assert (record.state, record.attempts, record.start_date, record.end_date, record.seconds) == ("done", 1, 1000.0, 1012.5, 12.5)
    assert record.owner is not None
    assert record.owner.local
    assert sweeper.record(one(3)) is None
    assert sweeper.records("inprogress") == []
    with pytest.raises(ValueError, match="no state 'finished', only todo"):
        sweeper.records("finished")


# Checkpoints

def test_the_next_owner_is_handed_the_checkpoint(tmp_path: Path) -> None:
    sweeper = make(tmp_path, 1)
    combination = sweeper.get_next()
    assert sweeper.get_checkpoint(combination) is None
    state = {"step": 3, "best": [1.5, float("inf")], "seen": {1, 2}, "raw": b"\x00", "where": ("a", 1)}
    sweeper.checkpoint(combination, {"step": 1})
    sweeper.checkpoint(combination, state)
    sweeper.cancel(combination)
    again = make(tmp_path, 1)
    assert again.get_checkpoint(again.get_next()) == state
    record = again.record(one(0))
    assert record is not None
    assert record.has_checkpoint
    again.directory.compact()
    assert sweeper.get_checkpoint(combination) == state
    again.done(combination)
    assert again.get_checkpoint(combination) is None
    with pytest.raises(ValueError, match="is done"):
        again.checkpoint(combination, state)


def test_a_checkpoint_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    sweeper = make(tmp_path, 1)
    with pytest.raises(ValueError, match="save it in a file"):
        sweeper.checkpoint(one(0), "x" * 2_000_000)
    with pytest.raises(TypeError, match="encoder="):
        sweeper.checkpoint(one(0), object())
    assert sweeper.get_checkpoint(one(0)) is None


# Claims that others took

def test_a_late_worker_learns_that_its_claim_was_taken(tmp_path: Path) -> None:
    late, other = make(tmp_path, 1), make(tmp_path, 1)
    combination = late.get_next()
    late.check(combination)
    other.cancel(combination)
    late.check(combination)                     # nobody has it: it may still be done
    assert other.get_next() == combination
    mine = dict(late._claims)
    for step in (late.check, late.done, late.skip, late.cancel, late.fail):
        late._claims.update(mine)               # the first step that learns it forgets the claim
        with pytest.raises(ClaimLost, match="not ours any more: inprogress, last claimed by process") as caught:
            step(combination)
        assert caught.value.combination == combination
    late._claims.update(mine)
    with pytest.raises(ClaimLost):
        late.checkpoint(combination, 1)
    other.done(combination)
    late._claims.update(mine)
    with pytest.raises(ClaimLost, match="any more: done"):
        late.done(combination)
    assert states(late)["done"] == [0]


def test_a_result_that_comes_late_counts_if_nobody_took_the_claim(tmp_path: Path) -> None:
    late, other = make(tmp_path, 2), make(tmp_path, 2)
    combination = late.get_next()
    other.cancel(combination)
    late.done(combination)
    assert states(other)["done"] == [0]


def test_close_gives_back_what_is_in_progress(tmp_path: Path) -> None:
    with make(tmp_path) as sweeper:
        sweeper.done(sweeper.get_next())
        sweeper.get_next()
    assert states(make(tmp_path)) == {"todo": [1, 2, 3], "inprogress": [], "done": [0], "skipped": [], "failed": []}
    sweeper.close()


# The plan

def test_a_changed_plan_is_noticed_and_what_was_done_is_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sweeper = make(tmp_path)
    assert sweeper.plan_change is None
    sweeper.done(one(0))
    assert make(tmp_path).plan_change is None
    assert ParamSweeper(tmp_path / "s", set(sweep({"n": [3, 2, 1, 0.0]}))).plan_change is None
    with caplog.at_level("WARNING", "execo.engine"):
        changed = ParamSweeper(tmp_path / "s", sweep({"n": [0, 1, 2, 5, 6, 7]}))
    assert changed.plan_change == (3, 1, 3, True)
    assert "3 combinations added, 1 removed, 3 kept" in caplog.text
    assert states(changed)["done"] == [0]
    assert [note["kind"] for note in changed.directory.history()] == ["plan", "plan"]
    assert changed.directory.history()[-1]["added"] == 3


def test_a_large_plan_in_another_order_is_the_same_plan(tmp_path: Path) -> None:
    ParamSweeper(tmp_path / "s", list(range(30_000)))
    assert ParamSweeper(tmp_path / "s", list(range(30_000))).plan_change is None
    again = ParamSweeper(tmp_path / "s", list(reversed(range(30_000))))
    assert again.plan_change is None
    assert again.get_next() == 29_999
    assert ParamSweeper(tmp_path / "s", set(range(30_000))).plan_change is None
    assert ParamSweeper(tmp_path / "s", list(range(30_001))).plan_change == (1, 0, 30_000, True)


def test_plans_that_are_too_large_to_compare_are_compared_by_size(tmp_path: Path) -> None:
    ParamSweeper(tmp_path / "s", ParameterSpace({"n": range(10**30)}))
    assert ParamSweeper(tmp_path / "s", ParameterSpace({"n": range(10**30)})).plan_change is None
    change = ParamSweeper(tmp_path / "s", ParameterSpace({"n": range(10**30 + 5)})).plan_change
    assert change == (5, 0, 10**30, False)


def test_a_list_of_200000_is_handed_out_without_an_index(tmp_path: Path) -> None:
    plan = list(range(200_000))
    sweeper = ParamSweeper(tmp_path / "s", plan)
    assert sweeper.get_next_batch(3) == [0, 1, 2]
    sweeper.done(1)
    sweeper.cancel(0)
    assert not sweeper._plan.indexed
    again = ParamSweeper(tmp_path / "s", plan)
    assert again.plan_change is None
    assert again.get_next() == 3
    assert again.get_done() == {1}
    assert again.counts() == {"total": 200_000, "todo": 199_997, "inprogress": 2, "done": 1, "skipped": 0, "failed": 0}
    with pytest.raises(LookupError, match="not stored"):
        list(again.directory.combinations())


# Arguments

@pytest.mark.parametrize("options, message", [
    ({"lease": 0}, "a lease is a positive"), ({"lease": "soon"}, "soon"), ({"max_attempts": 0}, "at least 1"),
], ids=str)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        make(tmp_path, **options)


def test_a_lease_is_any_duration(tmp_path: Path) -> None:
    assert make(tmp_path, lease="0:02:00")._store._watch.lease == 120


def test_a_file_in_the_place_of_the_directory_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("")
    with pytest.raises(NotADirectoryError):
        make(tmp_path)


# Tools

def test_a_directory_is_looked_at_without_a_plan(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        SweepDirectory(tmp_path / "s")
    sweeper = make(tmp_path)
    sweeper.done(sweeper.get_next())
    sweeper.fail(sweeper.get_next(), "why")
    sweeper.get_next()
    directory = SweepDirectory(tmp_path / "s")
    assert directory.counts() == {"total": 4, "todo": 1, "inprogress": 1, "done": 1, "skipped": 0, "failed": 1}
    assert list(directory.combinations()) == sweep({"n": range(4)})
    assert directory.plan is not None
    assert (directory.plan.size, directory.plan.stored, directory.plan.name) == (4, True, "s")
    assert [(record.combination, record.reason) for record in directory.records("failed")] == [(one(1), "why")]
    [status] = directory.owners()
    assert (status.alive, status.claims) == (True, 1)
    assert directory.refresh()
    assert not directory.refresh()
    sweeper.done(one(3))
    assert directory.refresh()
    for change in (lambda: directory.retry([]), lambda: directory.cancel([]), directory.compact):
        with pytest.raises(PermissionError, match="write=True"):
            change()
    with SweepDirectory(tmp_path / "s", write=True) as writable:
        assert writable.retry(writable.records()) == 1
        assert writable.cancel(writable.records("inprogress")) == 1
        before, after = writable.compact()
        assert after < before
        assert writable.verify().ok
    assert states(sweeper) == {"todo": [1, 2], "inprogress": [], "done": [0, 3], "skipped": [], "failed": []}


def test_the_journal_is_json_that_other_tools_read(tmp_path: Path) -> None:
    sweeper = make(tmp_path)
    sweeper.done(sweeper.get_next())
    lines = [json.loads(line) for line in (tmp_path / "s" / "journal").read_text().splitlines()]
    assert [line[1] for line in lines] == ["format", "plan", "owner", "inprogress", "done"]
    assert lines[-1][9] == {"n": 0}


def test_a_journal_of_a_later_version_is_refused(tmp_path: Path) -> None:
    from execo_engine._sweep.journal import make_note

    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "journal").write_bytes(make_note("format", {"execo_engine": 99}))
    with pytest.raises(ValueError, match="format 99, this version of execo_engine reads 1"):
        make(tmp_path)


def test_a_worker_starts_quickly_for_it_imports_the_sweeps_only() -> None:
    code = ("import sys, threading; from execo_engine import ParamSweeper, sweep\n"
            "print([name for name in ('execo', 'argparse', 'logging', 'pickletools', 'simplejson') if name in sys.modules], "
            "threading.active_count(), sweep({'a': [1]}))\n"
            "import execo_engine; print(execo_engine.logger.name, execo_engine.sweep is sweep, 'Engine' in dir(execo_engine))")
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).resolve().parents[2])
    assert found.stdout.splitlines() == ["[] 1 [{'a': 1}]", "execo.engine True True"], found.stderr


# Threads

def test_threads_share_one_sweeper(tmp_path: Path) -> None:
    sweeper = make(tmp_path, 200)
    taken: list[Any] = []

    def work() -> None:
        while (combination := sweeper.get_next()) is not None:
            taken.append(combination)
            sweeper.done(combination)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert numbers(taken) == list(range(200))
    assert str(sweeper) == "s <200 total, 200 done, 0 skipped, 0 in progress, 0 remaining>"


def test_threads_each_with_a_sweeper_of_its_own_on_the_directory(tmp_path: Path) -> None:
    taken: list[Any] = []

    def work() -> None:
        sweeper = make(tmp_path, 100)
        while (combination := sweeper.get_next(down)) is not None:
            taken.append(combination)
            sweeper.done(combination)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert numbers(taken) == list(range(100))


def test_steps_of_threads_that_wait_share_a_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from execo_engine._sweep import files

    sweeper = make(tmp_path, 50)
    combinations = sweeper.get_next_batch(50)
    writes = []
    write_at, go = files.write_at, threading.Event()

    def counted(fd: int, data: bytes, offset: int) -> None:
        writes.append(data.count(b"\n"))
        go.wait(10)
        write_at(fd, data, offset)

    monkeypatch.setattr(files, "write_at", counted)
    threads = [threading.Thread(target=sweeper.done, args=(combination,)) for combination in combinations]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 10
    while len(sweeper._store._queue) < 49 and time.monotonic() < deadline:
        time.sleep(0.001)           # until all wait behind the first
    go.set()
    for thread in threads:
        thread.join()
    assert writes == [1, 49]
    assert len(sweeper.get_done()) == 50


def test_nothing_stays_open_when_the_sweeper_is_gone(tmp_path: Path) -> None:
    sweeper = make(tmp_path)
    sweeper.get_next()
    assert any(thread.name == "execo-sweep-pulse" for thread in threading.enumerate())
    assert list((tmp_path / "s" / "owners").iterdir()) != []
    del sweeper
    gc.collect()
    assert list((tmp_path / "s" / "owners").iterdir()) == []        # the rest is for the fixture that looks for what is left behind
