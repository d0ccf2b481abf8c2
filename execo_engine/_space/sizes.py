"""Sizes that may be larger than `len` can say."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["numbers_below", "in_short", "indices"]


def in_short(size: int) -> str:
    digits = str(size)
    return f"{digits[0]}.{digits[1:4]}e{len(digits) - 1}"


def numbers_below(size: int) -> Iterator[int]:
    place = 0
    while place < size:
        yield place
        place += 1


def indices(index: slice, size: int) -> tuple[int, int, int]:
    """(first, step, number), for sizes that `range` can be made of; its length may be too large for `len`."""
    start, stop, step = index.indices(size)
    return start, step, max(0, (stop - start + step - (1 if step > 0 else -1)) // step)
