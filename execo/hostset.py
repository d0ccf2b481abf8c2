"""Sets of host names in few words: ``graphene-[1-16,20].nancy.grid5000.fr``.  Text in, text out.

A bracket holds numbers and ranges, ``[1-16,20]``, with steps, ``[0-8/2]``, and with the padding of its first number, ``[01-16]``; a name
may have several, and several names are joined by commas.  Any other bracket is left alone, so ``[::1]`` is one host.
`fold` and `expand` are inverse: what one writes the other reads, in the natural order of names (node-2 before node-10).
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    # one set of numbers for each place where a name has digits
    Box = tuple[frozenset[int], ...]

__all__ = ["MAX_HOSTS", "expand", "fold"]

MAX_HOSTS = 1_000_000
"""More than these are refused by `expand`: a typing error could ask for all numbers of twelve digits."""

_RANGE = r"\d+(?:-\d+(?:/\d+)?)?"
_BRACKET = re.compile(rf"\[({_RANGE}(?:,{_RANGE})*)\]")
_DIGITS = re.compile(r"(\d+)")


def expand(hosts: str) -> list[str]:
    """The names that a text stands for, in its order, duplicates too.

    :raises ValueError: for an empty name, a bracket that is not closed or not of numbers, a range that runs backwards, or more than
      `MAX_HOSTS` names.
    """
    names: list[str] = []
    for part in _split_at_commas(hosts):
        names += _expand_one(part, MAX_HOSTS - len(names), hosts)
    return names


def _split_at_commas(hosts: str) -> list[str]:
    if "," not in hosts:
        return [hosts.strip()] if hosts.strip() else _refuse(hosts, "an empty name")
    parts, depth, begin = [], 0, 0
    for place, char in enumerate(hosts + ","):
        if char == "[":
            depth += 1
        elif char == "]":
            depth -= 1
        elif char == "," and depth <= 0:
            parts.append(hosts[begin:place].strip())
            begin = place + 1
    if depth:
        _refuse(hosts, "a bracket that is not closed")
    if not all(parts):
        _refuse(hosts, "an empty name")
    return parts


def _refuse(hosts: str, why: str) -> list[str]:
    raise ValueError(f"host set {hosts!r}: {why}")


def _expand_one(part: str, room: int, hosts: str) -> list[str]:
    pieces = _BRACKET.split(part)               # text, range list, text, ...
    for text in pieces[::2]:
        inside = re.search(r"\[[\d,/-]*\]|\[[^\]]*$", text)
        if inside:
            _refuse(hosts, f"cannot read {inside.group()!r}")
    names = [pieces[0]]
    for ranges, text in zip(pieces[1::2], pieces[2::2], strict=True):
        numbers = _numbers(ranges, room, hosts)
        if len(names) * len(numbers) > room:
            _refuse(hosts, f"more than {MAX_HOSTS} hosts")
        names = [name + number + text for name in names for number in numbers]
    return names


def _numbers(ranges: str, room: int, hosts: str) -> list[str]:
    numbers: list[str] = []
    for item in ranges.split(","):
        bounds, _, step = item.partition("/")
        first, _, last = bounds.partition("-")
        if not last:
            numbers.append(first)
            continue
        if int(last) < int(first):
            _refuse(hosts, f"the range {item!r} runs backwards")
        if step and int(step) == 0:
            _refuse(hosts, f"a step of 0 in {item!r}")
        values = range(int(first), int(last) + 1, int(step or 1))
        if len(values) > room:
            _refuse(hosts, f"more than {MAX_HOSTS} hosts")
        width = len(first) if first[0] == "0" else 0
        numbers += [f"{value:0{width}}" for value in values] if width else map(str, values)
    return numbers


def fold(names: Iterable[str]) -> str:
    """Few words for these names; each once, in natural order."""
    by_text: dict[tuple[str, ...], list[list[str]]] = {}
    for name in dict.fromkeys(names):
        pieces = _DIGITS.split(name)
        by_text.setdefault(tuple(pieces[::2]), []).append(pieces[1::2])
    folded = []
    for texts, digits in by_text.items():
        for widths, boxes in _boxes(digits).items():
            folded += [_format(texts, widths, box) for box in boxes]
    return ",".join(sorted(folded, key=lambda text: (_natural(text), text)))


def _natural(text: str) -> list[tuple[int, str]]:
    return [(int(piece), "") if piece.isdecimal() and piece.isascii() else (-1, piece) for piece in _DIGITS.split(text)]


def _boxes(digits: list[list[str]]) -> dict[tuple[int, ...], list[Box]]:
    """{padding of each place: boxes}: as few boxes as merging along one place after the other gives, whose products are the names."""
    places = range(len(digits[0]))
    common = [_common_width([numbers[place] for numbers in digits]) for place in places]
    points: dict[tuple[int, ...], set[tuple[int, ...]]] = {}
    for numbers in digits:
        widths = tuple(_own_width(numbers[place]) if (width := common[place]) is None else width for place in places)
        points.setdefault(widths, set()).add(tuple(map(int, numbers)))
    return {widths: _merge(values) for widths, values in points.items()}


def _own_width(number: str) -> int:
    return len(number) if number[0] == "0" and len(number) > 1 else 0


def _common_width(numbers: list[str]) -> int | None:
    """One padding that writes all these numbers as they are, or None."""
    padded = {len(number) for number in numbers if _own_width(number)}
    if not padded:
        return 0
    width = max(padded)
    return width if len(padded) == 1 and all(len(number) >= width for number in numbers) else None


def _merge(points: set[tuple[int, ...]]) -> list[Box]:
    if len(next(iter(points))) == 1:
        return [(frozenset(point[0] for point in points),)]
    boxes: list[Box] = [tuple(frozenset((value,)) for value in point) for point in points]
    for place in range(len(boxes[0])) if boxes[0] else ():
        merged: dict[Box, set[int]] = {}
        for box in boxes:
            merged.setdefault(box[:place] + box[place + 1:], set()).update(box[place])
        boxes = [(*rest[:place], frozenset(values), *rest[place:]) for rest, values in merged.items()]
    return boxes


def _format(texts: tuple[str, ...], widths: tuple[int, ...], box: Box) -> str:
    written = [texts[0]]
    for width, values, text in zip(widths, box, texts[1:], strict=True):
        ranges = _format_ranges(sorted(values), width)
        written += (f"[{ranges}]" if len(values) > 1 else ranges, text)
    return "".join(written)


def _format_ranges(values: list[int], width: int) -> str:
    ranges = []
    first = last = values[0]
    for value in [*values[1:], -2]:
        if value == last + 1:
            last = value
            continue
        ranges.append(f"{first:0{width}}" if first == last else f"{first:0{width}}-{last:0{width}}")
        first = last = value
    return ",".join(ranges)
