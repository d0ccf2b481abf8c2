"""The logger of the engine: a child of execo's, with its levels, its handler and its style."""

from __future__ import annotations

from execo.log import make_logger

__all__ = ["logger"]

logger = make_logger("execo.engine")
