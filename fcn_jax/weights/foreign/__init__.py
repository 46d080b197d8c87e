"""Weights of other frameworks turned into parameters."""
