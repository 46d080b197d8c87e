"""`python -m fcn_jax submit`."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from tyro.conf import Positional

from fcn_jax.commands.progress import bar


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
    from fcn_jax.data.readers import image_size, read_image, read_list
    from fcn_jax.data.voc import VOC
    from fcn_jax.devices.compiling import use_compile_cache
    from fcn_jax.inference.predictor import Predictor
    from fcn_jax.inference.prepack import prepack
    from fcn_jax.inference.submission import pack_submission, write_submission
    from fcn_jax.runs.lookup import load_recipe
    from fcn_jax.runs.messages import messages
    from fcn_jax.runs.start import run_variables
    from fcn_jax.training.run_folder import RunFolder

    with messages(debug=False):
        use_compile_cache()
        recipe = load_recipe(RunFolder(run).described())
        source = VOC(year=year, split="val").at(data)  # for its folder; the test set has no labels
        if recipe.train_set.class_names != source.class_names:
            raise ValueError(
                f"{run} learned {recipe.train_set.num_classes} classes that are not VOC's"
                f" {source.num_classes}; the server would misread its labels. Use a run on VOC."
            )
        names = read_list(source.folder / "ImageSets" / "Segmentation" / f"{split}.txt")
        variables, preprocessing = run_variables(run, step)
        predictor = Predictor(recipe.model, prepack(recipe.model, variables), preprocessing)
        predictor.prepare(image_size(source.image_path(name)) for name in names)

        def images(progress: Callable[[int, int], None]) -> Iterator[tuple[str, Any]]:
            for number, name in enumerate(names, start=1):
                yield name, read_image(source.image_path(name))
                progress(number, len(names))

        with bar("images") as progress:
            folder = write_submission(predictor, images(progress), out, year=year)
        archive = pack_submission(folder, out / "results.tgz")
        print(f"{len(names)} images in {folder}, packed in {archive}")
