"""Campaigns that are killed: nothing is lost, nothing is done twice, nothing is left behind."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from execo_engine.results import Results
from execo_engine.sweep import SweepDirectory

SCRIPT = """\
import os, sys, time
from execo import Process
from execo_engine.testbeds import StaticTestbed
from execo_engine.workflow import SweepEngine

class Campaign(SweepEngine):
    parameters = {"size": list(range(int(os.environ["SIZE"])))}
    testbed = StaticTestbed(["h1", "h2", "h3"])
    check_hosts = False
    max_attempts = 1000

    def run_combination(self, combination, hosts, directory):
        with open(os.environ["BEGUN"], "a") as file:
            file.write(f"{combination['size']}\\n")
        if Process(f"sleep {os.environ['SECONDS']}").run().exit_code != 0:
            raise RuntimeError("the sleep was disturbed")
        return {"double": 2 * combination["size"]}

if os.environ.get("DIE") == "before done":
    from execo_engine.sweep import ParamSweeper
    ParamSweeper.done = lambda *_: os.kill(os.getpid(), 9)
Campaign().start()
"""


class Runner:
    def __init__(self, folder: Path, size: int, seconds: float) -> None:
        self.folder = folder / "run"
        self.script = folder / "campaign.py"
        self.begun = folder / "begun"
        self.begun.touch()
        self.script.write_text(SCRIPT)
        self.environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "SIZE": str(size), "SECONDS": str(seconds),
                            "BEGUN": str(self.begun)}

    def start(self, **environment: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, str(self.script), "-c", str(self.folder), "-l", "ERROR"], stdin=subprocess.DEVNULL,
                                env={**self.environment, **environment})

    def wait_for_begins(self, number: int) -> None:
        deadline = time.monotonic() + 60
        while len(self.begun.read_text().split()) < number:
            assert time.monotonic() < deadline
            time.sleep(0.01)                    # another program's file is looked at

    def sweep(self) -> SweepDirectory:
        return SweepDirectory(str(self.folder / "sweep"))

    def check_all_done(self, size: int) -> None:
        with self.sweep() as sweep:
            found = sweep.verify()
            assert (found.ok, found.duplicates_done) == (True, 0)
            assert sweep.counts() == {"total": size, "todo": 0, "inprogress": 0, "done": size, "skipped": 0, "failed": 0}
        results = Results(self.folder).read()
        assert Counter(result.parameters["size"] for result in results) == Counter(range(size))
        assert all(result.metrics["double"] == 2 * result.parameters["size"] for result in results)


def test_a_campaign_killed_again_and_again_loses_nothing_and_does_nothing_twice(tmp_path: Path) -> None:
    runner = Runner(tmp_path, size=40, seconds=0.02)
    dice = random.Random(1)
    kills = 0
    while kills < 60:
        process = runner.start()
        try:
            # Within its start, its work, or its end, whatever the machine's speed.
            process.wait(dice.uniform(0.3, 1.5) * (1 + kills / 5))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
            continue
        break
    assert process.returncode == 0
    assert kills > 0
    runner.check_all_done(40)


def test_two_programs_share_a_campaign_and_one_is_killed(tmp_path: Path) -> None:
    runner = Runner(tmp_path, size=30, seconds=0.1)
    first = runner.start()
    runner.wait_for_begins(4)
    second = runner.start()
    runner.wait_for_begins(10)
    first.kill()
    first.wait()
    assert second.wait(60) == 0
    runner.check_all_done(30)


def test_a_death_between_the_result_and_its_done_gives_one_result(tmp_path: Path) -> None:
    runner = Runner(tmp_path, size=3, seconds=0)
    assert runner.start(DIE="before done").wait(60) == -signal.SIGKILL
    assert len(Results(runner.folder).read()) == 1
    assert runner.start().wait(60) == 0
    runner.check_all_done(3)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_at_the_end_of_a_job_gives_back_what_runs_and_keeps_what_is_done(number: signal.Signals, tmp_path: Path) -> None:
    runner = Runner(tmp_path, size=6, seconds=0)
    assert runner.start(SIZE="2").wait(60) == 0
    runner.environment["SECONDS"] = "1234.5"
    process = runner.start()
    runner.wait_for_begins(2 + 3)
    process.send_signal(number)
    assert process.wait(60) == 128 + number
    with runner.sweep() as sweep:
        assert sweep.counts() == {"total": 6, "todo": 4, "inprogress": 0, "done": 2, "skipped": 0, "failed": 0}
        # It was not its fault.
        assert {record.attempts for record in sweep.records("todo")} == {0}
    assert not any("1234.5" in command for command in _commands())
    notebook = json.loads((runner.folder / "notebook-2.json").read_text())
    assert notebook["outcome"]["kind"] == "exit"
    runner.environment["SECONDS"] = "0"
    assert runner.start().wait(60) == 0
    runner.check_all_done(6)


def test_an_interrupt_gives_back_what_runs(tmp_path: Path) -> None:
    runner = Runner(tmp_path, size=4, seconds=1234.25)
    process = runner.start()
    runner.wait_for_begins(3)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) != 0
    with runner.sweep() as sweep:
        assert sweep.counts()["todo"] == 4
    assert not any("1234.25" in command for command in _commands())


def _commands() -> list[str]:
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
            except OSError:             # it ended meanwhile
                continue
    return found
