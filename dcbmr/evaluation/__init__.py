"""How good: models on held-out songs, vectors on tags."""
