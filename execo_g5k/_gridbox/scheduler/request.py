"""What `oarsub -l` takes: ``{SQL}/LEVEL=N/LEVEL=N+...,walltime=H:M:S``, and the choice of resources for it.  Pure.

OAR 2.5.9 reads it so, with these errors.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .predicate import parse_predicate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from typing import Any, TypeAlias

    Row: TypeAlias = "Mapping[str, Any]"

_WALLTIME = re.compile(r"(?:^|\s*,)\s*walltime\s*=\s*(\d+(?::\d+)*)\s*$")
_LEVEL = re.compile(r"\s*(\w+)\s*=\s*(\d+|ALL|BESTHALF|BEST)\s*")
NODE = "network_address"


class RequestError(ValueError):
    """It cannot be read; in OAR's words."""


@dataclass(frozen=True)
class Group:
    """Resources of one kind: a condition, and a tree of levels."""

    condition: str
    """SQL; '' for none."""
    levels: tuple[tuple[str, int | str], ...]
    """(property, number or ALL, BEST, BESTHALF), the outermost first."""

    def __str__(self) -> str:
        braces = f"{{{self.condition}}}" if self.condition else ""
        return braces + "".join(f"/{name}={count}" for name, count in self.levels)


@dataclass(frozen=True)
class Request:
    """Groups of resources for a time.  Several requests for one job are alternatives."""

    groups: tuple[Group, ...]
    walltime: int | None
    """Seconds."""


def parse_walltime(text: str) -> int:
    """Seconds of ``H``, ``H:M`` or ``H:M:S``; what follows is not looked at."""
    hours, minutes, seconds = [*(int(part) for part in text.split(":")), 0, 0][:3]
    return hours * 3600 + minutes * 60 + seconds


def parse_request(text: str) -> Request:
    """:raises RequestError: unless it is one."""
    walltime: int | None = None
    rest = text.strip()
    if found := _WALLTIME.search(rest):
        walltime = parse_walltime(found[1])
        rest = rest[:found.start()].rstrip()
        if not rest and found[0].lstrip()[:1] != ",":
            return Request((DEFAULT_GROUP,), walltime)
    tail = found[0] if found else ""
    groups: list[Group] = []
    while rest or not groups:
        found_group = re.match(r"[+,\s]*((?:\{[^{}]*\})?[^+,{]*)", rest)
        assert found_group
        group = found_group[1]
        if rest.startswith("{") and not group.strip():      # a brace without its end
            raise RequestError(f"/!\\ Cannot recognize the resource description : {rest}")
        if not group.strip() or re.match(r"\s*walltime\b", group):
            raise RequestError(f"/!\\ Cannot recognize -- {rest}{tail} -- resource")
        groups.append(_parse_group(group))
        rest = rest[found_group.end():]
        if rest.startswith("{"):        # where none may be
            raise RequestError(f"/!\\ Cannot recognize the resource description : {rest}")
    return Request(tuple(groups), walltime)


def _parse_group(text: str) -> Group:
    text = text.strip()
    braces = re.match(r"\{([^{}]*)\}", text)
    condition = braces[1].strip() if braces else ""
    if braces and not condition:
        raise RequestError(f"/!\\ Cannot recognize the resource description : {braces[0]}")
    levels: list[tuple[str, int | str]] = []
    path = text[braces.end():] if braces else text
    parts = path.strip().split("/")
    if parts and not parts[0].strip():
        parts = parts[1:]
    while parts and not parts[-1].strip():
        parts = parts[:-1]
    for part in parts:
        level = _LEVEL.fullmatch(part)
        if not level:
            raise RequestError(f"/!\\ Cannot recognize the resource description : {part}")
        name = NODE if level[1] in ("nodes", "node") else level[1].lower()
        levels.append((name, int(level[2]) if level[2].isdecimal() else level[2]))
    return Group(condition, tuple(levels))


DEFAULT_GROUP = Group("", (("host", 1),))


class Wanted:
    """A request that is bound to the resources of a site.

    :param rows: all its resources, in the order in which they are given away.
    :param properties: condition for all groups; '' for none.
    :raises execo_g5k._gridbox.scheduler.predicate.PredicateError: for a condition that cannot be read, or names what is no property.
    """

    def __init__(self, request: Request, rows: Sequence[Row], columns: Mapping[str, type], properties: str = "") -> None:
        self.request = request
        everywhere = _condition(properties, columns)
        self._trees: list[_Tree] = []
        for group in request.groups:
            own = _condition(group.condition, columns)
            for name, _ in group.levels:
                parse_predicate(f"{name} IS NULL", columns)     # is there such a property?
            self._trees.append(_Tree([row for row in rows if own(row) and everywhere(row)], group.levels))

    def all_ids(self) -> set[int]:
        """Of all resources that match."""
        return set().union(*(tree.ids for tree in self._trees))

    def choose(self, free: Collection[int]) -> list[int] | None:
        """Ids of resources among those that are free; None if they do not suffice."""
        left = set(free)
        chosen: list[int] = []
        for tree in self._trees:
            taken = tree.take(left)
            if taken is None:
                return None
            chosen += taken
            left.difference_update(taken)
        return chosen


def _condition(text: str, columns: Mapping[str, type]) -> Callable[[Row], bool]:
    return parse_predicate(text, columns) if text.strip() else lambda row: True


class _Tree:
    """The resources of a group, by the values of its levels: {value: subtree}, and at the leaves lists of ids."""

    def __init__(self, rows: Sequence[Row], levels: Sequence[tuple[str, int | str]]) -> None:
        self.count = levels[0][1]
        self.ids = {row["resource_id"] for row in rows}
        by_value: dict[Any, list[Row]] = {}
        for row in rows:
            value = row.get(levels[0][0])
            if value not in (None, ""):
                by_value.setdefault(value, []).append(row)
        self.leaves = [[row["resource_id"] for row in rows] for rows in by_value.values()] if len(levels) == 1 else None
        self.branches = [] if len(levels) == 1 else [_Tree(rows, levels[1:]) for rows in by_value.values()]

    def take(self, free: set[int]) -> list[int] | None:
        taken: list[list[int]] = []
        # A value of the innermost level is given as a whole: a host with all its cores.
        options = ((leaf if free.issuperset(leaf) else None for leaf in self.leaves) if self.leaves is not None
                   else (branch.take(free) for branch in self.branches))
        for option in options:
            if option is not None:
                taken.append(option)
            elif self.count == "ALL":
                return None
            if len(taken) == self.count:
                break
        total = len(self.branches if self.leaves is None else self.leaves)
        if isinstance(self.count, int):
            enough = 0 < len(taken) == self.count
        elif self.count == "BESTHALF":
            enough = len(taken) * 2 >= total > 0
        else:
            enough = bool(taken)
        return [number for option in taken for number in option] if enough else None
