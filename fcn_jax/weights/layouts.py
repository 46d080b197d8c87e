"""Caffe's and torch's array layouts turned into ours; numpy only.

Caffe and torch store a convolution as (out, in / groups, rows, columns) and a transposed one as
(in, out / groups, rows, columns). Ours are (rows, columns, in / groups, out), and for learned
upsampling (rows, columns, channels) or (rows, columns, in, out), all without any flip.
"""

import numpy as np

from fcn_jax.nn.ops import bilinear_filter


def layer_arrays(
    layer: str, shapes: dict[str, tuple[int, ...]], blobs: list[np.ndarray]
) -> dict[str, np.ndarray]:
    """The arrays of one layer, `kernel` and perhaps `bias`, from its blobs.

    Args:
        layer: the layer's name; one whose last component begins with `up` is an upsampling layer.
        shapes: the shape of each array that the net has.
        blobs: kernel, then bias if the layer has one.

    Returns:
        New float32 arrays of these shapes, in the order of their axes in memory.

    Raises:
        ValueError: the blobs are not these arrays in another layout; a line for a list.
    """
    expected = [name for name in ("kernel", "bias") if name in shapes]
    if set(expected) != set(shapes):
        raise ValueError(
            f"missing: {layer} needs {sorted(shapes)}, and blobs can only give kernel and bias"
        )
    if len(blobs) != len(expected):
        raise ValueError(
            f"misshapen: {layer} has {' and '.join(expected)}, found {len(blobs)} blobs"
            f" {[tuple(np.shape(b)) for b in blobs]}"
        )
    done = {}
    for name, blob in zip(expected, blobs, strict=True):
        blob, shape = np.asarray(blob), shapes[name]
        if name == "bias":
            array = _reshaped(layer, name, blob, shape)
        elif layer.rsplit("/", 1)[-1].startswith("up"):
            array = _upsampling(layer, blob, shape)
        else:
            array = _convolution(layer, blob, shape)
        done[name] = np.array(array, np.float32, order="C")  # as it is written to a file
    return done


def layer_blobs(layer: str, arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
    """The blobs of one layer, kernel and perhaps bias: `layer_arrays` backwards.

    Args:
        layer: as in `layer_arrays`.
        arrays: its `kernel` and perhaps its `bias`.

    Returns:
        float32 arrays; an upsampling layer's is (c, c, rows, columns) always, as in the reference.

    Raises:
        ValueError: the layer has other arrays; batch norms do, and have no names in Caffe's nets.
    """
    if not {"kernel"} <= set(arrays) <= {"kernel", "bias"}:
        raise ValueError(f"{layer} has {', '.join(arrays)}, which are no kernel and bias")
    kernel = np.asarray(arrays["kernel"], np.float32)
    if not layer.rsplit("/", 1)[-1].startswith("up"):
        blob = kernel.transpose(3, 2, 0, 1)
    elif kernel.ndim == 4:
        blob = kernel.transpose(2, 3, 0, 1)
    else:
        blob = np.eye(kernel.shape[-1], dtype=np.float32)[..., None, None]
        blob = blob * kernel.transpose(2, 0, 1)
    bias = [np.asarray(arrays["bias"], np.float32)] if "bias" in arrays else []
    return [np.ascontiguousarray(blob), *bias]


def unexpected(layer: str, blobs: list[np.ndarray]) -> list[str]:
    """What is wrong with blobs that the net has no parameters for, as lines for a list.

    Nothing is wrong with the bilinear kernel of an upsampling layer: that is a constant here.
    """
    if not layer.rsplit("/", 1)[-1].startswith("up"):
        return [f"unexpected: {layer} {[tuple(np.shape(b)) for b in blobs]}"]
    if len(blobs) == 1 and is_bilinear(np.asarray(blobs[0])):
        return []
    return [
        f"unexpected: {layer} {[tuple(np.shape(b)) for b in blobs]} is not bilinear, and the net"
        " has no parameters there; build the net with LearnedUpsampling or DenseUpsampling"
    ]


def is_bilinear(blob: np.ndarray) -> bool:
    """Whether a deconvolution's blob is bilinear upsampling, channel by channel.

    Source: `interp` in `surgery.py` of the reference.
    """
    if blob.ndim != 4 or blob.shape[2] != blob.shape[3]:
        return False
    c, per_group, k = blob.shape[:3]
    if per_group not in (1, c):
        return False
    channels = np.eye(c) if per_group == c else np.ones((c, 1))
    return bool(np.allclose(blob, channels[..., None, None] * bilinear(k), atol=1e-6))


def bilinear(kernel: int) -> np.ndarray:
    """The bilinear kernel of one channel, (kernel, kernel)."""
    taps = bilinear_filter(kernel)
    return np.outer(taps, taps)


def _convolution(layer: str, blob: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    rows, columns, channels, out = shape
    flat = (out, channels * rows * columns)
    if blob.ndim == 2 or _long_axes(blob.shape) == _long_axes(flat):
        _reshaped(layer, "kernel", blob, flat)
    else:
        _reshaped(layer, "kernel", blob, (out, channels, rows, columns))
    return blob.reshape(out, channels, rows, columns).transpose(2, 3, 1, 0)


def _upsampling(layer: str, blob: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A deconvolution's blob, dense or with one group per channel, for either learned layer."""
    k, c = shape[0], shape[-1]
    dense = len(shape) == 4
    if blob.shape == (c, 1, k, k):
        diagonal = blob[:, 0]
        if dense:
            return np.einsum("ckl,cd->klcd", diagonal, np.eye(c))
        return diagonal.transpose(1, 2, 0)
    if blob.shape != (c, c, k, k):
        raise ValueError(
            f"misshapen: {layer}/kernel expects {(c, c, k, k)} or {(c, 1, k, k)},"
            f" found {blob.shape}"
        )
    if dense:
        return blob.transpose(2, 3, 0, 1)
    if np.any(blob[~np.eye(c, dtype=bool)]):
        raise ValueError(
            f"misshapen: {layer}/kernel mixes channels (entries off its diagonal are not 0), and"
            " the net has one kernel per channel; build the net with DenseUpsampling in its field"
            " `upsampling`, or `final_upsampling` for the layer up to the image"
        )
    return blob[np.arange(c), np.arange(c)].transpose(1, 2, 0)


def _reshaped(layer: str, name: str, blob: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The blob in a shape that differs from its own in axes of length 1 only."""
    if _long_axes(blob.shape) != _long_axes(shape):
        raise ValueError(f"misshapen: {layer}/{name} expects {shape}, found {blob.shape}")
    return blob.reshape(shape)


def _long_axes(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n for n in shape if n != 1)
