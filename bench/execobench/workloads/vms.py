"""Virtual machines of libvirt's test driver, 25 to a host: vmutils against virsh over ssh, on the same hosts in parallel."""

from __future__ import annotations

import contextlib
import shlex
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
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

    def start(host: Any) -> None:
        done = host.run_inside(["sh", "-c", START, "sh", str(folder)])
        if done.returncode != 0:
            raise RuntimeError(f"libvirtd does not start: {done.stderr}")

    with LocalCluster(max(2, n // BY_HOST), "namespaces") as cluster:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(start, cluster.hosts))
        yield cluster


def memory_bytes(cluster: Any) -> int:
    """Of all processes of all hosts; what they share is counted once."""
    def of(host: Any) -> int:
        told: str = host.run_inside("cat /proc/[0-9]*/smaps_rollup 2>/dev/null | grep ^Pss: ; true").stdout
        return sum(int(line.split()[1]) for line in told.splitlines()) * 1024

    with ThreadPoolExecutor(4) as pool:
        return sum(pool.map(of, cluster.hosts))


def over_ssh(cluster: Any, n: int, scripts: Callable[[list[str]], list[str]]) -> dict[str, float]:
    """A shell on each host for each phase: the scripts for the names of a host; the third one lists."""
    params = cluster.connection_params
    ssh = [word for word in ("ssh", *params["ssh_options"], "-i", params["keyfile"]) if word != "-tt"]
    names = [[f"vm-{index}" for index in range(first, n, len(cluster.hosts))] for first in range(len(cluster.hosts))]
    listed = ""
    with Meter() as meter:
        for number, phase in enumerate(zip(*map(scripts, names), strict=True)):
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


VIRSH = f"virsh -q -c {URI}"


def _files(names: list[str]) -> str:
    return "cd $(mktemp -d)\n" + "".join(f"printf %s {shlex.quote(XML.format(name=name))} > {name}.xml\n" for name in names)


def loops(n: int) -> dict[str, float]:
    """A virsh for each command."""
    def scripts(names: list[str]) -> list[str]:
        each = f"for name in {' '.join(names)}; do"
        return [f"{_files(names)}{each} {VIRSH} define $name.xml; done\nrm -r $PWD\n", f"{each} {VIRSH} start $name; done\n",
                f"{VIRSH} list --name\n", f"{each} {VIRSH} destroy $name; {VIRSH} undefine $name; done\n"]

    with hypervisors(n) as cluster:
        return over_ssh(cluster, n, scripts)


def batches(n: int) -> dict[str, float]:
    """A virsh for all commands of a host and phase: what nobody writes by hand, with nothing attributed to its VM."""
    def scripts(names: list[str]) -> list[str]:
        def run(*commands: str) -> str:
            return f"{VIRSH} '{'; '.join(command.format(name) for name in names for command in commands)}'\n"

        return [f"{_files(names)}{run('define {}.xml')}rm -r $PWD\n", run("start {}"), f"{VIRSH} list --name\n",
                run("destroy {}", "undefine {}")]

    with hypervisors(n) as cluster:
        return over_ssh(cluster, n, scripts)


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
        return {**meter.values, "memory": memory_bytes(cluster)}


NEEDS = ("libvirtd", "virsh", "ssh", "ip")
METRICS = (Metric("wall", ratio=True), Metric("cpu"), Metric("memory", "GiB", 1 / (1 << 30)))
BATCHES = Implementation("a virsh per host", batches, needs=NEEDS)
EXECO = Implementation("execo", ours, OURS, needs=(*NEEDS, "taktuk"))

WORKLOADS = [
    Workload(
        name="vms",
        title="Define, start, list and destroy N virtual machines (libvirt's test driver), 25 to a host",
        size="VMs",
        sizes=(500,),
        quick_sizes=(10,),
        base="virsh loops",
        metrics=METRICS,
        implementations=(Implementation("virsh loops", loops, needs=NEEDS), BATCHES, EXECO),
        reps=3,
        timeout=300.0,
        note="As root, on hosts with namespaces that share this machine's processors, in parallel on all of them, by ssh. The loops start "
        "a virsh for each command; \"a virsh per host\" one for all commands of a host and phase, and tells of no VM whether it went well; "
        "execo does so too, through a TakTuk tree, and tells. Memory: of all processes of the hosts, at the end.",
    ),
    Workload(
        name="vms-most",
        title="Thousands of virtual machines (libvirt's test driver), 25 to a host",
        size="VMs",
        sizes=(5000,),
        quick_sizes=(10,),
        base="a virsh per host",
        metrics=METRICS,
        implementations=(BATCHES, EXECO),
        reps=1,
        timeout=1200.0,
        by_name_only=True,
        note="As `vms`; 5000 VMs are 200 hosts with a libvirtd each, which is what takes the memory.",
    ),
]
