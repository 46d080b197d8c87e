"""Reads weights of other frameworks into parameters, and writes ours for them."""
