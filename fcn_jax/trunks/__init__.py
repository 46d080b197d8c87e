"""Trunks: classifiers without their last layer, from an image to named feature maps.

A trunk is any linen module whose call maps the image to a dictionary of feature maps, shallow
first, the deepest last:

    def __call__(self, x: FeatureMap, *, train: bool) -> dict[str, FeatureMap]

Optional attributes tell the heads more: `ring`, the zero cells that `FCN` puts around the image (0
where absent); `classifier`, how the classification net ends (see `Ending`); and `follows_borders`,
that every layer is one of `fcn_jax.layers`, so that `FCN` may leave uncomputed what the image does
not decide (see `fcn_jax.border`), which pays where the layers' strides do not outrun the ring.
"""

from fcn_jax.trunks.alexnet import AlexNet
from fcn_jax.trunks.ending import Ending
from fcn_jax.trunks.googlenet import GoogLeNet
from fcn_jax.trunks.squeezenet import SqueezeNet
from fcn_jax.trunks.vgg import VGG16

__all__ = ["VGG16", "AlexNet", "Ending", "GoogLeNet", "SqueezeNet"]
