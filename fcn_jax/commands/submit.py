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
    recipe: str | None = None,
) -> None:
    """Write the folder and archive that PASCAL VOC's evaluation server takes.

    Args:
        run: the run's folder.
        data: folder with VOC's test images and lists.
        out: where `results/` and `results.tgz` are made.
        year: year of the challenge.
        split: list of images in ImageSets/Segmentation.
        step: a checkpoint; the best one by default.
        recipe: module or file of the run's recipe, which is imported; needed only if its net is not
            part of fcn_jax.
    """
    from fcn_jax.data.lists import read_list
    from fcn_jax.data.readers import image_size, read_image
    from fcn_jax.data.voc import VOC
    from fcn_jax.devices.compiling import use_compile_cache
    from fcn_jax.inference.anysize import AnySize
    from fcn_jax.inference.predictor import net_inputs
    from fcn_jax.inference.prepack import prepack
    from fcn_jax.inference.submission import pack_submission, write_submission
    from fcn_jax.runs.messages import messages
    from fcn_jax.runs.start import run_variables
    from fcn_jax.runs.stored import StoredRun

    with messages(debug=False):
        use_compile_cache()
        stored = StoredRun(run, recipe=recipe)
        source = VOC(year=year, split="val").at(data)  # for its folder; the test set has no labels
        if inputs := net_inputs(stored.model):
            raise ValueError(
                f"{run} takes {', '.join(inputs)}; VOC's test set has colour images only"
            )
        if stored.train_set.class_names != source.class_names:
            raise ValueError(
                f"{run} learned {stored.train_set.num_classes} classes that are not VOC's"
                f" {source.num_classes}; the server would misread its labels. Use a run on VOC."
            )
        names = read_list(source.folder / "ImageSets" / "Segmentation" / f"{split}.txt")
        variables, preprocessing = run_variables(run, step)
        predictor = AnySize(stored.model, prepack(stored.model, variables), preprocessing)
        predictor.prepare(image_size(source.image_path(name)) for name in names)

        def images(progress: Callable[[int, int], None]) -> Iterator[tuple[str, Any]]:
            for number, name in enumerate(names, start=1):
                yield name, read_image(source.image_path(name))
                progress(number, len(names))

        with bar("images") as progress:
            folder = write_submission(predictor, images(progress), out, year=year)
        archive = pack_submission(folder, out / "results.tgz")
        print(f"{len(names)} images in {folder}, packed in {archive}")
