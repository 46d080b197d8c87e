"""`python -m fcn_jax explain`."""

import re
import sys

from tyro.conf import Positional


def explain(recipe: Positional[str], /, size: str = "500x500") -> None:
    """Show a net layer by layer: kernel, stride, padding, output, grid, receptive field, cost.

    Args:
        recipe: module of a recipe, e.g. experiments.voc_fcn8s.
        size: rows x columns of the image.
    """
    from rich.console import Console

    from fcn_jax.nets.explain import explain, explain_table
    from fcn_jax.runs.lookup import recipe_named
    from fcn_jax.runs.messages import messages

    with messages(False):
        parsed = re.fullmatch(r"(\d+)x(\d+)", size)
        if not parsed or not all(int(n) for n in parsed.groups()):
            raise ValueError(f"--size must be ROWSxCOLUMNS, such as 375x500; found {size!r}")
        net = recipe_named(recipe).model
        rows = explain(net, int(parsed[1]), int(parsed[2]))
        width = None if sys.stdout.isatty() else 120
        Console(width=width).print(explain_table(rows))
