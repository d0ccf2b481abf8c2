"""The version of the packages of this repository."""

__version__ = "3.0.0+remake"
