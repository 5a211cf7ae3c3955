"""Which audio there is, its samples, and the frames made of them."""
