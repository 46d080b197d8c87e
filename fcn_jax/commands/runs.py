"""Commands on a finished run: score it, label images with it, hand it in."""

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import Positional


@contextlib.contextmanager
def _bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error, in a terminal; yields what takes the amounts done and in all."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def evaluate(
    run: Positional[Path],
    /,
    data: Path = Path("data"),
    split: str | None = None,
    step: int | None = None,
    absent: Literal["recipe", "in_neither", "not_in_truth"] = "recipe",
    batch_size: int | None = None,
) -> None:
    """Score a run on a whole data set: four metrics and the table of classes.

    Args:
        run: the run's folder.
        data: folder with the data sets; or tfds:NAME, a data set of TFDS in their place.
        split: another split than the run's validation split.
        step: a checkpoint; the best one by default.
        absent: classes that the mean IU leaves out: as the recipe says, those in neither truth nor
            prediction, or those not in the truth.
        batch_size: images at a time; changes no score.
    """
    import dataclasses

    from rich.console import Console

    from fcn_jax.data.check import check_labels
    from fcn_jax.data.located import located, of_tfds
    from fcn_jax.data.named import each
    from fcn_jax.evaluation import evaluate_on, split_name
    from fcn_jax.main import load_recipe, messages, use_compile_cache
    from fcn_jax.metrics import Absent, Scores
    from fcn_jax.report.tables import class_table, metrics_table
    from fcn_jax.start import run_variables
    from fcn_jax.training.run_folder import RunFolder

    with messages(False):
        use_compile_cache()
        recipe = load_recipe(RunFolder(run).described())
        if absent != "recipe":
            recipe = dataclasses.replace(recipe, absent=Absent[absent.upper()])
        if batch_size is not None:
            recipe = dataclasses.replace(recipe, batch_size=batch_size)
        source = located(recipe.validation_set, data, split or "validation")
        if split and not of_tfds(data):
            source = of_split(source, split)
        title, part = getattr(source, "title", type(source).__name__), getattr(source, "split", "")
        print(f"{title}{f' {part}' if part else ''}: {len(source)} images")
        variables, preprocessing = run_variables(run, step)
        checked = check_labels(source)
        with _bar("batches") as progress:
            scores = evaluate_on(recipe, source, variables, preprocessing, progress=progress)
        console = Console()

        def show(name: str, scores: Scores, names: tuple[str, ...], pixels: Any) -> None:
            console.print(class_table(scores, names, pixels[:-1]))
            title = f"{split_name(source)} {name}".strip()
            console.print(metrics_table({title: scores}))
            print(scores)

        each(show, scores, source.class_names, checked.pixels)


def of_split(source: Any, split: str) -> Any:
    """Another split of a data set: of `Folders` all of a list, not the tenth that was held out.

    Raises:
        ValueError: the data set has no splits.
    """
    import dataclasses

    from fcn_jax.data.folders import Folders

    if not hasattr(source, "split"):
        raise ValueError(f"{type(source).__name__} has no splits to choose from")
    every = {"held_out": None} if isinstance(source, Folders) else {}
    return dataclasses.replace(source, split=split, **every)


def predict(
    run: Positional[Path],
    images: Positional[tuple[Path, ...]],
    /,
    out: Annotated[Path, tyro.conf.arg(help="folder for the results")] = Path("predictions"),
    step: int | None = None,
    tile: int | Literal["auto"] | None = None,
) -> None:
    """Label images of any size: an index PNG in palette colours and an overlay for each.

    Args:
        run: the run's folder.
        images: images, or folders of them.
        out: folder for the results.
        step: a checkpoint; the best one by default.
        tile: label images larger than memory by tiles of that many pixels to a side, or as large
            as memory allows; the labels are the same, and no overlays are written.
    """
    from fcn_jax.inference.folder import predict_files, predict_large_files
    from fcn_jax.inference.predictor import Predictor
    from fcn_jax.inference.prepack import prepack
    from fcn_jax.inference.tiling import TiledPredictor
    from fcn_jax.main import load_recipe, messages, use_compile_cache
    from fcn_jax.report.palette import class_palette
    from fcn_jax.start import run_variables
    from fcn_jax.training.run_folder import RunFolder

    with messages(False):
        use_compile_cache()
        recipe = load_recipe(RunFolder(run).described())
        if not images:
            raise ValueError("name at least one image, or a folder of images")
        if inputs := dict(getattr(recipe.model, "inputs", ())):
            raise ValueError(
                f"{run} takes several inputs ({', '.join(inputs)}), and files of one "
                "image each are no match for it; use fcn_jax.inference.predictor.Predictor"
            )
        palette = class_palette(recipe.train_set.num_classes)
        variables, preprocessing = run_variables(run, step)
        if tile is not None or len(images) > 10 or any(path.is_dir() for path in images):
            variables = prepack(recipe.model, variables)
        first = recipe.train_set.class_names[0]  # SIFT Flow's is a class like any other
        if tile is None:
            with _bar("images") as progress:
                written, failures = predict_files(
                    Predictor(recipe.model, variables, preprocessing),
                    images,
                    out,
                    palette=palette,
                    background=first not in ("background", "class 0"),
                    progress=progress,
                )
        else:
            tiled = TiledPredictor(recipe.model, variables, preprocessing, tile=tile)
            with _bar("rows of an image") as progress:
                predict_file = functools.partial(tiled.predict_file, progress=progress)
                written, failures = predict_large_files(predict_file, images, out, palette=palette)
        for failure in failures:
            print(f"error: {failure.path}: {failure.reason}", file=sys.stderr)
        if written:
            print(f"labels written: {len(written)}, in {out}")
        sys.exit(1 if failures else 0)


def submit(
    run: Positional[Path],
    /,
    data: Path = Path("data"),
    out: Path = Path("submission"),
    year: Literal[2011, 2012] = 2012,
    split: str = "test",
    step: int | None = None,
) -> None:
    """Write the folder and archive that PASCAL VOC's evaluation server takes.

    Args:
        run: the run's folder.
        data: folder with VOC's test images and lists.
        out: where `results/` and `results.tgz` are made.
        year: year of the challenge.
        split: list of images in ImageSets/Segmentation.
        step: a checkpoint; the best one by default.
    """
    from fcn_jax.data.files import image_size, read_image, read_list
    from fcn_jax.data.voc import VOC
    from fcn_jax.inference.predictor import Predictor
    from fcn_jax.inference.prepack import prepack
    from fcn_jax.inference.voc_submission import pack_submission, write_submission
    from fcn_jax.main import load_recipe, messages, use_compile_cache
    from fcn_jax.start import run_variables
    from fcn_jax.training.run_folder import RunFolder

    with messages(False):
        use_compile_cache()
        recipe = load_recipe(RunFolder(run).described())
        source = VOC(year=year, split="val").at(data)  # its folder; test images have no labels
        if recipe.train_set.class_names != source.class_names:
            raise ValueError(
                f"{run} learned {recipe.train_set.num_classes} classes that are not VOC's "
                f"{source.num_classes}; its labels mean something else to the server"
            )
        names = read_list(source.folder / "ImageSets" / "Segmentation" / f"{split}.txt")
        variables, preprocessing = run_variables(run, step)
        predictor = Predictor(recipe.model, prepack(recipe.model, variables), preprocessing)
        predictor.prepare(image_size(source.image_path(name)) for name in names)

        def images(progress: Callable[[int, int], None]) -> Iterator[tuple[str, Any]]:
            for number, name in enumerate(names, start=1):
                yield name, read_image(source.image_path(name))
                progress(number, len(names))

        with _bar("images") as progress:
            folder = write_submission(predictor, images(progress), out, year=year)
        archive = pack_submission(folder, out / "results.tgz")
        print(f"{len(names)} images in {folder}, packed in {archive}")
