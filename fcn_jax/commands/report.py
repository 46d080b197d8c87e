"""`python -m fcn_jax report`."""

from pathlib import Path

from tyro.conf import Positional


def report(runs: Positional[tuple[Path, ...]], /, page: Path | None = None) -> None:
    """Write the page of a run, or of several side by side: what ran, scores, images.

    Training writes RUN/report.html at every evaluation. The page is one file that works offline.
    Nothing is computed again: it shows what training and `evaluate` kept in the runs' folders.

    Args:
        runs: folders of one run or more; differences are to the first.
        page: where the page is written. [RUN/report.html; report.html for several runs]
    """
    from fcn_jax.runs.messages import messages
    from fcn_jax.runs.report import write_report

    with messages(debug=False):
        if not runs:
            raise ValueError("report needs a run or more; name their folders")
        print(f"page: {write_report(runs, page)}")
