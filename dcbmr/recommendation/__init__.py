"""Models and factors put to use."""
