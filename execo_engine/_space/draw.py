"""Random integers that are the same on any machine and with any Python."""

from __future__ import annotations

from execo_engine._sweep.digest import blake2b

__all__ = ["Draw"]


class Draw:
    """Random integers from a seed.  Its own: what `random` draws from a seed may change with Python."""

    def __init__(self, seed: int | str) -> None:
        self._key = blake2b(f"{type(seed).__name__}:{seed}".encode(), digest_size=32).digest()
        self._counter = 0

    def _bits(self, number: int) -> int:
        size = (number + 7) // 8
        found = b""
        while len(found) < size:
            found += blake2b(self._counter.to_bytes(16, "big"), key=self._key).digest()
            self._counter += 1
        return int.from_bytes(found[:size], "big") >> (8 * size - number)

    def below(self, limit: int) -> int:
        """Of 0 to limit - 1, each as likely."""
        if limit == 1:
            return 0
        number = (limit - 1).bit_length()
        while (found := self._bits(number)) >= limit:
            pass
        return found
