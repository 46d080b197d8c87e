"""Values of torchvision's and segmentation_models.pytorch's own nets, for `test_torch_trunks.py`.

    python tests/goldens/make_torch_trunks.py

It needs torch, torchvision and segmentation-models-pytorch, which the tests do not. Weights and
images are those of `tests/torch_arrays.py`. Writes `torch_trunks.npz` beside this file.
"""

import functools
import json
import sys
from pathlib import Path

import numpy as np
import segmentation_models_pytorch as smp
import torch
import torchvision.models as tv

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import torch_arrays  # noqa: E402

COUNT = 60  # values that are kept of each map

dilated = [False, True, True]
NETS = {
    "resnet18": tv.resnet18,
    "resnet50_stride8": functools.partial(tv.resnet50, replace_stride_with_dilation=dilated),
    "smp_resnet18_stride16": lambda: smp.encoders.get_encoder(
        "resnet18", weights=None, output_stride=16
    ),
    "mobilenet_v3_large": tv.mobilenet_v3_large,
    "mobilenet_v3_large_stride16": functools.partial(tv.mobilenet_v3_large, dilated=True),
    "convnext_tiny": tv.convnext_tiny,
}
CROPS = ("resnet18", "mobilenet_v3_large", "convnext_tiny")  # classified at 224 pixels
SIDE = {"convnext_tiny": (45, 67)}  # the others: (33, 46)
TRAINED = ("resnet18", "mobilenet_v3_large")  # a training step's batch norms, too


def modules(net):
    """What gives each of our maps."""
    if hasattr(net, "layer4"):
        names = {f"layer{i}": f"layer{i}" for i in range(1, 5)}
    elif isinstance(net, tv.ConvNeXt):
        names = {f"stage{i}": f"features.{2 * i - 1}" for i in range(1, 5)}
    else:
        names = {f"block{i}": f"features.{i}" for i in (0, 1, 4, 12, 13, 16)}
    return {ours: net.get_submodule(name) for ours, name in names.items()}


def thin(values):
    """Flat indices into (rows, columns, channels), the values there, and the largest."""
    places = np.random.default_rng(0).permutation(values.size)[:COUNT]
    places = np.union1d(places, np.abs(values).argmax())
    return {
        "shape": np.array(values.shape),
        "places": places.astype(np.int32),
        "values": values.ravel()[places],
        "largest": np.abs(values).max(),
    }


def run(net, images):
    """Each map of the net, (batch, rows, columns, channels)."""
    found = {}

    def keep(name, _, given, result):
        found[name] = result.permute(0, 2, 3, 1).contiguous().numpy()

    hooks = [m.register_forward_hook(functools.partial(keep, n)) for n, m in modules(net).items()]
    with torch.no_grad():
        result = net(torch.tensor(images.transpose(0, 3, 1, 2)))
    for hook in hooks:
        hook.remove()
    return result, found


def main():
    kept = {}
    for name, make in NETS.items():
        net = make().eval()
        shapes = {n: tuple(a.shape) for n, a in net.state_dict().items()}
        arrays = torch_arrays.state_dict(shapes)
        net.load_state_dict({n: torch.tensor(a) for n, a in arrays.items()})
        kept[f"{name}/state_dict"] = np.array(json.dumps(shapes))
        if name in CROPS:
            scores = run(net, torch_arrays.image(224, 224))[0]
            kept |= {f"{name}/scores/{k}": v for k, v in thin(scores[0].numpy()).items()}
        side = SIDE.get(name, (33, 46))
        for layer, values in run(net, torch_arrays.image(*side))[1].items():
            kept |= {f"{name}/{layer}/{k}": v for k, v in thin(values[0]).items()}
        if name in TRAINED:
            net.train()
            for m in net.modules():
                if isinstance(m, torch.nn.Dropout):
                    m.eval()
            _, maps = run(net, torch_arrays.image(65, 98, batch=2))
            kept |= {f"{name}/train/{k}": v for k, v in thin(list(maps.values())[-1]).items()}
            after = {n: a.numpy() for n, a in net.state_dict().items() if "running" in n}
            kept[f"{name}/running"] = np.stack([after[n][:4] for n in sorted(after)])
    np.savez_compressed(HERE / "torch_trunks.npz", **kept)


if __name__ == "__main__":
    main()
