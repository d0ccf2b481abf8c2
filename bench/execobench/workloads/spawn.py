"""Start many short processes at once and wait for all: with a small parent, and with one that has a large heap."""

from __future__ import annotations

import importlib
import os
import subprocess
from collections.abc import Callable

from execobench.meter import Meter, PeakThreads, expect_equal, limit, raise_descriptor_limit, run_limit
from execobench.registry import ORIGINAL, OURS, Implementation, Metric, Workload
from execobench.workloads import references

COMMAND = ["/bin/true"]
HEAP_MB = int(os.environ.get("EXECOBENCH_HEAP_MB", "1024"))
"""Smaller in the tests."""


def spawn_execo(n: int) -> dict[str, float]:
    from execo import Process

    with PeakThreads() as looked, Meter() as meter:
        processes = [Process(COMMAND) for _ in range(n)]
        for process in processes:
            process.start()
        for process in processes:
            process.wait()
    expect_equal("exit codes", {process.exit_code for process in processes}, {0})
    return {**meter.values, "threads": looked.peak}


def spawn_popen(n: int) -> dict[str, float]:
    pipe = subprocess.PIPE
    raise_descriptor_limit()
    with Meter() as meter:
        children = [subprocess.Popen(COMMAND, stdin=pipe, stdout=pipe, stderr=pipe) for _ in range(n)]
        for child in children:
            child.communicate()
    expect_equal("exit codes", {child.returncode for child in children}, {0})
    return meter.values


def spawn_asyncio(n: int) -> dict[str, float]:
    import asyncio

    pipe = subprocess.PIPE
    raise_descriptor_limit()

    async def run() -> int | None:
        child = await asyncio.create_subprocess_exec(*COMMAND, stdin=pipe, stdout=pipe, stderr=pipe)
        await child.communicate()
        return child.returncode

    async def run_all() -> list[int | None]:
        return await asyncio.gather(*(run() for _ in range(n)))

    with PeakThreads() as looked, Meter() as meter:
        codes = asyncio.run(run_all())
    expect_equal("exit codes", set(codes), {0})
    return {**meter.values, "threads": looked.peak}


def spawn_reference(n: int) -> dict[str, float]:
    raise_descriptor_limit()
    with Meter() as meter:
        references.spawn_and_wait(COMMAND, n)
    return meter.values


def spawn_c(n: int) -> dict[str, float]:
    raise_descriptor_limit()
    found = run_limit(limit("spawn"), str(n), "-1", *COMMAND)
    return {name: found[name] for name in ("wall", "cpu", "threads")}


def spawn_clustershell(n: int) -> dict[str, float]:
    raise_descriptor_limit()
    task = importlib.import_module("ClusterShell.Task").task_self()
    task.set_info("fanout", n)
    with Meter() as meter:
        for number in range(n):
            task.shell(COMMAND[0], key=str(number))
        task.run()
    expect_equal("exit code", task.max_retcode() or 0, 0)
    return meter.values


def spawn_xargs(n: int) -> dict[str, float]:
    numbers = "\n".join(map(str, range(n)))
    with Meter() as meter:
        subprocess.run(["xargs", "-P", str(n), "-n", "1", *COMMAND], input=numbers, text=True, check=True)
    return {**meter.values, "threads": 1}


def with_heap(measure: Callable[[int], dict[str, float]]) -> Callable[[int], dict[str, float]]:
    """The same with HEAP_MB of touched memory in the parent."""

    def measure_with_heap(n: int) -> dict[str, float]:
        heap = bytearray(os.urandom(1 << 20)) * HEAP_MB
        values = measure(n)
        assert len(heap) == HEAP_MB << 20
        return values

    return measure_with_heap


METRICS = (Metric("wall", ratio=True), Metric("cpu"), Metric("threads", ""))

WORKLOADS = [
    Workload(
        name="spawn",
        title="Start N processes at once and wait for all",
        size="processes",
        sizes=(100, 1000, 3000),
        quick_sizes=(100, 500),
        base="C limit",
        metrics=METRICS,
        per_item=True,
        implementations=(
            Implementation("C limit", spawn_c, needs=("limits/spawn",)),
            Implementation("posix_spawn + epoll", spawn_reference),
            Implementation("execo", spawn_execo, OURS),
            Implementation("xargs -P", spawn_xargs, needs=("xargs",), max_reps=3),
            Implementation("subprocess.Popen", spawn_popen),
            Implementation("asyncio", spawn_asyncio, max_reps=3),
            Implementation("clustershell", spawn_clustershell, "clustershell", max_reps=2),
            Implementation("execo 2.8.2", spawn_execo, ORIGINAL, max_reps=1),
        ),
        note="`/bin/true` with three pipes each (xargs: none). C limit: posix_spawn, epoll and waitpid in C.",
    ),
    Workload(
        name="spawn-heap",
        title="The same in a parent with a heap of 1 GiB",
        size="processes",
        sizes=(100,),
        quick_sizes=(50,),
        base="posix_spawn + epoll",
        metrics=METRICS,
        implementations=(
            Implementation("posix_spawn + epoll", with_heap(spawn_reference)),
            Implementation("execo", with_heap(spawn_execo), OURS),
            Implementation("subprocess.Popen", with_heap(spawn_popen)),
            Implementation("execo 2.8.2", with_heap(spawn_execo), ORIGINAL, max_reps=1),
        ),
        note="A child made by fork copies the page tables of its parent; one made by vfork does not.",
    ),
]
