"""Train a regressor, keep it with everything it needs, explain it."""
