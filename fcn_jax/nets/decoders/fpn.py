"""The semantic feature pyramid.

Source: Kirillov et al., "Panoptic Feature Pyramid Networks", 2019. Details are those of
segmentation_models.pytorch 0.6.0 `decoders/fpn`: cells are repeated on the way down.
"""

import flax.linen as nn

from fcn_jax.nets.decoders.pyramid import Maps, by_stride
from fcn_jax.nn.activations import relu
from fcn_jax.nn.feature_map import FeatureMap
from fcn_jax.nn.layers import Conv, Dropout
from fcn_jax.nn.normalization import GroupNorm
from fcn_jax.nn.stretching import Align, Repeat, Stretch, over


class FPN(nn.Module):
    """Coarse maps are added to finer ones, and all of them are brought to the finest.

    Gives the map `pyramid` at stride `finest`. Group normalisation makes the receptive field the
    whole image.

    Attributes:
        features: channels of the pyramid.
        level_features: channels of the levels, and of the result.
        groups: groups of the normalisation; `level_features` is a multiple of it.
        finest: stride of the finest map that is used.
        dropout: rate after the sum, of whole channels.
        align: how levels are stretched; segmentation_models.pytorch uses `CORNERS`.
    """

    features: int = 256
    level_features: int = 128
    groups: int = 32
    finest: int = 4
    dropout: float = 0.2
    align: Align = Align.GRID

    @nn.compact
    def __call__(self, maps: Maps, *, train: bool) -> Maps:
        """Raises ValueError where the trunk has no map at stride `finest` or coarser."""
        found = [x for stride, x in by_stride(maps).items() if stride >= self.finest][::-1]
        if not found:
            raise ValueError(f"the trunk has no map at stride {self.finest} or coarser")
        levels: list[FeatureMap] = []
        for i, x in enumerate(found):
            lateral = Conv(self.features, name=f"lateral{i}")(x)
            if levels:
                lateral = _added(Repeat(name=f"repeat{i}")(levels[-1], lateral), lateral)
            levels.append(lateral)
        total: FeatureMap | None = None
        for i, level in enumerate(levels):
            y = self._block(level, f"level{i}_0")
            for j, finer in enumerate(levels[i + 1 :], 1):
                y = Stretch(self.align, name=f"level{i}_stretch{j}")(y, finer)
                if i + j + 1 < len(levels):
                    y = self._block(y, f"level{i}_{j}")
            total = y if total is None else _added(total, y)
        assert total is not None
        drop = Dropout(self.dropout, whole_channels=True, name="dropout")
        return {"pyramid": drop(total, train=train)}

    def _block(self, x: FeatureMap, name: str) -> FeatureMap:
        x = Conv(self.level_features, 3, padding=1, use_bias=False, name=f"{name}_conv")(x)
        return relu(GroupNorm(self.groups, name=f"{name}_norm")(x))


def _added(x: FeatureMap, y: FeatureMap) -> FeatureMap:
    """The sum, cell by cell, on the grid of `y`."""
    x = over(x, y)
    return x.replace(values=x.values + y.values, name=y.name)
