"""The layers of a classification net after its trunk."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Ending:
    """From a trunk's last map to class scores.

    Attributes:
        layer: name of the 1x1 convolution, as in the Caffe model.
        relu: whether a ReLU follows it.
        window: size of the average pooling that follows, on the net's own crop; 1 for none.
    """

    layer: str = "fc8"
    relu: bool = False
    window: int = 1
