"""Statistics of processes and actions, and their table."""

from __future__ import annotations

from execo.hostset import fold
from execo.log import style
from execo.time_utils import format_date, format_duration
from execo.utils import singleton_to_collection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any, Protocol, TypeAlias

    Stats: TypeAlias = dict[str, Any]

    class HasStats(Protocol):
        def stats(self) -> Stats: ...


__all__ = ["Report", "format_date", "format_duration", "style"]

_COUNTS = (
    "num_processes",
    "num_started",
    "num_ended",
    "num_errors",
    "num_timeouts",
    "num_forced_kills",
    "num_non_zero_exit_codes",
    "num_expect_fail",
    "num_write_error",
    "num_ok",
    "num_finished_ok",
)
_MORE_COUNTS = ("connect_timeouts", "idle_timeouts", "unreachable")
"""Counts that stats made by others may lack: read them with `get`."""

_COLUMNS = {
    "startd": "num_started",
    "ended": "num_ended",
    "error": "num_errors",
    "timout": "num_timeouts",
    "fkilld": "num_forced_kills",
    "expfld": "num_expect_fail",
    "wrterr": "num_write_error",
    "ret!=0": "num_non_zero_exit_codes",
    "ok": "num_ok",
}


class Report:
    """Collects the statistics of processes, actions or other reports.

    :param stats_objects: one object with a method `stats`, or several.
    """

    def __init__(self, stats_objects: HasStats | Iterable[HasStats] | None = None) -> None:
        self._name = "Report"
        self._entries: list[Stats] = []
        self.add(stats_objects)

    def add(self, stats_objects: HasStats | Iterable[HasStats] | None) -> None:
        """Take the statistics, as they are now, of one object or of several."""
        self._entries += [_stats_of(one) for one in singleton_to_collection(stats_objects)]

    @property
    def name(self) -> str:
        """Name of the line of totals."""
        return self._name

    @name.setter
    def name(self, name: str) -> None:
        self._name = name

    def stats(self) -> Stats:
        """The totals, with the entries in `sub_stats`."""
        return {**self.aggregate_stats(self._entries), "name": self._name}

    @staticmethod
    def empty_stats() -> Stats:
        """New statistics of nothing.

        `{name, start_date, end_date, num_...: 0, connect_timeouts: 0, idle_timeouts: 0, unreachable: 0,
        sub_stats: [statistics]}`, with dates in Unix seconds or None.  Those of an action on hosts have `outcomes` too:
        `{outcome: [address]}`.
        """
        return {
            "name": None,
            "start_date": None,
            "end_date": None,
            **dict.fromkeys(_COUNTS + _MORE_COUNTS, 0),
            "sub_stats": [],
        }

    @staticmethod
    def aggregate_stats(stats: Iterable[Mapping[str, Any]]) -> Stats:
        """Sums, from the earliest start to the latest end (None if one has not ended), with `stats` in `sub_stats`."""
        parts = [dict(one) for one in stats]
        total = Report.empty_stats()
        for count in _COUNTS + _MORE_COUNTS:
            total[count] = sum(part.get(count, 0) for part in parts)
        starts = [part["start_date"] for part in parts if part["start_date"] is not None]
        ends = [part["end_date"] for part in parts]
        total["start_date"] = min(starts, default=None)
        total["end_date"] = None if None in ends else max(ends, default=None)
        total["sub_stats"] = parts
        return total

    def to_string(self, wide: bool = False, brief: bool = False, folded: bool = False) -> str:
        """The table: one entry for each object and a line of totals.

        :param wide: one line of 157 characters for each entry, instead of two of 79.
        :param brief: only the totals.
        :param folded: below each action, its hosts by outcome, in few words: ``ok (98): node-[1-98]``.
        """
        layout = _wide if wide else _narrow
        columns = {title: title for title in _COLUMNS}
        lines = layout("Name", "start", "end", "length", columns, "total")
        lines += ["-" * (157 if wide else 79)]
        if not brief:
            for entry, depth in _in_order(self._entries):
                lines += _lines_of(entry, depth, wide)
                if folded:
                    lines += _folded(entry, depth + 1)
            if self._entries:  # one character longer if wide, as in execo 2.8
                lines += ["-" * (158 if wide else 79)]
        lines += _lines_of(self.stats(), 0, wide)
        return "\n".join(lines) + "\n"

    def __repr__(self) -> str:
        return f"<Report(<{len(self._entries)} entries>, name={self._name!r})>"

    def __str__(self) -> str:
        total = self.stats()
        counts = ", ".join(f"{count}={total[count]}" for count in _COUNTS)
        return (
            f"<Report(<{len(self._entries)} entries>, name={self._name!r}, "
            f"start_date={format_date(total['start_date'])}, end_date={format_date(total['end_date'])}, {counts})>"
        )


def _stats_of(one: HasStats) -> Stats:
    if not callable(getattr(one, "stats", None)):
        raise TypeError(f"report: expected an object with a method stats, found {one!r}")
    return one.stats()


def _in_order(entries: Iterable[Stats], depth: int = 0) -> Iterator[tuple[Stats, int]]:
    """Each entry with its depth, by start date (those not started last), children after their parent."""
    for entry in sorted(entries, key=lambda one: (one["start_date"] is None, one["start_date"] or 0)):
        yield entry, depth
        yield from _in_order(entry["sub_stats"], depth + 1)


def _lines_of(stats: Stats, depth: int, wide: bool) -> list[str]:
    start, end = stats["start_date"], stats["end_date"]
    lines = (_wide if wide else _narrow)(
        "  " * depth + str(stats["name"]),
        _date(start),
        _date(end),
        "" if start is None or end is None else str(format_duration(end - start)),
        {title: str(stats[count]) for title, count in _COLUMNS.items()},
        str(stats["num_processes"]),
    )
    more = ", ".join(
        f"{count.replace('_', ' ')}: {stats[count]}" for count in ("unreachable", "connect_timeouts", "idle_timeouts") if stats.get(count)
    )
    if stats.get("start_skew") is not None:
        more += f"{', ' if more else ''}start skew: {stats['start_skew']:.6f}s"
    if more:
        lines.append("  " * (depth + 1) + more)
    if stats["num_ok"] < stats["num_processes"]:
        kind = "report_warn" if stats["num_ok"] else "report_error"
        return [style.set(kind, line) for line in lines]
    return lines


def _folded(stats: Stats, depth: int) -> list[str]:
    """Those that are not ok first: who reads this looks for them."""
    outcomes: dict[str, list[str]] = stats.get("outcomes", {})
    return [
        "  " * depth + f"{outcome} ({len(addresses)}): {fold(addresses)}"
        for outcome, addresses in sorted(outcomes.items(), key=lambda item: (item[0] == "ok", -len(item[1])))
    ]


def _date(date: float | None) -> str:
    return str(format_date(date))[:19]


def _narrow(name: str, start: str, end: str, length: str, counts: Mapping[str, str], total: str) -> list[str]:
    return [
        f"{name[:31]:<31} {start:<19} {end:<19} {total:<6} ",
        f" {length:<14} " + "".join(f"{count:<6} " for count in counts.values()),
    ]


def _wide(name: str, start: str, end: str, length: str, counts: Mapping[str, str], total: str) -> list[str]:
    cells = "".join(f"{count:<6} " for count in (*counts.values(), total))
    return [f"{name[:31]:<31} {start:<19} {end:<19} {length:<14} {cells}"]
