"""Results as text: pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from execobench.registry import Metric, Workload
from execobench.rows import Result, best_ratio, ratio, select


@dataclass(frozen=True)
class Campaign:
    """What one run measured of one workload, and where; a file in bench/results."""

    workload: str
    date: str
    machine: str
    execo: str
    """Its version."""
    results: list[Result]
    missing: dict[str, str] = field(default_factory=dict)
    """{implementation: why it was not measured}"""


def number(value: float | None) -> str:
    """Three significant digits; "-" for None."""
    if value is None:
        return "-"
    if value == int(value) and abs(value) < 1e6:
        return str(int(value))
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def times(value: float | None) -> str:
    """A ratio: two decimals near 1, fewer above 10, more below 0.1."""
    if value is None:
        return "-"
    return f"{value:.0f}×" if value >= 100 else f"{value:.1f}×" if value >= 10 else (
        f"{value:.2f}×" if value >= 0.1 else f"{value:.2g}×"
    )


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column is text and whose others are numbers.

    :raises ValueError: for a row of another length than the header.
    """
    for row in rows:
        if len(row) != len(header):
            raise ValueError(f"row of {len(row)} cells under a header of {len(header)}: {row!r}")
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def _heading(metric: Metric) -> str:
    """ "wall, s"; what is counted has no unit."""
    return f"{metric.name.replace('_', ' ')}, {metric.unit}" if metric.unit else metric.name


def size_table(workload: Workload, results: Sequence[Result], size: int) -> str:
    """Medians of all implementations at one size, fastest first; ratios are to the workload's base."""
    main, *others = workload.metrics
    header = [workload.size.split(",")[0] + f": {size}", _heading(main), "min..max", "×", "× of best"]
    for metric in others:
        header += [_heading(metric), *(["×"] if metric.ratio else [])]
    header.append("runs")
    rows = []
    base = select(results, workload.base, size, main.name)
    for implementation in workload.implementations:
        name = implementation.name
        chosen = [r for r in results if r.implementation == name and r.size == size]
        found = select(results, name, size, main.name)
        if not chosen:
            continue
        row = [f"**{name}**" if implementation.python == "ours" else name]
        if found is None:
            row += [f"failed: {chosen[-1].error}", *["-"] * (len(header) - 3), str(len(chosen))]
            rows.append((float("inf"), row))
            continue
        low, high = number(found.low * main.scale), number(found.high * main.scale)
        row += [number(found.median * main.scale), f"{low}..{high}", times(ratio(found, base)), times(best_ratio(found, base))]
        for metric in others:
            value = select(results, name, size, metric.name)
            row.append(number(value.median * metric.scale if value else None))
            if metric.ratio:
                row.append(times(ratio(value, select(results, workload.base, size, metric.name))))
        rows.append((found.median, [*row, str(len(chosen))]))
    rows.sort(key=lambda entry: entry[0])
    return markdown(header, [row for _, row in rows])


def sizes_of(results: Sequence[Result]) -> list[int]:
    return sorted({result.size for result in results})


def compared(workload: Workload, python: str) -> str | None:
    """The first implementation of ours, or of the original, that is not the base itself."""
    return next((i.name for i in workload.implementations if i.python == python and i.name != workload.base), None)


def overview(workloads: Sequence[Workload], campaigns: dict[str, Campaign]) -> str:
    """Of each workload, at the largest size, the ratios of ours and of the original to the base."""
    rows = []
    for workload in workloads:
        names = [compared(workload, python) for python in ("ours", "original")]
        if (campaign := campaigns.get(workload.name)) and any(names):
            size = sizes_of(campaign.results)[-1]
            for metric in (m for m in workload.metrics if m.ratio or m is workload.metrics[0]):
                base = select(campaign.results, workload.base, size, metric.name)
                ratios = [ratio(select(campaign.results, name, size, metric.name) if name else None, base) for name in names]
                rows.append([f"{workload.name}, {size}", metric.name.replace("_", " "), workload.base, *map(times, ratios)])
    return markdown(["workload, size", "metric", "against", "execo", "execo 2.8.2"], rows)


def report(workloads: Sequence[Workload], campaigns: dict[str, Campaign], charts: Sequence[str]) -> str:
    """The whole of RESULTS.md.

    :param charts: names of the files that are there.
    """
    parts = [
        "# Benchmarks\n",
        "Made by `make bench`; how to read it: [README.md](../README.md). Lower is better. × is the ratio of the medians",
        "to the named base, × of best that of the fastest runs, which other load on the machine moves less.\n",
        overview(workloads, campaigns),
    ]
    if "overview.png" in charts:
        parts.append("![overview](overview.png)\n")
    for workload in workloads:
        campaign = campaigns.get(workload.name)
        if campaign is None:
            continue
        parts.append(f"## {workload.title}\n")
        parts.append(f"`{workload.name}`. × is against {workload.base}. {workload.note}".rstrip() + "\n")
        parts += [size_table(workload, campaign.results, size) for size in sizes_of(campaign.results)]
        if f"{workload.name}.png" in charts:
            parts.append(f"![{workload.name}]({workload.name}.png)\n")
        parts += [f"Not measured: {name}: {reason}.\n" for name, reason in campaign.missing.items()]
        parts.append(f"{campaign.date}, execo {campaign.execo}, {campaign.machine}.\n")
    return "\n".join(parts)
