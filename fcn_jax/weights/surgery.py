"""Parameters from elsewhere put into a net: other people's layouts, coarser nets, classifiers.

Nothing here guesses. What does not fit is an error that lists everything at once, and the result
is a new tree of float32 arrays with exactly the structure of the given variables, or no result.

A layer's name here is Caffe's: the path of its module joined by "/", without the leading `trunk`:
`conv1_1`, `fire2/squeeze1x1`, `score_fr`. A stream's name follows the layer's (`conv1_1color`),
and a head is called as the reference calls it (`score_fr_sem`, `score_fr_geo`).
"""

import dataclasses
from collections.abc import Container, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from fcn_jax.weights.layouts import layer_arrays, unexpected

Variables = Mapping[str, Any]


def load_blobs(
    variables: Variables,
    blobs: Mapping[str, Sequence[np.ndarray]],
    *,
    without: tuple[str, ...] = (),
    ignore: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Puts blobs in Caffe's (and torch's) layout into a net, strictly by name.

    Convolutions are (out, in / groups, rows, columns); fully connected layers (out, in) with `in`
    in the order channels, rows, columns become convolutions; axes of length 1 may stand anywhere,
    as in the 4-D blobs of old models. Deconvolutions, the layers whose name begins with `up`, are
    (in, out / groups, rows, columns); where the net's upsampling is a constant, the blob must be
    the bilinear kernel.

    Args:
        variables: the net's variables, or their shapes as `jax.eval_shape` gives them.
        blobs: `{"conv1_1": [kernel, bias], ...}`.
        without: layers of the net to leave as they are; they need real values, not shapes.
        ignore: names in `blobs` that are not for this net, such as a classifier's last layer.

    Returns:
        New variables; `params` filled with numpy arrays, other collections as they were.

    Raises:
        ValueError: listing every layer that is missing, unexpected, misshapen or unknown.

    Source: `transplant` and `interp` in `surgery.py` of the reference, `CopyTrainedLayersFrom`
    of Caffe.
    """
    flat = _flatten(variables)
    layers: dict[str, dict[str, tuple]] = {}
    for path in flat:
        if path[0] == "params":
            layers.setdefault(layer_name(path), {})[path[-1]] = path
    problems = [f"without: the net has no layer {n}" for n in without if not _hit(n, layers)]
    problems += [f"ignore: there is no blob {n}" for n in ignore if not _hit(n, blobs)]
    kept = {layer for layer in layers if any(_hit(n, [layer]) for n in without)}
    skipped = {blob for blob in blobs if any(_hit(n, [blob]) for n in ignore)}

    done: dict[tuple, np.ndarray] = {}
    for layer, leaves in layers.items():
        if layer in kept:
            continue
        if layer not in blobs or layer in skipped:
            shapes = {name: flat[path].shape for name, path in leaves.items()}
            problems.append(f"missing: {layer}, expected {shapes}")
            continue
        try:
            shapes = {name: flat[path].shape for name, path in leaves.items()}
            arrays = layer_arrays(layer, shapes, list(blobs[layer]))
            done |= {leaves[name]: array for name, array in arrays.items()}
        except ValueError as error:
            problems.append(str(error))
    for blob in blobs:
        if blob not in layers and blob not in skipped:
            problems += unexpected(blob, list(blobs[blob]))
    _refuse(problems, f"The net's layers: {', '.join(layers)}.")
    return _rebuild(variables, {p: done.get(p, value) for p, value in flat.items()}, new=done)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Transplant:
    """Which layers went where; names as in `load_blobs`.

    Attributes:
        copied: layers that now hold the donor's values.
        kept: layers that hold what the target held.
        dropped: layers of the donor that the target lacks.
    """

    copied: tuple[str, ...]
    kept: tuple[str, ...]
    dropped: tuple[str, ...]


def transplant(
    variables: Variables, donor: Variables, *, keep: tuple[str, ...] = ()
) -> tuple[dict[str, Any], Transplant]:
    """Copies every layer that two nets share: classifier to 32s, 32s to 16s, 16s to 8s.

    A layer that is new in the target must start from zero scores (`score_*`, all zero), so that a
    finer net starts out adding nothing, or stand in `keep`.

    Args:
        variables: the target's variables.
        donor: the donor's; what the target lacks is dropped, and reported.
        keep: layers that keep the target's values although the donor has none of that name, or
            has them in another shape or with other values.

    Returns:
        New variables, and what went where.

    Raises:
        ValueError: listing every layer that is new, misshapen or unknown.

    Source: FCN (TPAMI) section 4.3; `solve.py` of the reference.
    """
    target, source = _flatten(variables), _flatten(donor)
    mine = list(dict.fromkeys(map(layer_name, target)))
    theirs = list(dict.fromkeys(map(layer_name, source)))
    problems = [f"keep: the net has no layer {n}" for n in keep if not _hit(n, mine)]
    kept = {layer for layer in mine if any(_hit(n, [layer]) for n in keep)}
    new = set()
    for path, value in target.items():
        layer, here = layer_name(path), "/".join(path)
        if layer in kept:
            continue
        if path not in source:
            new.add(layer)
            zero_score = layer.split("/")[-1].startswith("score") and not np.any(value)
            if layer in theirs or not zero_score:
                problems.append(f"missing: the donor has no {here}, and it is no zero score layer")
        elif value.shape != source[path].shape:
            problems.append(f"misshapen: {here} is {value.shape}, donor's {source[path].shape}")
    if not set(mine) & set(theirs):
        problems.append("the two nets share no layer at all")
    _refuse(problems, "Name layers that should stay as they are in `keep`.")
    stay = kept | new
    merged = {p: value if layer_name(p) in stay else source[p] for p, value in target.items()}
    report = Transplant(
        copied=tuple(layer for layer in mine if layer not in stay),
        kept=tuple(layer for layer in mine if layer in stay),
        dropped=tuple(layer for layer in theirs if layer not in mine),
    )
    return _rebuild(variables, merged), report


def zero_scores(variables: Variables) -> dict[str, Any]:
    """Sets every score layer (`score_*`) to zero, the start of every stage in the papers.

    Raises:
        ValueError: the net has no score layer.

    Source: FCN (TPAMI) section 4.3.
    """
    flat = _flatten(variables)
    scores = {p for p in flat if layer_name(p).split("/")[-1].startswith("score")}
    _refuse([] if scores else ["missing: no layer begins with score"], f"Layers: {_all(flat)}.")
    zeros = {p: np.zeros(v.shape) if p in scores else v for p, v in flat.items()}
    return _rebuild(variables, zeros)


def expand_score(
    variables: Variables, donor: Variables, *, layers: tuple[str, ...]
) -> dict[str, Any]:
    """Copies the donor's k' classes into the first k' of a net with k >= k' classes.

    Args:
        variables: the net with more classes; its other classes and layers stay as they are.
        donor: the net with fewer.
        layers: score layers to copy, `("score_fr",)`.

    Raises:
        ValueError: a layer is missing, or is not the same layer with fewer classes.

    Source: `expand_score` in `surgery.py` of the reference, whose biases were 4-D blobs.
    """
    return _enlarge(variables, donor, layers, axis=-1, called={})


def expand_input(
    variables: Variables, donor: Variables, *, layer: str = "conv1_1", source: str = ""
) -> dict[str, Any]:
    """Copies a convolution into one with more input channels, which get the mean of the copied.

    Args:
        variables: the net with more input channels; its other layers stay as they are.
        donor: the net with fewer.
        layer: the convolution.
        source: its name in the donor, where that is another.

    Raises:
        ValueError: the layer is missing, or is not the same layer with fewer input channels.

    Source: `nyud-fcn32s-color-d/solve.py` of the reference (depth as the fourth channel).
    """
    return _enlarge(variables, donor, (layer,), axis=-2, called={layer: source or layer})


def _enlarge(variables, donor, layers, axis, called):
    """Copies what is smaller along one axis into the first places of what is larger."""
    flat = _flatten(variables)
    source = {(layer_name(path), path[-1]): value for path, value in _flatten(donor).items()}
    done = {path: np.array(value) for path, value in flat.items()}
    problems = [
        f"missing: the net has no layer {n}" for n in layers if not _hit(n, map(layer_name, flat))
    ]
    for path in [path for path in done if layer_name(path) in layers]:
        theirs = called.get(layer_name(path), layer_name(path))
        value, small = done[path], np.asarray(source.get((theirs, path[-1]), ()))
        expected = list(value.shape)
        grows = axis == -1 or value.ndim > 1  # a bias has no input channels
        if grows and small.ndim == value.ndim:
            expected[axis] = min(expected[axis], small.shape[axis])
        if small.shape != tuple(expected):
            problems.append(f"misshapen: {'/'.join(path)} is {value.shape}, donor's {small.shape}")
            continue
        if grows and axis == -2:
            value[...] = small.mean(axis=axis, keepdims=True)
        value[tuple(slice(n) for n in small.shape)] = small
    _refuse(problems, f"The net's layers: {_all(flat)}.")
    return _rebuild(variables, done)


def _flatten(variables: Variables) -> dict[tuple[str, ...], Any]:
    return traverse_util.flatten_dict(variables)


_HEADS = {"_semantic": "_sem", "_geometric": "_geo"}
"""How the reference shortens the names of heads. Source: siftflow-fcn*/net.py."""


def layer_name(path: tuple[str, ...]) -> str:
    """Caffe's name of the layer that an array of a net's variables belongs to.

    Args:
        path: where the array lies, `("params", "trunk", "conv1_1", "kernel")` gives `"conv1_1"`.
    """
    layer, stream = path[1:-1], ""
    if layer[0].startswith("streams_"):  # see LateFusion
        stream, layer = layer[0].removeprefix("streams_"), layer[1:]
    name = "/".join(layer[1:] if layer[:1] == ("trunk",) else layer)
    for ours, short in _HEADS.items():
        if name.endswith(ours):
            name = name.removesuffix(ours) + short
    return name + stream


def _hit(name: str, layers: Any) -> bool:
    """Whether `name` is one of the layers, or a block of them (`fire2`)."""
    return any(f"{layer}/".startswith(f"{name}/") for layer in layers)


def _all(flat: Mapping) -> str:
    return ", ".join(dict.fromkeys(map(layer_name, flat)))


def _refuse(problems: list[str], hint: str) -> None:
    if problems:
        raise ValueError("the parameters do not fit:\n  " + "\n  ".join(problems) + f"\n{hint}")


def _rebuild(
    variables: Variables, flat: Mapping[tuple, Any], new: Container[tuple] = ()
) -> dict[str, Any]:
    """A new tree of float32 copies with the structure of `variables`; `new` is taken as it is."""
    empty = ["/".join(p) for p, value in flat.items() if not hasattr(value, "__array__")]
    _refuse([f"no value: {path} has a shape only" for path in empty], "Initialise the net first.")
    done = {
        path: value if path in new else jnp.array(value, jnp.float32, copy=True)
        for path, value in flat.items()
    }
    return traverse_util.unflatten_dict({path: done[path] for path in _flatten(variables)})
