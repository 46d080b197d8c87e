"""Writes a torchvision classifier as plain arrays, for `python -m fcn_jax convert torchvision`.

Needs torchvision, and not fcn_jax:

    python export_torchvision.py vgg16 IMAGENET1K_V1 vgg16_torchvision.npz
"""

import argparse
import json

import numpy as np


def export(model: str, weights: str, target: str) -> None:
    """Writes all arrays of the state dict under torch's names, and `metadata` as JSON text.

    Args:
        model: name of a torchvision classifier, `vgg16`.
        weights: name of one of its published weights, `IMAGENET1K_V1`.
        target: the `.npz` to write.
    """
    import torchvision  # pyright: ignore[reportMissingImports]

    choice = torchvision.models.get_model_weights(model)[weights]
    net = torchvision.models.get_model(model, weights=choice)
    preprocessing = choice.transforms()
    metadata = {
        "model": model,
        "weights": str(choice),
        "torchvision": torchvision.__version__,
        "url": choice.url,
        # RGB, for pixels in 0..1.
        "mean": list(preprocessing.mean),
        "std": list(preprocessing.std),
    }
    arrays = {name: array.numpy() for name, array in net.state_dict().items()}
    np.savez(target, metadata=np.array(json.dumps(metadata)), **arrays)
    print(f"{target}: {len(arrays)} arrays of {metadata['weights']}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    models = ("vgg16", "vgg16_bn", "alexnet", "googlenet", "squeezenet1_0", "squeezenet1_1")
    parser.add_argument("model", choices=models)
    parser.add_argument("weights", help="such as IMAGENET1K_V1")
    parser.add_argument("target", help="the .npz to write")
    arguments = parser.parse_args()
    export(arguments.model, arguments.weights, arguments.target)
