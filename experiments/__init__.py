"""One file per published result; its docstring has the published and our own scores."""

import sys

from fcn_jax.runs.command_line import interruptible

if sys.argv[0] == "-m":  # `python -m experiments.NAME` imports JAX before it calls `main`
    interruptible()
