"""Scores to ranks: metrics of held-out songs, and the best songs of a query."""
