"""Trunks: classifiers without their last layer, from an image to named feature maps.

To add a trunk, write a linen module in a file here, made of `fcn_jax.nn.layers`; a trunk may also
be defined anywhere else. It maps the image to feature maps by name, shallow first, deepest last:

    def __call__(self, x: FeatureMap, *, train: bool) -> dict[str, FeatureMap]

Optional attributes:

- `ring`: zero cells that `FCN` puts around the image (default 0);
- `classifier`: how the classification net ends (see `Ending`);
- `follows_borders`: every layer is one of `fcn_jax.nn.layers`, so that `FCN` may compute once what
  does not depend on the image (see `fcn_jax.nn.background`). This saves time where the layers'
  strides are small compared with the ring;
- `rematerialises`: the trunk uses `fcn_jax.nn.savings.current().rematerialise`.
"""

from fcn_jax.nets.trunks.alexnet import AlexNet
from fcn_jax.nets.trunks.convnext import ConvNeXt
from fcn_jax.nets.trunks.efficientnet_lite import EfficientNetLite
from fcn_jax.nets.trunks.ending import Ending
from fcn_jax.nets.trunks.googlenet import GoogLeNet
from fcn_jax.nets.trunks.mobilenet_v3 import MobileNetV3
from fcn_jax.nets.trunks.resnet import ResNet
from fcn_jax.nets.trunks.squeezenet import SqueezeNet
from fcn_jax.nets.trunks.vgg import VGG16

__all__ = [
    "VGG16",
    "AlexNet",
    "ConvNeXt",
    "EfficientNetLite",
    "Ending",
    "GoogLeNet",
    "MobileNetV3",
    "ResNet",
    "SqueezeNet",
]
