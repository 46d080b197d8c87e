"""A run on disk: what ran, what it measured, its checkpoints.

`recipe.json` (what ran), `metrics.jsonl` (one JSON object a line), `speed.jsonl` (how fast),
`checkpoints/`. A run that was killed at any moment can be resumed from its folder.
"""

import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from fcn_jax.atomic import write_atomically
from fcn_jax.training.checkpoints import Checkpoints


class RunFolder:
    """The folder of one run.

    Args:
        path: the folder.
        listener: called with every line of metrics as it is added.
        writes: False in all processes but one. They measure the same and keep it in memory, since
            a line may not be on disk yet when they need it.

    Attributes:
        recipe_file: what ran, as JSON.
        metrics_file: one JSON object a line, in order of steps.
    """

    def __init__(
        self,
        path: Path,
        listener: Callable[[dict[str, Any]], None] | None = None,
        *,
        writes: bool = True,
    ):
        self.path = path
        self.recipe_file = path / "recipe.json"
        self.metrics_file = path / "metrics.jsonl"
        self._listener = listener
        self._writes = writes
        self._lines: list[dict[str, Any]] | None = None  # in a process that does not write

    def checkpoints(self) -> Checkpoints:
        """The run's checkpoints; close them after use."""
        return Checkpoints(self.path / "checkpoints")

    def claim(
        self, described: dict[str, Any], differences: Callable[[Any, Any], Iterable[str]]
    ) -> None:
        """Make the folder this run's: write `recipe.json`, or compare with the file that is there.

        A folder without a checkpoint holds nothing to lose, and takes any recipe: the first try
        may have ended at a wrong option or a wrong label.

        Args:
            described: JSON values; only its entry `recipe` must agree with what is there.
            differences: gives a line for each difference of the stored recipe and this one.

        Raises:
            ValueError: the folder belongs to another recipe; the differences are listed.
        """
        started = any((self.path / "checkpoints").glob("[0-9]*"))
        if not (started and self.recipe_file.exists()):
            if self._writes:
                text = json.dumps(described, indent=2) + "\n"
                write_atomically(self.recipe_file, lambda part: part.write_text(text))
            return
        if lines := list(differences(self.described()["recipe"], described["recipe"])):
            raise ValueError(
                f"{self.path} holds a run of another recipe, which cannot resume with this one:\n"
                + "\n".join(f"  {line}" for line in lines)
                + "\nGive another --workdir, or the recipe of that run."
            )

    def described(self) -> dict[str, Any]:
        """The content of `recipe.json`.

        Raises:
            ValueError: this is not the folder of a run, or the file is damaged.
        """
        try:
            found = json.loads(self.recipe_file.read_text())
        except (FileNotFoundError, NotADirectoryError):
            raise ValueError(
                f"{self.path} is not the folder of a run: it has no recipe.json. Pass the folder "
                "that was given as --workdir (runs/NAME by default)."
            ) from None
        except json.JSONDecodeError as error:
            raise ValueError(f"{self.recipe_file} is damaged: {error}") from None
        if not isinstance(found, dict) or "recipe" not in found:
            raise ValueError(f"{self.recipe_file} is damaged: expected a recipe, found none")
        return found

    def metrics(self) -> list[dict[str, Any]]:
        """All complete lines of `metrics.jsonl`."""
        if self._lines is not None:
            return list(self._lines)
        if not self.metrics_file.exists():
            return []
        lines = self.metrics_file.read_text().split("\n")
        return [json.loads(line) for line in lines[:-1] if line]

    def append(self, **line: Any) -> None:
        """Add a line; a line cut off by a kill is dropped when the run is resumed."""
        if self._lines is None:
            self._add(self.metrics_file, line)
        else:
            self._lines.append(line)

    def append_speed(self, **line: Any) -> None:
        """Add a line to `speed.jsonl`, apart from the metrics: speed differs from run to run."""
        if self._writes:
            self._add(self.path / "speed.jsonl", line)

    def _add(self, file: Path, line: dict[str, Any]) -> None:
        with file.open("a") as lines:
            lines.write(json.dumps(line) + "\n")
        if self._listener:
            self._listener(line)

    def rewind(self, step: int) -> None:
        """Drop what was measured after `step`; it will be measured again."""
        kept = [line for line in self.metrics() if line["step"] <= step]
        if not self._writes:
            self._lines = kept
            return
        text = "".join(json.dumps(line) + "\n" for line in kept)
        write_atomically(self.metrics_file, lambda part: part.write_text(text))

    def best_step(self) -> int | None:
        """The evaluated step with the highest mean IU (the first of equals), or None."""
        scored = [line for line in self.metrics() if not math.isnan(line.get("mean_iu", math.nan))]
        return max(scored, key=lambda line: line["mean_iu"])["step"] if scored else None
