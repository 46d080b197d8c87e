"""Predictions for image files and folders of them."""

import contextlib
import csv
import io
import itertools
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from fcn_jax.atomic import write_atomically
from fcn_jax.data.check import frames_line
from fcn_jax.data.errors import legible
from fcn_jax.data.images import AS_STORED, ImageOptions
from fcn_jax.data.named import zip_named
from fcn_jax.data.readers import Header, read_header
from fcn_jax.data.walk import image_endings, said, walk
from fcn_jax.inference.geotiff import keep_georeference
from fcn_jax.inference.inputs import AnyPaths, InputFiles, OtherInputs, size_of
from fcn_jax.inference.memory import any_size
from fcn_jax.inference.result_files import ResultFiles, Style
from fcn_jax.labels import LabelKind


class Failure(NamedTuple):
    """A path without a prediction, and the reason."""

    path: Path
    reason: str


class Predicted(NamedTuple):
    """The label's file by its image's file, and what could not be found or read."""

    written: dict[Path, Path]
    failures: list[Failure]


def predict_files(
    predictor: Any,
    paths: Iterable[Path | str],
    out: Path | str,
    *,
    inputs: Mapping[str, Path] | None = None,
    overlay: bool = True,
    palette: Any = None,
    background: Any = False,
    probabilities: bool = False,
    confidence: bool = False,
    entropy: bool = False,
    kinds: Mapping[str, LabelKind] | None = None,
    class_names: Any = None,
    options: ImageOptions = AS_STORED,
    progress: Callable[[float, int], None] | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Predicted:
    """Predicts the label of every image and writes it as `NAME.png` into `out`.

    NAME is the image's name without its ending. Of a folder, `out` has the same subfolders. Of
    several folders that hold equal names, each gets a subfolder. If a name is taken still, it
    becomes `NAME_jpg` (the ending), then `NAME_2`. No image that is read is ever written over.
    `predictions.csv` says which image became which label. The label of a GeoTIFF becomes `NAME.tif`
    too (see `fcn_jax.inference.geotiff`). An image that cannot be read stops no other image.

    Args:
        predictor: an `AnySize`; or any function from an image, uint8 (h, w, 3) RGB, to a label,
            uint8 (h, w), such as a `Predictor`. If it has `prepare`, that gets all sizes first.
        paths: image files, and folders with subfolders; of several inputs, those of the first.
        out: folder for `NAME.png`, a palette PNG whose values are the classes, of the size of the
            upright image (see `fcn_jax.data.readers.read_image`). If the net has several outputs,
            `NAME_OUTPUT.png` for each.
        inputs: a folder, or a file, for each other input by name (see `OtherInputs`).
        overlay: whether to write also `NAME_overlay.png`, the image in its classes' colours.
        palette: colours by label, uint8 (256, 3) RGB; None is VOC's; by output's name.
        background: whether the overlay colours label 0 too; by output's name, or for all.
        probabilities: whether to write also `NAME_probabilities.npy` (see `ResultFiles`).
        confidence: whether to write also `NAME_confidence.png`.
        entropy: whether to write also `NAME_entropy.png`.
        kinds: what outputs are, by name, if they are no classes of pixels (see `Style`).
        class_names: by output; what is said of whole images, in `predictions.csv`, has these names.
        options: what image files do not say of their pixels.
        progress: called after each image and each row of tiles: images done, a fraction, and all.
        say: called with a line on folders with other files, and on images of several frames.

    Returns:
        What was written, and what could not be found, read or predicted, with the reason.

    Raises:
        ValueError: if `inputs` are not those of the net, or `out` lies in a folder to read.
        OSError: if a file cannot be written.
    """
    said: dict[Path, dict[str, Any]] = {}
    style = Style(
        palette=palette,
        overlay=overlay,
        background=background,
        probabilities=probabilities,
        confidence=confidence,
        entropy=entropy,
        kinds=kinds or {},
        note=said.__setitem__,
    )
    written, failures = _predict_all(
        predictor, paths, Path(out), style, inputs or {}, options, progress, say
    )
    if written:
        _write_table(Path(out), written, style, class_names, said)
    return Predicted(written, failures)


def _predict_all(
    predictor: Any,
    paths: Iterable[Path | str],
    out: Path,
    style: Style,
    inputs: Mapping[str, Path],
    options: ImageOptions,
    progress: Callable[[float, int], None] | None,
    say: Callable[[str], None],
) -> tuple[dict[Path, Path], list[Failure]]:
    """Writes the files of every image that can be read; arguments as in `predict_files`."""
    others = OtherInputs(getattr(predictor, "inputs", ()), inputs)
    targets, headers, failures = _planned(paths, out, say, style, others)
    if prepare := getattr(predictor, "prepare", None):
        prepare(header.size for header in headers)
    predict_file = getattr(predictor, "predict_file", None) or _whole(predictor)

    def predict(path: Path, target: Path, done: Callable[[int, int], None]) -> Path:
        predict_file(others.of(path), target, style=style, options=options, progress=done)
        keep_georeference(path, style.labels(target), say)
        return target

    return _predicted(predict, targets, failures, style, progress), failures


def _predicted(
    predict: Callable[..., Path],
    targets: dict[Path, Path],
    failures: list[Failure],
    style: Style,
    progress: Callable[[float, int], None] | None,
) -> dict[Path, Path]:
    """Predicts each image that can be read: the label's file by its image's."""
    written = {}
    for number, (path, target) in enumerate(targets.items(), start=1):

        def rows_done(done: int, rows: int, before: int = number - 1) -> None:
            if progress is not None:
                progress(before + done / rows, len(targets))

        try:
            written[path] = predict(path, target, rows_done)
        except (OSError, ValueError, MemoryError, jax.errors.JaxRuntimeError) as error:
            failures.append(Failure(path, _reason(error, path, style.files(target))))
        if progress is not None:
            progress(number, len(targets))
    return written


def _write_table(
    out: Path,
    written: dict[Path, Path],
    style: Style,
    class_names: Any,
    said: Mapping[Path, Mapping[str, Any]],
) -> None:
    """Writes `predictions.csv`: each image, its label, and the answers for the whole image."""
    names = dict(zip_named(class_names)) if class_names else {}
    columns = {name: names.get(name) for name in style.of_image}
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(("image", "label", *(name or "answer" for name in columns)))
    for image, label in written.items():
        answers = (_text(said[label][name], of_name) for name, of_name in columns.items())
        rows.writerow((legible(image), legible(label.relative_to(out)), *answers))
    write_atomically(out / "predictions.csv", lambda draft: draft.write_text(table.getvalue()))


def _text(answer: Any, names: Any) -> str:
    """The name of a class, or of all attributes that are true; their numbers without names."""
    places = [answer] if isinstance(answer, int) else np.flatnonzero(answer).tolist()
    return "; ".join(names[i] if names else str(i) for i in places)


def _reason(error: Exception, path: Path, files: list[Path]) -> str:
    """Why an image has no prediction; raises the error if it is not one of the image."""
    if isinstance(error, MemoryError | jax.errors.JaxRuntimeError):
        if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
            return "it takes more memory than there is. Free some, or give smaller tiles: --tile"
        raise error
    if isinstance(error, OSError) and error.filename in map(str, files):
        raise error
    return str(error).removeprefix(f"{legible(path)}: ")


def _whole(predictor: Any) -> Callable[..., Path]:
    """`AnySize.predict_file` for a function that predicts an image whole."""

    def predict_file(
        paths: AnyPaths, out: Path, *, style: Style, options: ImageOptions, progress: Any
    ) -> Path:
        image = InputFiles(getattr(predictor, "inputs", {}), options).read(paths)
        with ResultFiles(out, size_of(paths), style, images=paths) as files:
            files.write(image, predictor(image))
        return out

    return predict_file


def _planned(
    paths: Iterable[Path | str],
    out: Path,
    say: Callable[[str], None],
    style: Style,
    others: OtherInputs,
) -> tuple[dict[Path, Path], list[Header], list[Failure]]:
    """The label's file by its image's, each image once; headers; and paths without an image."""
    images: dict[Path, tuple[Path, Path | None]] = {}  # as given, and the folder, by the real path
    failures = []
    paths = [Path(path) for path in paths]
    for path in (*paths, *others.folders.values()):
        if path.is_dir() and out.resolve().is_relative_to(path.resolve()):
            raise ValueError(
                f"{out}: expected a folder for predictions outside of the images, found one in "
                f"{path}: a second run would take predictions for images. Choose another one."
            )
    for path in paths:
        files, folder = [path], None
        if path.is_dir():
            (files, left_out), folder = walk(path, image_endings()), path
            if line := said(path, left_out):
                say(line)
            if not files:
                failures.append(Failure(path, "no image in it, by the names' endings"))
        for file in files:
            images.setdefault(file.resolve(), (file, folder))
    headers, several = [], []
    for path, _ in images.values():
        with any_size(), contextlib.suppress(OSError, ValueError):  # named when it is read
            headers.append(read_header(path))
            several += [legible(path)] if headers[-1].several else []
    if several:
        say(frames_line(several))
    read = {path.resolve() for path in others.files}.union(images)
    return _targets(list(images.values()), out, style, read), headers, failures


def _targets(
    images: list[tuple[Path, Path | None]], out: Path, style: Style, read: set[Path]
) -> dict[Path, Path]:
    """The label's file by its image's: no file to write is another one, or one to read."""

    def files(target: Path) -> set[str]:
        return {_key(path) for path in style.files(target.with_name(f"{target.name}.png"))}

    taken = {_key(path) for path in read}
    subfolders = _subfolders(images)
    targets = {}
    for path, folder in images:
        inside = subfolders[folder] / path.parent.relative_to(folder) if folder else Path()
        stem, ending = path.stem, path.suffix.lstrip(".")
        numbered = (f"{stem}_{n}" for n in itertools.count(2))
        names = itertools.chain([stem, f"{stem}_{ending}"], numbered)
        places = (out.resolve() / inside / name for name in names)
        place = next(place for place in places if not files(place) & taken)
        taken |= files(place)
        targets[path] = out / inside / f"{place.name}.png"
    return targets


def _subfolders(images: list[tuple[Path, Path | None]]) -> dict[Path, Path]:
    """For each folder, that of its labels in `out`: `out` itself, if no name occurs twice."""
    names: dict[Path, set[str]] = {}
    for path, folder in images:
        if folder:
            names.setdefault(folder, set()).add(_key(path.relative_to(folder).with_suffix("")))
    if sum(map(len, names.values())) == len(set().union(*names.values())):
        return dict.fromkeys(names, Path())
    own: dict[str, Path] = {}
    for folder in names:
        name = folder.resolve().name
        numbered = (f"{name}_{n}" for n in itertools.count(2))
        free = next(n for n in itertools.chain([name], numbered) if _key(Path(n)) not in own)
        own[_key(Path(free))] = Path(free)
    return dict(zip(names, own.values(), strict=True))


def _key(path: Path) -> str:
    """Equal for two paths that are one file on some disks: they differ in case or in spelling."""
    return unicodedata.normalize("NFC", str(path)).casefold()
