"""The commands of `python -m fcn_jax`: function NAME of module NAME; its arguments are the options.

What would slow `--help` down is imported inside the functions.
"""
