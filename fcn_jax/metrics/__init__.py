"""What is measured: the four scores of the papers, scores beyond them, and how sure they are.

Start at `scores` (the four, from one confusion matrix) and `by_image` (all scores from what was
counted in every image, with intervals). docs/scores.md says what each score means.
"""

from fcn_jax.metrics.by_image import MORE, ByImage, image_details
from fcn_jax.metrics.classes import FOUR, Absent
from fcn_jax.metrics.depth import DepthErrors
from fcn_jax.metrics.measured import Evaluator, Measured
from fcn_jax.metrics.scores import Scores, confusion_matrix, score
from fcn_jax.metrics.whole_image import AttributeAccuracy, ClassAccuracy

__all__ = [
    "FOUR",
    "MORE",
    "Absent",
    "AttributeAccuracy",
    "ByImage",
    "ClassAccuracy",
    "DepthErrors",
    "Evaluator",
    "Measured",
    "Scores",
    "confusion_matrix",
    "image_details",
    "score",
]
