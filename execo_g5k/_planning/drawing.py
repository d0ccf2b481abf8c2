"""Charts of plannings and slots, by matplotlib (extra `plot`).  No display is needed unless they are shown."""

from __future__ import annotations

import colorsys

from execo.log import logger
from execo.time_utils import format_date, unixts_to_datetime

from ..api_utils import get_g5k_sites
from .build import SPECIAL
from .slots import without

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .slots import Planning, Slot

GOLDEN = 0.618033988749895
"""Hues at this distance, around the circle, are far from their neighbours, however many there are."""
DPI = 100
INCHES_PER_ROW, MOST_INCHES = 0.09, 300.0
_SECONDS_OF_DAY = 86400.0


def colors_of(names: Iterable[str], given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A colour for each name: those that are given, and different ones for all others."""
    chosen = dict(given or {})
    for number, name in enumerate(name for name in dict.fromkeys(names) if name not in chosen):
        chosen[name] = colorsys.hsv_to_rgb(number * GOLDEN % 1, 0.55 + 0.3 * (number % 2), 0.85 - 0.15 * (number // 7 % 3))
    return chosen


def _matplotlib(show: bool) -> Any:
    """Its module of figures; of windows, if one is to be shown."""
    try:
        if show:
            from matplotlib import pyplot

            return pyplot
        from matplotlib import figure
    except ImportError as error:
        raise ImportError("charts need matplotlib: pip install 'execo_g5k[plot]'") from error
    return figure


def _finish(figure: Figure, what: str, show: bool, save: bool, outfile: str | None, default: str) -> None:
    if save:
        path = outfile or f"{default}.png"
        logger.info("Saving %s to %s", what, path)
        figure.savefig(path, dpi=DPI)
    if show:
        from matplotlib import pyplot

        pyplot.show()
        pyplot.close(figure)


def _dates(axes: Axes, start: float, end: float) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator()                     # type: ignore[no-untyped-call]  # matplotlib's
    zone = unixts_to_datetime(start).tzinfo
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=zone))          # type: ignore[no-untyped-call]  # matplotlib's
    axes.set_xlim(_day(start), _day(max(end, start + 1)))


def _day(date: float) -> float:
    """In matplotlib's unit: days since the epoch."""
    return date / _SECONDS_OF_DAY


def draw_gantt(planning: Planning, colors: Mapping[str, Any] | None = None, show: bool = False, save: bool = True,
               outfile: str | None = None) -> None:
    """A chart of when hosts, VLANs, subnets and disks are busy: one part for each site, one row for each element.

    :param colors: {site or cluster: any colour of matplotlib}; the others get some.
    :param show: in a window, until that is closed.
    :param save: as a file.
    :param outfile: its name, of which the end says the format; None: ``gantt_SITES_DATE.png``.
    :raises ImportError: without matplotlib.
    """
    plan = without(planning, None)
    figures = _matplotlib(show)
    dates = [date for clusters in plan.values() for elements in clusters.values() for element in elements.values()
             for kind in ("busy", "free") for interval in element[kind] for date in interval]
    start, end = (min(dates), max(dates)) if dates else (0.0, 1.0)
    given = dict(colors or {})
    of_sites = {cluster: color for site, color in given.items() for cluster in plan.get(site, ())}
    chosen = colors_of([cluster for clusters in plan.values() for cluster in clusters], of_sites | given)
    rows = {site: max(1, sum(map(len, clusters.values()))) for site, clusters in plan.items()} or {"": 1}
    figure = figures.figure if show else figures.Figure
    height = min(MOST_INCHES, 1.2 + sum(1.0 + INCHES_PER_ROW * number for number in rows.values()))
    drawn: Figure = figure(figsize=(14, height), layout="constrained")
    parts = drawn.subplots(len(rows), 1, squeeze=False, sharex=True, gridspec_kw={"height_ratios": [max(8, n) for n in rows.values()]})
    for (site, number), axes in zip(rows.items(), parts[:, 0], strict=True):
        _draw_site(axes, site, plan.get(site, {}), chosen)
        axes.set_ylim(number, 0)
        _dates(axes, start, end)
    drawn.suptitle(f"Planning from {format_date(start)} to {format_date(end)}")
    _finish(drawn, "Gantt chart", show, save, outfile, f"gantt_{'_'.join(list(plan)[:12])}_{format_date(start)}")


def _draw_site(axes: Axes, site: str, clusters: Mapping[str, Any], colors: Mapping[str, Any]) -> None:
    row = 0
    ticks: list[tuple[float, str]] = []
    for cluster in sorted(clusters, key=lambda name: (name in SPECIAL, name)):
        elements = clusters[cluster]
        if not elements:
            continue
        ticks.append((row + len(elements) / 2, cluster))
        for element in elements.values():
            bars = [(_day(a), _day(b) - _day(a)) for a, b in element["busy"]]
            if bars:
                axes.broken_barh(bars, (row + 0.1, 0.8), facecolors=colors[cluster])
            row += 1
        axes.axhline(row, color="0.8", linewidth=0.5)
    axes.set_title(site, loc="left")
    axes.set_yticks([at for at, _ in ticks], [name for _, name in ticks])


def draw_slots(slots: Iterable[Slot], colors: Mapping[str, Any] | None = None, show: bool = False, save: bool = True,
               outfile: str | None = None) -> None:
    """A chart of how many hosts of each site are free, at each date, for the walltime of the slots.

    :param slots: of `compute_slots`.
    :param colors: {site: any colour of matplotlib}; the others get some.
    :param show: in a window, until that is closed.
    :param save: as a file.
    :param outfile: its name, of which the end says the format; None: ``slots_DATE.png``.
    :raises ImportError: without matplotlib.
    """
    rows = list(slots)
    figures = _matplotlib(show)
    known = set(get_g5k_sites())
    names = list(dict.fromkeys(name for _, _, counts in rows for name in counts if name in known))
    chosen = colors_of(names, colors)
    figure = figures.figure if show else figures.Figure
    drawn: Figure = figure(figsize=(14, 7), layout="constrained")
    axes = drawn.subplots()
    start, end = (rows[0][0], rows[-1][1]) if rows else (0.0, 1.0)
    # The last slot lasts as long as it was computed for; a step needs its end.
    dates = [_day(slot[0]) for slot in rows] + [_day(end)]
    if rows and names:
        columns = [[counts.get(name, 0) for _, _, counts in rows] for name in names]
        axes.stackplot(dates, [[*column, column[-1]] for column in columns], labels=names, colors=[chosen[name] for name in names],
                       step="post")
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    axes.set_ylabel("hosts")
    _dates(axes, start, end)
    if rows:
        drawn.suptitle(f"Free for {rows[0][1] - rows[0][0]:g} s, from {format_date(start)}")
    _finish(drawn, "slots diagram", show, save, outfile, f"slots_{format_date(start)}")
