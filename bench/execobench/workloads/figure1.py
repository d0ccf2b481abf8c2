"""Figure 1: how long a command on N hosts takes, from the start of the first connection to the close of the last, by tool and by shape."""

from __future__ import annotations

import resource
import shlex
import time
from pathlib import Path
from typing import Any

from execobench.meter import Meter, expect_equal, raise_descriptor_limit
from execobench.registry import OURS, Implementation, Metric, Workload
from execobench.workloads import ssh, taktuk
from execobench.workloads.ssh import ANSWER, COMMAND, cluster

SIZES = (10, 20, 50, 100, 250, 500, 1000)
FANOUT = 32


def _params(n: int) -> tuple[list[str], dict[str, Any]]:
    """The cluster's hosts, and connection parameters as xargs and the others have them: no terminal."""
    found = cluster(n)
    return found.addresses, {"user": found.user, "keyfile": found.key, "port": found.port, "ssh_options": ("-F", found.config)}


def _remote(n: int, **kwargs: Any) -> dict[str, float]:
    from execo import Remote

    hosts, params = _params(n)
    with Meter() as meter:
        remote = Remote(COMMAND, hosts, params, **kwargs).run()
    expect_equal("answers", sum(process.stdout == f"{ANSWER}\n" for process in remote.processes), n)
    return meter.values


def flat(n: int) -> dict[str, float]:
    return _remote(n)


def fanout(n: int) -> dict[str, float]:
    return _remote(n, fanout=FANOUT)


def shared(n: int) -> dict[str, float]:
    """The connections are open already: an earlier action has made them."""
    from execo import Remote, close_shared_connections

    hosts, params = _params(n)
    params["control_persist"] = 300
    try:
        expect_equal("first answers", len(Remote(COMMAND, hosts, params, fanout=FANOUT).run().finished_ok_processes), n)
        with Meter() as meter:
            remote = Remote(COMMAND, hosts, params).run()
        expect_equal("answers", sum(process.stdout == f"{ANSWER}\n" for process in remote.processes), n)
    finally:
        close_shared_connections()
    return meter.values


def xargs(n: int) -> dict[str, float]:
    found = cluster(n)
    command = ["xargs", "-P", str(n), "-I{}", "ssh", "-F", found.config, "{}", COMMAND]
    return ssh.tool(n, command, "\n".join(found.addresses))


def clustershell(n: int) -> dict[str, float]:
    found = cluster(n)
    return ssh.clustershell(",".join(found.addresses), n, n, ssh_options=f"-F {found.config}")


def pdsh(n: int) -> dict[str, float]:
    found = cluster(n)
    command = ["pdsh", "-R", "ssh", "-f", str(n), "-w", ",".join(found.addresses), COMMAND]
    return ssh.tool(n, command, PDSH_SSH_ARGS=f"-F {shlex.quote(found.config)} %h")


def sessions(n: int) -> dict[str, float]:
    """N shells by ssh at once: opened, given a command, closed."""
    from execo import Remote

    raise_descriptor_limit()
    hosts, params = _params(n)
    begin = time.perf_counter()
    with Remote("echo open; sh", hosts, params) as remote:
        remote.start()
        expect_equal("open", sum(match is not None for _, _, match in remote.expect("open", timeout=600)), n)
        opened = time.perf_counter()
        own = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
        clients = sum(map(_proportional, (process.pid for process in remote.processes)))
        told = time.perf_counter()
        remote.write("echo answer\n")
        expect_equal("answers", sum(match is not None for _, _, match in remote.expect("answer", timeout=600)), n)
        answered = time.perf_counter()
        remote.close_stdin()
        remote.wait()
        expect_equal("ok", len(remote.finished_ok_processes), n)
    closed = time.perf_counter()
    return {"open": opened - begin, "command": answered - told, "close": closed - answered, "own_rss": own, "client_pss": clients / n}


def _proportional(pid: int | None) -> int:
    """Bytes, shared pages divided among those who share them."""
    with open(f"/proc/{pid}/smaps_rollup") as rollup:
        return next(int(line.split()[1]) * 1024 for line in rollup if line.startswith("Pss:"))


METRICS = (Metric("wall", ratio=True), Metric("cpu", ratio=True), Metric("own_share", "%"))

WORKLOADS = [
    Workload(
        name="figure1",
        title="A command on N real ssh hosts, from the first connection to the close of the last",
        size="hosts",
        sizes=SIZES,
        quick_sizes=(10, 20),
        base="xargs -P ssh",
        metrics=METRICS,
        per_item=True,
        needs_cluster=True,
        implementations=(
            Implementation("xargs -P ssh", xargs, needs=("xargs", "ssh")),
            Implementation("Remote", flat, OURS, needs=("ssh",)),
            Implementation("Remote, fanout 32", fanout, OURS, needs=("ssh",)),
            Implementation("Remote, shared connections", shared, OURS, needs=("ssh",)),
            Implementation("TaktukRemote", taktuk.real_execo, OURS, needs=("taktuk", "ssh"), max_size=250),
            Implementation("taktuk", taktuk.real_taktuk, needs=("taktuk", "ssh"), max_size=250),
            Implementation("clustershell", clustershell, "clustershell", needs=("ssh",)),
            Implementation("pdsh", pdsh, needs=("pdsh", "ssh")),
            Implementation("asyncssh", ssh.library(ssh.asyncssh_answers), "asyncssh"),
        ),
        reps=3,
        timeout=600.0,
        by_name_only=True,
        note="A LocalCluster: clients, servers and commands share the processors of one machine, and the nodes of a tree too. "
        "Remote, shared connections: the connections are open before.",
    ),
    Workload(
        name="figure1-connector",
        title="A command on N hosts, with a connector that runs its command here",
        size="hosts",
        sizes=SIZES,
        quick_sizes=(10,),
        base="taktuk",
        metrics=METRICS,
        per_item=True,
        implementations=(
            Implementation("taktuk", taktuk.local_taktuk, needs=("taktuk",)),
            Implementation("TaktukRemote", taktuk.local_execo, OURS, needs=("taktuk",)),
        ),
        reps=1,
        timeout=900.0,
        by_name_only=True,
        note="One engine of TakTuk for each host, all on this machine: a node of its own would give each a processor of its own.",
    ),
    Workload(
        name="figure1-sessions",
        title="N ssh sessions held open at once",
        size="sessions",
        sizes=(1000,),
        quick_sizes=(20,),
        base="execo",
        metrics=(Metric("open"), Metric("command"), Metric("close"), Metric("own_rss", "MB", 1e-6), Metric("client_pss", "MB", 1e-6)),
        needs_cluster=True,
        implementations=(Implementation("execo", sessions, OURS, needs=("ssh",)),),
        reps=3,
        timeout=900.0,
        by_name_only=True,
        note="own_rss: memory of Python with all of them open; client_pss: of one ssh client, its share of what all share.",
    ),
]
