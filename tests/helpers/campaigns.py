"""A campaign without ssh, and what has become of one."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from execo import Host
from execo_engine.sweep import SweepDirectory
from execo_engine.testbeds import StaticTestbed
from execo_engine.workflow import SweepEngine

SIX = {"kind": ["a", "b"], "size": [1, 2, 3]}


class Campaign(SweepEngine):
    """Without ssh: the hosts are names."""

    parameters: Any = SIX
    testbed: Any = None
    check_hosts = False
    retry_delay = 0.01

    def __init__(self) -> None:
        super().__init__()
        self.begun: list[Any] = []
        if self.testbed is None:
            self.testbed = StaticTestbed(["h1", "h2"])

    def run_combination(self, combination: Any, hosts: list[Host], directory: Path) -> Mapping[str, Any] | None:
        self.begun.append(combination)
        return self.measure(combination, hosts, directory)

    def measure(self, combination: Any, hosts: list[Host], directory: Path) -> Any:
        return {"double": combination["size"] * 2}


def run(campaign: SweepEngine, folder: Path, *options: str) -> Any:
    campaign.start(["-c", str(folder), "-l", "ERROR", *options])
    return campaign


def end_combinations(before: set[threading.Thread]) -> None:
    """Wait for the threads of combinations that were not there before."""
    for thread in set(threading.enumerate()) - before:
        if thread.name.startswith("combination-"):
            thread.join(30)


def counts(folder: Path) -> dict[str, int | None]:
    with SweepDirectory(str(folder / "sweep")) as sweep:
        assert sweep.verify().ok
        return sweep.counts()


def reasons(folder: Path, state: str) -> list[str | None]:
    """Of a campaign that has ended, skipped ones are to do, and say why they were not."""
    with SweepDirectory(str(folder / "sweep")) as sweep:
        return [record.reason for record in sweep.records(state)]
