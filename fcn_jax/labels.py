"""What the values of a label mean."""

IGNORE = 255
"""The label of pixels that do not count: void borders, unlabelled pixels, and padding.

Source: the VOC annotation, and `ignore_label: 255` in every `net.py` of the reference.
"""
