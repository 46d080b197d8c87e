"""The layers of a classification net after its trunk."""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Ending:
    """From a trunk's last map to class scores.

    Attributes:
        layer: name of the 1x1 convolution, as in the Caffe model.
        relu: whether a ReLU follows it.
        window: size of the average pooling of these scores, on the net's own crop; 1 for none.
        head: a class of modules between the trunk's last map and `layer`, made as
            `head(name="head")(x, train=...)`; None for none. FCNs leave it out.
        pooled: the same between the average pooling, which then comes before `layer`, and `layer`:
            `pooled(name="pooled")`. For layers that are not linear, where the order counts.
    """

    layer: str = "fc8"
    relu: bool = False
    window: int = 1
    head: Any = None
    pooled: Any = None
