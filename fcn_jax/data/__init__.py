"""Data sets and the input pipeline. Nothing here imports jax."""

from fcn_jax.data.ade20k import ADE20K
from fcn_jax.data.batching import Batches, EvaluationBatches, evaluation_batches
from fcn_jax.data.camvid import CamVid
from fcn_jax.data.canvases import choose_canvases
from fcn_jax.data.check import Checked, check_labels
from fcn_jax.data.cityscapes import Cityscapes
from fcn_jax.data.coco import COCOInstances
from fcn_jax.data.coco_panoptic import COCOPanoptic
from fcn_jax.data.folders import Folders
from fcn_jax.data.label_values import LabelValues
from fcn_jax.data.labelme import LabelMe
from fcn_jax.data.nyud import NYUDv2
from fcn_jax.data.pascal_context import PASCALContext
from fcn_jax.data.prefetch import read_ahead
from fcn_jax.data.readers import DataError
from fcn_jax.data.sift_flow import SIFTFlow
from fcn_jax.data.source import Example, FileSource, Source
from fcn_jax.data.transforms import Augment, Plan
from fcn_jax.data.voc import SBD, VOC, Joined
from fcn_jax.labels import IGNORE, LabelKind

__all__ = [
    "ADE20K",
    "IGNORE",
    "NYUDv2",
    "PASCALContext",
    "SBD",
    "VOC",
    "Augment",
    "Batches",
    "COCOInstances",
    "COCOPanoptic",
    "CamVid",
    "Checked",
    "Cityscapes",
    "DataError",
    "EvaluationBatches",
    "Example",
    "FileSource",
    "Folders",
    "Joined",
    "LabelKind",
    "LabelMe",
    "LabelValues",
    "Plan",
    "SIFTFlow",
    "Source",
    "check_labels",
    "choose_canvases",
    "evaluation_batches",
    "read_ahead",
]
