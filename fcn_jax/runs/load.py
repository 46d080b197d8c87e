"""`fcn_jax.load`: a net ready to predict, from a run's folder or a file of weights."""

import os
from pathlib import Path

import flax.linen as nn

from fcn_jax.inference.model import Model
from fcn_jax.runs.description import build, from_text
from fcn_jax.runs.start import run_variables
from fcn_jax.runs.stored import StoredRun
from fcn_jax.weights.packages import PACKAGES, imagenet_names, read_package
from fcn_jax.weights.weights_file import load_weights


def load(
    path: str | os.PathLike[str],
    *,
    net: nn.Module | None = None,
    recipe: str | None = None,
    step: int | None = None,
) -> Model:
    """A net ready to predict.

    Args:
        path: a run's folder, or a `.safetensors` file of a whole net (see `weights/README.md`); or
            the name of a pretrained classifier, such as "efficientnet_lite0", whose package is
            installed (a key of `fcn_jax.weights.packages.PACKAGES`).
        net: the net, if it is not part of fcn_jax; nothing of the run's own code is run then.
        recipe: module or file of the run's recipe, which is imported and so run, instead of `net`.
        step: a checkpoint of the run; the best one by default.

    Raises:
        ValueError: there is no such run or file, it is damaged, or its net is not part of fcn_jax;
            the classifier's package is not installed.

    Example:
        `label = fcn_jax.load("runs/voc_fcn8s")("photo.jpg")`
        `logits = fcn_jax.load("efficientnet_lite0").scores("photo.jpg")`
    """
    if str(path) in PACKAGES and not Path(path).exists():
        return _classifier(PACKAGES[str(path)])
    path = Path(path).expanduser()
    if not path.exists():
        raise ValueError(
            f"{path}: there is no such run or weights file, and no pretrained classifier of this "
            f"name; those are {', '.join(PACKAGES)}"
        )
    if path.is_file() and path.suffix != ".safetensors":
        raise ValueError(
            f"{path}: expected a run's folder or a .safetensors file of ours; convert weights of "
            "other frameworks with `python -m fcn_jax convert`"
        )
    if path.suffix != ".safetensors":
        run = StoredRun(path, recipe=recipe, net=net)
        variables, preprocessing = run_variables(path, step)
        return Model(
            run.model,
            variables,
            preprocessing,
            class_names=run.class_names,
            options=run.image_options,
            kinds=run.label_kinds,
        )
    variables, about = load_weights(path)
    if net is None:
        if not about.net:
            raise ValueError(
                f"{path} holds a classifier ({about.architecture}), without an FCN's score layers; "
                "start a recipe from it (--init), or pass the whole net: load(path, net=net)"
            )
        net = build(from_text(about.net))
    assert net is not None
    return Model(net, variables, about.preprocessing, class_names=about.class_names or None)


def _classifier(package: str) -> Model:
    """The classifier of an installed package of weights."""
    imported = read_package(package)
    return Model(
        imported.net,
        imported.variables,
        imported.preprocessing,
        class_names=imagenet_names() or None,
    )
