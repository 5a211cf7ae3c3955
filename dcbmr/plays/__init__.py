"""Who played what: counts, their readers, confidence, the table of songs, splits."""
