"""`python -m fcn_jax predict`."""

import functools
import sys
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from fcn_jax.commands.progress import bar


def predict(
    run: Positional[Path],
    images: Positional[tuple[Path, ...]],
    /,
    out: Path = Path("predictions"),
    step: int | None = None,
    tile: int | Literal["auto"] | None = None,
) -> None:
    """Label images of any size: an index PNG in palette colours and an overlay for each.

    Args:
        run: the run's folder.
        images: images, or folders of them.
        out: folder for the results.
        step: a checkpoint; the best one by default.
        tile: label images larger than memory in tiles of that many pixels to a side, or auto, as
            large as memory allows; the labels are the same, and no overlays are written.
    """
    from fcn_jax.devices.compiling import use_compile_cache
    from fcn_jax.inference.folder import predict_files, predict_large_files
    from fcn_jax.inference.predictor import Predictor
    from fcn_jax.inference.prepack import prepack
    from fcn_jax.inference.tiling import TiledPredictor
    from fcn_jax.report.palette import class_palette
    from fcn_jax.runs.lookup import load_recipe
    from fcn_jax.runs.messages import messages
    from fcn_jax.runs.start import run_variables
    from fcn_jax.training.run_folder import RunFolder

    with messages(debug=False):
        use_compile_cache()
        recipe = load_recipe(RunFolder(run).described())
        if not images:
            raise ValueError("name at least one image, or a folder of images")
        if inputs := dict(getattr(recipe.model, "inputs", ())):
            raise ValueError(
                f"{run} takes several inputs ({', '.join(inputs)}), and this command reads one"
                " image each; use fcn_jax.inference.predictor.Predictor"
            )
        palette = class_palette(recipe.train_set.num_classes)
        variables, preprocessing = run_variables(run, step)
        if tile is not None or len(images) > 10 or any(path.is_dir() for path in images):
            variables = prepack(recipe.model, variables)
        first = recipe.train_set.class_names[0]  # SIFT Flow's is a class like any other
        if tile is None:
            with bar("images") as progress:
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
            with bar("rows of an image") as progress:
                predict_file = functools.partial(tiled.predict_file, progress=progress)
                written, failures = predict_large_files(predict_file, images, out, palette=palette)
        for failure in failures:
            print(f"error: {failure.path}: {failure.reason}", file=sys.stderr)
        if written:
            print(f"labels written: {len(written)}, in {out}")
        sys.exit(1 if failures else 0)
