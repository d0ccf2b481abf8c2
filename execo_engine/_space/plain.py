"""Parts of the identity of a space."""

from __future__ import annotations

from execo_engine._sweep.codec import Codec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["plain"]


def plain(value: Any) -> Any:
    """Something JSON that tells values apart, for identities."""
    try:
        return Codec().key(value).decode()
    except TypeError:
        return repr(value)
