"""What an import costs, and what it leaves: threads, child processes, modules."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

from execobench.meter import run_limit
from execobench.registry import ORIGINAL, OURS, Implementation, Metric, Workload

# In an interpreter of its own that has imported nothing else: modules that are there already cost nothing.
SCRIPT = """
import sys, time
modules, begin, cpu = len(sys.modules), time.perf_counter(), time.process_time()
import {name}
wall, cpu = time.perf_counter() - begin, time.process_time() - cpu
modules = len(sys.modules) - modules
import json, os
with open(f"/proc/self/task/{{os.getpid()}}/children") as file:
    children = len(file.read().split())
threads = len(os.listdir("/proc/self/task")) - 1
print(json.dumps(dict(wall=wall, cpu=cpu, modules=modules, children=children, threads=threads)), flush=True)
"""


def importing(name: str) -> Callable[[int], dict[str, float]]:
    def measure(times: int) -> dict[str, float]:
        script = SCRIPT.format(name=name)
        # Bytecode is written by the first one.
        subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.DEVNULL)
        found = [run_limit(sys.executable, "-c", script) for _ in range(times)]
        return {key: min(values[key] for values in found) for key in found[0]}

    return measure


WORKLOADS = [
    Workload(
        name="imports",
        title="Import of the package",
        size="imports, the fastest counts",
        sizes=(5,),
        quick_sizes=(3,),
        base="execo 2.8.2",
        metrics=(
            Metric("wall", "ms", 1000),
            Metric("cpu", "ms", 1000, ratio=True),
            Metric("modules", ""),
            Metric("threads", "left"),
            Metric("children", "left"),
        ),
        implementations=(
            Implementation("execo 2.8.2", importing("execo"), ORIGINAL),
            Implementation("execo", importing("execo"), OURS),
            Implementation("asyncio", importing("asyncio")),
            Implementation("clustershell", importing("ClusterShell.Task"), "clustershell"),
            Implementation("asyncssh", importing("asyncssh"), "asyncssh"),
            Implementation("parallel-ssh", importing("pssh.clients"), "parallel-ssh"),
            Implementation("fabric", importing("fabric"), "fabric"),
            Implementation("paramiko", importing("paramiko"), "paramiko"),
        ),
    ),
]
