"""Looks at a data set before anything is trained: finds mistakes, and names what mends them."""
