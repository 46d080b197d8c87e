"""tensorflow-datasets builders for the FCN papers' data sets, without TensorFlow.

Importing this package registers `voc_segmentation`, `sbd`, `nyud_v2_40`, `sift_flow` and
`pascal_context`. `build` prepares one of them. `fcn_jax.data.tfds.TFDS` reads any prepared data set
and does not need this package.
"""

from fcn_jax.prepare.tfds.builders import (
    NYUDv2Segmentation,
    PASCALContextSegmentation,
    SBDSegmentation,
    SIFTFlowSegmentation,
    VOCSegmentation,
    build,
)

__all__ = [
    "NYUDv2Segmentation",
    "PASCALContextSegmentation",
    "SBDSegmentation",
    "SIFTFlowSegmentation",
    "VOCSegmentation",
    "build",
]
