"""What is minimised: losses that ignore void pixels and divide once per batch.

A loss is any callable `loss(scores, labels, sizes=sizes)` that gives a scalar. A function that
gives a loss per pixel becomes one with `PerPixel`. docs/losses.md has a table of them.
"""

from fcn_jax.losses.by_output import ByOutput, takes_coarse_scores
from fcn_jax.losses.cross_entropy import Softmax, sigmoid_loss, softmax_loss
from fcn_jax.losses.depth import L1, SiLog
from fcn_jax.losses.focal import Focal, SigmoidFocal
from fcn_jax.losses.hard_pixels import OHEM, TopK
from fcn_jax.losses.lovasz import Lovasz
from fcn_jax.losses.per_pixel import Normalization, PerPixel
from fcn_jax.losses.region_sums import AbsentClasses
from fcn_jax.losses.regions import Dice, GeneralizedDice, Jaccard, Tversky
from fcn_jax.losses.several import Sum
from fcn_jax.losses.vectors import Attributes, ClassOfImage

__all__ = [
    "L1",
    "OHEM",
    "AbsentClasses",
    "Attributes",
    "ByOutput",
    "ClassOfImage",
    "Dice",
    "Focal",
    "GeneralizedDice",
    "Jaccard",
    "Lovasz",
    "Normalization",
    "PerPixel",
    "SiLog",
    "SigmoidFocal",
    "Softmax",
    "Sum",
    "TopK",
    "Tversky",
    "sigmoid_loss",
    "softmax_loss",
    "takes_coarse_scores",
]
