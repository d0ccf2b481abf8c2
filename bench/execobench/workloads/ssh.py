"""One command on many hosts: on real sshd, and with a connector that connects to nothing, where only the caller costs."""

from __future__ import annotations

import importlib
import json
import logging
import os
import shlex
import subprocess
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from execobench.meter import CLUSTER, Meter, PeakThreads, expect_equal, limit, raise_descriptor_limit, scratch
from execobench.registry import ORIGINAL, OURS, Implementation, Metric, Workload

COMMAND = "uname -a"
ANSWER = subprocess.run(COMMAND.split(), check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
"""Of all hosts, which are this machine."""


class Cluster(NamedTuple):
    """The LocalCluster that is up, for clients of any kind."""

    addresses: list[str]
    user: str
    port: int
    key: str
    config: str


def cluster(n: int) -> Cluster:
    """:raises AssertionError: if it has not n hosts."""
    folder = Path(os.environ[CLUSTER])
    found = json.loads((folder / "cluster.json").read_text())
    expect_equal("hosts", len(found["addresses"]), n)
    files = str(folder / "client_key"), str(folder / "ssh_config")
    return Cluster(found["addresses"], found["user"], found["port"], *files)


def _remote(hosts: list[str], connection_params: dict[str, Any]) -> dict[str, float]:
    from execo import Remote

    with PeakThreads() as looked, Meter() as meter:
        remote = Remote(COMMAND, hosts, connection_params).run()
    expect_equal("answers", sum(process.stdout.strip() == ANSWER for process in remote.processes), len(hosts))
    return {**meter.values, "threads": looked.peak}


def ssh_execo(n: int) -> dict[str, float]:
    from execo.config import make_default_connection_params

    found = cluster(n)
    options = ("-F", found.config, *make_default_connection_params()["ssh_options"])
    identity = {"user": found.user, "keyfile": found.key, "port": found.port}
    return _remote(found.addresses, {**identity, "ssh_options": options})


def fake_execo(n: int) -> dict[str, float]:
    return _remote([f"host-{i}" for i in range(n)], {"ssh": limit("fakessh")})


def tool(n: int, command: list[str], text: str = "", **environment: str) -> dict[str, float]:
    raise_descriptor_limit()
    with Meter() as meter:
        done = subprocess.run(
            command, input=text, text=True, stdout=subprocess.PIPE, check=True, env={**os.environ, **environment}
        )
    expect_equal("answers", done.stdout.count(ANSWER), n)
    return meter.values


def _xargs(hosts: list[str], *ssh: str) -> dict[str, float]:
    command = ["xargs", "-P", str(len(hosts)), "-I{}", *ssh, "{}", COMMAND]
    return tool(len(hosts), command, "\n".join(hosts))


def ssh_xargs(n: int) -> dict[str, float]:
    found = cluster(n)
    return _xargs(found.addresses, "ssh", "-F", found.config)


def fake_xargs(n: int) -> dict[str, float]:
    return _xargs([f"host-{i}" for i in range(n)], limit("fakessh"), "-o", "BatchMode=yes")


def ssh_pdsh(n: int) -> dict[str, float]:
    found = cluster(n)
    command = ["pdsh", "-R", "ssh", "-f", str(n), "-w", ",".join(found.addresses), COMMAND]
    return tool(n, command, PDSH_SSH_ARGS=f"-F {shlex.quote(found.config)} %h")


def fake_pdsh(n: int) -> dict[str, float]:
    folder = Path(scratch("bin"))
    folder.mkdir()
    (folder / "ssh").symlink_to(limit("fakessh"))
    command = ["pdsh", "-R", "ssh", "-f", str(n), "-w", f"host-[0-{n - 1}]", COMMAND]
    return tool(n, command, PDSH_SSH_ARGS="%h", PATH=f"{folder}{os.pathsep}{os.environ['PATH']}")


def clustershell(hosts: str, n: int, fanout: int, **information: str) -> dict[str, float]:
    raise_descriptor_limit()
    task = importlib.import_module("ClusterShell.Task").task_self()
    for name, value in {"fanout": fanout, **information}.items():
        task.set_info(name, value)
    with Meter() as meter:
        task.run(COMMAND, nodes=hosts)
        answers = sum(len(nodes) for output, nodes in task.iter_buffers() if bytes(output) == ANSWER.encode())
    expect_equal("answers", answers, n)
    return meter.values


def ssh_clustershell(n: int) -> dict[str, float]:
    found = cluster(n)
    return clustershell(",".join(found.addresses), n, n, ssh_options=f"-F {found.config}")


def fake_clustershell(n: int) -> dict[str, float]:
    return clustershell(f"host-[0-{n - 1}]", n, n, ssh_path=limit("fakessh"))


def library(measure: Callable[[Cluster], int]) -> Callable[[int], dict[str, float]]:
    """`measure` gives the number of answers."""

    def measure_library(n: int) -> dict[str, float]:
        raise_descriptor_limit()
        warnings.simplefilter("ignore")
        logging.disable()
        found = cluster(n)
        with PeakThreads() as looked, Meter() as meter:
            answers = measure(found)
        expect_equal("answers", answers, n)
        return {**meter.values, "threads": looked.peak}

    return measure_library


def asyncssh_answers(found: Cluster) -> int:
    import asyncio

    asyncssh = importlib.import_module("asyncssh")
    key = asyncssh.read_private_key(found.key)
    identity = {"username": found.user, "client_keys": [key], "known_hosts": None, "config": None, "agent_path": None}

    async def run(host: str) -> bool:
        async with asyncssh.connect(host, found.port, **identity) as connection:
            return bool((await connection.run(COMMAND)).stdout == f"{ANSWER}\n")

    async def run_all() -> int:
        return sum(await asyncio.gather(*map(run, found.addresses)))

    return asyncio.run(run_all())


def parallel_ssh_answers(found: Cluster) -> int:
    client = importlib.import_module("pssh.clients").ParallelSSHClient(
        found.addresses, user=found.user, port=found.port, pkey=found.key, pool_size=len(found.addresses),
        timeout=120, identity_auth=False,
    )
    outputs = client.run_command(COMMAND, stop_on_errors=False)
    client.join(outputs)
    return sum(output.exception is None and list(output.stdout) == [ANSWER] for output in outputs)


def fabric_answers(found: Cluster) -> int:
    fabric = importlib.import_module("fabric")
    keys = {"key_filename": found.key, "allow_agent": False, "look_for_keys": False}
    config = fabric.Config(runtime_ssh_path=found.config)
    connections = [
        fabric.Connection(host, user=found.user, port=found.port, connect_kwargs=keys, config=config)
        for host in found.addresses
    ]
    done = fabric.ThreadingGroup.from_connections(connections).run(COMMAND, hide=True)
    return sum(result.stdout == f"{ANSWER}\n" for result in done.values())


def paramiko_answers(found: Cluster) -> int:
    paramiko = importlib.import_module("paramiko")

    def run(host: str) -> bool:
        client = paramiko.SSHClient()
        client.set_missing_host_key_policy(paramiko.MissingHostKeyPolicy())
        try:
            client.connect(
                host, found.port, found.user, key_filename=found.key, allow_agent=False, look_for_keys=False,
                banner_timeout=120, auth_timeout=120,
            )
            return bool(client.exec_command(COMMAND)[1].read() == f"{ANSWER}\n".encode())
        finally:
            client.close()

    with ThreadPoolExecutor(32) as pool:
        return sum(pool.map(run, found.addresses))


METRICS = (Metric("wall", ratio=True), Metric("cpu", ratio=True), Metric("threads", ""))

WORKLOADS = [
    Workload(
        name="ssh-connector",
        title="Remote on N hosts, with a connector that connects to nothing",
        size="hosts",
        sizes=(1000,),
        quick_sizes=(100,),
        base="xargs -P",
        metrics=METRICS,
        implementations=(
            Implementation("xargs -P", fake_xargs, needs=("xargs", "limits/fakessh")),
            Implementation("execo", fake_execo, OURS, needs=("limits/fakessh",)),
            Implementation("clustershell", fake_clustershell, "clustershell", needs=("limits/fakessh",)),
            Implementation("pdsh", fake_pdsh, needs=("pdsh", "limits/fakessh"), max_reps=2),
            Implementation("execo 2.8.2", fake_execo, ORIGINAL, needs=("limits/fakessh",), max_reps=2),
        ),
        reps=3,
        note="The connector skips ssh's options and the host and runs the command in a shell.",
    ),
    Workload(
        name="ssh",
        title="Remote on N real ssh hosts",
        size="hosts",
        sizes=(300,),
        quick_sizes=(20,),
        base="xargs -P ssh",
        metrics=METRICS,
        needs_cluster=True,
        implementations=(
            Implementation("xargs -P ssh", ssh_xargs, needs=("xargs", "ssh")),
            Implementation("execo", ssh_execo, OURS, needs=("ssh",)),
            Implementation("clustershell", ssh_clustershell, "clustershell", needs=("ssh",)),
            Implementation("pdsh", ssh_pdsh, needs=("pdsh", "ssh"), max_reps=2),
            Implementation("asyncssh", library(asyncssh_answers), "asyncssh", max_reps=2),
            Implementation("parallel-ssh", library(parallel_ssh_answers), "parallel-ssh", max_reps=2),
            Implementation("fabric", library(fabric_answers), "fabric", max_reps=2),
            Implementation("paramiko, 32 threads", library(paramiko_answers), "paramiko", max_reps=2),
            Implementation("execo 2.8.2", ssh_execo, ORIGINAL, needs=("ssh",), max_reps=2),
        ),
        reps=3,
        note="A LocalCluster: half of the processor time is that of its sshd. execo asks for a terminal (-tt), by default. "
        "asyncssh, parallel-ssh, fabric and paramiko start no ssh client; they speak the protocol themselves.",
    ),
]
