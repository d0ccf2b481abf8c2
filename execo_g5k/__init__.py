"""Grid'5000 from `execo`: OAR, Kadeploy, the REST API, planning."""

from execo_g5k._version import __version__

__all__ = ["__version__"]
