"""Experiment engine and parameter sweeps on top of `execo`."""

from execo_engine._version import __version__

__all__ = ["__version__"]
