"""A deployment of nodes on the three sites of Grid'5000 in a box, which is a process of its own: what it costs who waits for it.

The stand-in for Kadeploy takes 36 s, as a deployment did that was watched with the real one; real nodes take ten times longer.
"""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from execobench.box import box_of
from execobench.meter import Meter, expect_equal, scratch
from execobench.registry import OURS, Implementation, Metric, Workload

SECONDS, QUICK_SECONDS = 2.0, 0.05
"""Of a micro-step; there are 18."""
FULL = 40
COMMAND = "kadeploy3 -k -d -e debian12-min"


def _box(n: int) -> Any:
    return box_of(n, SECONDS if n >= FULL else QUICK_SECONDS, scratch("home"))


def _used(who: int) -> float:
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


@contextmanager
def _measured(values: dict[str, float]) -> Iterator[None]:
    """Also the processor time of this program alone, of its ssh alone, and the share of the former in the wall time."""
    before = _used(resource.RUSAGE_SELF)
    with Meter() as meter:
        yield
    own = _used(resource.RUSAGE_SELF) - before
    values |= {**meter.values, "own": own, "ssh": meter.values["cpu"] - own, "share": own / meter.values["wall"]}


def bare(n: int) -> dict[str, float]:
    """A kadeploy3 on each frontend, by ssh, and nothing else."""
    values: dict[str, float] = {}
    with _box(n) as box:
        sites: dict[str, list[str]] = {}
        for node in box["nodes"]:
            sites.setdefault(node.split(".")[1], []).append(node)
        with _measured(values):
            running = [subprocess.Popen(["ssh", "-F", box["ssh_config"], "-tt", site, f"{COMMAND} -m {' -m '.join(nodes)}"],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
                       for site, nodes in sites.items()]
            said = "".join(process.stdout.read() for process in running if process.stdout is not None)
            expect_equal("exit codes", [process.wait() for process in running], [0] * len(running))
        expect_equal("failures", "failed on nodes" in said, False)
    return values


def ours(n: int) -> dict[str, float]:
    """`deploy`, which also checks all nodes before and after."""
    values: dict[str, float] = {}
    with _box(n) as box:
        os.environ.update(box["environment"])       # read when execo is imported
        from execo.log import logger
        from execo_g5k.kadeploy import Deployment, deploy

        logger.setLevel("ERROR")
        with _measured(values):
            result = deploy(Deployment(box["nodes"], env_name="debian12-min"))
        expect_equal("nodes", (len(result.deployed), result.failures), (n, {}))
    return values


WORKLOADS = [
    Workload(
        name="deploy",
        title="Deploy N nodes on 3 sites of Grid'5000 in a box",
        size="nodes",
        sizes=(FULL,),
        quick_sizes=(6,),
        base="ssh kadeploy3",
        metrics=(Metric("wall", ratio=True), Metric("own"), Metric("share", "%", 100), Metric("ssh"), Metric("cpu")),
        implementations=(
            Implementation("ssh kadeploy3", bare, needs=("ssh", "ssh-keygen")),
            Implementation("execo deploy", ours, OURS, needs=("ssh", "ssh-keygen")),
        ),
        reps=3,
        timeout=300.0,
        note="A micro-step of the stand-in for Kadeploy takes 2 s, a deployment 36 s and what the nodes need to boot. `own` is the "
        "processor time of the program that deploys, `share` its part of the wall time, `ssh` that of the ssh that it has started. As "
        "root, nodes have namespaces, and really boot. The base does not check the nodes; execo does, before and after.",
    ),
]
