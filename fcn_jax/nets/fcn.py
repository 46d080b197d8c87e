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

from fcn_jax.nets.inputs import as_image, concat_inputs
from fcn_jax.nets.trunks import Ending
from fcn_jax.nn.background import pointwise, with_border
from fcn_jax.nn.feature_map import FeatureMap, Outline, overlap
from fcn_jax.nn.layers import AveragePool, Conv, Crop, Scale, Sum, relu
from fcn_jax.nn.savings import current, platform
from fcn_jax.nn.upsampling import BilinearUpsampling, Upsampling

Classes = int | Mapping[str, int]
Maps = dict[str, FeatureMap]


class FCN(nn.Module):
    """A trunk whose deepest map is scored, upsampled and fused with scores of shallower maps.

    The number of skips makes it a 32s, 16s or 8s net. Upsampling factors and crop offsets follow
    from the grids (`upsampling_kernel`, `crop_offset`).

    Attributes:
        trunk: module from the image to named feature maps (see `fcn_jax.nets.trunks`).
        num_classes: channels of the scores; for several heads on one trunk, by name, such as
            `{"semantic": 33, "geometric": 3}`: the scores are then a dictionary by these names.
        skips: maps whose scores are added, deepest first, e.g. `("pool4", "pool3")`.
        skip_scales: a fixed factor on each skip's features, such as `(0.01, 0.0001)` in the at-once
            net; empty for none.
        upsampling: layer between skips: `BilinearUpsampling` (fixed, as the reference code),
            `LearnedUpsampling`, `DenseUpsampling` or `NormalizedUpsampling`.
        final_upsampling: layer up to the image.
        dtype: compute dtype of the trunk; scores and all that follows are float32.
        inputs: empty for one array of images. For several inputs, the channels of each by name,
            such as `{"color": 3, "depth": 1}`: images are then a dictionary, and the trunk gets
            their channels concatenated in this order (early fusion: FCN papers, section 5, NYUDv2).
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
        # Tuples and FrozenDicts hash, as a configuration must; the order of the inputs counts.
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
                `fcn_jax.nn.coarse_scores.CoarseScores`).

        Returns:
            float32 scores `(b, h, w, k)`, by name where `num_classes` is; zero outside the true
            sizes.

        Raises:
            ValueError: an unknown skip, or maps that cannot be aligned; the layers are named.
        """
        image = as_image(concat_inputs(images, dict(self.inputs)), sizes, self.dtype)
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
            return self._head(maps, image, self.num_classes, "", upsample=upsample)
        return {
            name: self._head(maps, image, classes, f"_{name}", upsample=upsample)
            for name, classes in self.num_classes.items()
        }

    def _head(
        self, maps: Maps, image: FeatureMap, classes: int, suffix: str, *, upsample: bool
    ) -> Any:
        """Scores of one head; the names of its layers end in `suffix`."""
        x = self._fuse(maps, classes, suffix)
        factor, kernel = upsampling_kernel(x, image)
        # Caffe's names; "upscore2" is the first skip's.
        name = f"upscore{factor}" if self.skips and factor != 2 else "upscore"
        layer = self.final_upsampling(factor, kernel, name=f"{name}{suffix}")
        offset = crop_offset(layer.outline(x), image)
        if upsample and platform() != "tpu":
            return Crop(offset, image.shape, name=f"score{suffix}")(layer(x), image.size).values
        scores = layer.without_upsampling(x, offset, image.shape, image.size)
        return scores.dense() if upsample else scores  # a TPU computes no pixel that is cut off

    def _fuse(self, maps: Maps, classes: int, suffix: str) -> FeatureMap:
        """Scores of the deepest map and of the skips, added on the grid of the last skip."""
        x = self._score(next(reversed(maps.values())), classes, f"score_fr{suffix}")
        upscore = f"upscore2{suffix}"
        for i, name in enumerate(self.skips):
            skip = maps[name]
            if self.skip_scales:
                skip = Scale(self.skip_scales[i], name=f"scale_{name}{suffix}")(skip)
            skip = self._score(skip, classes, f"score_{name}{suffix}")
            factor, kernel = upsampling_kernel(x, skip)
            x = self.upsampling(factor, kernel, name=upscore)(x)
            x = Sum(name=f"fuse_{name}{suffix}")(x, skip)
            upscore = f"upscore_{name}{suffix}"
        return x

    def _score(self, x: FeatureMap, classes: int, name: str) -> FeatureMap:
        x = pointwise(x, lambda values: values.astype(jnp.float32))
        return Conv(classes, 1, zero_init=True, name=name)(x)

    def _check_skips(self, maps: Maps) -> None:
        if unknown := [name for name in self.skips if name not in maps]:
            raise ValueError(f"the trunk has no map {unknown}; it has {list(maps)}")
        if self.skip_scales and len(self.skip_scales) != len(self.skips):
            raise ValueError(
                f"{len(self.skip_scales)} skip_scales for {len(self.skips)} skips; give one each"
            )


def FCN32s(trunk: nn.Module, num_classes: Classes, **fields: Any) -> FCN:  # noqa: N802
    """The deepest map alone, without skips."""
    return FCN(trunk=trunk, num_classes=num_classes, **fields)


def FCN16s(trunk: nn.Module, num_classes: Classes, **fields: Any) -> FCN:  # noqa: N802
    """One skip, by default `pool4`."""
    return FCN(trunk=trunk, num_classes=num_classes, **{"skips": ("pool4",), **fields})


def FCN8s(trunk: nn.Module, num_classes: Classes, **fields: Any) -> FCN:  # noqa: N802
    """Two skips, by default `pool4` and `pool3`."""
    return FCN(trunk=trunk, num_classes=num_classes, **{"skips": ("pool4", "pool3"), **fields})


class Classifier(nn.Module):
    """The classification net as a convolution: one score per class at every place.

    On an image of the net's own crop size (224 for VGG16) the result is 1x1 and equals the
    ordinary classifier. On a larger image it is a heat map: the classifier at every position, whose
    layers see the image beyond each crop instead of zero padding.

    Attributes:
        trunk: the trunk; its `classifier` says how the net ends.
        num_classes: 1000 for ImageNet.
    """

    trunk: nn.Module
    num_classes: int = 1000

    keeps_size: ClassVar[bool] = False  # a heat map is smaller than the image

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
                "an aligned trunk pads fc6, which the classifier does not; pass a trunk with "
                "aligned=False"
            )
        maps = self.trunk(as_image(images, sizes, jnp.float32), train=train)
        ending = getattr(self.trunk, "classifier", Ending())
        x = next(reversed(maps.values()))
        if ending.head is not None:
            x = ending.head(name="head")(x, train=train)
        pool = AveragePool(ending.window, name="pool")
        if ending.pooled is not None:
            x = ending.pooled(name="pooled")(pool(x), train=train)
        x = Conv(self.num_classes, 1, name=ending.layer)(x)
        if ending.relu:
            x = relu(x)
        if ending.window > 1 and ending.pooled is None:
            x = pool(x)
        return x.values


def upsampling_kernel(coarse: FeatureMap, fine: FeatureMap) -> tuple[int, int]:
    """Factor and kernel of the bilinear upsampling that brings `coarse` onto `fine`'s grid.

    The kernel is twice the factor, or one less where only that aligns the grids (63 for AlexNet's
    32).

    Raises:
        ValueError: the strides are not multiples, or neither kernel aligns the grids.
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


def crop_offset(upsampled: Outline, image: FeatureMap) -> int:
    """The row, and column, of the upsampled scores at which the image begins: 19, 27 or 31.

    Raises:
        ValueError: the scores do not cover the image, or lie between its pixels.
    """
    shared = overlap(upsampled, image)
    if shared.starts[1] or shared.shape != image.shape:
        (h, w), (rows, columns) = upsampled.shape, image.shape
        raise ValueError(
            f"{upsampled.name} ({h}x{w} from pixel {upsampled.grid.offset} on) does not cover the "
            f"image ({rows}x{columns}); give the trunk a larger ring"
        )
    return shared.starts[0]
