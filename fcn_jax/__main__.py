"""`python -m fcn_jax`: explain, convert, evaluate, predict, submit."""

import re
import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro

from fcn_jax.main import import_recipe_module, load_recipe, messages, use_compile_cache

Positional = tyro.conf.Positional


def explain(recipe: Positional[str], /, size: str = "500x500") -> None:
    """Show a net layer by layer: kernel, stride, padding, output, grid, receptive field, cost.

    Args:
        recipe: module of a recipe, e.g. experiments.voc_fcn8s.
        size: rows x columns of the image.
    """
    from rich.console import Console

    from fcn_jax.explain import explain, explain_table

    with messages(False):
        parsed = re.fullmatch(r"(\d+)x(\d+)", size)
        if not parsed or "0" in parsed.groups():
            raise ValueError(f"--size must be ROWSxCOLUMNS, such as 375x500; found {size!r}")
        net = import_recipe_module(recipe).RECIPE.model
        rows = explain(net, int(parsed[1]), int(parsed[2]))
        width = None if sys.stdout.isatty() else 120
        Console(width=width).print(explain_table(rows))


def convert(
    kind: Positional[Literal["torchvision", "caffe_npz"]],
    source: Positional[Path],
    target: Positional[Path],
    /,
) -> None:
    """Turn other people's weights into ours (.safetensors).

    Args:
        kind: what made the source file.
        source: the file, e.g. vgg16.npz from weights/export_torchvision.py.
        target: the file to write, e.g. weights/vgg16.safetensors.
    """
    from fcn_jax.convert.kinds import convert

    with messages(False):
        print(convert(kind, source, target))


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
        data: folder with the data sets.
        split: another split than the run's validation split.
        step: a checkpoint; the best one by default.
        absent: classes that the mean IU leaves out: as the recipe says, those in neither truth nor
            prediction, or those not in the truth.
        batch_size: images at a time; changes no score.
    """
    import dataclasses

    from rich.console import Console

    from fcn_jax.data.check import check_labels
    from fcn_jax.evaluation import evaluate_on, split_name
    from fcn_jax.metrics import Absent
    from fcn_jax.report.tables import class_table, metrics_table
    from fcn_jax.start import run_variables
    from fcn_jax.training.run_folder import RunFolder

    with messages(False):
        use_compile_cache()
        recipe = load_recipe(RunFolder(run).described())
        if absent != "recipe":
            recipe = dataclasses.replace(recipe, absent=Absent[absent.upper()])
        if batch_size:
            recipe = dataclasses.replace(recipe, batch_size=batch_size)
        source = recipe.validation_set
        if split:
            if not hasattr(source, "split"):
                raise ValueError(f"{type(source).__name__} has no splits to choose from")
            source = dataclasses.replace(source, split=split)  # type: ignore[type-var]
        source = source.at(data)
        variables, preprocessing = run_variables(run, step)
        checked = check_labels(source)
        scores = evaluate_on(recipe, source, variables, preprocessing)
        console = Console()
        console.print(class_table(scores, source.class_names, checked.pixels[:-1]))
        console.print(metrics_table({split_name(source): scores}))
        print(scores)


def predict(
    run: Positional[Path],
    images: Positional[tuple[Path, ...]],
    /,
    out: Annotated[Path, tyro.conf.arg(help="folder for the results")] = Path("predictions"),
    step: int | None = None,
) -> None:
    """Label images of any size: an index PNG in palette colours and an overlay for each.

    Args:
        run: the run's folder.
        images: images, or folders of them.
        out: folder for the results.
        step: a checkpoint; the best one by default.
    """
    from fcn_jax.inference.folder import predict_files
    from fcn_jax.inference.predictor import Predictor
    from fcn_jax.report.palette import class_palette
    from fcn_jax.start import run_variables
    from fcn_jax.training.run_folder import RunFolder

    with messages(False):
        use_compile_cache()
        recipe = load_recipe(RunFolder(run).described())
        if not images:
            raise ValueError("name at least one image, or a folder of images")
        predictor = Predictor(recipe.model, *run_variables(run, step))
        first = recipe.train_set.class_names[0]  # SIFT Flow's is a class like any other
        failures = predict_files(
            predictor,
            images,
            out,
            palette=class_palette(recipe.train_set.num_classes),
            background=first not in ("background", "class 0"),
        )
        for failure in failures:
            print(f"error: {failure.path}: {failure.reason}", file=sys.stderr)
        print(f"predictions are in {out}")
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
    from fcn_jax.data.files import read_image, read_list
    from fcn_jax.data.voc import VOC
    from fcn_jax.inference.predictor import Predictor
    from fcn_jax.inference.voc_submission import pack_submission, write_submission
    from fcn_jax.start import run_variables
    from fcn_jax.training.run_folder import RunFolder

    with messages(False):
        use_compile_cache()
        recipe = load_recipe(RunFolder(run).described())
        source = VOC(year=year, split="val").at(data)  # its folder; test images have no labels
        names = read_list(source.folder / "ImageSets" / "Segmentation" / f"{split}.txt")
        predictor = Predictor(recipe.model, *run_variables(run, step))
        images = ((name, read_image(source.image_path(name))) for name in names)
        folder = write_submission(predictor, images, out, year=year)
        archive = pack_submission(folder, out / "results.tgz")
        print(f"{len(names)} images in {folder}, packed in {archive}")


def main() -> None:
    """The command line."""
    commands = {f.__name__: f for f in (explain, convert, evaluate, predict, submit)}
    tyro.extras.subcommand_cli_from_dict(commands, prog="python -m fcn_jax")


if __name__ == "__main__":
    main()
