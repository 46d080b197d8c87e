"""Colours, overlays and pictures of label maps."""
