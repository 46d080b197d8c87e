"""Images too large for memory, read and written in strips: some complete rows at a time."""
