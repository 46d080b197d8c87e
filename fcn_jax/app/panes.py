"""What the page shows of nets: each output that is a class of every pixel has a pane."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from fcn_jax.data.images import ImageOptions
from fcn_jax.data.named import zip_named
from fcn_jax.inference.model import Model
from fcn_jax.labels import IGNORE, LabelKind


@dataclasses.dataclass(frozen=True, eq=False)
class Pane:
    """One output of one net.

    Attributes:
        title: the net's name, and the output's if several are shown.
        output: the output's name; "" of a net of one output.
        names: a name for each class.
        palette: colours by label, uint8 (256, 3), RGB.
    """

    title: str
    output: str
    names: tuple[str, ...]
    palette: UInt8[np.ndarray, "256 3"]


@dataclasses.dataclass(frozen=True, eq=False)
class ShownNet:
    """A net with its panes.

    Attributes:
        model: gives the scores.
        panes: at least one.
        options: what image files do not say of their pixels.
    """

    model: Model
    panes: tuple[Pane, ...]
    options: ImageOptions

    def scores(
        self, rgb: UInt8[np.ndarray, "h w 3"]
    ) -> Iterator[tuple[Pane, Float32[np.ndarray, "h w k"]]]:
        """The scores of every class at every pixel, pane by pane; the net runs once.

        Raises:
            ValueError: the photograph is too small for the net, or too large for the memory.
        """
        outputs = dict(zip_named(self.model.scores(rgb)))
        for pane in self.panes:
            scores = outputs[pane.output]
            if np.isnan(scores[0, 0]).any():
                raise ValueError(
                    f"{rgb.shape[1]}x{rgb.shape[0]} pixels are too few for {pane.title}; choose a "
                    "larger photograph"
                )
            yield pane, scores


def shown_net(name: str, model: Model, options: ImageOptions) -> ShownNet:
    """Chooses what is shown of a net.

    Args:
        name: the net's, for titles and messages.
        model: the net.
        options: what image files do not say of their pixels.

    Raises:
        ValueError: the net takes several inputs, or no output is a class of every pixel.
    """
    inputs = tuple(dict(getattr(model.net, "inputs", ())))
    if inputs:
        raise ValueError(
            f"{name}: this net takes several inputs ({', '.join(inputs)}), and the page has one "
            "photograph; use `python -m fcn_jax predict` with --input"
        )
    outputs = list(zip_named(model.class_names, model.palette))
    shown = [one for one in outputs if _is_shown(model, one[0], one[1])]
    if not shown:
        raise ValueError(
            f"{name}: the page shows outputs that are a class of every pixel, at most {IGNORE} "
            f"classes, and this net has none: {_outputs(model)}; use `fcn_jax.load` in Python"
        )
    titles = [f"{name} · {output}" if len(shown) > 1 else name for output, *_ in shown]
    panes = [Pane(title, *one) for title, one in zip(titles, shown, strict=True)]
    return ShownNet(model, tuple(panes), options)


def net_names(paths: Sequence[Any]) -> list[str]:
    """A short name for each run's folder or file of weights; whole paths where those are equal."""
    short = [path.stem if path.suffix == ".safetensors" else path.resolve().name for path in paths]
    return short if len(set(short)) == len(short) else [str(path) for path in paths]


def _is_shown(model: Model, output: str, names: Sequence[str]) -> bool:
    """Whether an output is a class of every pixel that a uint8 label holds."""
    of_pixels = model.kinds[output] is LabelKind.CLASSES and getattr(model.net, "keeps_size", True)
    return of_pixels and len(names) <= IGNORE


def _outputs(model: Model) -> str:
    """What a net has instead."""
    if not getattr(model.net, "keeps_size", True):
        return "it is a classifier of whole images"
    found = zip_named(model.class_names)
    return ", ".join(
        f"{name or 'its output'} is {model.kinds[name].name.lower()} ({len(names)})"
        for name, names in found
    )
