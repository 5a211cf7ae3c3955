"""Features of songs: made, stored, read, reduced."""
