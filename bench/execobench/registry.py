"""What can be measured: workloads, their implementations and metrics.

A family is a module of `execobench.workloads` with a list `WORKLOADS`.  It is imported by the runner, which only reads
the list, and by each measurement, which calls one function: so it imports what it measures inside of its functions.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass

FAMILIES = (
    "spawn", "hold", "output", "latency", "ssh", "copy", "shared", "taktuk", "figure1", "gather", "sweep", "campaign", "api", "oarsub",
    "deploy", "vms", "planning", "imports",
)
"""In the order of the report."""

OURS, ORIGINAL, PLAIN = "ours", "original", "plain"
"""Interpreters: with this execo; with execo 2.8.2; as ours, without execo.  Any other name is that of a peer."""

Measure = Callable[[int], dict[str, float]]
"""Does the work at this size and checks it; returns its metrics.  Raises if the result of the work is wrong."""


@dataclass(frozen=True)
class Metric:
    """A number that an implementation gives; lower is better."""

    name: str
    unit: str = "s"
    scale: float = 1.0
    """Multiplied with what was measured (in seconds, bytes, or plain numbers) to have `unit`."""
    ratio: bool = False
    """Whether the ratio to the base is shown, as it always is for the first metric."""


@dataclass(frozen=True)
class Implementation:
    """A way to do the work."""

    name: str
    measure: Measure
    python: str = PLAIN
    needs: tuple[str, ...] = ()
    """Programs: `pdsh` in the PATH, `limits/spawn` among the compiled limits."""
    max_size: int | None = None
    max_reps: int | None = None
    """For those that take minutes."""


@dataclass(frozen=True)
class Workload:
    """A piece of work that several implementations do."""

    name: str
    title: str
    size: str
    """What the size counts."""
    sizes: tuple[int, ...]
    quick_sizes: tuple[int, ...]
    base: str
    """Implementation to which the others are compared."""
    metrics: tuple[Metric, ...]
    implementations: tuple[Implementation, ...]
    per_item: bool = False
    """Whether the chart over sizes shows the first metric divided by the size."""
    needs_cluster: bool = False
    """Whether `size` ssh hosts must be up."""
    reps: int = 5
    timeout: float = 120.0
    """Seconds that one measurement may take."""
    by_name_only: bool = False
    """Takes an hour, so it is measured only if it is asked for."""
    note: str = ""

    def __post_init__(self) -> None:
        names = [implementation.name for implementation in self.implementations]
        if self.base not in names or len(set(names)) < len(names):
            raise ValueError(f"{self.name}: base {self.base!r}, implementations {names}: base missing or a name twice")

    def implementation(self, name: str) -> Implementation:
        """:raises KeyError: naming those that there are."""
        for implementation in self.implementations:
            if implementation.name == name:
                return implementation
        raise KeyError(f"{self.name} has no {name!r}, only {', '.join(i.name for i in self.implementations)}")


def load_workloads() -> list[Workload]:
    """All workloads, by family."""
    modules = [importlib.import_module(f"execobench.workloads.{family}") for family in FAMILIES]
    return [workload for module in modules for workload in module.WORKLOADS]


def find_workload(name: str) -> Workload:
    """:raises KeyError: naming those that there are."""
    workloads = load_workloads()
    for workload in workloads:
        if workload.name == name:
            return workload
    raise KeyError(f"no workload {name!r}, only {', '.join(w.name for w in workloads)}")


def choose(workloads: list[Workload], names: list[str]) -> list[Workload]:
    """Those whose name is, or begins with, one of `names` and a dash; without names, all that do not take an hour.

    :raises KeyError: for a name that chooses none.
    """
    for name in names:
        if not any(w.name == name or w.name.startswith(name + "-") for w in workloads):
            raise KeyError(f"no workload {name!r}, only {', '.join(w.name for w in workloads)}")
    if not names:
        return [w for w in workloads if not w.by_name_only]
    return [w for w in workloads if any(w.name == n or w.name.startswith(n + "-") for n in names)]
