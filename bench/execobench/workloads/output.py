"""Read what processes write: kept in memory, line by line, to a file, and from many at once."""

from __future__ import annotations

import codecs
import os
import subprocess
from pathlib import Path
from typing import Any

from execobench.meter import Meter, expect_equal, raise_descriptor_limit, scratch
from execobench.registry import ORIGINAL, OURS, Implementation, Metric, Workload

MB = 1 << 20
MANY = 100
"""Processes that write at once."""
LINE = "0123456789" * 5 + "012345"
CHUNK = 1 << 18


def one_line(megabytes: int) -> str:
    """Shell command that writes so much, without a newline."""
    return f"head -c {megabytes * MB} /dev/zero | tr '\\0' x"


def many_lines(megabytes: int) -> str:
    """Shell command that writes so much, in lines of 57 characters."""
    return f"yes {LINE} | head -c {megabytes * MB}"


def lines_in(megabytes: int) -> int:
    return -(-megabytes * MB // (len(LINE) + 1))


def memory_execo(megabytes: int) -> dict[str, float]:
    from execo import Process

    with Meter() as meter:
        process = Process(one_line(megabytes), shell=True).run()
        found = len(process.stdout)
    expect_equal("characters", found, megabytes * MB)
    return meter.values


def memory_communicate(megabytes: int) -> dict[str, float]:
    pipe = subprocess.PIPE
    with Meter() as meter:
        child = subprocess.Popen(one_line(megabytes), shell=True, stdin=pipe, stdout=pipe, stderr=pipe)
        found = len(child.communicate()[0].decode("utf-8", "surrogateescape"))
    expect_equal("characters", found, megabytes * MB)
    return meter.values


def memory_cat(megabytes: int) -> dict[str, float]:
    with Meter() as meter:
        subprocess.run(one_line(megabytes) + " | cat >/dev/null", shell=True, check=True)
    return meter.values


def lines_execo(megabytes: int) -> dict[str, float]:
    from execo import Process, ProcessOutputHandler

    class Counter(ProcessOutputHandler):
        count = 0

        def read_line(self, process: object, stream: int, string: str) -> None:
            self.count += 1

    counter = Counter()
    handlers: list[Any] = [counter]
    with Meter() as meter:
        Process(many_lines(megabytes), shell=True, default_stdout_handler=False, stdout_handlers=handlers).run()
    expect_equal("lines", counter.count, lines_in(megabytes))
    return meter.values


def lines_loop(megabytes: int) -> dict[str, float]:
    """One call of a Python method per line, and nothing else."""

    class Counter:
        count = 0

        def read_line(self, process: object, stream: int, string: str) -> None:
            self.count += 1

    counter, rest, pipe = Counter(), "", subprocess.PIPE
    with Meter() as meter:
        child = subprocess.Popen(many_lines(megabytes), shell=True, stdin=pipe, stdout=pipe, stderr=pipe)
        assert child.stdout is not None
        decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        while data := os.read(child.stdout.fileno(), CHUNK):
            *lines, rest = (rest + decoder.decode(data)).split("\n")
            for line in lines:
                counter.read_line(child, 1, line)
        if rest:
            counter.read_line(child, 1, rest)
        child.wait()
    expect_equal("lines", counter.count, lines_in(megabytes))
    return meter.values


def lines_iteration(megabytes: int) -> dict[str, float]:
    """`for line in child.stdout`."""
    count = 0
    with Meter() as meter:
        child = subprocess.Popen(many_lines(megabytes), shell=True, stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        for _ in child.stdout:
            count += 1
        child.wait()
    expect_equal("lines", count, lines_in(megabytes))
    return meter.values


def file_execo(megabytes: int) -> dict[str, float]:
    from execo import Process

    name = scratch("output")
    handlers: list[Any] = [name]
    with Meter() as meter:
        Process(one_line(megabytes), shell=True, default_stdout_handler=False, stdout_handlers=handlers).run()
    expect_equal("bytes in the file", Path(name).stat().st_size, megabytes * MB)
    return meter.values


def file_cat(megabytes: int) -> dict[str, float]:
    name = scratch("output")
    with Meter() as meter:
        subprocess.run(f"{one_line(megabytes)} | cat >'{name}'", shell=True, check=True)
    expect_equal("bytes in the file", Path(name).stat().st_size, megabytes * MB)
    return meter.values


def many_execo(megabytes: int) -> dict[str, float]:
    from execo import Process

    each = megabytes * MB // MANY
    with Meter() as meter:
        processes = [Process(["head", "-c", str(each), "/dev/zero"]).start() for _ in range(MANY)]
        found = sum(len(process.wait().stdout) for process in processes)
    expect_equal("characters", found, each * MANY)
    return meter.values


def many_communicate(megabytes: int) -> dict[str, float]:
    pipe = subprocess.PIPE
    command = ["head", "-c", str(megabytes * MB // MANY), "/dev/zero"]
    raise_descriptor_limit()
    with Meter() as meter:
        children = [subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) for _ in range(MANY)]
        found = sum(len(child.communicate()[0].decode("utf-8", "surrogateescape")) for child in children)
    expect_equal("characters", found, megabytes * MB // MANY * MANY)
    return meter.values


METRICS = (Metric("wall", ratio=True), Metric("cpu", ratio=True))

WORKLOADS = [
    Workload(
        name="output-memory",
        title="Output of one process, kept in memory",
        size="MB",
        sizes=(10, 50, 200),
        quick_sizes=(10, 50),
        base="Popen.communicate",
        metrics=METRICS,
        per_item=True,
        implementations=(
            Implementation("Popen.communicate", memory_communicate),
            Implementation("cat >/dev/null", memory_cat),
            Implementation("execo", memory_execo, OURS),
            Implementation("execo 2.8.2", memory_execo, ORIGINAL, max_size=50, max_reps=1),
        ),
        note="Decoded to a string by all but cat. At 200 MB execo 2.8.2 takes many minutes and is left out.",
    ),
    Workload(
        name="output-lines",
        title="Output of one process, to a method that is called for each line",
        size="MB",
        sizes=(10, 50),
        quick_sizes=(10,),
        base="plain loop",
        metrics=METRICS,
        per_item=True,
        implementations=(
            Implementation("plain loop", lines_loop),
            Implementation("for line in stdout", lines_iteration),
            Implementation("execo", lines_execo, OURS),
            Implementation("execo 2.8.2", lines_execo, ORIGINAL, max_size=50, max_reps=1),
        ),
        note="Lines of 57 characters. Plain loop: read, decode, split, call.",
    ),
    Workload(
        name="output-file",
        title="Output of one process, to a file",
        size="MB",
        sizes=(50,),
        quick_sizes=(10,),
        base="cat >file",
        metrics=METRICS,
        implementations=(
            Implementation("cat >file", file_cat),
            Implementation("execo", file_execo, OURS),
            Implementation("execo 2.8.2", file_execo, ORIGINAL, max_reps=1),
        ),
    ),
    Workload(
        name="output-many",
        title=f"Output of {MANY} processes at once, kept in memory",
        size="MB",
        sizes=(200,),
        quick_sizes=(50,),
        base="Popen.communicate",
        metrics=METRICS,
        implementations=(
            Implementation("Popen.communicate", many_communicate),
            Implementation("execo", many_execo, OURS),
            Implementation("execo 2.8.2", many_execo, ORIGINAL, max_reps=2),
        ),
        note="communicate is called for one child after another: the others wait with full pipes.",
    ),
]
