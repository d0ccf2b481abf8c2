"""Values of metrics in the shape of Kwollect: invented, but always the same for the same question.  Pure."""

from __future__ import annotations

import datetime
import zlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from typing import Any

    Json = dict[str, Any]

RECENT = 300.0
"""Seconds before the end that are shown, if no start is given."""
SUMMARY_PERIOD = 300.0
MOST = 10_000
"""Values of one metric of one node at once."""


def _paris() -> datetime.tzinfo:
    import zoneinfo

    try:
        return zoneinfo.ZoneInfo("Europe/Paris")
    except zoneinfo.ZoneInfoNotFoundError:          # a system without zones; the dates are as right in another one
        return datetime.timezone.utc


def date_of(text: str | None, default: float) -> float:
    """Unix seconds of a date, which is a number or ISO 8601 (in Paris, if it names no zone).

    :raises ValueError: if it is neither.
    """
    if not text:
        return default
    try:
        return float(text)
    except ValueError:
        found = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
        return (found if found.tzinfo else found.replace(tzinfo=_paris())).timestamp()


def _period(metric: Json, named: bool) -> float | None:
    """Seconds between values; None: it is not measured unless it is asked for by name."""
    milliseconds = metric["period"] or (metric.get("optional_period") if named else 0)
    return milliseconds / 1000 if milliseconds else None


def measured(offered: Mapping[str, Sequence[Json]], wanted: Collection[str] | None, start: str | None, end: str | None, now: float,
             summary: bool = False) -> list[Json]:
    """Values of nodes, by date.

    :param offered: {node: the metrics that its cluster describes}.
    :param wanted: None: all that are measured by default.
    :param summary: one value for five minutes.
    """
    last = date_of(end, now)
    first = date_of(start, last - RECENT)
    zone, found = _paris(), []
    for node, metrics in offered.items():
        for metric in metrics:
            period = _period(metric, wanted is not None)
            if period is None or (wanted is not None and metric["name"] not in wanted):
                continue
            if summary:
                period = SUMMARY_PERIOD
            for tick in range(-int(-first // period), int(min(last, now) // period) + 1)[:MOST]:
                value = 100 + zlib.crc32(f"{node} {metric['name']} {tick}".encode()) % 1000 / 10
                when = datetime.datetime.fromtimestamp(tick * period, zone)
                found.append((tick * period, {"timestamp": when.isoformat(timespec="microseconds"), "device_id": node,
                                              "metric_id": metric["name"], "value": value, "labels": {}}))
    return [value for _, value in sorted(found, key=lambda one: one[0])]
