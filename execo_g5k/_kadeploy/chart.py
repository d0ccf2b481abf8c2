"""Charts of a deployment, by matplotlib (extra `plot`).  No display is needed."""

from __future__ import annotations

from .progress import DEPLOYED, FAILED, PHASES

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from typing import Any

    from .report import DeploymentReport

_COLOURS = dict(zip((*PHASES, DEPLOYED, FAILED), ("#e0a100", "#8a8a8a", "#2f6690", "#c0562a", "#3a7d44", "#b3261e"), strict=True))


def counts_over_time(report: DeploymentReport) -> tuple[list[float], dict[str, list[int]]]:
    """(seconds since the first start, {phase or end: number of nodes in it from then on}), as in the Grid'5000 paper's Figure 5."""
    changes: dict[float, list[tuple[str, int]]] = {}
    starts = [node.start for node in report.nodes.values() if node.start is not None]
    dates = [node.trace[0][0] for node in report.nodes.values() if node.trace]
    begin = min([*starts, *dates], default=0.0)
    for node in report.nodes.values():
        before = None
        for date, phase in node.trace:
            change = changes.setdefault(date - begin, [])
            change.append((phase, 1))
            if before is not None:
                change.append((before, -1))
            before = phase
    moments = sorted(changes)
    counts: dict[str, list[int]] = {name: [] for name in _COLOURS}
    now = dict.fromkeys(_COLOURS, 0)
    for moment in moments:
        for name, change_ in changes[moment]:
            if name in now:
                now[name] += change_
        for name, number in now.items():
            counts[name].append(number)
    return moments, counts


def plot_report(report: DeploymentReport, file: str | os.PathLike[str] | None, title: str) -> Any:
    """See `DeploymentReport.plot`."""
    try:
        from matplotlib import figure as figures  # not pyplot: it keeps each figure, and may want a display
        from matplotlib import patches
    except ImportError as error:
        raise ImportError("charts need matplotlib: pip install 'execo_g5k[plot]'") from error
    figure = figures.Figure(figsize=(10, 4), layout="constrained")
    bars, areas = figure.subplots(1, 2)
    sites = report.sites
    labels = ["all"] if len(sites) == 1 else ["all", *map(str, sites)]
    bottom = [0.0] * len(labels)
    for phase in PHASES:
        seconds = [report.phases(site)[phase] for site in ([None] if len(sites) == 1 else [None, *sites])]
        bars.bar(labels, seconds, bottom=bottom, color=_COLOURS[phase], width=0.6)
        bottom = [below + height for below, height in zip(bottom, seconds, strict=True)]
    bars.set_ylabel("time of the slowest node (s)")
    bars.margins(x=0.2)
    moments, counts = counts_over_time(report)
    if moments:
        shown = [name for name in counts if any(counts[name])]
        end = moments[-1] + 0.03 * (moments[-1] - moments[0])
        areas.stackplot([*moments, end], [[*counts[name], counts[name][-1]] for name in shown],
                        colors=[_COLOURS[name] for name in shown], step="post")
        areas.set_xlim(0.0, end or 1.0)
    areas.set_xlabel("time (s)")
    areas.set_ylabel("nodes")
    figure.legend(handles=[patches.Patch(color=colour, label=name) for name, colour in _COLOURS.items()], loc="outside lower center",
                  ncols=len(_COLOURS), fontsize="small", frameon=False)
    if title:
        figure.suptitle(title)
    if file is not None:
        figure.savefig(file)
    return figure
