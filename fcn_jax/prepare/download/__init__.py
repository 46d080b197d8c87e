"""Fetching the data sets and laying them out as the readers expect (no jax in here)."""
