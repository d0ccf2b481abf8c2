"""Many outputs in few words: grouping hosts by identical output, folding their names."""

from __future__ import annotations

import importlib
import random

from execobench.meter import Meter, expect_equal
from execobench.registry import OURS, Implementation, Metric, Workload

OUTPUTS = 3


def _names(n: int) -> list[str]:
    names = [f"node-{i}.site.example.org" for i in range(1, n + 1)]
    random.Random(1).shuffle(names)
    return names


def gather_execo(n: int) -> dict[str, float]:
    from execo import Host
    from execo._action.base import Action
    from execo._process.local import Process

    action = Action()
    for i, name in enumerate(_names(n)):
        process = Process("true")
        process.host = Host(name)
        process.stdout = f"output {i % OUTPUTS}\n" * 20
        action._processes.append(process)
    with Meter() as meter:
        groups = action.gather()
    expect_equal("hosts", sum(len(hosts) for hosts, _ in groups), n)
    expect_equal("groups", len(groups), OUTPUTS)
    return meter.values


def gather_clustershell(n: int) -> dict[str, float]:
    """As its own clush does: the lines of each node are in a MsgTree, which is walked for the groups."""
    tree = importlib.import_module("ClusterShell.MsgTree").MsgTree()
    for i, name in enumerate(_names(n)):
        for _ in range(20):
            tree.add(name, f"output {i % OUTPUTS}".encode())
    with Meter() as meter:
        groups = list(tree.walk())
    expect_equal("hosts", sum(len(hosts) for _, hosts in groups), n)
    expect_equal("groups", len(groups), OUTPUTS)
    return meter.values


def gather_clustershell_filled(n: int) -> dict[str, float]:
    """From the outputs to the groups, as for ours."""
    tree = importlib.import_module("ClusterShell.MsgTree").MsgTree()
    names = _names(n)
    outputs = [[line.encode() for line in (f"output {i}\n" * 20).splitlines()] for i in range(OUTPUTS)]
    with Meter() as meter:
        for i, name in enumerate(names):
            for line in outputs[i % OUTPUTS]:
                tree.add(name, line)
        groups = list(tree.walk())
    expect_equal("hosts", sum(len(hosts) for _, hosts in groups), n)
    return meter.values


def fold_execo(n: int) -> dict[str, float]:
    from execo.hostset import fold

    names = _names(n)
    with Meter() as meter:
        folded = fold(names)
    expect_equal("folded", folded, f"node-[1-{n}].site.example.org")
    return meter.values


def fold_clustershell(n: int) -> dict[str, float]:
    nodeset = importlib.import_module("ClusterShell.NodeSet").NodeSet
    names = _names(n)
    with Meter() as meter:
        folded = str(nodeset.fromlist(names))
    expect_equal("folded", folded, f"node-[1-{n}].site.example.org")
    return meter.values


METRICS = (Metric("wall", "ms", 1000.0, ratio=True), Metric("cpu", "ms", 1000.0, ratio=True))

WORKLOADS = [
    Workload(
        name="gather",
        title=f"The hosts by identical output, {OUTPUTS} outputs",
        size="hosts",
        sizes=(10_000,),
        quick_sizes=(100,),
        base="clustershell",
        metrics=METRICS,
        implementations=(
            Implementation("clustershell", gather_clustershell_filled, "clustershell"),
            Implementation("clustershell, the walk only", gather_clustershell, "clustershell"),
            Implementation("execo", gather_execo, OURS),
        ),
        note="Outputs of 20 lines. ClusterShell groups while it fills its tree of messages; the walk only: over a full tree.",
    ),
    Workload(
        name="gather-fold",
        title="N names folded",
        size="names",
        sizes=(10_000,),
        quick_sizes=(100,),
        base="clustershell",
        metrics=METRICS,
        implementations=(
            Implementation("clustershell", fold_clustershell, "clustershell"),
            Implementation("execo", fold_execo, OURS),
        ),
    ),
]
