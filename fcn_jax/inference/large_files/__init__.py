"""Images too large for memory, read and written a few rows at a time."""
