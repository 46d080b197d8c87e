"""Writes our parameters under Caffe's names, for Caffe and for PyTorch."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from flax import traverse_util

from fcn_jax.atomic import AnyPath, write_atomically
from fcn_jax.nets.fcn import FCN
from fcn_jax.nets.inputs import placeholder
from fcn_jax.nn.upsampling import BilinearUpsampling
from fcn_jax.preprocessing import AnyPreprocessing
from fcn_jax.weights import surgery
from fcn_jax.weights.layouts import Blobs, bilinear, layer_blobs
from fcn_jax.weights.weights_file import describe_preprocessing, write_safetensors

FORMAT = "fcn_jax export 1"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written.

    Attributes:
        target: the file.
        layers: names of the layers that have parameters.
        constants: names of the upsampling layers whose fixed kernels were written too.
    """

    target: Path
    layers: tuple[str, ...]
    constants: tuple[str, ...]

    def __str__(self) -> str:
        """A line for the terminal."""
        fixed = f", and the bilinear {', '.join(self.constants)}" if self.constants else ""
        return f"{self.target}: {len(self.layers)} layers{fixed}"


def export(
    variables: Mapping[str, Any],
    target: AnyPath,
    *,
    preprocessing: AnyPreprocessing,
    net: nn.Module | None = None,
) -> Exported:
    """Writes a net's parameters under Caffe's names, (out, in, rows, columns), float32.

    An `.npz` holds `LAYER/w` and `LAYER/b`. A `.safetensors` holds the state dict of the net in
    PyTorch, `LAYER.weight` and `LAYER.bias`, with dots for the slashes in a layer's name. Both
    record what the first layer expects, and `convert` reads both back bit-exactly (kinds `caffe`
    and `pytorch_fcn`).

    Args:
        variables: the net's variables.
        target: the file to write, completely or not at all.
        preprocessing: what the net's first layer expects.
        net: the net, for the kernels of fixed upsampling layers (`upscore2`), which are parameters
            in Caffe and not here; None leaves them out.

    Raises:
        ValueError: the target has another suffix, or the net has parameters without a name in
            Caffe's nets (batch norms).
    """
    target = Path(target)
    if target.suffix not in (".npz", ".safetensors"):
        raise ValueError(
            f"exports end in .npz or .safetensors; found {target}. Choose another name."
        )
    if others := set(variables) - {"params"}:
        raise ValueError(f"{', '.join(others)} (batch norms) have no names in Caffe's nets.")
    flat = traverse_util.flatten_dict(variables)
    learned = {
        layer: layer_blobs(layer, {name: np.asarray(flat[path]) for name, path in paths.items()})
        for layer, paths in surgery.paths_by_layer(flat).items()
    }
    constants = fixed_blobs(net) if isinstance(net, FCN) else {}
    text = json.dumps({"format": FORMAT, "preprocessing": describe_preprocessing(preprocessing)})
    write_atomically(target, lambda part: _write(part, learned | constants, text))
    return Exported(target=target, layers=tuple(learned), constants=tuple(constants))


def fixed_blobs(net: FCN) -> Blobs:
    """The bilinear kernels of a net's fixed upsampling layers, (c, c, rows, columns)."""
    found: Blobs = {}

    def note(next_call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        layer = context.module
        if type(layer) is BilinearUpsampling and context.method_name == "__call__":
            channels = np.eye(args[0].channels, dtype=np.float32)[..., None, None]
            name = surgery.layer_name(("params", *layer.path, "kernel"))
            found[name] = [channels * bilinear(layer.kernel).astype(np.float32)]
        return next_call(*args, **kwargs)

    def trace(images: Any) -> Any:
        with nn.intercept_methods(note):
            return net.init(jax.random.key(0), images)

    jax.eval_shape(trace, placeholder(net))
    return found


def _write(path: Path, blobs: Blobs, text: str) -> None:
    """Kernels and biases by name, and the text under `metadata` or `fcn_jax`."""
    npz = path.suffix == ".npz"
    parts = ("/w", "/b") if npz else (".weight", ".bias")
    arrays = {
        f"{layer if npz else layer.replace('/', '.')}{part}": array
        for layer, pair in blobs.items()
        for part, array in zip(parts, pair, strict=False)
    }
    if npz:
        np.savez(path, allow_pickle=False, metadata=np.array(text), **arrays)
    else:
        write_safetensors(path, arrays, text)
