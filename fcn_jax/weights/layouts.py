"""Converts numpy arrays between our layouts and those of Caffe and torch.

Caffe and torch store a convolution as (out, in / groups, rows, columns) and a transposed one as
(in, out / groups, rows, columns). Ours are (rows, columns, in / groups, out), and for learned
upsampling (rows, columns, channels) or (rows, columns, in, out). No kernel is flipped.
"""

import numpy as np

from fcn_jax.nn.ops import bilinear_filter

Arrays = dict[str, np.ndarray]
"""Arrays by their names in a file."""

Blobs = dict[str, list[np.ndarray]]
"""Kernel and bias of each layer, in Caffe's layout."""


def layer_arrays(
    layer: str, shapes: dict[str, tuple[int, ...]], blobs: list[np.ndarray]
) -> dict[str, np.ndarray]:
    """Converts the blobs of one layer to its arrays, `kernel` and perhaps `bias`.

    Args:
        layer: the layer's name. If its last part begins with `up`, it is an upsampling layer.
        shapes: the shape of each array that the net has.
        blobs: the kernel, then the bias if the layer has one.

    Returns:
        New float32 arrays of these shapes, contiguous in the order of their axes.

    Raises:
        ValueError: the blobs do not have these shapes; the message is one line for a list.
    """
    names = [name for name in ("kernel", "bias") if name in shapes]
    if set(names) != set(shapes):
        raise ValueError(f"missing: {layer} needs {sorted(shapes)}, not only kernel and bias")
    if len(blobs) != len(names):
        found = f"found {len(blobs)} blobs {_shapes(blobs)}"
        raise ValueError(f"misshapen: {layer} has {' and '.join(names)}, {found}")
    converted = {}
    for name, blob in zip(names, map(np.asarray, blobs), strict=True):
        if name == "bias":
            _check_shape(layer, name, blob, shapes[name])
            array = blob.reshape(shapes[name])
        elif _is_upsampling(layer):
            array = _upsampling(layer, blob, shapes[name])
        else:
            array = _convolution(layer, blob, shapes[name])
        converted[name] = np.array(array, np.float32, order="C")  # as it is written to a file
    return converted


def layer_blobs(layer: str, arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Converts the arrays of one layer to blobs: the inverse of `layer_arrays`.

    Args:
        layer: as in `layer_arrays`.
        arrays: its `kernel` and perhaps its `bias`.

    Returns:
        float32 arrays. The kernel of an upsampling layer is always (c, c, rows, columns), as in
        the reference.

    Raises:
        ValueError: the layer has other arrays, as batch norms do; Caffe's nets have no names for
            them.
    """
    if not {"kernel"} <= set(arrays) <= {"kernel", "bias"}:
        raise ValueError(f"{layer} has {', '.join(arrays)}; expected a kernel and perhaps a bias")
    kernel = np.asarray(arrays["kernel"], np.float32)
    if not _is_upsampling(layer):
        blob = kernel.transpose(3, 2, 0, 1)
    elif kernel.ndim == 4:
        blob = kernel.transpose(2, 3, 0, 1)
    else:
        blob = np.eye(kernel.shape[-1], dtype=np.float32)[..., None, None]
        blob = blob * kernel.transpose(2, 0, 1)
    bias = [np.asarray(arrays["bias"], np.float32)] if "bias" in arrays else []
    return [np.ascontiguousarray(blob), *bias]


def unexpected(layer: str, blobs: list[np.ndarray]) -> list[str]:
    """Says what is wrong with blobs for which the net has no parameters: one line or none.

    The bilinear kernel of an upsampling layer is not wrong: it is a constant here.
    """
    problem = f"unexpected: {layer} {_shapes(blobs)}"
    if not _is_upsampling(layer):
        return [problem]
    if len(blobs) == 1 and is_bilinear(np.asarray(blobs[0])):
        return []
    hint = "build the net with LearnedUpsampling or DenseUpsampling"
    return [f"{problem} is not bilinear, and the net has no parameters there; {hint}"]


def is_bilinear(blob: np.ndarray) -> bool:
    """Whether a deconvolution's blob is bilinear upsampling of each channel.

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
    """The kernel of a convolution, from the blob of a convolution or fully connected layer."""
    rows, columns, channels, out = shape
    full, flat = (out, channels, rows, columns), (out, channels * rows * columns)
    is_flat = blob.ndim == 2 or _long_axes(blob.shape) == _long_axes(flat)
    _check_shape(layer, "kernel", blob, flat if is_flat else full)
    return blob.reshape(full).transpose(2, 3, 1, 0)


def _upsampling(layer: str, blob: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The kernel of either learned layer, from a blob that is dense or has a group per channel."""
    k, c = shape[0], shape[-1]
    dense = len(shape) == 4
    if blob.shape == (c, 1, k, k):
        diagonal = blob[:, 0]
        if dense:
            return np.einsum("ckl,cd->klcd", diagonal, np.eye(c))
        return diagonal.transpose(1, 2, 0)
    if blob.shape != (c, c, k, k):
        shapes = f"{(c, c, k, k)} or {(c, 1, k, k)}"
        raise ValueError(f"misshapen: {layer}/kernel expects {shapes}, found {blob.shape}")
    if dense:
        return blob.transpose(2, 3, 0, 1)
    if np.any(blob[~np.eye(c, dtype=bool)]):
        raise ValueError(
            f"misshapen: {layer}/kernel mixes channels (entries off its diagonal are not 0), and"
            " the net has one kernel per channel; build the net with DenseUpsampling in its field"
            " `upsampling`, or `final_upsampling` for the layer up to the image"
        )
    return blob[np.arange(c), np.arange(c)].transpose(1, 2, 0)


def _is_upsampling(layer: str) -> bool:
    return layer.rsplit("/", 1)[-1].startswith("up")


def _check_shape(layer: str, name: str, blob: np.ndarray, shape: tuple[int, ...]) -> None:
    """Raises ValueError unless the blob has this shape, apart from axes of length 1."""
    if _long_axes(blob.shape) != _long_axes(shape):
        raise ValueError(f"misshapen: {layer}/{name} expects {shape}, found {blob.shape}")


def _long_axes(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n for n in shape if n != 1)


def _shapes(blobs: list[np.ndarray]) -> list[tuple[int, ...]]:
    return [tuple(np.shape(blob)) for blob in blobs]
