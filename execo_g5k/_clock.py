"""The date, as all of `execo_g5k` asks for it: the system's, unless ``g5k_configuration['clock']`` is a function that gives another."""

from __future__ import annotations

import time

from .config import g5k_configuration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def now() -> float:
    """Seconds since the epoch."""
    clock: Callable[[], float] = g5k_configuration.get("clock") or time.time
    return clock()
