#!/usr/bin/env python3
"""Measures Figure 1 anew: tables, CSV and PNG in bench/results.  `--quick` takes a minute, all of it an hour; --help lists the options.

What it measures is in execobench/workloads/figure1.py; how, in bench/README.md.
"""

from __future__ import annotations

import csv
import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

BENCH = Path(__file__).resolve().parent
sys.path[:0] = [str(BENCH), str(BENCH.parent)]

from execobench import __main__ as command_line  # noqa: E402
from execobench import charts, environments, store  # noqa: E402
from execobench.rows import select  # noqa: E402
from execobench.tables import Campaign, sizes_of  # noqa: E402

PARTS = ("figure1", "figure1-connector")


def write_csv(campaigns: dict[str, Campaign], file: Path) -> None:
    """A row for each tool and number of hosts; seconds."""
    with open(file, "w", newline="", encoding="utf-8") as table:
        rows = csv.writer(table, lineterminator="\n")
        rows.writerow(["connector", "tool", "hosts", "median", "lowest", "highest", "runs"])
        for part in PARTS:
            if part in campaigns:
                results = campaigns[part].results
                for tool in sorted({result.implementation for result in results}):
                    for size in sizes_of(results):
                        if found := select(results, tool, size, "wall"):
                            rows.writerow(["local" if part.endswith("connector") else "ssh", tool, size, f"{found.median:.3f}",
                                           f"{found.low:.3f}", f"{found.high:.3f}", found.count])


def draw(campaigns: dict[str, Campaign], file: Path) -> None:
    """Seconds over hosts, one panel for each connector.  In an environment with matplotlib."""
    matplotlib = importlib.import_module("matplotlib")
    matplotlib.use("Agg")
    pyplot: Any = importlib.import_module("matplotlib.pyplot")
    pyplot.rcParams.update(charts.STYLE)
    parts = [part for part in PARTS if part in campaigns]
    figure, panels = pyplot.subplots(1, len(parts), figsize=(7 * len(parts), 5), sharey=True, squeeze=False)
    for axes, part in zip(panels[0], parts, strict=True):
        results = campaigns[part].results
        for i, tool in enumerate(sorted({result.implementation for result in results})):
            found = [(size, summary) for size in sizes_of(results) if (summary := select(results, tool, size, "wall"))]
            ours = "Remote" in tool
            axes.plot([size for size, _ in found], [summary.median for _, summary in found], marker="o", markersize=4, label=tool,
                      color=charts.OURS if ours else charts.OTHERS[i % len(charts.OTHERS)], linewidth=2.4 if ours else 1.4,
                      linestyle={"Remote, fanout 32": "--", "Remote, shared connections": ":", "TaktukRemote": "-."}.get(tool, "-"))
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xticks(sizes_of(results), [str(size) for size in sizes_of(results)])
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.minorticks_off()
        axes.grid(color="#e8eaed", zorder=0)
        axes.set_xlabel("hosts")
        axes.set_title("local connector" if part.endswith("connector") else "ssh", loc="left")
        axes.legend(frameon=False, fontsize=9)
    panels[0][0].set_ylabel("seconds, start of the first connection to close of the last")
    figure.tight_layout()
    figure.savefig(file)


def main() -> None:
    if sys.argv[1:2] == ["--draw"]:
        folder = Path(sys.argv[2])
        draw(store.load(folder), folder / "figure1-all.png")
        return
    quick = "--quick" in sys.argv
    sys.argv += ["--only", "figure1"]
    command_line.main()
    folder = command_line.RESULTS / "quick" if quick else command_line.RESULTS
    write_csv(store.load(folder), folder / "figure1.csv")
    made = environments.make(sys.executable, False, {environments.CHARTS})
    if python := made.pythons.get(environments.CHARTS):
        subprocess.run([python, str(BENCH / "figure1.py"), "--draw", str(folder)], check=True, env={**os.environ})


if __name__ == "__main__":
    main()
