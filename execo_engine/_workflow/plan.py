"""What a campaign would do, in words.  Pure."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

from execo.time_utils import format_duration

from .schedule import forecast

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Sequence
    from typing import Any

    from .schedule import Need

_LOOKED_AT = 10_000
"""Combinations from which the whole is judged."""
_SHOWN = 8


def levels(combinations: Iterable[Any]) -> dict[Any, dict[Any, int]]:
    """{name of the parameter: {value: number of combinations}}."""
    found: dict[Any, dict[Any, int]] = {}
    for combination in combinations:
        if isinstance(combination, Mapping):
            for name, value in combination.items():
                counts = found.setdefault(name, {})
                counts[value] = counts.get(value, 0) + 1
    return found


def size_of(plan: Any) -> int:
    size = getattr(plan, "size", None)
    return size if isinstance(size, int) else len(plan)


def describe_parameters(name: str, plan: Sequence[Any], finished: int = 0) -> str:
    """The first lines: how many there are, and of what."""
    size = size_of(plan)
    lines = [f"{name}: {_big(size)} combinations" + (f", {finished} of them are finished" if finished else "")]
    for parameter, values in levels(islice(plan, _LOOKED_AT)).items():
        shown = ", ".join(map(str, islice(values, _SHOWN)))
        more = f", ... ({len(values)} values)" if len(values) > _SHOWN else ""
        lines.append(f"  {parameter}: {shown}{more}")
    return "\n".join(lines)


def describe_time(plan: Sequence[Any], finished: Container[Any], need: Callable[[Any], Need], n_hosts: int | None,
                  walltime: float | None) -> str:
    """The last line: how long what is left may take."""
    left = [combination for combination in islice(plan, _LOOKED_AT) if combination not in finished]
    if not left:
        return "nothing is left to do"
    needs = [need(combination) for combination in left]
    known = [one.seconds for one in needs if one.seconds is not None]
    if not known:
        return "no duration is declared, and none is learnt yet: run a few, and ask again with -c DIR"
    mean = sum(known) / len(known)
    hosts = n_hosts or max(one.hosts for one in needs)
    looked_at = forecast([(one.hosts, mean if one.seconds is None else one.seconds) for one in needs], hosts, walltime)
    factor = max(1.0, (size_of(plan) - (_LOOKED_AT - len(left))) / len(left))
    at_once = f"{hosts} hosts" if n_hosts else f"{hosts} hosts (their number is not known)"
    number = round(looked_at.reservations * factor)
    text = f"about {format_duration(round(looked_at.seconds * factor, 1))} on {at_once}, in {_big(number)} reservation{'s'[:number != 1]}"
    if len(known) < len(needs):
        text += f"; {len(needs) - len(known)} durations are guessed"
    if looked_at.impossible:
        text += f"; {looked_at.impossible} combinations do not fit a reservation"
    return text


def _big(number: int) -> str:
    return str(number) if number < 10**15 else f"{number:.3g}" if number < 10**300 else f"10^{len(str(number)) - 1}"
