"""Data to work on: the embedded world."""
