"""A tree of connections: TaktukRemote against the bare taktuk, on real ssh hosts and with a connector that runs its command here."""

from __future__ import annotations

import resource
import shlex
import subprocess
from pathlib import Path
from typing import Any

from execobench.meter import Meter, expect_equal, raise_descriptor_limit, scratch
from execobench.registry import OURS, Implementation, Metric, Workload
from execobench.workloads.ssh import ANSWER, COMMAND, Cluster, cluster

CONNECTOR = """#!/bin/sh
# HOST COMMAND, as TakTuk calls it; what the outer engine has set is not for the inner one.
shift
for name in $(env | sed -n 's/^\\(TAKTUK_[A-Z_]*\\)=.*/\\1/p'); do unset "$name"; done
exec /bin/sh -c "$*"
"""


def local_connector() -> str:
    path = Path(scratch("connector"))
    path.write_text(CONNECTOR)
    path.chmod(0o755)
    return str(path)


def connector_of(found: Cluster) -> list[str]:
    return ["ssh", "-F", found.config, "-o", f"User={found.user}", "-i", found.key, "-o", f"Port={found.port}"]


def bare(hosts: list[str], connector: str) -> dict[str, float]:
    """The command that a user would type; its standard input is at its end, so it ends by itself."""
    raise_descriptor_limit()
    words = ["taktuk", "-s", "-o", 'output="$line\\n"', "-o", "status", "-o", "connector", "-o", "state", "-c", connector]
    names = [word for host in hosts for word in ("-m", host)]
    with Meter() as meter:
        done = subprocess.run([*words, *names, "broadcast", "exec", "[", COMMAND, "]"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              text=True, check=True)
    expect_equal("answers", done.stdout.count(ANSWER), len(hosts))
    return meter.values


def ours(hosts: list[str], params: dict[str, Any]) -> dict[str, float]:
    """With `own_share`, the processor time of Python in percent of that of TakTuk."""
    from execo import TaktukRemote

    before = resource.getrusage(resource.RUSAGE_SELF)
    with Meter() as meter:
        remote = TaktukRemote(COMMAND, hosts, params).run()
    after = resource.getrusage(resource.RUSAGE_SELF)
    expect_equal("answers", sum(process.stdout == f"{ANSWER}\n" and process.ok for process in remote.processes), len(hosts))
    own = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {**meter.values, "own_share": 100 * own / (meter.values["cpu"] - own)}


def real_taktuk(n: int) -> dict[str, float]:
    found = cluster(n)
    return bare(found.addresses, shlex.join(connector_of(found)))


def real_execo(n: int) -> dict[str, float]:
    found = cluster(n)
    words = connector_of(found)
    return ours(found.addresses, {"taktuk_connector": words[0], "taktuk_connector_options": tuple(words[1:])})


def local_taktuk(n: int) -> dict[str, float]:
    return bare([f"host-{i}" for i in range(n)], local_connector())


def local_execo(n: int) -> dict[str, float]:
    return ours([f"host-{i}" for i in range(n)], {"taktuk_connector": local_connector(), "taktuk_connector_options": ()})


METRICS = (Metric("wall", ratio=True), Metric("cpu", ratio=True), Metric("own_share", "%"))

WORKLOADS = [
    Workload(
        name="taktuk",
        title="TaktukRemote on N real ssh hosts",
        size="hosts",
        sizes=(100,),
        quick_sizes=(10,),
        base="taktuk",
        metrics=METRICS,
        needs_cluster=True,
        implementations=(
            Implementation("taktuk", real_taktuk, needs=("taktuk", "ssh")),
            Implementation("execo", real_execo, OURS, needs=("taktuk", "ssh")),
        ),
        timeout=300.0,
        note="own_share: processor time of Python, in percent of that of TakTuk and its ssh clients.",
    ),
    Workload(
        name="taktuk-connector",
        title="TaktukRemote on N hosts, with a connector that runs its command here",
        size="hosts",
        sizes=(500,),
        quick_sizes=(20,),
        base="taktuk",
        metrics=METRICS,
        implementations=(
            Implementation("taktuk", local_taktuk, needs=("taktuk",)),
            Implementation("execo", local_execo, OURS, needs=("taktuk",)),
        ),
        reps=2,
        timeout=600.0,
        note="One engine of TakTuk for each host, all on this machine: their processor time is what is measured. "
        "own_share: that of Python, in percent of theirs.",
    ),
]
