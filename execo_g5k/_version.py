"""The version of the package, the same in the whole repository."""

__version__ = "3.0.0+remake"
