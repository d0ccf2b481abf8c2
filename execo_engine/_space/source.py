"""What a space is made of.  For the checker of types alone."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    class Source(Protocol):
        """Combinations by their index, computed when they are asked for."""

        @property
        def size(self) -> int: ...
        def item(self, index: int) -> Any: ...
        def __contains__(self, item: object) -> bool: ...
        def identity(self) -> Any: ...
