"""Trunks: classifiers without their last layer, from an image to named feature maps.

A trunk is any linen module whose call maps the image to a dictionary of feature maps, shallow
first, the deepest last:

    def __call__(self, x: FeatureMap, *, train: bool) -> dict[str, FeatureMap]

A few optional attributes tell the nets more:

- `ring`: zero cells that `FCN` puts around the image (0 where absent);
- `classifier`: how the classification net ends (see `Ending`);
- `follows_borders`: every layer is one of `fcn_jax.nn.layers`, so that `FCN` may compute once what
  does not depend on the image (see `fcn_jax.nn.background`). It pays where the layers' strides are
  small beside the ring;
- `rematerialises`: the trunk looks at `fcn_jax.nn.savings.current().rematerialise`.
"""

from fcn_jax.nets.trunks.alexnet import AlexNet
from fcn_jax.nets.trunks.ending import Ending
from fcn_jax.nets.trunks.googlenet import GoogLeNet
from fcn_jax.nets.trunks.squeezenet import SqueezeNet
from fcn_jax.nets.trunks.vgg import VGG16

__all__ = ["VGG16", "AlexNet", "Ending", "GoogLeNet", "SqueezeNet"]
