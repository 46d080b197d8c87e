"""Values of whole nets of torchvision, timm and segmentation_models.pytorch: `test_torch_nets.py`.

    python tests/goldens/make_torch_nets.py

It needs torch, torchvision, timm and segmentation-models-pytorch, which the tests do not. Weights
and images are those of `tests/torch_arrays.py`. Writes `torch_nets.npz` beside this file.
"""

import json
import sys
from pathlib import Path

import numpy as np
import segmentation_models_pytorch as smp
import timm
import torch
import torchvision.models as tv
from torchvision.models import segmentation as tvs

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import torch_arrays  # noqa: E402

COUNT = 100  # values that are kept of each net


def torchvision(name, classes=21, **options):
    return getattr(tvs, name)(None, weights_backbone=None, num_classes=classes, **options)


def of_smp(name, on="resnet18"):
    return getattr(smp, name)(on, encoder_weights=None, classes=3)


# By kind of `convert` and net: the net, and rows and columns of the image.
NETS = {
    "torchvision/fcn_resnet50": (lambda: torchvision("fcn_resnet50", aux_loss=True), (65, 97)),
    "torchvision/fcn_resnet101": (lambda: torchvision("fcn_resnet101", aux_loss=True), (65, 97)),
    "torchvision/deeplabv3_resnet50": (lambda: torchvision("deeplabv3_resnet50", 5), (70, 41)),
    "torchvision/deeplabv3_resnet101": (
        lambda: torchvision("deeplabv3_resnet101", aux_loss=True),
        (65, 97),
    ),
    "torchvision/deeplabv3_mobilenet_v3_large": (
        lambda: torchvision("deeplabv3_mobilenet_v3_large", aux_loss=True),
        (98, 131),
    ),
    "torchvision/lraspp_mobilenet_v3_large": (
        lambda: torchvision("lraspp_mobilenet_v3_large"),
        (65, 130),
    ),
    "torchvision/resnet34": (lambda: tv.resnet34(), (224, 224)),
    "timm/resnet50": (lambda: timm.create_model("resnet50"), (224, 224)),
    "timm/mobilenetv3_large_100": (
        lambda: timm.create_model("mobilenetv3_large_100"),
        (224, 224),
    ),
    "timm/convnext_tiny": (lambda: timm.create_model("convnext_tiny"), (224, 224)),
    "smp/Unet": (lambda: of_smp("Unet"), (96, 160)),
    "smp/FPN": (lambda: of_smp("FPN"), (96, 160)),
    "smp/PSPNet": (lambda: of_smp("PSPNet"), (96, 160)),
    "smp/DeepLabV3": (lambda: of_smp("DeepLabV3"), (64, 96)),
    "smp/DeepLabV3Plus": (lambda: of_smp("DeepLabV3Plus"), (96, 160)),
    "smp/Unet_resnet50": (lambda: of_smp("Unet", "resnet50"), (64, 96)),
}


def main():
    kept = {}
    for name, (make, side) in NETS.items():
        net = make().eval()
        shapes = {n: tuple(a.shape) for n, a in net.state_dict().items()}
        arrays = torch_arrays.state_dict(shapes)
        net.load_state_dict({n: torch.tensor(a) for n, a in arrays.items()})
        pixels = torch_arrays.photograph(*side)
        image = ((pixels / 255 - torch_arrays.MEAN) / torch_arrays.STD).astype(np.float32)
        with torch.no_grad():
            result = net(torch.tensor(image.transpose(2, 0, 1)[None]))
        scores = result["out"] if isinstance(result, dict) else result
        values = scores[0].numpy()
        values = values.transpose(1, 2, 0) if values.ndim == 3 else values[None, None]
        places = np.random.default_rng(0).permutation(values.size)[:COUNT]
        kept[f"{name}/state_dict"] = np.array(json.dumps(shapes))
        kept[f"{name}/side"] = np.array(side)
        kept[f"{name}/shape"] = np.array(values.shape)
        kept[f"{name}/places"] = places.astype(np.int32)
        kept[f"{name}/values"] = values.ravel()[places]
        kept[f"{name}/largest"] = np.abs(values).max()
        print(name, values.shape, kept[f"{name}/largest"])
    np.savez_compressed(HERE / "torch_nets.npz", **kept)


if __name__ == "__main__":
    main()
