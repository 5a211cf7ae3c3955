"""One configuration in, the paper's table out."""
