"""The papers' data sets as tensorflow-datasets builders, without TensorFlow.

Importing this package registers `voc_segmentation`, `sbd`, `nyud_v2_40`, `sift_flow` and
`pascal_context`; `build` prepares one of them. Reading any prepared data set back as a source needs
nothing of this package: `fcn_jax.data.tfds.TFDS`.
"""

from fcn_jax.prepare.tfds.builders import (
    NYUDv2Segmentation,
    PASCALContextSegmentation,
    SBDSegmentation,
    SIFTFlowSegmentation,
    VOCSegmentation,
)
from fcn_jax.prepare.tfds.preparing import build

__all__ = [
    "NYUDv2Segmentation",
    "PASCALContextSegmentation",
    "SBDSegmentation",
    "SIFTFlowSegmentation",
    "VOCSegmentation",
    "build",
]
