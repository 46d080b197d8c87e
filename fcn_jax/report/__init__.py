"""Palettes, overlays, pictures of label maps, and tables of scores."""
