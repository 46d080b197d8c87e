"""Weights: our file format, loading them into nets, and the files of other frameworks."""
