"""One file to many hosts: along a chain of them, verified; a bare chain of netcat, which verifies nothing; one scp for each host."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from execobench.meter import Meter, expect_equal, scratch
from execobench.registry import OURS, Implementation, Metric, Workload
from execobench.workloads.ssh import Cluster, cluster

if TYPE_CHECKING:
    from typing import Any

MEGABYTES = 50
"""Of the file, for each host."""
PIECE = os.urandom(1 << 20)
LISTENS = "0A"


class Copies:
    """A file, and a folder for each host, since those of the cluster share their files."""

    def __init__(self, n: int) -> None:
        self.cluster = cluster(n)
        self.source = Path(scratch("source"))
        self.size = MEGABYTES * n * 1_000_000
        with open(self.source, "wb") as file:
            for at in range(0, self.size, len(PIECE)):
                file.write(PIECE[: self.size - at])
        self.folder = Path(scratch("copies"))
        for address in self.cluster.addresses:
            (self.folder / address).mkdir(parents=True)

    def check(self) -> None:
        sizes = [(self.folder / address / "source").stat().st_size for address in self.cluster.addresses]
        expect_equal("sizes", sizes, [self.size] * len(sizes))
        subprocess.run(["cmp", self.source, self.folder / self.cluster.addresses[-1] / "source"], check=True)

    def params(self) -> dict[str, Any]:
        from execo.config import make_default_connection_params

        found, defaults = self.cluster, make_default_connection_params()
        options = {name: ("-F", found.config, *defaults[name]) for name in ("ssh_options", "scp_options", "taktuk_connector_options")}
        return {"user": found.user, "keyfile": found.key, "port": found.port, **options}


def _copy(n: int, kind: str) -> dict[str, float]:
    import execo

    copies = Copies(n)
    with Meter() as meter:
        action = getattr(execo, kind)(
            copies.cluster.addresses, [copies.source], f"{copies.folder}/{{{{{{host}}}}}}", copies.params()
        ).run()
    expect_equal("ok", action.ok, True)
    copies.check()
    return {"wall": meter.values["wall"]}


def chainput(n: int) -> dict[str, float]:
    return _copy(n, "ChainPut")


def put(n: int) -> dict[str, float]:
    return _copy(n, "Put")


def free_port(address: str) -> int:
    with socket.socket() as tried:
        tried.bind((address, 0))
        return int(tried.getsockname()[1])


def wait_until_listening(address: str, port: int) -> None:
    """By looking, for a netcat takes one connection only."""
    number = int.from_bytes(socket.inet_aton(address), "little")
    wanted = f"{number:08X}:{port:04X}"
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        if any(line[1] == wanted and line[3] == LISTENS for line in lines):
            return
        time.sleep(0.01)
    raise TimeoutError(f"no netcat listens at {address}:{port}")


def _chain_commands(found: Cluster, ports: list[int], folder: Path) -> list[str]:
    commands = []
    for i, (address, port) in enumerate(zip(found.addresses, ports, strict=True)):
        file = folder / address / "source"
        last = i == len(ports) - 1
        passed = f"> {file}" if last else f"| tee {file} | nc.traditional -q 0 {found.addresses[i + 1]} {ports[i + 1]}"
        commands.append(f"nc.traditional -l -s {address} -p {port} {passed}")
    return commands


def netcat(n: int) -> dict[str, float]:
    """Without the time to start it."""
    copies = Copies(n)
    found = copies.cluster
    ports = [free_port(address) for address in found.addresses]
    commands = _chain_commands(found, ports, copies.folder)
    hops = []
    for address, port, command in reversed(list(zip(found.addresses, ports, commands, strict=True))):
        hops.append(subprocess.Popen(["ssh", "-F", found.config, address, command], stdin=subprocess.DEVNULL))
        wait_until_listening(address, port)
    with Meter() as meter, open(copies.source, "rb") as source:
        subprocess.run(["nc.traditional", "-q", "0", found.addresses[0], str(ports[0])], stdin=source, check=True)
        expect_equal("exit codes", [hop.wait() for hop in hops], [0] * n)
    copies.check()
    return {"wall": meter.values["wall"]}


WORKLOADS = [
    Workload(
        name="copy",
        title=f"A file of {MEGABYTES} MB times N to N hosts",
        size="hosts",
        sizes=(10,),
        quick_sizes=(3,),
        base="execo Put",
        metrics=(Metric("wall", ratio=True),),
        needs_cluster=True,
        implementations=(
            Implementation("nc chain", netcat, needs=("nc.traditional", "tee", "ssh")),
            Implementation("execo ChainPut", chainput, OURS, needs=("perl", "ssh")),
            Implementation("execo Put", put, OURS, needs=("ssh", "scp")),
        ),
        reps=3,
        timeout=300.0,
        note="The time of ChainPut includes the start of its hops by ssh, and SHA-256 on each host; the nc chain was started "
        "before, and verifies nothing.  All hosts are addresses of this machine, so what counts is the processor.  "
        "nc is Debian's netcat-traditional.",
    ),
]
