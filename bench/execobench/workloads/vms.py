"""Virtual machines of libvirt's test driver, 25 to a host: vmutils against shell loops over virsh, on the same hosts in parallel."""

from __future__ import annotations

import contextlib
import shlex
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from execobench.meter import Meter, expect_equal, scratch
from execobench.registry import OURS, Implementation, Metric, Workload

URI = "test+unix:///default"
BY_HOST = 25
XML = ("<domain type='test'><name>{name}</name><memory unit='MiB'>512</memory><vcpu placement='static'>1</vcpu>"
       "<os><type arch='i686'>hvm</type></os></domain>")

# The state of the driver lasts as long as a connection; the machine that it begins with is in the way.
START = """
mkdir -p /run/libvirt && mount -t tmpfs -o mode=755 own /run/libvirt || exit 1
export LIBVIRT_DRIVER_DIR="$1/none"
libvirtd -d -f "$1/conf" -p /run/libvirt/libvirtd.pid </dev/null >/dev/null 2>&1
for try in $(seq 300); do virsh -q -c URI version >/dev/null 2>&1 && break; sleep 0.1; done
( { echo "destroy test"; echo "undefine test"; sleep 100000; } | virsh -q -c URI ) </dev/null >/dev/null 2>&1 &
for try in $(seq 300); do [ -n "$(virsh -q -c URI list --all --name | tr -d '\\n')" ] || exit 0; sleep 0.05; done
exit 1
""".replace("URI", URI)


@contextlib.contextmanager
def hypervisors(n: int) -> Iterator[Any]:
    """A LocalCluster whose hosts have a libvirtd each."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))       # where it is not installed
    from execo.localcluster import LocalCluster

    folder = Path(scratch("libvirt"))
    (folder / "none").mkdir(parents=True)
    (folder / "conf").write_text(f'auth_unix_rw = "none"\nhost_uuid = "{uuid.uuid4()}"\nlog_outputs = "3:file:{folder}/log"\n')
    with LocalCluster(max(2, n // BY_HOST), "namespaces") as cluster:
        for host in cluster.hosts:
            done = host.run_inside(["sh", "-c", START, "sh", str(folder)])
            if done.returncode != 0:
                raise RuntimeError(f"libvirtd does not start: {done.stderr}")
        yield cluster


def loops(n: int) -> dict[str, float]:
    """A shell on each host, and in it a virsh for each command."""
    virsh = f"virsh -q -c {URI}"
    with hypervisors(n) as cluster:
        params = cluster.connection_params
        ssh = ["ssh", *params["ssh_options"], "-i", params["keyfile"]]
        ssh = [word for word in ssh if word != "-tt"]
        names = [[f"vm-{index}" for index in range(first, n, len(cluster.hosts))] for first in range(len(cluster.hosts))]
        files = ["".join(f"printf %s {shlex.quote(XML.format(name=name))} > {name}.xml\n" for name in theirs) for theirs in names]
        phases = [
            [f"cd $(mktemp -d)\n{made}for name in {' '.join(theirs)}; do {virsh} define $name.xml; done\nrm -r $PWD\n"
             for made, theirs in zip(files, names, strict=True)],
            [f"for name in {' '.join(theirs)}; do {virsh} start $name; done\n" for theirs in names],
            [f"{virsh} list --name\n" for theirs in names],
            [f"for name in {' '.join(theirs)}; do {virsh} destroy $name; {virsh} undefine $name; done\n" for theirs in names],
        ]
        listed = ""
        with Meter() as meter:
            for number, phase in enumerate(phases):
                pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
                running = [subprocess.Popen([*ssh, f"{params['user']}@{host.address}", "sh"], **pipes) for host in cluster.hosts]
                for process, script in zip(running, phase, strict=True):
                    assert process.stdin is not None
                    process.stdin.write(script)
                    process.stdin.close()
                told = "".join(process.stdout.read() for process in running if process.stdout is not None)
                expect_equal("exit codes", [process.wait() for process in running], [0] * len(running))
                listed = told if number == 2 else listed
        expect_equal("running VMs", len(listed.split()), n)
    return meter.values


def ours(n: int) -> dict[str, float]:
    from execo_g5k.vmutils import Hypervisor, define_vms, destroy_vms, distribute_vms, install_vms, list_vm, start_vms

    hypervisor = Hypervisor(kind="test", uri=URI)
    with hypervisors(n) as cluster:
        params = cluster.connection_params
        with Meter() as meter:
            vms = distribute_vms(define_vms([f"vm-{index}" for index in range(n)]), cluster.hosts, "round-robin",
                                 {host.address: (n, n * 512) for host in cluster.hosts})
            defined = install_vms(vms, hypervisor, params).run()
            started = start_vms(vms, hypervisor, params).run()
            listed = list_vm(cluster.hosts, False, hypervisor, params)
            destroyed = destroy_vms(cluster.hosts, True, hypervisor, params)
        expect_equal("running VMs", sum(map(len, listed.values())), n)
        for action in (defined, started, destroyed):
            expect_equal("VMs that went well", sum(result.ok for result in action.results.values()), n)
    return meter.values


WORKLOADS = [
    Workload(
        name="vms",
        title="Define, start, list and destroy N virtual machines (libvirt's test driver), 25 to a host",
        size="VMs",
        sizes=(500,),
        quick_sizes=(10,),
        base="virsh loops",
        metrics=(Metric("wall", ratio=True), Metric("cpu")),
        implementations=(
            Implementation("virsh loops", loops, needs=("libvirtd", "virsh", "ssh", "ip")),
            Implementation("execo", ours, OURS, needs=("libvirtd", "virsh", "ssh", "taktuk", "ip")),
        ),
        reps=3,
        timeout=300.0,
        note="As root, on hosts with namespaces. The loops start a virsh for each command, in parallel on all hosts; execo starts one for "
        "all commands of a host.",
    ),
]
