"""The version of dcbmr."""

__version__ = "0.2.0"
