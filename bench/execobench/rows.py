"""What a measurement gives, and what several of them say together: pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Result:
    """One measurement, made by a process of its own."""

    workload: str
    implementation: str
    size: int
    """What it means is for the workload to say: processes, megabytes, hosts."""
    repetition: int
    values: dict[str, float] = field(default_factory=dict)
    """By name of metric; empty if the measurement failed."""
    error: str = ""
    """Why it failed, in one line; empty if it did not."""

    @classmethod
    def from_json(cls, row: dict[str, object]) -> Result:
        """:raises TypeError: for other keys than the fields, or a value that is no number."""
        result = cls(**row)  # type: ignore[arg-type]  # keys are checked by the call, values below
        for name, value in result.values.items():
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise TypeError(f"{result.workload}: {name} of {result.implementation} is {value!r}, expected a number")
        return result


@dataclass(frozen=True)
class Summary:
    """Several measurements of one metric."""

    median: float
    low: float
    high: float
    count: int


def summarise(values: Iterable[float]) -> Summary | None:
    """None if there are no values."""
    numbers = sorted(values)
    if not numbers:
        return None
    return Summary(statistics.median(numbers), numbers[0], numbers[-1], len(numbers))


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest of `values` that is not below `percent` % of them (nearest rank).

    :raises ValueError: if there are no values, or `percent` is not within 0..100.
    """
    if not values or not 0 <= percent <= 100:
        raise ValueError(f"percentile {percent} of {len(values)} values: expected 0..100 and at least one value")
    ordered = sorted(values)
    rank = -(-len(ordered) * percent // 100)  # rounded up
    return ordered[max(int(rank), 1) - 1]


def ratio(value: Summary | None, base: Summary | None) -> float | None:
    """Ratio of the medians, None if there is none to give."""
    return value.median / base.median if value and base and base.median else None


def best_ratio(value: Summary | None, base: Summary | None) -> float | None:
    """Ratio of the best measurements: other load on the machine only ever adds time, so this one moves less."""
    return value.low / base.low if value and base and base.low else None


def select(results: Iterable[Result], implementation: str, size: int, metric: str) -> Summary | None:
    """Summary of the good measurements of one implementation at one size."""
    chosen = [r for r in results if r.implementation == implementation and r.size == size and metric in r.values]
    return summarise(r.values[metric] for r in chosen)
