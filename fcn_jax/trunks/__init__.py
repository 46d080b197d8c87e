"""Trunks: classifiers without their last layer, from an image to named feature maps.

A trunk is any linen module whose call maps the image to a dictionary of feature maps, shallow
first, the deepest last:

    def __call__(self, x: FeatureMap, *, train: bool) -> dict[str, FeatureMap]

Two optional attributes tell the heads more: `ring`, the zero cells that `FCN` puts around the
image (0 where absent), and `classifier`, how the classification net ends (see `Ending`).
"""

from fcn_jax.trunks.alexnet import AlexNet
from fcn_jax.trunks.ending import Ending
from fcn_jax.trunks.googlenet import GoogLeNet
from fcn_jax.trunks.squeezenet import SqueezeNet
from fcn_jax.trunks.vgg import VGG16

__all__ = ["VGG16", "AlexNet", "Ending", "GoogLeNet", "SqueezeNet"]
