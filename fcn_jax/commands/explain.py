"""`python -m fcn_jax explain`."""

import sys

from tyro.conf import Positional

from fcn_jax.commands.options import parse_size


def explain(recipe: Positional[str], /, size: str = "500x500") -> None:
    """Show a net's layers: kernel, stride, padding, output, grid, receptive field, cost.

    Args:
        recipe: module of a recipe, e.g. experiments.voc_fcn8s.
        size: rows x columns of the image.
    """
    from rich.console import Console

    from fcn_jax.nets.explain import explain, explain_table
    from fcn_jax.runs.lookup import recipe_named
    from fcn_jax.runs.messages import messages

    with messages(debug=False):
        rows, columns = parse_size(size)
        layers = explain(recipe_named(recipe).model, rows, columns)
        width = None if sys.stdout.isatty() else 120
        Console(width=width).print(explain_table(layers))
