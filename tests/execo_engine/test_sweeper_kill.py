"""Workers that are killed with SIGKILL at random moments lose nothing, do nothing twice, and block nobody."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from execo_engine._sweep.journal import Entry, frame, make_note
from execo_engine.sweep import ParamSweeper

ROOT = Path(__file__).resolve().parents[2]
KILLS = int(os.environ.get("EXECO_SWEEP_KILLS", "200"))     # in campaigns of 200
"""For a long run: EXECO_SWEEP_KILLS=10000 pytest --timeout=0 tests/execo_engine/test_sweeper_kill.py"""


def python(*arguments: Any, **options: Any) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "helpers"), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen([sys.executable, *map(str, arguments)], env={**os.environ, "PYTHONPATH": path}, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def run_workers(directory: Path, workers: int, combinations: int, kills: int, seed: int = 0) -> Counter[str]:
    """Lines of the log, counted."""
    process = python(ROOT / "tests" / "helpers" / "sweep_workers.py", directory, workers, combinations, kills, seed)
    _, errors = process.communicate(timeout=110)
    assert (process.returncode, errors) == (0, "")
    sweeper = ParamSweeper(directory / "s", range(combinations))
    assert sweeper.counts() == {"total": combinations, "todo": 0, "inprogress": 0, "done": combinations, "skipped": 0, "failed": 0}
    verification = sweeper.directory.verify()
    assert (verification.ok, verification.duplicates_done, verification.damaged) == (True, 0, [])
    found = Counter((directory / "log").read_text().splitlines())
    # Each line "done" was written after done() had returned; a kill may come before the line, never before the record.
    assert max(number for line, number in found.items() if line.startswith("done")) == 1
    return found


@pytest.mark.parametrize("workers", [4, 16])
def test_kill_9_at_random_moments(workers: int, quick_path: Path) -> None:
    for campaign in range(max(1, KILLS // 200)):
        directory = quick_path / str(campaign)
        directory.mkdir()
        found = run_workers(directory, workers, 1000, 100, seed=campaign)
        begun = sum(number for line, number in found.items() if line.startswith("begin"))
        assert 1000 <= begun <= 1100            # only what was killed was begun again
        assert list((directory / "s" / "owners").iterdir()) == []


def test_64_workers_on_one_directory(quick_path: Path) -> None:
    found = run_workers(quick_path, 64, 640, 0)
    assert set(found.values()) == {1}


WAITER = """
import sys, time
from execo_engine.sweep import ParamSweeper
sweeper = ParamSweeper(sys.argv[1], range(3))
print(sweeper.get_next(), flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("end", ["kill", "exit", "zombie"])
def test_the_claims_of_a_process_that_ended_are_remaining_at_once(end: str, tmp_path: Path) -> None:
    sweeper = ParamSweeper(tmp_path / "s", range(3))
    worker = python("-c", WAITER, tmp_path / "s", stdin=subprocess.PIPE)
    assert worker.stdout is not None
    assert worker.stdin is not None
    assert worker.stdout.readline() == "0\n"
    assert sweeper.get_inprogress() == {0}
    sweeper.update()
    assert sweeper.get_inprogress() == {0}
    if end == "exit":
        worker.stdin.write("\n")
        worker.stdin.flush()
    else:
        worker.send_signal(signal.SIGKILL)
    if end == "zombie":
        os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOWAIT)
    else:
        worker.wait()
    assert [sweeper.get_next() for _ in range(4)] == [1, 2, 0, None]
    record = sweeper.record(0)
    assert record is not None
    assert (record.attempts, record.serial) == (2, 2)
    worker.communicate()


def test_a_combination_whose_workers_die_is_given_up_after_max_attempts(tmp_path: Path) -> None:
    sweeper = ParamSweeper(tmp_path / "s", range(3), max_attempts=2)
    sweeper.done_batch([1, 2])
    for _ in range(2):
        worker = python("-c", WAITER, tmp_path / "s", stdin=subprocess.PIPE)
        assert worker.stdout is not None
        assert worker.stdout.readline() == "0\n"
        worker.kill()
        worker.communicate()
        sweeper.update()
    assert sweeper.get_failed() == {0}
    [record] = sweeper.records("failed")
    assert record.reason is not None
    assert f"process {worker.pid}" in record.reason
    assert record.reason.endswith("is gone")


@pytest.mark.serial
def test_a_journal_of_a_million_records(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    with open(tmp_path / "s" / "journal", "wb") as file:
        file.write(make_note("format", {"execo_engine": 1}))
        file.writelines(frame(b'"done",1,1,"c0ffee",1763772000.120000,1763772001.300000,%d,0,%d' % (len(str(n)), n)) for n in range(10**6))
    assert frame(Entry("done", 1, 1, "c0ffee", 1763772000.12, 1763772001.3, b"7", {}).body()) == frame(
        b'"done",1,1,"c0ffee",1763772000.120000,1763772001.300000,1,0,7')
    sweeper = ParamSweeper(tmp_path / "s", range(10**6 + 2))
    assert sweeper.get_next_batch(5) == [10**6, 10**6 + 1]
    sweeper.done(10**6)
    assert sweeper.counts()["done"] == 10**6 + 1
    assert sweeper.directory.verify().ok
