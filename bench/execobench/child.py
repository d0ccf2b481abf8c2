"""One measurement: `python -m execobench.child WORKLOAD IMPLEMENTATION SIZE` prints one JSON object, {metric: number}."""

from __future__ import annotations

import importlib
import json
import os
import sys

from execobench.registry import FAMILIES


def measure(workload: str, implementation: str, size: int) -> dict[str, float]:
    """:raises KeyError: for an unknown name."""
    for family in FAMILIES:
        if workload == family or workload.startswith(family + "-"):
            module = importlib.import_module(f"execobench.workloads.{family}")
            for candidate in module.WORKLOADS:
                if candidate.name == workload:
                    values: dict[str, float] = candidate.implementation(implementation).measure(size)
                    return values
    raise KeyError(f"no workload {workload!r}")


def main(arguments: list[str]) -> None:
    if len(arguments) != 3 or not arguments[2].isdecimal():
        sys.exit("usage: python -m execobench.child WORKLOAD IMPLEMENTATION SIZE")
    values = measure(arguments[0], arguments[1], int(arguments[2]))
    print(json.dumps(values), flush=True)
    # What was measured is over: threads that a library leaves must not keep the runner waiting.
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
