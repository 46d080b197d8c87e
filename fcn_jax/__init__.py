"""Fully convolutional networks in JAX: dense prediction at any image size, exactly.

import fcn_jax as fcn

net = fcn.FCN8s(trunk=fcn.VGG16(), num_classes=21)
variables = net.init(key, images)
scores = net.apply(variables, images, sizes=sizes)
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

# The module of each name that is no module itself. A name is imported when it is first used (PEP
# 562), so that `python -m fcn_jax --help` and the data rooms do not wait for jax and flax.
_HOMES = {
    "compiling": ("jit",),
    "fcn": ("FCN", "Classifier", "FCN8s", "FCN16s", "FCN32s"),
    "feature_map": ("FeatureMap", "Grid"),
    "fusion": ("LateFusion",),
    "trunks": ("VGG16", "AlexNet", "GoogLeNet", "SqueezeNet"),
    "upsampling": (
        "BilinearUpsampling",
        "DenseUpsampling",
        "LearnedUpsampling",
        "NormalizedUpsampling",
    ),
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = next((home for home, names in _HOMES.items() if name in names), None)
    module = importlib.import_module(f"{__name__}.{home or name}")
    globals()[name] = getattr(module, name) if home else module
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
