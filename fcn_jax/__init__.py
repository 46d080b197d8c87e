"""Fully convolutional networks in JAX: dense prediction at any image size, exactly.

import fcn_jax as fcn

net = fcn.FCN8s(trunk=fcn.VGG16(), num_classes=21)
variables = net.init(key, images)
scores = net.apply(variables, images, sizes=sizes)
"""

from fcn_jax import losses, metrics, optim, surgery
from fcn_jax.compiling import jit
from fcn_jax.fcn import FCN, Classifier, FCN8s, FCN16s, FCN32s
from fcn_jax.feature_map import FeatureMap, Grid
from fcn_jax.fusion import LateFusion
from fcn_jax.trunks import VGG16, AlexNet, GoogLeNet, SqueezeNet
from fcn_jax.upsampling import (
    BilinearUpsampling,
    DenseUpsampling,
    LearnedUpsampling,
    NormalizedUpsampling,
)

__all__ = [
    "FCN",
    "VGG16",
    "AlexNet",
    "BilinearUpsampling",
    "Classifier",
    "DenseUpsampling",
    "FCN8s",
    "FCN16s",
    "FCN32s",
    "FeatureMap",
    "GoogLeNet",
    "Grid",
    "LateFusion",
    "LearnedUpsampling",
    "NormalizedUpsampling",
    "SqueezeNet",
    "jit",
    "losses",
    "metrics",
    "optim",
    "surgery",
]
