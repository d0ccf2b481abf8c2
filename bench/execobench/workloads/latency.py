"""How soon one knows: that a process has ended, that the awaited text has come."""

from __future__ import annotations

import importlib
import subprocess
import time
from collections.abc import Callable, Iterable

from execobench.meter import limit
from execobench.registry import ORIGINAL, OURS, Implementation, Metric, Workload
from execobench.rows import percentile
from execobench.workloads import references

Run = Callable[[list[str]], str | bytes]
"""Runs a command; returns its output as soon as it is known to have ended."""


def _figures(latencies: Iterable[float]) -> dict[str, float]:
    """Of latencies in seconds."""
    seconds = list(latencies)
    return {"p50": percentile(seconds, 50), "p99": percentile(seconds, 99), "max": max(seconds)}


def _exits(run: Run, n: int) -> dict[str, float]:
    """From the date that the child prints just before it exits."""
    command = [limit("stamp")]
    run(command)  # what is made once does not count
    latencies = []
    begin = time.monotonic_ns()
    for _ in range(n):
        output = run(command)
        latencies.append((time.monotonic_ns() - int(output)) / 1e9)
    return {**_figures(latencies), "run": (time.monotonic_ns() - begin) / 1e9 / n}


def exit_execo(n: int) -> dict[str, float]:
    from execo import Process

    def run(command: list[str]) -> str:
        return Process(command).run().stdout

    return _exits(run, n)


def exit_popen(n: int) -> dict[str, float]:
    pipe = subprocess.PIPE

    def run(command: list[str]) -> bytes:
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe).communicate()[0]

    return _exits(run, n)


def exit_reference(n: int) -> dict[str, float]:
    return _exits(references.Runner().run, n)


def exit_asyncio(n: int) -> dict[str, float]:
    import asyncio

    loop, pipe = asyncio.new_event_loop(), subprocess.PIPE

    async def start(command: list[str]) -> bytes:
        child = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
        return (await child.communicate())[0]

    def run(command: list[str]) -> bytes:
        return loop.run_until_complete(start(command))

    return _exits(run, n)


def exit_c(n: int) -> dict[str, float]:
    begin = time.perf_counter()
    command = [limit("latency"), str(n), limit("stamp")]
    found = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    return {**_figures(int(line) / 1e9 for line in found.split()), "run": (time.perf_counter() - begin) / n}


PATTERN = r"READY (\d+)\r?\n"


def expect_execo(n: int) -> dict[str, float]:
    from execo import Process

    latencies = []
    process = Process([limit("stamp"), "echo"], nolog_exit_code=True).start()
    for _ in range(n):
        print(file=process)
        _, match = process.expect(PATTERN, timeout=10)
        assert match is not None, "no answer within 10 s"
        latencies.append((time.monotonic_ns() - int(match[1])) / 1e9)
    process.kill().wait()
    return _figures(latencies)


def expect_readline(n: int) -> dict[str, float]:
    pipe = subprocess.PIPE
    latencies = []
    with subprocess.Popen([limit("stamp"), "echo"], stdin=pipe, stdout=pipe, bufsize=0) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        for _ in range(n):
            child.stdin.write(b"\n")
            answer = child.stdout.readline()
            latencies.append((time.monotonic_ns() - int(answer.split()[1])) / 1e9)
    return _figures(latencies)


def expect_pexpect(n: int) -> dict[str, float]:
    popen_spawn = importlib.import_module("pexpect.popen_spawn")
    latencies = []
    child = popen_spawn.PopenSpawn([limit("stamp"), "echo"], encoding="utf-8")
    for _ in range(n):
        child.sendline("")
        child.expect(PATTERN, timeout=10)
        latencies.append((time.monotonic_ns() - int(child.match[1])) / 1e9)
    child.sendeof()
    child.wait()
    return _figures(latencies)


LATENCIES = (Metric("p50", "µs", 1e6), Metric("p99", "µs", 1e6, ratio=True), Metric("max", "µs", 1e6))
STAMP = ("limits/stamp",)

WORKLOADS = [
    Workload(
        name="latency-exit",
        title="From the exit of a process to the return of wait",
        size="processes, one after another",
        sizes=(200,),
        quick_sizes=(50,),
        base="pidfd thread",
        metrics=(*LATENCIES, Metric("run", "ms", 1000, ratio=True)),
        implementations=(
            Implementation("C limit", exit_c, needs=("limits/latency", *STAMP)),
            Implementation("pidfd thread", exit_reference, needs=STAMP),
            Implementation("execo", exit_execo, OURS, needs=STAMP),
            Implementation("subprocess.Popen", exit_popen, needs=STAMP),
            Implementation("asyncio", exit_asyncio, needs=STAMP),
            Implementation("execo 2.8.2", exit_execo, ORIGINAL, needs=STAMP, max_reps=2),
        ),
        note="Pidfd thread: what a thread that polls pidfds costs, in plain Python. run: from start to end.",
    ),
    Workload(
        name="latency-expect",
        title="From the writing of the awaited text to the return of expect",
        size="dialogues",
        sizes=(200,),
        quick_sizes=(50,),
        base="Popen readline",
        metrics=LATENCIES,
        implementations=(
            Implementation("Popen readline", expect_readline, needs=STAMP),
            Implementation("execo", expect_execo, OURS, needs=STAMP),
            Implementation("pexpect", expect_pexpect, "pexpect", needs=STAMP),
            Implementation("execo 2.8.2", expect_execo, ORIGINAL, needs=STAMP, max_reps=2),
        ),
        note="The child answers 2 ms after it was asked. pexpect: its PopenSpawn, on pipes as the others.",
    ),
]
