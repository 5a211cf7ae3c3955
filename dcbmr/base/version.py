"""The version of dcbmr."""

__version__ = "0.1.0"
