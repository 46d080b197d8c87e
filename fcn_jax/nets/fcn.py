"""Fully convolutional networks: score, upsample, crop, fuse.

Source: Long, Shelhamer and Darrell, CVPR 2015; Shelhamer, Long and Darrell, TPAMI 2017; the
graphs of shelhamer/fcn.berkeleyvision.org voc-fcn*/net.py.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from flax.core import FrozenDict
from jaxtyping import Array, Float, Int

from fcn_jax.nets.inputs import as_image, stacked
from fcn_jax.nets.trunks import Ending
from fcn_jax.nn.background import pointwise, with_border
from fcn_jax.nn.feature_map import FeatureMap, overlap
from fcn_jax.nn.layers import (
    AveragePool,
    Conv,
    Crop,
    Scale,
    Sum,
    relu,
)
from fcn_jax.nn.savings import current
from fcn_jax.nn.upsampling import BilinearUpsampling, Upsampling

Classes = int | Mapping[str, int]


class FCN(nn.Module):
    """A trunk whose deepest map is scored, upsampled and fused with scores of shallower maps.

    The number of skips makes it a 32s, 16s or 8s net. Every crop offset and every upsampling
    factor follows from the grids.

    Attributes:
        trunk: module from the image to named feature maps (see `fcn_jax.nets.trunks`).
        num_classes: channels of the scores; by name where one trunk serves several heads,
            `{"semantic": 33, "geometric": 3}`, and the scores are then a dictionary by these names.
        skips: maps whose scores are added, deepest first, e.g. `("pool4", "pool3")`.
        skip_scales: a fixed factor on each skip's features, e.g. the at-once net's
            `(0.01, 0.0001)`; empty for none.
        upsampling: layer between skips: `BilinearUpsampling` (fixed, as the reference code),
            `LearnedUpsampling`, `DenseUpsampling` or `NormalizedUpsampling`.
        final_upsampling: layer up to the image.
        dtype: compute dtype of the trunk; scores and all that follows are float32.
        inputs: channels of each input by name where there are several, `{"color": 3, "depth": 1}`;
            images are then a dictionary, and the trunk sees its parts stacked in this order (early
            fusion: FCN papers, section 5, NYUDv2). Empty: one array.
    """

    trunk: nn.Module
    num_classes: Classes
    skips: tuple[str, ...] = ()
    skip_scales: tuple[float, ...] = ()
    upsampling: type[Upsampling] = BilinearUpsampling
    final_upsampling: type[Upsampling] = BilinearUpsampling
    dtype: Any = jnp.float32
    inputs: Mapping[str, int] | tuple[tuple[str, int], ...] = ()

    gives_coarse_scores: ClassVar[bool] = True  # takes `upsample=False`

    def __post_init__(self):
        # A net is a configuration, which is hashed and compared; the order of its inputs counts.
        self.inputs = tuple(dict(self.inputs).items())
        if isinstance(self.num_classes, Mapping):
            self.num_classes = FrozenDict(self.num_classes)
        super().__post_init__()

    @nn.compact
    def __call__(
        self,
        images: Float[Array, "b h w c"] | Mapping[str, Float[Array, "b h w _"]],
        sizes: Int[Array, "b 2"] | None = None,
        *,
        train: bool = False,
        upsample: bool = True,
    ) -> Any:
        """Scores of every class at every pixel.

        Args:
            images: preprocessed images, by name where `inputs` is given; zero (the mean) outside
                each image's true size.
            sizes: true rows and columns of each image on the shared canvas; None where every
                image fills it.
            train: apply dropout (random stream `dropout`) and update batch statistics.
            upsample: False for scores that are not upsampled yet (see
                `fcn_jax.nn.coarse_scores.CoarseScores`), which the losses take.

        Returns:
            float32 scores `(b, h, w, k)`, by name where `num_classes` is; zero outside the true
            sizes.

        Raises:
            ValueError: an unknown skip, or maps that cannot be lined up; the layers are named.
        """
        image = as_image(stacked(images, dict(self.inputs)), sizes, self.dtype)
        ringed = image.replace(ring=getattr(self.trunk, "ring", 0))
        if current().border_skipping and getattr(self.trunk, "follows_borders", False):
            ringed = with_border(ringed)
        if current().rematerialise and not getattr(self.trunk, "rematerialises", False):
            raise ValueError(
                f"--rematerialise: {type(self.trunk).__name__} cannot compute its activations "
                "again; run it without, or spread the rows of images over devices (--mesh space=N)"
            )
        maps = self.trunk(ringed, train=train)
        self._check_skips(maps)
        if isinstance(self.num_classes, int):
            return self._head(maps, image, self.num_classes, "", upsample)
        return {
            name: self._head(maps, image, classes, f"_{name}", upsample)
            for name, classes in self.num_classes.items()
        }

    def _head(
        self,
        maps: dict[str, FeatureMap],
        image: FeatureMap,
        classes: int,
        tail: str,
        upsample: bool,
    ) -> Any:
        """Scores of one head; `tail` ends the names of its layers."""
        x = self._score(next(reversed(maps.values())), classes, f"score_fr{tail}")
        last = ""
        for i, name in enumerate(self.skips):
            skip = maps[name]
            if self.skip_scales:
                skip = Scale(self.skip_scales[i], name=f"scale_{name}{tail}")(skip)
            skip = self._score(skip, classes, f"score_{name}{tail}")
            factor, kernel = upsampling_kernel(x, skip)
            upscore = f"upscore_{last}{tail}" if last else f"upscore2{tail}"
            x = self.upsampling(factor, kernel, name=upscore)(x)
            fuse = f"fuse_{name}{tail}"
            x = Sum(name=fuse)(x, skip).replace(name=fuse)
            last = name
        factor, kernel = upsampling_kernel(x, image)
        # Caffe's names; "upscore2" is the first skip's.
        final = f"upscore{factor}" if last and factor != 2 else "upscore"
        layer = self.final_upsampling(factor, kernel, name=f"{final}{tail}")
        full = layer.outline(x)
        shared = overlap(full, image)
        if shared.starts[1] or shared.shape != image.shape:
            raise ValueError(
                f"{full.name} ({full.shape[0]}x{full.shape[1]} from pixel {full.grid.offset} on) "
                f"does not cover the image ({image.shape[0]}x{image.shape[1]}); give the trunk a "
                "larger ring"
            )
        if not upsample:
            return layer.later(x, shared.starts[0], image.shape, image.size)
        x = layer(x)
        return Crop(shared.starts[0], shared.shape, name=f"score{tail}")(x, image.size).values

    def _score(self, x: FeatureMap, classes: int, name: str) -> FeatureMap:
        x = pointwise(x, lambda values: values.astype(jnp.float32))
        return Conv(classes, 1, zero_init=True, name=name)(x)

    def _check_skips(self, maps: dict[str, FeatureMap]) -> None:
        unknown = [name for name in self.skips if name not in maps]
        if unknown:
            raise ValueError(f"the trunk has no map {unknown}; it has {list(maps)}")
        if self.skip_scales and len(self.skip_scales) != len(self.skips):
            raise ValueError(
                f"{len(self.skip_scales)} skip_scales for {len(self.skips)} skips; give one each"
            )


def FCN32s(trunk: nn.Module, num_classes: Classes, **fields: Any) -> FCN:  # noqa: N802
    """Single-stream net: the deepest map alone."""
    return FCN(trunk=trunk, num_classes=num_classes, **fields)


def FCN16s(trunk: nn.Module, num_classes: Classes, **fields: Any) -> FCN:  # noqa: N802
    """One skip: `pool4` unless `skips` says otherwise."""
    return FCN(trunk=trunk, num_classes=num_classes, **{"skips": ("pool4",), **fields})


def FCN8s(trunk: nn.Module, num_classes: Classes, **fields: Any) -> FCN:  # noqa: N802
    """Two skips: `pool4` and `pool3` unless `skips` says otherwise."""
    return FCN(trunk=trunk, num_classes=num_classes, **{"skips": ("pool4", "pool3"), **fields})


class Classifier(nn.Module):
    """The classification net as a convolution: one score per class at every place.

    On an image of the net's own crop size (224 for VGG16) the result is 1x1 and equals the
    ordinary classifier; on a larger one it is the heat map of the classifier slid over it, but
    that the trunk's layers see the image beyond each crop, and not their zero padding.

    Attributes:
        trunk: the trunk; its `classifier` says how the net ends.
        num_classes: 1000 for ImageNet.
    """

    trunk: nn.Module
    num_classes: int = 1000

    @nn.compact
    def __call__(
        self,
        images: Float[Array, "b h w c"],
        sizes: Int[Array, "b 2"] | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, "b i j k"]:
        """Logits, `(b, 1, 1, classes)` on one crop.

        Raises:
            ValueError: the image is smaller than the net's crop, or the trunk is aligned.
        """
        if getattr(self.trunk, "aligned", False):
            raise ValueError(
                "an aligned trunk pads fc6 and is not the classifier's; pass it with aligned=False"
            )
        maps = self.trunk(as_image(images, sizes, jnp.float32), train=train)
        ending = getattr(self.trunk, "classifier", Ending())
        x = Conv(self.num_classes, 1, name=ending.layer)(next(reversed(maps.values())))
        if ending.relu:
            x = relu(x)
        if ending.window > 1:
            x = AveragePool(ending.window, name="pool")(x)
        return x.values


def upsampling_kernel(coarse: FeatureMap, fine: FeatureMap) -> tuple[int, int]:
    """Factor and kernel of the bilinear upsampling that brings `coarse` onto `fine`'s grid.

    The kernel is twice the factor, or one less where only that puts cells upon cells (63 for
    AlexNet's 32).

    Raises:
        ValueError: the strides are not multiples, or neither kernel lines the maps up.
    """
    ratio = coarse.grid.stride / fine.grid.stride
    if ratio.denominator != 1:
        raise ValueError(
            f"{coarse.name} (stride {coarse.grid.stride}) cannot be upsampled onto {fine.name} "
            f"(stride {fine.grid.stride}): the strides are not multiples of each other"
        )
    factor = int(ratio)
    for kernel in (2 * factor, 2 * factor - 1):
        index = coarse.grid.transposed(kernel, factor).index_of(fine.grid)
        if index.denominator == 1:
            return factor, kernel
    raise ValueError(
        f"{coarse.name} (cell 0 at pixel {coarse.grid.offset}) cannot be brought onto "
        f"{fine.name} (cell 0 at pixel {fine.grid.offset}) by upsampling {factor} times"
    )
