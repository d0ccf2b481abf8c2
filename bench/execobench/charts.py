"""Charts of the results: `python -m execobench.charts FOLDER`, in an environment with matplotlib."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from execobench import store
from execobench.registry import Workload, load_workloads
from execobench.rows import Result, ratio, select
from execobench.tables import Campaign, compared, number, sizes_of, times

OURS, ORIGINAL, BASE = "#0b7a75", "#d1495b", "#30343f"
OTHERS = ("#8d99ae", "#b08968", "#7a9e7e", "#9d8cc4", "#c9a227", "#6c91bf", "#a26769", "#5e6472")
PATCH = {"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none"}
"""Behind labels, so that no line crosses them."""
STYLE = {
    "figure.dpi": 130, "font.family": "sans-serif", "font.size": 10, "axes.spines.top": False, "axes.spines.right": False,
    "axes.edgecolor": "#9aa0a6", "axes.labelcolor": "#3c4043", "xtick.color": "#3c4043", "ytick.color": "#3c4043",
    "axes.titlesize": 10, "axes.titlecolor": "#3c4043", "text.color": "#202124", "svg.hashsalt": "execo",
}


def _colour(workload: Workload, name: str) -> str:
    python = workload.implementation(name).python
    if python in ("ours", "original"):
        return OURS if python == "ours" else ORIGINAL
    if name == workload.base:
        return BASE
    others = [i.name for i in workload.implementations if i.python not in ("ours", "original") and i.name != workload.base]
    return OTHERS[others.index(name) % len(OTHERS)]


def _bars(axes: Any, workload: Workload, results: list[Result], size: int) -> None:
    """Ratio of each implementation to the base, on a logarithmic scale if they are far apart."""
    metric = workload.metrics[0]
    base = select(results, workload.base, size, metric.name)
    found = []
    for implementation in workload.implementations:
        summary = select(results, implementation.name, size, metric.name)
        value = ratio(summary, base)
        if summary and value:
            found.append((value, implementation.name, summary))
    found.sort(reverse=True, key=lambda entry: entry[0])
    names = [name for _, name, _ in found]
    values = [value for value, _, _ in found]
    axes.barh(names, values, color=[_colour(workload, name) for name in names], height=0.62, zorder=2)
    axes.axvline(1, color=BASE, linewidth=1, linestyle=(0, (4, 3)), zorder=3)
    if max(values) / min(values) > 12:
        axes.set_xscale("log")
        axes.set_xlim(min(*values, 1) / 1.6, max(values) * 6)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}×")
        axes.minorticks_off()
    else:
        axes.set_xlim(0, max(values) * 1.35)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}×")
    for position, (value, _, summary) in enumerate(found):
        unit = f"{number(summary.median * metric.scale)} {metric.unit}"
        axes.annotate(
            f"{times(value)}  ({unit})", (value, position), xytext=(5, 0), textcoords="offset points", va="center",
            fontsize=9, bbox=PATCH, zorder=4,
        )
    for label in axes.get_yticklabels():
        if workload.implementation(label.get_text()).python == "ours":
            label.set_fontweight("bold")
    axes.grid(axis="x", color="#e8eaed", zorder=0)
    axes.tick_params(length=0)
    noun = workload.size.split(",")[0]
    axes.set_title(f"{metric.name.replace('_', ' ')} against {workload.base}, {size} {noun}: lower is better", loc="left")


def _lines(axes: Any, workload: Workload, results: list[Result]) -> None:
    """The first metric divided by the size, over the sizes, with the range of the runs."""
    metric, sizes = workload.metrics[0], sizes_of(results)
    ends = []
    for implementation in workload.implementations:
        found = [(size, s) for size in sizes if (s := select(results, implementation.name, size, metric.name))]
        if not found:
            continue
        xs = [size for size, _ in found]
        scale = metric.scale * 1000
        ours = implementation.python == "ours"
        colour = _colour(workload, implementation.name)
        axes.plot(
            xs, [s.median * scale / size for size, s in found], marker="o", markersize=5 if ours else 4, color=colour,
            linewidth=2.6 if ours else 1.5, zorder=4 if ours else 3, label=implementation.name,
        )
        axes.fill_between(
            xs, [s.low * scale / size for size, s in found], [s.high * scale / size for size, s in found],
            color=colour, alpha=0.12, linewidth=0, zorder=1,
        )
        ends.append(found[-1][1].median * scale / found[-1][0])
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.yaxis.set_major_locator(importlib.import_module("matplotlib.ticker").LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.minorticks_off()
    axes.grid(color="#e8eaed", zorder=0)
    axes.tick_params(length=0)
    noun = workload.size.split(",")[0]
    axes.set_xlabel(noun)
    axes.set_title(f"ms per {noun.removesuffix('es') if noun == 'processes' else noun}", loc="left")
    handles, labels = axes.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda i: -ends[i])  # as the lines end, from top to bottom
    axes.legend(
        [handles[i] for i in order], [labels[i] for i in order], frameon=False, fontsize=9, loc="center left",
        bbox_to_anchor=(1.01, 0.5),
    )


def draw(pyplot: Any, workload: Workload, campaign: Campaign, file: Path) -> None:
    results = campaign.results
    sizes = [s for s in sizes_of(results) if select(results, workload.base, s, workload.metrics[0].name)]
    if not sizes:  # nothing to compare with
        return
    over_sizes = workload.per_item and len(sizes) > 1
    rows = len({r.implementation for r in results if r.values})
    height = 1.1 + 0.36 * max(rows, 3 if not over_sizes else 6)
    figure, axes = pyplot.subplots(1, 2 if over_sizes else 1, figsize=(14 if over_sizes else 8, height), squeeze=False)
    _bars(axes[0][0], workload, results, sizes[-1])
    if over_sizes:
        _lines(axes[0][1], workload, results)
    figure.suptitle(workload.title, x=0.01, ha="left", fontsize=13, fontweight="bold")
    figure.tight_layout()
    figure.savefig(file)
    pyplot.close(figure)


def draw_overview(pyplot: Any, workloads: list[Workload], campaigns: dict[str, Campaign], file: Path) -> None:
    """Ours and the original, each workload on a line, both against the workload's base."""
    rows = []
    for workload in workloads:
        if campaign := campaigns.get(workload.name):
            results, metric = campaign.results, workload.metrics[0].name
            both = {}
            for python in ("ours", "original"):
                if name := compared(workload, python):
                    for size in sizes_of(results):  # the largest at which it was measured
                        base = select(results, workload.base, size, metric)
                        if value := ratio(select(results, name, size, metric), base):
                            both[python] = (value, size)
            if both:
                rows.append((workload, both))
    if not rows:
        return
    figure, axes = pyplot.subplots(figsize=(9, 1.2 + 0.42 * len(rows)))
    for position, (_, both) in enumerate(reversed(rows)):
        values = [value for value, _ in both.values()]
        axes.plot([min(values), max(values)], [position] * 2, color="#dadce0", linewidth=3, zorder=1, solid_capstyle="round")
        for python, (value, size) in both.items():
            colour = OURS if python == "ours" else ORIGINAL
            axes.scatter([value], [position], s=70, color=colour, zorder=3)
            at = f" at {size}" if python == "original" and size != both.get("ours", (0, size))[1] else ""
            left = value == min(values) and len(values) > 1
            axes.annotate(
                times(value) + at, (value, position), xytext=(-8 if left else 8, 0), textcoords="offset points",
                ha="right" if left else "left", va="center", fontsize=9, color=colour, bbox=PATCH, zorder=4,
            )
    axes.axvline(1, color=BASE, linewidth=1, linestyle=(0, (4, 3)), zorder=2)
    axes.set_xscale("log")
    values = [value for _, both in rows for value, _ in both.values()]
    axes.set_xlim(min(*values, 1) / 4, max(*values, 1) * 4)
    axes.set_yticks(range(len(rows)), [f"{w.name}\nagainst {w.base}" for w, _ in reversed(rows)], fontsize=8.5)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}×")
    axes.minorticks_off()
    axes.grid(axis="x", color="#e8eaed", zorder=0)
    axes.tick_params(length=0)
    axes.scatter([], [], s=70, color=OURS, label="execo")
    axes.scatter([], [], s=70, color=ORIGINAL, label="execo 2.8.2")
    figure.suptitle("Time, as a multiple of a limit or of a plain tool", x=0.01, ha="left", fontsize=13, fontweight="bold")
    figure.legend(frameon=False, ncol=2, loc="upper right", fontsize=9)
    figure.tight_layout()
    figure.savefig(file)
    pyplot.close(figure)


def main(folder: Path) -> None:
    matplotlib = importlib.import_module("matplotlib")
    matplotlib.use("Agg")
    pyplot = importlib.import_module("matplotlib.pyplot")
    pyplot.rcParams.update(STYLE)
    campaigns, workloads = store.load(folder), load_workloads()
    for workload in workloads:
        if campaign := campaigns.get(workload.name):
            draw(pyplot, workload, campaign, folder / f"{workload.name}.png")
    draw_overview(pyplot, workloads, campaigns, folder / "overview.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
