"""Published segmentation nets in PyTorch, found by the names of their arrays.

A net is a `Segmenter` and a dictionary from the paths of its layers beyond the trunk to the file's
names. The trunk's names follow its own rule (`torchvision_trunks`), after a prefix.

Source: state dicts of torchvision 0.29.1 `models/segmentation` and segmentation-models-pytorch
0.6.0 on encoders of torchvision's ResNets.
"""

from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import numpy as np

from fcn_jax.nets import decoders
from fcn_jax.nets.heads import Pixels
from fcn_jax.nets.segmenter import Segmenter
from fcn_jax.nets.trunks import MobileNetV3, ResNet
from fcn_jax.nets.trunks.resnet import STAGES
from fcn_jax.nn.stretching import Align
from fcn_jax.weights.foreign.imported import take
from fcn_jax.weights.layouts import Arrays

Names = dict[str, str]

RATES = (12, 24, 36)
"""Dilations of the published ASPPs. A file does not say them."""


class Published(NamedTuple):
    """A net, and how a file names its arrays.

    Attributes:
        name: the publisher's.
        net: ours.
        trunk: what precedes the trunk's names in the file: `backbone.`.
        names: the file's names of layers by ours, for those beyond the trunk.
    """

    name: str
    net: Segmenter
    trunk: str
    names: Names


def torchvision_net(arrays: Arrays, path: Path) -> Published:
    """One of torchvision's segmentation nets; the scores of LR-ASPP become one layer in `arrays`.

    Raises:
        ValueError: the arrays are of no net that is known here.
    """
    mobile = "backbone.0.0.weight" in arrays
    if "classifier.cbr.0.weight" in arrays:
        classes = _joined_scores(arrays, path)
        names = _block("decoder/high", "classifier.cbr.0", "classifier.cbr.1")
        names |= {"decoder/factor": "classifier.scale.1", "heads/score": "classifier.score"}
        decoder = decoders.LRASPP(low="block4", align=Align.EDGES)
        head = Pixels(classes, align=Align.EDGES)
        net = Segmenter(_trunk("backbone.", arrays, path, 16), head, decoder)
        return Published("lraspp_mobilenet_v3_large", net, "backbone.", names)
    is_aspp = "classifier.0.convs.0.0.weight" in arrays
    trunk = _trunk("backbone.", arrays, path, 16 if mobile else 8)
    last = np.shape(arrays.get("classifier.4.weight", ()))
    if len(last) != 4:
        raise ValueError(f"{path} is not of a segmentation net of torchvision's that is known here")
    several = "aux_classifier.4.weight" in arrays
    main = "heads_out" if several else "heads"
    dropout = 0.0 if is_aspp else 0.1
    heads: Any = Pixels(last[0], hidden=last[1], dropout=dropout, align=Align.EDGES)
    if is_aspp:
        names = _aspp("decoder", "classifier.0", separable=False)
        names |= _block(f"{main}/hidden", "classifier.1", "classifier.2")
    else:
        names = _block(f"{main}/hidden", "classifier.0", "classifier.1")
    names |= {f"{main}/score": "classifier.4"}
    if several:
        hidden = np.shape(arrays["aux_classifier.4.weight"])[1]
        source = "block4" if mobile else "layer3"
        auxiliary = Pixels(last[0], source, 1, hidden, 0.1, Align.EDGES, auxiliary=True)
        heads = {"out": heads, "aux": auxiliary}
        names |= _block("heads_aux/hidden", "aux_classifier.0", "aux_classifier.1")
        names |= {"heads_aux/score": "aux_classifier.4"}
    net = Segmenter(trunk, heads, decoders.ASPP(RATES) if is_aspp else None)
    kind = "deeplabv3" if is_aspp else "fcn"
    on = "mobilenet_v3_large" if mobile else f"resnet{trunk.depth}"
    return Published(f"{kind}_{on}", net, "backbone.", names)


def smp_net(arrays: Arrays, path: Path) -> Published:
    """One of segmentation_models.pytorch's nets on a ResNet.

    Raises:
        ValueError: the arrays are of no net that is known here.
    """
    score = np.shape(arrays.get("segmentation_head.0.weight", ()))
    if len(score) != 4:
        raise ValueError(f"{path} has no segmentation_head.0: it is not of a net of smp's")
    signs = {
        "decoder.blocks.0.conv1.0.weight": ("unet", 32, _unet(arrays)),
        "decoder.p5.weight": ("fpn", 32, (decoders.FPN(align=Align.CORNERS), _fpn())),
        "decoder.psp.blocks.0.pool.1.0.weight": ("pspnet", 32, _psp()),
        "decoder.aspp.0.convs.0.0.weight": ("deeplabv3plus", 16, _deeplabv3plus()),
        "decoder.aspp.convs.0.0.weight": (
            "deeplabv3",
            8,
            (decoders.ASPP(RATES), _aspp("decoder", "decoder.aspp", separable=False)),
        ),
    }
    kind, stride, (decoder, names) = next(
        (found for sign, found in signs.items() if sign in arrays), ("", 0, (None, {}))
    )
    if decoder is None:
        known = ", ".join(found[0] for found in signs.values())
        raise ValueError(f"{path} has a decoder that is not known here; those are {known}")
    head = Pixels(score[0], kernel=score[2], align=Align.CORNERS)
    if kind == "deeplabv3":
        names |= _block("heads/hidden", "decoder.conv", "decoder.bn")
        head = head.clone(hidden=score[1])
    trunk = _trunk("encoder.", arrays, path, stride)
    net = Segmenter(trunk.clone(dilate_first_block=stride < 32), head, decoder)
    names |= {"heads/score": "segmentation_head.0"}
    return Published(f"{kind} on resnet{trunk.depth}", net, "encoder.", names)


def _trunk(prefix: str, arrays: Arrays, path: Path, output_stride: int) -> Any:
    """The trunk that the arrays after a prefix are of."""
    if f"{prefix}0.0.weight" in arrays:
        return MobileNetV3(output_stride=output_stride)
    blocks = [
        len({n.split(".")[2] for n in arrays if n.startswith(f"{prefix}layer{stage}.")})
        for stage in (1, 2, 3, 4)
    ]
    bottleneck = f"{prefix}layer1.0.conv3.weight" in arrays
    for depth, stages in STAGES.items():
        if tuple(blocks) == stages and (depth >= 50) == bottleneck:
            return ResNet(depth, output_stride)
    raise ValueError(
        f"{path}: {prefix} has stages of {blocks} blocks; expected a ResNet of {list(STAGES)} "
        "layers"
    )


def _joined_scores(arrays: Arrays, path: Path) -> int:
    """Makes LR-ASPP's two score layers one, on both maps concatenated; its classes."""
    low, high = (
        [take(arrays, f"classifier.{which}_classifier.{part}", path) for part in ("weight", "bias")]
        for which in ("low", "high")
    )
    arrays["classifier.score.weight"] = np.concatenate([low[0], high[0]], axis=1)
    arrays["classifier.score.bias"] = low[1] + high[1]
    return len(low[1])


def _block(ours: str, conv: str, norm: str) -> Names:
    return {f"{ours}/conv": conv, f"{ours}/bn/norm": norm}


def _aspp(ours: str, theirs: str, *, separable: bool) -> Names:
    names = _block(f"{ours}/branch_1x1", f"{theirs}.convs.0.0", f"{theirs}.convs.0.1")
    for i, rate in enumerate(RATES, 1):
        branch, conv = f"{ours}/branch_{rate}", f"{theirs}.convs.{i}.0"
        names |= _block(branch, f"{conv}.1" if separable else conv, f"{theirs}.convs.{i}.1")
        if separable:
            names[f"{branch}/depthwise"] = f"{conv}.0"
    last = len(RATES) + 1
    names |= _block(f"{ours}/branch_mean", f"{theirs}.convs.{last}.1", f"{theirs}.convs.{last}.2")
    return names | _block(f"{ours}/project", f"{theirs}.project.0", f"{theirs}.project.1")


def _unet(arrays: Arrays) -> tuple[nn.Module, Names]:
    widths: list[int] = []
    while (sign := f"decoder.blocks.{len(widths)}.conv2.0.weight") in arrays:
        widths.append(np.shape(arrays[sign])[0])
    names: Names = {}
    for i in range(len(widths)):
        for j in (1, 2):
            theirs = f"decoder.blocks.{i}.conv{j}"
            names |= _block(f"decoder/block{i}_conv{j}", f"{theirs}.0", f"{theirs}.1")
    return decoders.UNet(tuple(widths)), names


def _fpn() -> Names:  # of the maps at strides 32, 16, 8 and 4
    names = {"decoder/lateral0": "decoder.p5"}
    names |= {f"decoder/lateral{i}": f"decoder.p{5 - i}.skip_conv" for i in (1, 2, 3)}
    for i in range(4):
        for j in range(max(3 - i, 1)):
            theirs = f"decoder.seg_blocks.{i}.block.{j}.block"
            names[f"decoder/level{i}_{j}_conv"] = f"{theirs}.0"
            names[f"decoder/level{i}_{j}_norm"] = f"{theirs}.1"
    return names


def _psp() -> tuple[nn.Module, Names]:
    decoder = decoders.PSP(stride=8, align=Align.CORNERS)
    names = _block("decoder/project", "decoder.conv.0", "decoder.conv.1")
    for i, bins in enumerate(decoder.bins):
        theirs = f"decoder.psp.blocks.{i}.pool.1"
        names |= _block(f"decoder/bins{bins}", f"{theirs}.0", f"{theirs}.1")
    return decoder, names


def _deeplabv3plus() -> tuple[nn.Module, Names]:
    names = _aspp("decoder/aspp", "decoder.aspp.0", separable=True)
    names |= _block("decoder/after_aspp", "decoder.aspp.1.1", "decoder.aspp.2")
    names |= _block("decoder/fine", "decoder.block1.0", "decoder.block1.1")
    names |= _block("decoder/fuse", "decoder.block2.0.1", "decoder.block2.1")
    names |= {
        "decoder/after_aspp/depthwise": "decoder.aspp.1.0",
        "decoder/fuse/depthwise": "decoder.block2.0.0",
    }
    return decoders.DeepLabV3Plus(RATES, align=Align.CORNERS), names
