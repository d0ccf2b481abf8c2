"""A small scheduler behind OAR's commands, for machines that have no OAR."""

from .site import OwnOar

__all__ = ["OwnOar"]
