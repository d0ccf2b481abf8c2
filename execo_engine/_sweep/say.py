"""Messages of the sweeps.  The logger, and all of execo with it, is imported when there is one: most workers have nothing to say."""

from __future__ import annotations

__all__ = ["INFO", "WARNING", "say"]

INFO, WARNING = 20, 30       # as in logging


def say(level: int, message: str, *arguments: object) -> None:
    """:param level: of `logging`."""
    from execo_engine.log import logger

    logger.log(level, message, *arguments, stacklevel=2)
