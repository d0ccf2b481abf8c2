"""Keep many processes at once: what it costs to start, hold and end them, and how many can be held."""

from __future__ import annotations

import os
import subprocess
import time
from typing import Any

from execobench import meter
from execobench.registry import ORIGINAL, OURS, Implementation, Metric, Workload
from execobench.workloads import references

COMMAND = ["/bin/sleep", "300"]
IDLE = 2.0
"""Seconds during which nothing happens."""
MOST = 10_000
"""Processes that are held at most, where the limit of descriptors is higher than that of common sense."""


class _Execo:
    def start(self, n: int) -> list[Any]:
        from execo import Process

        processes = [Process(COMMAND, nolog_exit_code=True) for _ in range(n)]
        for process in processes:
            process.start()
        for process in processes:
            process.started_event.wait()
        pids = {process.pid for process in processes}
        meter.expect_equal("started, with a pid", (len(pids), None in pids), (n, False))
        return processes

    def end(self, children: list[Any]) -> None:
        for process in children:
            process.kill()
        for process in children:
            process.wait()


class _Popen:
    def start(self, n: int) -> list[Any]:
        pipe = subprocess.PIPE
        return [subprocess.Popen(COMMAND, stdin=pipe, stdout=pipe, stderr=pipe) for _ in range(n)]

    def end(self, children: list[Any]) -> None:
        for child in children:
            child.terminate()
        for child in children:
            child.communicate()


class _Reference:
    def start(self, n: int) -> list[Any]:
        return [references.spawn(COMMAND) for _ in range(n)]

    def end(self, children: list[Any]) -> None:
        references.terminate([pid for pid, *_ in children])
        for pid, *ends in children:
            os.waitpid(pid, 0)
            for descriptor in ends:
                os.close(descriptor)


def _hold(library: _Execo | _Popen | _Reference, n: int) -> dict[str, float]:
    meter.raise_descriptor_limit()
    library.end(library.start(1))  # what is made once does not count
    memory, open_before = meter.rss_bytes(), meter.descriptors()
    begin = time.perf_counter()
    children = library.start(n)
    start = time.perf_counter() - begin
    time.sleep(0.3)  # what follows the starts does not count as idle
    facts = {
        "rss": (meter.rss_bytes() - memory) / n,
        "descriptors": (meter.descriptors() - open_before) / n,
        "threads": meter.threads(),
    }
    cpu = time.process_time()
    time.sleep(IDLE)
    idle_cpu = time.process_time() - cpu
    begin = time.perf_counter()
    library.end(children)
    return {"start": start, "kill": time.perf_counter() - begin, "idle_cpu": idle_cpu / IDLE, **facts}


def hold_execo(n: int) -> dict[str, float]:
    import execo

    execo.logger.setLevel("ERROR")
    return _hold(_Execo(), n)


def hold_popen(n: int) -> dict[str, float]:
    return _hold(_Popen(), n)


def hold_reference(n: int) -> dict[str, float]:
    return _hold(_Reference(), n)


def hold_c(n: int) -> dict[str, float]:
    meter.raise_descriptor_limit()
    found = meter.run_limit(meter.limit("spawn"), str(n), str(IDLE), *COMMAND)
    values: dict[str, float] = {name: found[name] for name in ("start", "kill", "threads")}
    return {**values, "idle_cpu": found["idle_cpu"] / IDLE}


def hold_asyncio(n: int) -> dict[str, float]:
    import asyncio

    pipe = subprocess.PIPE
    meter.raise_descriptor_limit()

    async def hold() -> dict[str, float]:
        memory = meter.rss_bytes()
        begin = time.perf_counter()
        starts = (asyncio.create_subprocess_exec(*COMMAND, stdin=pipe, stdout=pipe, stderr=pipe) for _ in range(n))
        children = await asyncio.gather(*starts)
        start = time.perf_counter() - begin
        facts = {"rss": (meter.rss_bytes() - memory) / n, "threads": meter.threads()}
        cpu = time.process_time()
        await asyncio.sleep(IDLE)
        idle_cpu = time.process_time() - cpu
        begin = time.perf_counter()
        for child in children:
            child.terminate()
        await asyncio.gather(*(child.communicate() for child in children))
        return {"start": start, "kill": time.perf_counter() - begin, "idle_cpu": idle_cpu / IDLE, **facts}

    return asyncio.run(hold())


def _hold_most(library: _Execo | _Popen | _Reference, at_most: int) -> dict[str, float]:
    """As many as the descriptors allow: each one's need is found with a few, then the rest is started at once."""
    hard = meter.raise_descriptor_limit()
    few = 20
    first = library.start(few)
    used = meter.descriptors()
    more = library.start(few)
    each = -(-(meter.descriptors() - used) // few)
    # While one is started, the child's three ends and a few of the library are open as well.
    room = (hard - meter.descriptors() - 64) // each
    begin = time.perf_counter()
    n = min(room, at_most - 2 * few)
    rest = library.start(n)
    start = time.perf_counter() - begin
    children = first + more + rest
    time.sleep(0.3)
    cpu = time.process_time()
    time.sleep(IDLE)
    idle_cpu = time.process_time() - cpu
    begin = time.perf_counter()
    library.end(children)
    end = time.perf_counter() - begin
    values = {"start_each": start / n, "kill_each": end / len(children), "held": len(children), "descriptors": each}
    return {**values, "idle_cpu": idle_cpu / IDLE}


def most_execo(at_most: int) -> dict[str, float]:
    import execo

    execo.logger.setLevel("ERROR")
    return _hold_most(_Execo(), at_most)


def most_reference(at_most: int) -> dict[str, float]:
    return _hold_most(_Reference(), at_most)


IDLE_METRIC = Metric("idle_cpu", "% CPU idle", 100)

WORKLOADS = [
    Workload(
        name="hold",
        title="Hold N processes: start, leave alone, kill and wait",
        size="processes",
        sizes=(2000,),
        quick_sizes=(300,),
        base="C limit",
        metrics=(
            Metric("start"),
            Metric("kill", ratio=True),
            Metric("rss", "KB RSS each", 1 / 1024),
            Metric("threads", ""),
            IDLE_METRIC,
            Metric("descriptors", "each"),
        ),
        implementations=(
            Implementation("C limit", hold_c, needs=("limits/spawn",)),
            Implementation("posix_spawn", hold_reference),
            Implementation("execo", hold_execo, OURS),
            Implementation("subprocess.Popen", hold_popen),
            Implementation("asyncio", hold_asyncio, max_reps=2),
            Implementation("execo 2.8.2", hold_execo, ORIGINAL, max_reps=1),
        ),
        reps=3,
        note="`sleep 300`; RSS: what this process grew by, divided by N.",
    ),
    Workload(
        name="hold-most",
        title="Hold as many processes as the hard limit of open files allows",
        size="processes at most",
        sizes=(MOST,),
        quick_sizes=(500,),
        base="posix_spawn",
        metrics=(
            Metric("start_each", "ms", 1000),
            Metric("kill_each", "ms", 1000, ratio=True),
            Metric("held", "processes"),
            Metric("descriptors", "each"),
            IDLE_METRIC,
        ),
        implementations=(
            Implementation("posix_spawn", most_reference),
            Implementation("execo", most_execo, OURS),
        ),
        reps=1,
        note=f"At most {MOST}.",
    ),
]
