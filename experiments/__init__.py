"""One file per published row."""
