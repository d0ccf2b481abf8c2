"""One more command on hosts that were connected to before: over shared connections, and without them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

from execobench.meter import CLUSTER, Meter, expect_equal, scratch
from execobench.registry import OURS, Implementation, Metric, Workload
from execobench.workloads.ssh import ANSWER, COMMAND, METRICS, Cluster, cluster


def _default_key_exchange(n: int) -> Cluster:
    """The cluster, its sshd with OpenSSH's own key exchange: a LocalCluster has a cheaper one."""
    found = cluster(n)
    config = Path(os.environ[CLUSTER]) / "sshd_config"     # read at each connection
    lines = [line for line in config.read_text().splitlines(keepends=True) if not line.startswith("KexAlgorithms")]
    config.write_text("".join(lines))
    return found


def _second_remote(n: int, **params: Any) -> dict[str, float]:
    from execo import Remote, close_shared_connections
    from execo.config import make_default_connection_params

    found = _default_key_exchange(n)
    options = ("-F", found.config, *make_default_connection_params()["ssh_options"])
    params |= {"user": found.user, "keyfile": found.key, "port": found.port, "ssh_options": options}
    Remote(COMMAND, found.addresses, params).run()
    with Meter() as meter:
        remote = Remote(COMMAND, found.addresses, params).run()
    expect_equal("answers", sum(process.stdout.strip() == ANSWER for process in remote.processes), n)
    close_shared_connections()
    return meter.values


def alone(n: int) -> dict[str, float]:
    return _second_remote(n)


def shared(n: int) -> dict[str, float]:
    return _second_remote(n, control_persist=60)


def _xargs(found: Cluster, *options: str, command: str = COMMAND) -> str:
    ssh = ["xargs", "-P", str(len(found.addresses)), "-I{}", "ssh", "-F", found.config, *options, "{}", command]
    return subprocess.run(ssh, input="\n".join(found.addresses), text=True, stdout=subprocess.PIPE, check=True).stdout


def xargs_shared(n: int) -> dict[str, float]:
    found = _default_key_exchange(n)
    sockets = Path(scratch("m"))
    sockets.mkdir()
    options = ("-o", f"ControlPath={sockets}/%h", "-o", "ControlMaster=auto", "-o", "ControlPersist=60")
    _xargs(found, *options)
    try:
        with Meter() as meter:
            answers = _xargs(found, *options)
    finally:
        _xargs(found, *options, "-O", "exit", command="")
    expect_equal("answers", answers.count(ANSWER), n)
    return meter.values


WORKLOADS = [
    Workload(
        name="shared",
        title="A second Remote on N real ssh hosts, over shared connections",
        size="hosts",
        sizes=(20, 100),
        quick_sizes=(20,),
        base="execo, not shared",
        metrics=tuple(metric for metric in METRICS if metric != Metric("threads", "")),
        needs_cluster=True,
        implementations=(
            Implementation("execo, shared", shared, OURS, needs=("ssh",)),
            Implementation("execo, not shared", alone, OURS, needs=("ssh",)),
            Implementation("xargs -P ssh, ControlMaster", xargs_shared, needs=("xargs", "ssh")),
        ),
        note="A LocalCluster whose sshd has OpenSSH's default key exchange. "
        "The first Remote, which makes the connections, is not measured.",
    ),
]
