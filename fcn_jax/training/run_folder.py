"""A run on disk: what ran, what it measured, its checkpoints.

`recipe.json` (what ran), `metrics.jsonl` (one JSON object a line), `speed.jsonl` (how fast),
`checkpoints/`. The folder of a run that was killed at any moment can be resumed.
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
        writes: False in all but one of several processes: they measure the same, and keep it in
            memory, since a line may not be on disk yet when another process asks for it.
    """

    def __init__(
        self,
        path: Path,
        listener: Callable[[dict[str, Any]], None] | None = None,
        *,
        writes: bool = True,
    ):
        self.path = path
        self._listener = listener
        self._writes = writes
        self._lines: list[dict[str, Any]] | None = None  # of a process that does not write

    @property
    def recipe_file(self) -> Path:
        """What ran, as JSON."""
        return self.path / "recipe.json"

    @property
    def metrics_file(self) -> Path:
        """One JSON object a line, in order of steps."""
        return self.path / "metrics.jsonl"

    def checkpoints(self) -> Checkpoints:
        """The run's checkpoints; close them after use."""
        return Checkpoints(self.path / "checkpoints")

    def claim(
        self,
        described: dict[str, Any],
        differences: Callable[[Any, Any], Iterable[str]] | None = None,
    ) -> None:
        """Make the folder this run's: write `recipe.json`, or hold it against what is there.

        A folder without a checkpoint holds nothing to lose, and takes any recipe: the first try
        may have ended at a wrong option or a wrong label.

        Args:
            described: JSON values; only its entry `recipe` must agree with what is there.
            differences: a line for each place in which the recipe there and this one differ;
                `differing` by default.

        Raises:
            ValueError: the folder belongs to another recipe; the differences are listed.
        """
        begun = any((self.path / "checkpoints").glob("[0-9]*"))
        if not (begun and self.recipe_file.exists()):
            if not self._writes:
                return
            self.path.mkdir(parents=True, exist_ok=True)
            text = json.dumps(described, indent=2) + "\n"
            write_atomically(self.recipe_file, lambda part: part.write_text(text))
            return
        there = self.described()
        lines = list((differences or differing)(there["recipe"], described["recipe"]))
        if lines:
            raise ValueError(
                f"{self.path} holds a run of another recipe, which cannot go on with this one:\n"
                + "\n".join(f"  {line}" for line in lines)
                + "\nGive another --workdir, or the recipe that the folder was made with."
            )

    def described(self) -> dict[str, Any]:
        """The content of `recipe.json`.

        Raises:
            ValueError: this is not the folder of a run.
        """
        try:
            found = json.loads(self.recipe_file.read_text())
        except (FileNotFoundError, NotADirectoryError):
            raise ValueError(
                f"{self.path} is not the folder of a run: it has no recipe.json. Pass the folder "
                "that was given as --workdir (runs/NAME unless another was)."
            ) from None
        except json.JSONDecodeError as error:
            raise ValueError(f"{self.recipe_file} is damaged: {error}") from None
        if not isinstance(found, dict) or "recipe" not in found:
            raise ValueError(f"{self.recipe_file} is damaged: it describes no recipe")
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
        if self._lines is not None:
            self._lines.append(line)
            return
        with self.metrics_file.open("a") as file:
            file.write(json.dumps(line) + "\n")
        if self._listener:
            self._listener(line)

    def append_speed(self, **line: Any) -> None:
        """Add a line to `speed.jsonl`: how fast the machine was, which no two runs have alike."""
        if not self._writes:
            return
        with (self.path / "speed.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        if self._listener:
            self._listener(line)

    def rewind(self, step: int) -> None:
        """Forget what was measured after `step`: it will be measured again."""
        kept = [line for line in self.metrics() if line["step"] <= step]
        if not self._writes:
            self._lines = kept
            return
        text = "".join(json.dumps(line) + "\n" for line in kept)
        write_atomically(self.metrics_file, lambda part: part.write_text(text))

    def best_step(self) -> int | None:
        """The evaluated step with the highest mean IU (the first of equals), or None."""
        scored = [line for line in self.metrics() if "mean_iu" in line]
        scored = [line for line in scored if not math.isnan(line["mean_iu"])]
        return max(scored, key=lambda line: line["mean_iu"])["step"] if scored else None


def differing(there: Any, here: Any, path: str = "") -> Iterable[str]:
    """A line for each place in which two JSON values differ."""
    if isinstance(there, dict) and isinstance(here, dict):
        for key in dict.fromkeys([*there, *here]):
            yield from differing(there.get(key), here.get(key), f"{path}.{key}" if path else key)
    elif there != here:
        yield f"{path}: the folder has {json.dumps(there)}, this recipe {json.dumps(here)}"
