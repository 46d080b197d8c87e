"""Trunk, decoder and heads, plugged together."""

from collections.abc import Mapping
from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from flax.core import FrozenDict
from jaxtyping import Array, Float, Int

from fcn_jax.labels import LabelKind
from fcn_jax.nets.inputs import as_image, concat_inputs
from fcn_jax.nn.feature_map import FeatureMap


class Segmenter(nn.Module):
    """A trunk gives maps, a decoder further maps, and each head an output.

    Example:
        `Segmenter(trunk=ResNet(50, output_stride=8), decoder=ASPP(), heads=Pixels(21))`

    Attributes:
        trunk: module from the image to named feature maps (`fcn_jax.nets.trunks`).
        heads: a head (`fcn_jax.nets.heads`), or several by name, such as
            `{"semantic": Pixels(21), "depth": Pixels(1)}`.
        decoder: module from named maps to further ones (`fcn_jax.nets.decoders`); None where the
            heads stand on the trunk.
        dtype: compute dtype of trunk and decoder; outputs are float32.
        inputs: channels of each input by name, as in `FCN`; empty for one array of images.
    """

    trunk: nn.Module
    heads: nn.Module | Mapping[str, nn.Module]
    decoder: nn.Module | None = None
    dtype: Any = jnp.float32
    inputs: Mapping[str, int] | tuple[tuple[str, int], ...] = ()

    gives_coarse_scores: ClassVar[bool] = False

    def __post_init__(self):
        # Tuples and FrozenDicts hash, as a configuration must.
        self.inputs = tuple(dict(self.inputs).items())
        if isinstance(self.heads, Mapping):
            self.heads = FrozenDict(self.heads)
        super().__post_init__()

    @property
    def num_classes(self) -> int | Mapping[str, int]:
        """Channels of the output, by name where a prediction has several."""
        heads = self._heads(train=False)
        counts = {name: head.num_classes for name, head in heads.items()}
        return FrozenDict(counts) if len(counts) > 1 else next(iter(counts.values()))

    @property
    def output_kinds(self) -> LabelKind | Mapping[str, LabelKind]:
        """What the outputs are, as `num_classes`; a head without `kind` gives classes of pixels."""
        heads = self._heads(train=False)
        kinds = {name: getattr(head, "kind", LabelKind.CLASSES) for name, head in heads.items()}
        return FrozenDict(kinds) if len(kinds) > 1 else next(iter(kinds.values()))

    @nn.compact
    def __call__(
        self,
        images: Float[Array, "b h w c"] | Mapping[str, Float[Array, "b h w _"]],
        sizes: Int[Array, "b 2"] | None = None,
        *,
        train: bool = False,
    ) -> Any:
        """What the heads give: an array of one head, a dictionary of several.

        Args:
            images: preprocessed images, by name where `inputs` is given; zero outside each image's
                true size.
            sizes: true rows and columns of each image on the shared canvas; None where every
                image fills it. The outputs of an image that is too small for the trunk are NaN.
            train: apply dropout, update batch statistics, and call the auxiliary heads too.

        Raises:
            ValueError: a map that is asked for is missing, or maps do not lie over each other.
        """
        image = as_image(concat_inputs(images, dict(self.inputs)), sizes, self.dtype)
        trunk = self.trunk(image.replace(ring=getattr(self.trunk, "ring", 0)), train=train)
        maps = {"image": image, **trunk}
        if self.decoder is not None:
            maps |= self.decoder(maps, train=train)
        maps = {"image": image, "trunk": next(reversed(trunk.values())), **maps}
        heads = self._heads(train=train or self.is_initializing())
        outputs = {name: head(maps, train=train) for name, head in heads.items()}
        outputs = _marked(outputs, image, maps["trunk"])
        return outputs if len(outputs) > 1 else next(iter(outputs.values()))

    def _heads(self, *, train: bool) -> dict[str, Any]:
        heads = self.heads if isinstance(self.heads, Mapping) else {"": self.heads}
        return {name: head for name, head in heads.items() if train or not head.auxiliary}


def _marked(outputs: dict[str, Any], image: FeatureMap, deepest: FeatureMap) -> dict[str, Any]:
    """Outputs that are NaN for images of which the trunk's deepest map has no cell.

    A compiled program cannot raise, and such an output would mean nothing. Images of no pixels,
    which fill up a batch, stay.
    """
    if deepest.size is None or image.size is None:
        return outputs
    fits = jnp.any(image.size < 1, axis=1) | jnp.all(deepest.size >= 1, axis=1)

    def mark(values: Any) -> Any:
        return jnp.where(fits.reshape(-1, *[1] * (values.ndim - 1)), values, jnp.nan)

    return {name: mark(values) for name, values in outputs.items()}
