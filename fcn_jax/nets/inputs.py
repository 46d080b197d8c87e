"""The input of a net: one array of images, or several by name."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from fcn_jax.nn.feature_map import FeatureMap, Grid


def check_inputs(images: Any, inputs: Mapping[str, int]) -> None:
    """Raises ValueError unless the images are exactly the inputs that a net takes."""
    expected = ", ".join(f"{name} (b, h, w, {c})" for name, c in inputs.items())
    if not isinstance(images, Mapping):
        raise ValueError(
            f"this net takes several inputs, a dictionary of {expected}; found one array of shape "
            f"{images.shape}"
        )
    found = ", ".join(f"{name} {value.shape}" for name, value in images.items())
    channels = {name: value.shape[-1] for name, value in images.items()}
    if channels != dict(inputs) or len({value.shape[:3] for value in images.values()}) != 1:
        raise ValueError(f"this net takes {expected}, all of one size; found {found}")


def concat_inputs(images: Any, inputs: Mapping[str, int]) -> Array:
    """The channels of all inputs, concatenated; one array where the net has no named inputs."""
    if not inputs:
        if isinstance(images, Mapping):
            raise ValueError(
                f"this net takes one array of images; found a dictionary of {', '.join(images)}. "
                "Pass one of them, or give the net `inputs`"
            )
        return images
    check_inputs(images, inputs)
    return jnp.concatenate([images[name] for name in inputs], axis=-1)


def placeholder(
    net: nn.Module, shape: tuple[int, int, int] = (1, 64, 64), *, channels: int = 3
) -> Any:
    """Shapes of a net's input: float32 (b, h, w, c), by name where its inputs have names."""

    def array(channels: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((*shape, channels), jnp.float32)

    inputs = dict(getattr(net, "inputs", ()))
    return {name: array(c) for name, c in inputs.items()} if inputs else array(channels)


def _check_sizes(sizes: Any, shape: tuple[int, ...]) -> None:
    """Raises ValueError unless every image lies on the canvas; traced sizes are not known."""
    if sizes.shape != (shape[0], 2):
        raise ValueError(
            f"sizes must be ({shape[0]}, 2), rows and columns of each image; got shape "
            f"{sizes.shape}"
        )
    if isinstance(sizes, jax.core.Tracer):
        return
    rows, columns = shape[1:3]
    for i, (h, w) in enumerate(np.asarray(sizes).tolist()):
        if not (1 <= h <= rows and 1 <= w <= columns):
            raise ValueError(
                f"sizes[{i}] is {h}x{w}, expected rows of 1 to {rows} and columns of 1 to "
                f"{columns}: the image must lie on the canvas"
            )


def as_image(images: Array, sizes: Any, dtype: Any) -> FeatureMap:
    """The input as a feature map: one cell per pixel."""
    if images.ndim != 4:
        raise ValueError(
            f"images must be (batch, rows, columns, channels), got shape {images.shape}; add a "
            "batch axis to a single image: images[None]"
        )
    if sizes is not None:
        _check_sizes(sizes, images.shape)
    return FeatureMap(images.astype(dtype), sizes, Grid()).masked()
