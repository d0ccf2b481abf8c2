"""Processes that share a sweep, and are killed: run as a program, apart from pytest, so that forks are of a small process.

    sweep_workers.py DIRECTORY WORKERS COMBINATIONS KILLS SEED

Forks workers; kills one with SIGKILL at a random moment, and forks another, until KILLS were killed; then waits for the work to end.
Each worker writes "begin N" before and "done N" after a combination is done, to DIRECTORY/log.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

from execo_engine.sweep import ParamSweeper


def work(directory: Path, combinations: int) -> None:
    log = os.open(directory / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    sweeper = ParamSweeper(directory / "s", range(combinations))
    while True:
        if (combination := sweeper.get_next()) is None:
            if not sweeper.get_inprogress():
                return
            time.sleep(0.002)           # others may be killed: their combinations come back
            continue
        os.write(log, f"begin {combination}\n".encode())
        sweeper.done(combination)
        os.write(log, f"done {combination}\n".encode())


def start(directory: Path, combinations: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        work(directory, combinations)
        os._exit(0)
    except BaseException as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        os._exit(1)


def main(directory: Path, workers: int, combinations: int, kills: int, seed: int) -> int:
    draw = random.Random(seed)
    alive = [start(directory, combinations) for _ in range(workers)]
    for _ in range(kills):
        time.sleep(draw.random() * 0.01)
        victim = alive.pop(draw.randrange(len(alive)))
        os.kill(victim, signal.SIGKILL)
        if draw.random() < 0.5:         # else a zombie for a while: it is gone too
            os.waitpid(victim, 0)
        alive.append(start(directory, combinations))
    failed = 0
    for pid in alive:
        _, status = os.waitpid(pid, 0)
        failed += os.waitstatus_to_exitcode(status) not in (0, -signal.SIGKILL)
    return failed


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *map(int, sys.argv[2:])))
