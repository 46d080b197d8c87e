"""A run on disk: what ran, on which data, what it measured, its checkpoints.

`recipe.json` (what ran), `data.json` (on which data), `metrics.jsonl` (one JSON object a line),
`speed.jsonl` (how fast), `checkpoints/`, and `validation_STEP.npz` (what was counted in each image
at the last and the best evaluation; `pictures_STEP.npz`, a few images with their predictions), and
`report.html`, which shows all of it. A run that was killed at any moment can be resumed from its
folder.
"""

import json
import math
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from fcn_jax.atomic import AnyPath, naming, write_atomically
from fcn_jax.training.checkpoints import Checkpoints
from fcn_jax.training.lock import Lock


class RunFolder:
    """The folder of one run.

    Args:
        path: the folder.
        listener: called with every line of metrics as it is added.
        writes: False in all processes but one. They measure the same and keep it in memory, since
            a line may not be on disk yet when they need it.
        lock: of the process that writes; asked before each line.

    Attributes:
        recipe_file: what ran, as JSON.
        data_file: which data it read, as JSON; not in the folders of versions before 0.2.
        metrics_file: one JSON object a line, in order of steps.
        speed_file: the same for speed, which differs from run to run.
        examples_file: predictions of the last state, drawn when all steps are done.
        page_file: the page that shows the run.
    """

    def __init__(
        self,
        path: AnyPath,
        listener: Callable[[dict[str, Any]], None] | None = None,
        *,
        writes: bool = True,
        lock: Lock | None = None,
    ):
        self.path = path = Path(path)
        self.recipe_file = path / "recipe.json"
        self.data_file = path / "data.json"
        self.metrics_file = path / "metrics.jsonl"
        self.speed_file = path / "speed.jsonl"
        self.examples_file = path / "examples.png"
        self.page_file = path / "report.html"
        self._listener = listener
        self._writes = writes
        self._lock = lock
        self._lines: list[dict[str, Any]] | None = None  # in a process that does not write

    def checkpoints(self) -> Checkpoints:
        """The run's checkpoints."""
        return Checkpoints(self.path / "checkpoints")

    def check_ours(self) -> None:
        """Raise FolderInUseError if another run has taken the folder over."""
        if self._lock:
            self._lock.check()

    def remove_leftovers(self) -> None:
        """Remove what killed processes left unfinished; for the one run that has the folder."""
        for path in self.path.iterdir():
            if re.fullmatch(r"\.\d+\..+", path.name) and path.is_file():  # see write_atomically
                path.unlink()
        self.checkpoints().remove_leftovers()

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
        if not self.checkpoints().steps():
            self._write(self.recipe_file, described)
            return
        if not self.recipe_file.exists():
            raise ValueError(
                f"{self.path} has checkpoints and no recipe.json, which says what they are of. "
                "Put it back, or give another --workdir."
            )
        if lines := list(differences(self.described()["recipe"], described["recipe"])):
            raise ValueError(
                f"{self.path} holds a run of another recipe, which cannot resume with this one:\n"
                + "\n".join(f"  {line}" for line in lines)
                + "\nGive another --workdir, or the recipe of that run."
            )

    def change(self, **entries: Any) -> None:
        """Change entries of `recipe.json`."""
        self._write(self.recipe_file, {**self.described(), **entries})

    def described(self) -> dict[str, Any]:
        """The content of `recipe.json`.

        Raises:
            ValueError: this is not the folder of a run, or the file is damaged.
        """
        try:
            found = _read_object(self.recipe_file, "Put back a copy of it.")
        except (FileNotFoundError, NotADirectoryError):
            raise ValueError(
                f"{self.path} is not the folder of a run: it has no recipe.json. Pass the folder "
                "that was given as --workdir (runs/NAME by default)."
            ) from None
        if "recipe" not in found:
            raise ValueError(f"{self.recipe_file} is damaged: expected a recipe, found none")
        kinds = {"recipe": dict, "preprocessing": dict, "overrides": dict, "module": str}
        for name, kind in kinds.items():
            if not isinstance(found.get(name, kind()), kind):
                raise ValueError(
                    f"{self.recipe_file} is damaged: expected `{name}` to be a {kind.__name__}, "
                    f"found {str(found[name])[:40]}"
                )
        return found

    def claim_data(
        self,
        data: dict[str, Any],
        differences: Callable[[Any, Any], Iterable[str]],
        *,
        accept: bool,
        say: Callable[[str], None],
    ) -> None:
        """Write `data.json`, or compare the data with those that the run has read so far.

        Args:
            data: JSON values that say what the run reads.
            differences: gives a line for each difference of the stored and these data.
            accept: resume with data that differ, say so, and note it in `data.json`.
            say: prints a line.

        Raises:
            ValueError: the data differ; the message says in what.
        """
        step = self.checkpoints().latest()
        stored = {}
        if step and self.data_file.exists():
            stored = _read_object(
                self.data_file,
                "Put back a copy of it; or remove it, if you are sure that the data are the same.",
            )
        notes = stored.pop("accepted", [])
        if stored and (lines := list(differences(stored, data))):
            text = "\n".join(f"  {line}" for line in lines)
            if not accept:
                raise ValueError(
                    f"{self.path} was trained to step {step} on other data:\n{text}\nGive it the "
                    "data that it was started with, or another --workdir; --accept-changed-data "
                    "resumes with these."
                )
            say(f"{self.path}: the data have changed since step {step}, which is accepted:\n{text}")
            before = notes if isinstance(notes, list) else []
            notes = [*before, {"step": step, "differences": lines}]
        elif stored:
            return
        self._write(self.data_file, {**data, **({"accepted": notes} if notes else {})})

    def metrics(self) -> list[dict[str, Any]]:
        """All complete lines of `metrics.jsonl`.

        Raises:
            ValueError: a line is damaged; the message names the file and the line.
        """
        return _read_lines(self.metrics_file) if self._lines is None else list(self._lines)

    def speed(self) -> list[dict[str, Any]]:
        """All complete lines of `speed.jsonl`; raises ValueError as `metrics`."""
        return _read_lines(self.speed_file)

    def append(self, **line: Any) -> None:
        """Add a line; a line cut off by a kill is dropped when the run is resumed."""
        if self._lines is None:
            self._add(self.metrics_file, line)
        else:
            self._lines.append(line)

    def append_speed(self, **line: Any) -> None:
        """Add a line to `speed.jsonl`, apart from the metrics: speed differs from run to run."""
        if self._writes:
            self._add(self.speed_file, line)

    def _add(self, file: Path, line: dict[str, Any]) -> None:
        self.check_ours()
        with naming(file), file.open("a") as lines:
            lines.write(json.dumps(line) + "\n")
        if self._listener:
            self._listener(line)

    def _write(self, file: Path, value: Any) -> None:
        if self._writes:
            text = json.dumps(value, indent=2) + "\n"
            write_atomically(file, lambda part: part.write_text(text))

    def rewind(self, step: int) -> None:
        """Drop what was measured after `step`; it will be measured again."""
        kept = [line for line in self.metrics() if line["step"] <= step]
        if not self._writes:
            self._lines = kept
            return
        self.keep_counts_of(*(line["step"] for line in kept))
        fast = [line for line in self.speed() if line["step"] <= step]
        for file, lines in ((self.metrics_file, kept), (self.speed_file, fast)):
            text = "".join(json.dumps(line) + "\n" for line in lines)
            write_atomically(file, lambda part, text=text: part.write_text(text))

    def counts_file(self, step: int, split: str | None = None) -> Path:
        """What was counted in each validation image after `step`, or in those of another split."""
        of = "validation" if split is None else "split_" + re.sub(r"[^\w.-]", "-", split)
        return self.path / f"{of}_{step}.npz"

    def pictures_file(self, step: int) -> Path:
        """A few validation images with their predictions after `step`."""
        return self.path / f"pictures_{step}.npz"

    def keep_counts_of(self, *steps: int | None) -> None:
        """Remove what was counted in the validation images, and pictures, of other steps."""
        kept = {
            f(s) for s in steps if s is not None for f in (self.counts_file, self.pictures_file)
        }
        every = (p for kind in ("validation", "pictures") for p in self.path.glob(f"{kind}_*.npz"))
        for path in every if self._writes else ():
            if path not in kept:
                path.unlink()

    def best_step(self) -> int | None:
        """The evaluated step with the highest `deciding_score` (the first of equals), or None."""
        scored = [
            (score, line["step"])
            for line in self.metrics()
            if (score := deciding_score(line)) is not None and not math.isnan(score)
        ]
        return max(scored, key=lambda pair: pair[0])[1] if scored else None


def deciding_score(line: dict[str, Any]) -> float | None:
    """The mean IU, or what `best_by` names; None if the line is not an evaluation's."""
    return line.get(line.get("best_by", "mean_iu"))


def _read_object(file: Path, remedy: str) -> dict[str, Any]:
    """A JSON object, from a file that holds nothing else."""
    return _parsed(file.read_bytes(), file, remedy)


def _read_lines(file: Path) -> list[dict[str, Any]]:
    """The complete lines of a file with one JSON object a line, each with its step."""
    if not file.exists():
        return []
    found = []
    for number, text in enumerate(file.read_bytes().split(b"\n")[:-1], 1):
        if text:
            where, remedy = f"{file}, line {number}", "Correct the line or remove it."
            line = _parsed(text, where, remedy)
            if type(line.get("step")) is not int:
                raise ValueError(f"{where} is damaged: expected an integer `step`. {remedy}")
            if not isinstance(line.get("best_by", ""), str):
                raise ValueError(f"{where} is damaged: `best_by` is not a name. {remedy}")
            for name in line.keys() & {"loss", "mean_iu", line.get("best_by")}:
                if type(line[name]) not in (int, float):
                    raise ValueError(f"{where} is damaged: `{name}` is not a number. {remedy}")
            found.append(line)
    return found


def _parsed(text: bytes, where: Path | str, remedy: str) -> dict[str, Any]:
    """A JSON object.

    Raises:
        ValueError: it is something else, or no UTF-8.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where} is damaged: {error}. {remedy}") from None
    if not isinstance(found, dict):
        raise ValueError(
            f"{where} is damaged: expected a JSON object, found {str(found)[:40]}. {remedy}"
        )
    return found
