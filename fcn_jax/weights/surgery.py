"""Puts parameters into a net: blobs of Caffe or torch, coarser nets, classifiers.

Nothing is guessed. Everything that does not fit is listed in one error. A result is a new tree of
float32 arrays with exactly the structure of the given variables.

A layer's name is Caffe's: the path of its module joined by "/", without the leading `trunk`:
`conv1_1`, `fire2/squeeze1x1`, `score_fr`. A stream's name follows the layer's (`conv1_1color`),
and heads have the reference's names (`score_fr_sem`, `score_fr_geo`).
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from fcn_jax.weights.layouts import layer_arrays, unexpected

Variables = Mapping[str, Any]
ArrayPath = tuple[str, ...]


def load_blobs(
    variables: Variables,
    blobs: Mapping[str, Sequence[np.ndarray]],
    *,
    without: tuple[str, ...] = (),
    ignore: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Puts blobs in Caffe's (and torch's) layout into a net, strictly by name.

    Convolutions are (out, in / groups, rows, columns). Fully connected layers are (out, in), with
    `in` in the order channels, rows, columns, and become convolutions. Axes of length 1 may stand
    anywhere, as in the 4-D blobs of old models. Deconvolutions, the layers whose name begins with
    `up`, are (in, out / groups, rows, columns); where the net's upsampling is a constant, the blob
    must be the bilinear kernel.

    Args:
        variables: the net's variables, or their shapes as `jax.eval_shape` gives them.
        blobs: `{"conv1_1": [kernel, bias], ...}`.
        without: layers of the net to leave as they are; they need values, not only shapes.
        ignore: names in `blobs` that are not for this net, such as a classifier's last layer.

    Returns:
        New variables; `params` filled with numpy arrays, other collections as they were.

    Raises:
        ValueError: lists every layer that is missing, unexpected, misshapen or unknown.

    Source: `transplant` and `interp` in `surgery.py` of the reference, `CopyTrainedLayersFrom`
    of Caffe.
    """
    flat = _flatten(variables)
    layers = paths_by_layer(flat)
    kept, absent = _select(without, layers)
    problems = [f"without: the net has no layer {name}" for name in absent]
    skipped, absent = _select(ignore, blobs)
    problems += [f"ignore: there is no blob {name}" for name in absent]
    loaded: dict[ArrayPath, np.ndarray] = {}
    for layer, paths in layers.items():
        if layer in kept:
            continue
        shapes = {name: flat[path].shape for name, path in paths.items()}
        if layer not in blobs or layer in skipped:
            problems.append(f"missing: {layer}, expected {shapes}")
            continue
        try:
            arrays = layer_arrays(layer, shapes, list(blobs[layer]))
        except ValueError as error:
            problems.append(str(error))
        else:
            loaded |= {paths[name]: array for name, array in arrays.items()}
    for blob in blobs:
        if blob not in layers and blob not in skipped:
            problems += unexpected(blob, list(blobs[blob]))
    _raise_if_any(problems, f"The net's layers: {', '.join(layers)}.")
    values = loaded | _copies({path: flat[path] for path in flat if path not in loaded})
    return unflatten_dict({path: values[path] for path in flat})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Transplant:
    """Which layers went where; names as in `load_blobs`.

    Attributes:
        copied: layers that now hold the donor's values.
        kept: layers that hold what the target held.
        dropped: layers of the donor that the target lacks.
        reshaped: of those kept, layers that the donor has in another shape.
    """

    copied: tuple[str, ...]
    kept: tuple[str, ...]
    dropped: tuple[str, ...]
    reshaped: tuple[str, ...] = ()


def transplant(
    variables: Variables,
    donor: Variables,
    *,
    keep: tuple[str, ...] = (),
    other_classes: bool = False,
) -> tuple[dict[str, Any], Transplant]:
    """Copies every layer that two nets share: classifier to 32s, 32s to 16s, 16s to 8s.

    A layer that is new in the target must be a score layer of zeros (`score_*`), so that a finer
    net first adds nothing; or `keep` must name it.

    Args:
        variables: the target's variables.
        donor: the donor's; layers that the target lacks are dropped and reported.
        keep: layers that keep the target's values, although the donor has no layer of that name,
            or has it in another shape or with other values.
        other_classes: whether the target may be for other classes or with another decoder: layers
            that do not fit keep the target's values, but not those of a trunk.

    Returns:
        New variables, and which layers went where.

    Raises:
        ValueError: lists every layer that is new, misshapen or unknown.

    Source: FCN (TPAMI) section 4.3; `solve.py` of the reference.
    """
    target, source = _flatten(variables), _flatten(donor)
    mine, theirs = _layer_names(target), _layer_names(source)
    kept, absent = _select(keep, mine)
    problems = [f"keep: the net has no layer {name}" for name in absent]
    new, reshaped = set(), set()
    for path, value in target.items():
        layer, name = layer_name(path), "/".join(path)
        if layer in kept:
            continue
        fits = path in source and value.shape == source[path].shape
        if other_classes and not fits and ("trunk" not in path or _is_score(layer)):
            new.add(layer)
            reshaped |= {layer} & set(theirs)
        elif path not in source:
            new.add(layer)
            if layer in theirs or not _is_score(layer) or np.any(value):
                problems.append(f"missing: the donor lacks {name}, which is not a zero score layer")
        elif value.shape != source[path].shape:
            problems.append(f"misshapen: {name} is {value.shape}, donor's {source[path].shape}")
    if not (set(mine) & set(theirs)) - new:
        problems.append("the two nets share no layer at all")
    _raise_if_any(problems, "Name layers that should stay as they are in `keep`.")
    stay = kept | new
    merged = {p: value if layer_name(p) in stay else source[p] for p, value in target.items()}
    report = Transplant(
        copied=tuple(layer for layer in mine if layer not in stay),
        kept=tuple(layer for layer in mine if layer in stay),
        dropped=tuple(layer for layer in theirs if layer not in mine),
        reshaped=tuple(layer for layer in mine if layer in reshaped),
    )
    return unflatten_dict(_copies(merged)), report


def zero_scores(variables: Variables) -> dict[str, Any]:
    """Sets every score layer (`score_*`) to zero, the start of every stage in the papers.

    Raises:
        ValueError: the net has no score layer.

    Source: FCN (TPAMI) section 4.3.
    """
    flat = _flatten(variables)
    layers = _layer_names(flat)
    if not any(map(_is_score, layers)):
        raise ValueError(f"the net has no layer that begins with score, only {', '.join(layers)}")
    zeros = {p: np.zeros(v.shape) if _is_score(layer_name(p)) else v for p, v in flat.items()}
    return unflatten_dict(_copies(zeros))


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
    return _expand(variables, donor, axis=-1, donor_names={layer: layer for layer in layers})


def expand_input(
    variables: Variables, donor: Variables, *, layer: str = "conv1_1", source: str = ""
) -> dict[str, Any]:
    """Copies a convolution into one with more input channels, which get the mean of the copied.

    Args:
        variables: the net with more input channels; its other layers stay as they are.
        donor: the net with fewer.
        layer: the convolution.
        source: its name in the donor, if that differs.

    Raises:
        ValueError: the layer is missing, or is not the same layer with fewer input channels.

    Source: `nyud-fcn32s-color-d/solve.py` of the reference (depth as the fourth channel).
    """
    return _expand(variables, donor, axis=-2, donor_names={layer: source or layer})


def _expand(
    variables: Variables, donor: Variables, *, axis: int, donor_names: Mapping[str, str]
) -> dict[str, Any]:
    """Copies layers into larger ones: more outputs (axis -1) or more inputs (axis -2)."""
    expanded = {path: np.array(value) for path, value in _flatten(variables).items()}
    source = {(layer_name(path), path[-1]): value for path, value in _flatten(donor).items()}
    layers = _layer_names(expanded)
    _, absent = _select(donor_names, layers)
    problems = [f"missing: the net has no layer {name}" for name in absent]
    for path, value in expanded.items():
        if layer_name(path) not in donor_names:
            continue
        small = np.asarray(source.get((donor_names[layer_name(path)], path[-1]), ()))
        grows = axis == -1 or value.ndim > 1  # a bias has no input channels
        expected = list(value.shape)
        if grows and small.ndim == value.ndim:
            expected[axis] = min(expected[axis], small.shape[axis])
        if small.shape != tuple(expected):
            problems.append(f"misshapen: {'/'.join(path)} is {value.shape}, donor's {small.shape}")
            continue
        if grows and axis == -2:
            value[...] = small.mean(axis=axis, keepdims=True)
        value[tuple(slice(n) for n in small.shape)] = small
    _raise_if_any(problems, f"The net's layers: {', '.join(layers)}.")
    return unflatten_dict(_copies(expanded))


_HEADS = {"_semantic": "_sem", "_geometric": "_geo"}
"""How the reference shortens the names of heads. Source: siftflow-fcn*/net.py."""


def layer_name(path: ArrayPath) -> str:
    """Caffe's name of the layer that an array of a net's variables belongs to.

    Args:
        path: of the array; `("params", "trunk", "conv1_1", "kernel")` gives `"conv1_1"`.
    """
    modules, stream = path[1:-1], ""
    if modules[0].startswith("streams_"):  # see LateFusion
        stream, modules = modules[0].removeprefix("streams_"), modules[1:]
    name = "/".join(modules[1:] if modules[:1] == ("trunk",) else modules)
    for ours, short in _HEADS.items():
        if name.endswith(ours):
            name = name.removesuffix(ours) + short
    return name + stream


def paths_by_layer(paths: Iterable[ArrayPath]) -> dict[str, dict[str, ArrayPath]]:
    """Paths of a net's parameters, by Caffe's name of the layer, then by our name of the array."""
    layers: dict[str, dict[str, ArrayPath]] = {}
    for path in paths:
        if path[0] == "params":
            layers.setdefault(layer_name(path), {})[path[-1]] = path
    return layers


def _flatten(variables: Variables) -> dict[ArrayPath, Any]:
    return flatten_dict(variables)


def _layer_names(paths: Iterable[ArrayPath]) -> list[str]:
    return list(dict.fromkeys(map(layer_name, paths)))


def _is_score(layer: str) -> bool:
    return layer.split("/")[-1].startswith("score")


def _select(names: Iterable[str], layers: Iterable[str]) -> tuple[set[str], list[str]]:
    """The layers that the names select, each alone or a block (`fire2`); names that select none."""
    found = {name: {n for n in layers if f"{n}/".startswith(f"{name}/")} for name in names}
    return set().union(*found.values()), [name for name, some in found.items() if not some]


def _raise_if_any(problems: list[str], hint: str) -> None:
    if problems:
        raise ValueError("the parameters do not fit:\n  " + "\n  ".join(problems) + f"\n{hint}")


def _copies(flat: Mapping[ArrayPath, Any]) -> dict[ArrayPath, Any]:
    """New float32 arrays; raises ValueError if any has no value."""
    empty = ["/".join(path) for path, value in flat.items() if not hasattr(value, "__array__")]
    _raise_if_any([f"no value: {path} has a shape only" for path in empty], "Initialise the net.")
    return {path: jnp.array(value, jnp.float32, copy=True) for path, value in flat.items()}
