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
]
