"""A real OAR for each site, from the packages of the distribution."""

from .oarsite import why_not
from .real import RealOar

__all__ = ["RealOar", "why_not"]
