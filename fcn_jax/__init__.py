"""Fully convolutional networks in JAX: dense prediction at any image size, exactly.

import fcn_jax as fcn

net = fcn.FCN8s(trunk=fcn.VGG16(), num_classes=21)
variables = net.init(key, images)
scores = net.apply(variables, images, sizes=sizes)
"""

import importlib
from typing import TYPE_CHECKING, Any

from fcn_jax import moved

if TYPE_CHECKING:
    from fcn_jax import data, losses, metrics, optim, training
    from fcn_jax.devices.compiling import jit
    from fcn_jax.inference.model import Model
    from fcn_jax.nets import decoders, heads
    from fcn_jax.nets.fcn import FCN, Classifier, FCN8s, FCN16s, FCN32s
    from fcn_jax.nets.fusion import LateFusion
    from fcn_jax.nets.segmenter import Segmenter
    from fcn_jax.nets.trunks import (
        VGG16,
        AlexNet,
        ConvNeXt,
        EfficientNetLite,
        GoogLeNet,
        MobileNetV3,
        ResNet,
        SqueezeNet,
    )
    from fcn_jax.nn.feature_map import FeatureMap, Grid
    from fcn_jax.nn.stretching import Align
    from fcn_jax.nn.upsampling import (
        BilinearUpsampling,
        DenseUpsampling,
        LearnedUpsampling,
        NormalizedUpsampling,
    )
    from fcn_jax.preprocessing import Preprocessing
    from fcn_jax.runs.experiment import main
    from fcn_jax.runs.load import load
    from fcn_jax.runs.recipe import FromRun, FromRuns, FromScratch, FromWeights, Recipe
    from fcn_jax.runs.scoring import evaluate
    from fcn_jax.weights import surgery

__all__ = [
    "FCN",
    "VGG16",
    "AlexNet",
    "Align",
    "BilinearUpsampling",
    "Classifier",
    "ConvNeXt",
    "DenseUpsampling",
    "EfficientNetLite",
    "FCN8s",
    "FCN16s",
    "FCN32s",
    "FeatureMap",
    "FromRun",
    "FromRuns",
    "FromScratch",
    "FromWeights",
    "GoogLeNet",
    "Grid",
    "LateFusion",
    "LearnedUpsampling",
    "MobileNetV3",
    "Model",
    "NormalizedUpsampling",
    "Preprocessing",
    "Recipe",
    "ResNet",
    "Segmenter",
    "SqueezeNet",
    "data",
    "decoders",
    "evaluate",
    "heads",
    "jit",
    "load",
    "losses",
    "main",
    "metrics",
    "optim",
    "surgery",
    "training",
]

# The module of each name that is not itself a module of this package. A name is imported when it is
# first used (PEP 562), so that `python -m fcn_jax --help` and the rooms without JAX do not wait for
# jax and flax.
_HOMES = {
    "devices.compiling": ("jit",),
    "inference.model": ("Model",),
    "nets.fcn": ("FCN", "Classifier", "FCN8s", "FCN16s", "FCN32s"),
    "nets": ("decoders", "heads"),
    "nets.fusion": ("LateFusion",),
    "nets.segmenter": ("Segmenter",),
    "nets.trunks": (
        "VGG16",
        "AlexNet",
        "ConvNeXt",
        "EfficientNetLite",
        "GoogLeNet",
        "MobileNetV3",
        "ResNet",
        "SqueezeNet",
    ),
    "nn.feature_map": ("FeatureMap", "Grid"),
    "nn.stretching": ("Align",),
    "nn.upsampling": (
        "BilinearUpsampling",
        "DenseUpsampling",
        "LearnedUpsampling",
        "NormalizedUpsampling",
    ),
    "preprocessing": ("Preprocessing",),
    "runs.experiment": ("main",),
    "runs.load": ("load",),
    "runs.scoring": ("evaluate",),
    "runs.recipe": ("FromRun", "FromRuns", "FromScratch", "FromWeights", "Recipe"),
    "weights": ("surgery",),
}

moved.install()


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = next((home for home, names in _HOMES.items() if name in names), None)
    module = importlib.import_module(f"{__name__}.{home or name}")
    value = module
    if home:
        value = getattr(module, name, None) or importlib.import_module(f"{module.__name__}.{name}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
