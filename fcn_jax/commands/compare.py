"""`python -m fcn_jax compare`."""

import json as json_text
from pathlib import Path
from typing import Literal

from tyro.conf import Positional


def compare(
    runs: Positional[tuple[Path, ...]],
    /,
    split: str | None = None,
    step: int | None = None,
    absent: Literal["recipe", "in_neither", "not_in_truth"] = "recipe",
    json: bool = False,
    most: int = 10,
) -> None:
    """Compare runs on the same images, with paired intervals: scores, classes, images.

    Nothing is computed again: it reads what training and `evaluate` kept in the runs' folders. The
    scores beyond the four are compared where `evaluate` counted them in all runs.

    Args:
        runs: folders of two runs or more; differences are to the first.
        split: the split that was given to `evaluate`, if any.
        step: a checkpoint that was evaluated; each run's best by default.
        absent: classes that the mean IU leaves out: as in the first run's recipe, those in neither
            truth nor prediction, or those not in the truth.
        json: print all numbers as one JSON object.
        most: classes and images to show.
    """
    from rich.console import Console

    from fcn_jax.metrics import Absent
    from fcn_jax.report.comparison import comparison
    from fcn_jax.runs.comparison import compare_runs
    from fcn_jax.runs.messages import messages
    from fcn_jax.runs.stored import StoredRun

    with messages(debug=False):
        if len(runs) < 2:
            raise ValueError("compare needs two runs or more; name their folders")
        rule = StoredRun(runs[0]).absent if absent == "recipe" else Absent[absent.upper()]
        found = compare_runs(runs, absent=rule, split=split, step=step)
        if json:
            print(json_text.dumps(found, indent=2))
            return
        console = Console(highlight=False)
        if not console.is_terminal:
            console = Console(highlight=False, width=100)
        for part in comparison(found, most=most):
            console.print(part, markup=False, soft_wrap=isinstance(part, str))
