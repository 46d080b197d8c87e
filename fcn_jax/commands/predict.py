"""`python -m fcn_jax predict`."""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

from tyro.conf import Positional, UseAppendAction, arg

from fcn_jax.commands.progress import bar


def predict(
    run: Positional[Path],
    images: Positional[tuple[Path, ...]],
    /,
    out: Path = Path("predictions"),
    step: int | None = None,
    recipe: str | None = None,
    inputs: Annotated[UseAppendAction[tuple[str, ...]], arg(name="input")] = (),
    probabilities: bool = False,
    confidence: bool = False,
    entropy: bool = False,
    tile: int | Literal["auto"] | None = None,
    max_value: int | None = None,
    bands: str | None = None,
) -> None:
    """Label images of any size: an index PNG in palette colours and an overlay for each.

    Args:
        run: the run's folder.
        images: images, or folders of them; of a net with several inputs, the first.
        out: folder for the results; what is said of a whole image is in its predictions.csv.
        step: a checkpoint; the best one by default.
        recipe: module or file of the run's recipe, which is imported; needed only if its net is not
            part of fcn_jax.
        inputs: another input, NAME=FOLDER, with files named as the images; depth in 16 bits, mm.
        probabilities: write the probability of every class too, NAME_probabilities.npy, float32.
        confidence: write the predicted class's probability too, NAME_confidence.png: 65535 is 1.
        entropy: write how undecided classes are too, NAME_entropy.png: 0 is certain, 65535 equal.
        tile: label every image in tiles of that many pixels to a side, or auto: as memory allows;
            the labels are the same. By default, only images that memory does not hold.
        max_value: the number that is white in images of 16 bits; by default as in the run.
        bands: which bands of an image are red, green and blue, such as 4,3,2; as in the run.
    """
    from fcn_jax.devices.compiling import use_compile_cache
    from fcn_jax.inference.anysize import AnySize
    from fcn_jax.inference.folder import predict_files
    from fcn_jax.inference.prepack import prepack
    from fcn_jax.runs.messages import messages
    from fcn_jax.runs.start import run_variables
    from fcn_jax.runs.stored import StoredRun

    with messages(debug=False):
        use_compile_cache()
        stored = StoredRun(run, recipe=recipe)
        if not images:
            raise ValueError("name at least one image, or a folder of images")
        kinds = of_outputs(stored)
        variables, preprocessing = run_variables(run, step)
        if tile is not None or len(images) > 10 or any(path.is_dir() for path in images):
            variables = prepack(stored.model, variables)
        palette, background = colours(stored.class_names)
        with bar("images") as progress:
            written, failures = predict_files(
                AnySize(stored.model, variables, preprocessing, tile=tile, say=say),
                images,
                out,
                inputs=parse_inputs(inputs),
                palette=palette,
                background=background,
                probabilities=probabilities,
                confidence=confidence,
                entropy=entropy,
                kinds=kinds,
                class_names=stored.class_names,
                options=image_options(stored.train_set, max_value, bands),
                progress=progress,
                say=say,
            )
        _end(written, failures, out)


def _end(written: Any, failures: Any, out: Path) -> NoReturn:
    """Says what was written and what failed, and exits."""
    from fcn_jax.data.errors import legible

    for failure in failures:
        print(f"error: {legible(failure.path)}: {failure.reason}", file=sys.stderr)
    if written:
        print(f"labels written: {len(written)}, in {out}")
    sys.exit(1 if failures else 0)


def colours(class_names: Any) -> tuple[Any, Any]:
    """The palette, and whether label 0 is a class like any other, as SIFT Flow's; by output."""
    from fcn_jax.data.named import as_plain, zip_named
    from fcn_jax.report.palette import class_palette

    outputs = dict(zip_named(class_names))
    palettes = {name: class_palette(len(names)) for name, names in outputs.items()}
    like_others = {n: names[0] not in ("background", "class 0") for n, names in outputs.items()}
    return as_plain(palettes), as_plain(like_others)


def of_outputs(stored: Any) -> dict[str, Any]:
    """What the outputs are, by name.

    Raises:
        ValueError: one has several numbers at every pixel, which a picture does not hold.
    """
    from fcn_jax.data.named import zip_named
    from fcn_jax.labels import LabelKind

    kinds = stored.label_kinds or LabelKind.CLASSES
    for name, kind, names in zip_named(kinds, stored.class_names or {"": ()}):
        if kind is LabelKind.NUMBERS and len(names) > 1:
            raise ValueError(
                f"{name or 'the output'} has {len(names)} numbers at every pixel, and a picture "
                "holds one; use fcn_jax.load(run)(image) in Python"
            )
    return dict(zip_named(kinds))


def image_options(source: Any, max_value: int | None, bands: str | None) -> Any:
    """What image files do not say of their pixels: as in a data set, unless given."""
    from fcn_jax.data.images import AS_STORED, parse_bands

    options = getattr(source, "image_options", AS_STORED)
    if max_value is not None:
        options = dataclasses.replace(options, max_value=max_value)
    return options if bands is None else dataclasses.replace(options, bands=parse_bands(bands))


def say(line: str) -> None:
    """Prints a line on standard error."""
    print(line, file=sys.stderr, flush=True)


def parse_inputs(given: tuple[str, ...]) -> dict[str, Path]:
    """Folders by input from `NAME=FOLDER`.

    Raises:
        ValueError: a text is something else, or a name occurs twice.
    """
    parsed: dict[str, Path] = {}
    for text in given:
        name, _, folder = text.partition("=")
        if not (name and folder) or name in parsed:
            expected = "each input once" if name in parsed else "NAME=FOLDER, such as depth=DIR"
            raise ValueError(f"--input: expected {expected}, found {text!r}")
        parsed[name] = Path(folder).expanduser()
    return parsed
