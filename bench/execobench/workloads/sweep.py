"""What a combination of a sweep costs, with the guarantee that what was done is on the disk."""

from __future__ import annotations

import fcntl
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice, product
from pathlib import Path
from typing import Any

from execobench.meter import Meter, expect_equal, rss_bytes, scratch
from execobench.registry import ORIGINAL, OURS, PLAIN, Implementation, Metric, Workload

WORKERS = 4
STEPS = 300
"""Combinations that are done of a million."""
CORES = 157
"""Of a space of 9**157 combinations, more than that of the paper."""


def parameters(n: int) -> dict[str, list[Any]]:
    """Of n combinations."""
    kinds, numbers = (10, 10) if n % 100 == 0 else (1, 1)
    return {"alpha": list(range(n // kinds // numbers)), "kind": [f"v{number}" for number in range(kinds)],
            "x": [number * 0.5 for number in range(numbers)]}


@contextmanager
def memory(name: str) -> Iterator[str]:
    """A folder in memory, where there is one: what remains is the cost of the program."""
    parent = "/dev/shm" if os.access("/dev/shm", os.W_OK) else scratch("")
    folder = tempfile.mkdtemp(prefix=f"execobench-{name}-", dir=parent)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _per_item(meter: Meter, n: int) -> dict[str, float]:
    return {"each": meter.values["wall"] / n, "cpu": meter.values["cpu"] / n}


def _loop(n: int, folder: str) -> dict[str, float]:
    engine = importlib.import_module("execo_engine")
    combinations = engine.sweep(parameters(n))
    sweeper = engine.ParamSweeper(folder + "/s", combinations)
    with Meter() as meter:
        while combination := sweeper.get_next():
            sweeper.done(combination)
    expect_equal("done", len(engine.ParamSweeper(folder + "/s", combinations).get_done()), n)
    return _per_item(meter, n)


def _journal(n: int, folder: str) -> dict[str, float]:
    fd = os.open(folder + "/journal", os.O_WRONLY | os.O_CREAT)
    place = 0
    with Meter() as meter:
        for number in range(n):
            for word in (b"begin", b"done"):
                fcntl.lockf(fd, fcntl.LOCK_EX)
                place += os.pwrite(fd, b"%s %d\n" % (word, number), place)
                os.fsync(fd)
                fcntl.lockf(fd, fcntl.LOCK_UN)
    os.close(fd)
    expect_equal("lines", Path(folder, "journal").read_bytes().count(b"\n"), 2 * n)
    return _per_item(meter, n)


NEXT = "update c set state=1 where id=(select id from c where state=0 order by id limit 1) returning id"


def _database(folder: str, n: int, durable: bool) -> Any:
    database = importlib.import_module("sqlite3").connect(folder + "/s.db", timeout=60, isolation_level=None)
    database.execute("pragma journal_mode=wal")
    database.execute(f"pragma synchronous={'full' if durable else 'normal'}")
    database.execute("begin immediate")
    database.execute("create table if not exists c(id integer primary key, state int not null default 0, v text unique)")
    database.execute("create index if not exists i on c(state,id)")
    values = parameters(n)
    database.executemany("insert or ignore into c(v) values(?)",
                         ((json.dumps(dict(zip(values, one, strict=True))),) for one in product(*values.values())))
    database.execute("commit")
    return database


def _database_loop(database: Any) -> int:
    number = 0
    while found := database.execute(NEXT).fetchall():
        database.execute("update c set state=2 where id=?", (found[0][0],))
        number += 1
    return number


def _sqlite(n: int, folder: str, durable: bool) -> dict[str, float]:
    database = _database(folder, n, durable)
    with Meter() as meter:
        number = _database_loop(database)
    database.close()
    expect_equal("done", number, n)
    return _per_item(meter, n)


def in_memory(function: Callable[[int, str], dict[str, float]]) -> Callable[[int], dict[str, float]]:
    def measure(n: int) -> dict[str, float]:
        with memory("loop") as folder:
            return function(n, folder)

    return measure


def on_disk(function: Callable[[int, str], dict[str, float]]) -> Callable[[int], dict[str, float]]:
    def measure(n: int) -> dict[str, float]:
        folder = scratch("sweep")
        os.mkdir(folder)
        return function(n, folder)

    return measure


def _million(n: int, make: Callable[[Any, dict[str, list[Any]]], Any]) -> dict[str, float]:
    engine = importlib.import_module("execo_engine")
    steps = min(STEPS, n)
    with memory("million") as folder:
        with Meter() as meter:
            sweeper = engine.ParamSweeper(folder + "/s", make(engine, parameters(n)))
            for _ in range(steps):
                sweeper.done(sweeper.get_next())
            meter.values["memory"] = rss_bytes()
        expect_equal("done", len(sweeper.get_done()), steps)
    return meter.values


def million_list(n: int) -> dict[str, float]:
    return _million(n, lambda engine, values: engine.sweep(values))


def million_space(n: int) -> dict[str, float]:
    return _million(n, lambda engine, values: engine.ParameterSpace(values))


ENGINE_WORKER = """
import os, sys
from execo_engine import ParamSweeper, sweep
from execobench.workloads.sweep import parameters
sweeper = ParamSweeper(sys.argv[1] + "/s", sweep(parameters(int(sys.argv[2]))))
number = 0
while combination := sweeper.get_next():
    sweeper.done(combination)
    number += 1
print(number, flush=True)
os._exit(0)
"""

SQLITE_WORKER = """
import sys
from execobench.workloads.sweep import _database, _database_loop
print(_database_loop(_database(sys.argv[1], int(sys.argv[2]), False)))
"""


def _share(n: int, worker: str) -> dict[str, float]:
    with memory("share") as folder:
        with Meter() as meter:
            children = [subprocess.Popen([sys.executable, "-c", worker, folder, str(n)], stdout=subprocess.PIPE) for _ in range(WORKERS)]
            outputs = [child.communicate()[0] for child in children]
        expect_equal("combinations", sum(map(int, outputs)), n)
    return meter.values


def share_engine(n: int) -> dict[str, float]:
    return _share(n, ENGINE_WORKER)


def share_sqlite(n: int) -> dict[str, float]:
    return _share(n, SQLITE_WORKER)


def _finished(n: int) -> tuple[str, Any]:
    """(folder, combinations) of a sweep that is done, written by a process of its own."""
    from execo_engine import sweep

    folder, combinations = scratch("finished"), sweep(parameters(n))
    code = ("import sys; from execo_engine import ParamSweeper, sweep; from execobench.workloads.sweep import parameters\n"
            "sweeper = ParamSweeper(sys.argv[1], sweep(parameters(int(sys.argv[2]))))\n"
            "while batch := sweeper.get_next_batch(1000): sweeper.done_batch(batch)\n")
    subprocess.run([sys.executable, "-c", code, folder, str(n)], check=True)
    return folder, combinations


def reopen(n: int) -> dict[str, float]:
    from execo_engine import ParamSweeper

    folder, combinations = _finished(n)
    with Meter() as meter:
        sweeper = ParamSweeper(folder, combinations)
        found = sweeper.get_next()
    expect_equal("next", found, None)
    return meter.values


def reopen_json(n: int) -> dict[str, float]:
    folder, _ = _finished(n)
    with Meter() as meter, open(folder + "/journal", "rb") as file:
        lines = [json.loads(line) for line in file]
    expect_equal("done", sum(line[1] == "done" for line in lines), n)
    return meter.values


def sample(n: int) -> dict[str, float]:
    from execo_engine import ParameterSpace

    with Meter() as meter:
        space = ParameterSpace({f"core-{number}": range(9) for number in range(CORES)})
        found = list(space.sample(n, seed=1))
    expect_equal("different", len(set(found)), n)
    return meter.values


def sample_random(n: int) -> dict[str, float]:
    import random

    with Meter() as meter:
        draw = random.Random(1)
        found = list(islice(iter(lambda: {f"core-{number}": draw.randrange(9) for number in range(CORES)}, None), n))
    expect_equal("number", len(found), n)
    return meter.values


EACH = (Metric("each", "µs", 1e6), Metric("cpu", "µs", 1e6, ratio=True))
WALL = (Metric("wall", "ms", 1000), Metric("cpu", "ms", 1000, ratio=True))

WORKLOADS = [
    Workload(
        name="sweep",
        title="get_next and done, in memory",
        size="combinations",
        sizes=(10_000,), quick_sizes=(1000,),
        base="bare journal",
        metrics=EACH,
        implementations=(
            Implementation("bare journal", in_memory(_journal)),
            Implementation("execo_engine", in_memory(_loop), OURS),
            Implementation("sqlite", in_memory(lambda n, folder: _sqlite(n, folder, False))),
            Implementation("execo 2.8.2", in_memory(_loop), ORIGINAL),
        ),
        note="What the program costs. Bare journal: a lock, a write and a sync for each of the two steps, and nothing else.",
    ),
    Workload(
        name="sweep-disk",
        title="get_next and done, on disk",
        size="combinations",
        sizes=(1000,), quick_sizes=(100,),
        base="bare journal",
        metrics=EACH,
        implementations=(
            Implementation("bare journal", on_disk(_journal)),
            Implementation("execo_engine", on_disk(_loop), OURS),
            Implementation("sqlite, synchronous", on_disk(lambda n, folder: _sqlite(n, folder, True))),
            Implementation("execo 2.8.2", on_disk(_loop), ORIGINAL),
        ),
        note="Each step is on the disk before it returns, but with execo 2.8.2, which leaves that to the system.",
    ),
    Workload(
        name="sweep-million",
        title=f"A plan of a million, of which {STEPS} are done",
        size="combinations",
        sizes=(1_000_000,), quick_sizes=(100_000,),
        base="execo_engine, list",
        metrics=(*WALL, Metric("memory", "MB", 1e-6, ratio=True)),
        implementations=(
            Implementation("execo_engine, list", million_list, OURS),
            Implementation("execo_engine, ParameterSpace", million_space, OURS),
            Implementation("execo 2.8.2", million_list, ORIGINAL, max_reps=2),
        ),
        reps=3,
    ),
    Workload(
        name="sweep-share",
        title=f"{WORKERS} processes share a sweep",
        size="combinations",
        sizes=(2000,), quick_sizes=(200,),
        base="sqlite",
        metrics=WALL,
        implementations=(
            Implementation("execo_engine", share_engine, OURS),
            Implementation("sqlite", share_sqlite),
            Implementation("execo 2.8.2", share_engine, ORIGINAL),
        ),
        note="In memory; with the start of the processes.",
    ),
    Workload(
        name="sweep-reopen",
        title="Open the directory of a sweep that is done",
        size="combinations, two records each",
        sizes=(100_000,), quick_sizes=(10_000,),
        base="json.loads of each line",
        metrics=WALL,
        implementations=(
            Implementation("json.loads of each line", reopen_json, PLAIN),
            Implementation("execo_engine", reopen, OURS),
        ),
        reps=3,
    ),
    Workload(
        name="sweep-sample",
        title=f"Samples of a space of 9^{CORES} combinations",
        size="samples",
        sizes=(100,), quick_sizes=(100,),
        base="random.randrange",
        metrics=WALL,
        implementations=(
            Implementation("random.randrange", sample_random),
            Implementation("execo_engine", sample, OURS),
        ),
        note="random.randrange: each parameter by itself, with no care for twice the same.",
    ),
]
