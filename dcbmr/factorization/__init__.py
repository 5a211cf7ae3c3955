"""Weighted matrix factorization by alternating least squares."""
