"""The commands of `python -m fcn_jax`, each a function whose arguments are its options."""
