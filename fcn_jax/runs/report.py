"""The page of a run: what its folder holds, as HTML (docs/report.md)."""

import collections
import datetime
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fcn_jax.atomic import AnyPath, write_atomically
from fcn_jax.data.named import zip_named
from fcn_jax.metrics import Absent
from fcn_jax.report.comparison import comparison
from fcn_jax.report.run_page import run_page
from fcn_jax.report.shown import ShownRun, flat
from fcn_jax.runs.comparison import compare_runs
from fcn_jax.runs.kept_counts import read_kept
from fcn_jax.runs.kept_examples import read_examples
from fcn_jax.training.run_folder import RunFolder


def write_report(runs: Sequence[AnyPath], path: AnyPath | None = None) -> Path:
    """Writes the page of one run, or of several side by side, atomically.

    Args:
        runs: their folders.
        path: the file; by default `report.html`, of one run in its folder.

    Returns:
        The file.

    Raises:
        ValueError: a folder is not one of a run, or its recipe or metrics are damaged. What is
            missing or damaged otherwise is said on the page.
    """
    folders = [RunFolder(Path(run).expanduser()) for run in runs]
    own = folders[0].page_file if len(folders) == 1 else Path("report.html")
    return write_page([shown(folder) for folder in folders], Path(path or own), _compared(folders))


def write_page(runs: Sequence[ShownRun], path: Path, compared: Sequence[str] = ()) -> Path:
    """Writes the page of runs that were read (see `fcn_jax.report.run_page.run_page`)."""
    text = run_page(runs, compared)
    return write_atomically(path, lambda part: part.write_text(text, encoding="utf-8"))


def shown(folder: RunFolder) -> ShownRun:
    """What the folder of a run holds, for its page; raises ValueError as `write_report`."""
    described, lines = folder.described(), folder.metrics()
    recipe, step, notes = described["recipe"], folder.best_step(), []
    counts = pictures = None
    if step is not None:
        counts = _read(lambda: read_kept(folder.counts_file(step)), notes)
        pictures = _read(lambda: read_examples(folder.pictures_file(step)), notes)
        missing = [w for w, x in (("intervals and classes", counts), ("images", pictures)) if not x]
        if missing and (counts or any("mean_iu" in line for line in lines)):
            notes.append(
                f"This page has no {' and no '.join(missing)}: they were not kept for step {step}. "
                f"Evaluate the run once: python -m fcn_jax evaluate {folder.path}"
            )
    speed = _read(folder.speed, notes) or []
    split = next((line["split"] for line in lines if "split" in line), "")
    return ShownRun(
        folder=str(folder.path),
        facts=[(name, text) for name, text in _facts(folder, described, lines, speed) if text],
        recipe=flat({key: recipe[key] for key in recipe if key != "class"}),
        steps=recipe["steps"] if isinstance(recipe.get("steps"), int) else 0,
        lines=lines,
        speed=speed,
        step=step,
        split=counts.split if counts else str(split),
        absent=_absent(recipe),
        images=dict(zip_named(counts.images)) if counts else {},
        class_names=dict(zip_named(counts.class_names)) if counts else {},
        seconds_per_image=counts.seconds_per_image if counts else None,
        peak_memory=counts.peak_memory if counts else None,
        examples=pictures or [],
        notes=notes,
    )


def _read(read: Callable[[], Any], notes: list[str]) -> Any:
    """What is read; None where there is nothing, or where it is damaged, which is noted."""
    try:
        return read()
    except FileNotFoundError:
        return None
    except (ValueError, OSError) as error:
        notes.append(str(error))
        return None


def _absent(recipe: Mapping[str, Any]) -> Absent:
    name = str(recipe.get("absent"))
    return Absent[name] if name in Absent.__members__ else Absent.IN_NEITHER


def _compared(folders: Sequence[RunFolder]) -> list[str]:
    """How several runs differ, in sentences; or why that cannot be said."""
    if len(folders) < 2:
        return []
    paths = [folder.path for folder in folders]
    try:
        found = compare_runs(paths, absent=_absent(folders[0].described()["recipe"]))
    except ValueError as error:
        return [str(error)]
    return [part.strip() for part in comparison(found) if isinstance(part, str)]


def _facts(
    folder: RunFolder,
    described: Mapping[str, Any],
    lines: Sequence[Mapping[str, Any]],
    speed: Sequence[Mapping[str, Any]],
) -> Iterator[tuple[str, str]]:
    """What was run, as names and texts; what the folder does not say is left out."""
    recipe, around = described["recipe"], described.get("environment")
    around = around if isinstance(around, dict) else {}
    done = max((line["step"] for line in lines), default=0)
    yield "folder", str(folder.path)
    yield "net", _brief(recipe.get("model"))
    yield "trained on", _brief(recipe.get("train_set"))
    yield "evaluated on", _brief(recipe.get("validation_set"))
    images = " x ".join(str(recipe.get(key)) for key in ("batch_size", "accumulate"))
    yield "steps", f"{done:,} of {recipe.get('steps'):,}, of {images} images"
    yield "started from", str(described.get("started_from", ""))
    yield "recipe", str(described.get("module", ""))
    yield "command", str(described.get("command", ""))
    yield "commit", str(around.get("commit") or "")
    yield "started", str(described.get("started", ""))
    yield "last step", _time(speed[-1].get("time")) if speed else ""
    devices = collections.Counter(map(str, around.get("devices", ())))
    yield "devices", ", ".join(f"{n} x {kind}" for kind, n in devices.items())
    yield "machine", str(around.get("machine", ""))
    versions = {k: v for k, v in around.items() if k not in ("commit", "devices", "machine")}
    yield "versions", ", ".join(f"{name} {version}" for name, version in versions.items())


def _brief(described: Any) -> str:
    """A net or a data set in a few words: its class, and what is most telling of its fields."""
    if not isinstance(described, Mapping):
        return ""
    name = str(described.get("class", "")).rpartition(".")[2]
    trunk = described.get("trunk")
    name += f" on {_brief(trunk)}" if trunk else ""
    told = ("skips", "num_classes", "year", "split", "length")
    texts = [
        f"{key.removeprefix('num_')} {_text(described[key])}" for key in told if described.get(key)
    ]
    return ", ".join([name, *texts])


def _time(seconds: Any) -> str:
    """Seconds since 1970 as date and time; nothing where they are not known."""
    if not isinstance(seconds, int | float):
        return ""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="seconds")


def _text(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | dict) else str(value)
