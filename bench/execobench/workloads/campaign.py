"""What a campaign adds to its combinations: the wall time beside that of the work alone, with as many at once."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from execobench.meter import Meter, expect_equal, scratch
from execobench.registry import OURS, Implementation, Metric, Workload

if TYPE_CHECKING:
    from typing import Any

HOSTS = 4
SECONDS = 0.5
"""Of a combination.  That of a real one is minutes."""
VMS = 5
"""Of a combination."""


def _work(number: int) -> dict[str, Any]:
    time.sleep(SECONDS)
    return {"double": 2 * number}


def bare_threads(n: int) -> dict[str, float]:
    with Meter() as meter, ThreadPoolExecutor(HOSTS) as pool:
        results = list(pool.map(_work, range(n)))
    expect_equal("results", len(results), n)
    return _shares(meter, n)


def engine(n: int) -> dict[str, float]:
    from execo_engine import SweepEngine
    from execo_engine.testbeds import StaticTestbed

    class Campaign(SweepEngine):
        parameters: Any = range(n)
        testbed: Any = StaticTestbed(f"host-[1-{HOSTS}]")
        check_hosts = False

        def run_combination(self, combination: Any, hosts: Any, directory: Any) -> Any:
            return _work(combination)

    campaign = Campaign()
    with Meter() as meter:
        campaign.start(["-c", scratch("campaign"), "-l", "WARNING"])
    expect_equal("results", sorted(row["double"] for row in campaign.results.rows()), [2 * number for number in range(n)])
    return _shares(meter, n)


def vm_engine(n: int) -> dict[str, float]:
    """One combination after another, each with VMs of libvirt's test driver: what the campaign itself says of its steps."""
    import json

    from execo_engine.testbeds import StaticTestbed
    from execo_g5k.vmengine import VMEngine
    from execo_g5k.vmutils import Hypervisor, define_vms, install_vms, start_vms
    from execobench.workloads.vms import URI, hypervisors

    class Campaign(VMEngine):
        parameters: Any = range(n)
        hypervisor = Hypervisor(kind="test", uri=URI)

        def prepare(self, hosts: Any) -> None:
            """They are hypervisors."""

        def define(self, combination: Any, hosts: Any) -> Any:
            return define_vms([f"vm-{number}" for number in range(VMS)], ip_mac=[("10.0.0.1", "52:54:00:00:00:01")] * VMS)

        def make_disks(self, vms: Any, hosts: Any) -> None:
            """The test driver has none."""

        def start_vms(self, vms: Any) -> None:
            for action in (install_vms, start_vms):
                self.require(action(vms, self.hypervisor, self.connection_params))

        def measure(self, combination: Any, vms: Any, hosts: Any, directory: Any) -> Any:
            return _work(combination)

    folder = scratch("campaign")
    with hypervisors(VMS) as cluster:
        campaign = Campaign()
        campaign.testbed = StaticTestbed(cluster.hosts[:1], connection_params=cluster.connection_params)
        with Meter() as meter:
            campaign.start(["-c", folder, "-l", "WARNING"])
    expect_equal("results", sorted(row["double"] for row in campaign.results.rows()), [2 * number for number in range(n)])
    with open(f"{folder}/notebook.json", encoding="utf-8") as file:
        steps = json.load(file)["steps"]
    return {**meter.values, "overhead": 1 - (steps["wall"] - steps["other"]) / meter.values["wall"]}


def _shares(meter: Meter, n: int) -> dict[str, float]:
    """Also the share of the wall time that is not work: of n combinations, HOSTS at once."""
    work = n * SECONDS / HOSTS
    return {**meter.values, "overhead": 1 - work / meter.values["wall"]}


WORKLOADS = [
    Workload(
        name="campaign",
        title=f"N combinations of {SECONDS} s, {HOSTS} at once",
        size="combinations",
        sizes=(40, 200),
        quick_sizes=(8,),
        base="threads",
        metrics=(Metric("wall", ratio=True), Metric("overhead", "%", 100), Metric("cpu")),
        implementations=(
            Implementation("threads", bare_threads),
            Implementation("execo SweepEngine", engine, OURS),
        ),
        reps=3,
        note="The overhead is the share of the wall time that is not that of the combinations: the notebook, three records on the disk "
        "for each combination, and the schedule.",
    ),
    Workload(
        name="campaign-vms",
        title=f"N combinations with {VMS} virtual machines (libvirt's test driver), {SECONDS} s of measure, one after another",
        size="combinations",
        sizes=(20,),
        quick_sizes=(2,),
        base="execo VMEngine",
        metrics=(Metric("wall"), Metric("overhead", "%", 100), Metric("cpu")),
        implementations=(Implementation("execo VMEngine", vm_engine, OURS, needs=("libvirtd", "virsh", "ssh", "taktuk", "ip")),),
        reps=3,
        note="As root. The overhead is the share of the wall time, from the start of the engine to its end, that is in none of its steps: "
        "reserve, check and prepare hosts, start, measure, destroy, as `steps.jsonl` has them.",
    ),
]
