"""A table of a net's layers at a given image size: geometry, parameters, FLOPs."""

import dataclasses
from fractions import Fraction
from math import prod
from typing import Any

import flax.linen as nn
import jax

from fcn_jax.nets.inputs import placeholder
from fcn_jax.nn.feature_map import WHOLE_IMAGE, FeatureMap, Padding, low_high
from fcn_jax.nn.layers import Conv, Crop, MaxPool
from fcn_jax.nn.savings import traced_for
from fcn_jax.nn.upsampling import Upsampling


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One layer of a net.

    Attributes:
        name: path of the layer.
        kind: its class.
        kernel: rows and columns of its kernel, 0 where it has none.
        stride: its stride; of an upsampling, 1/factor.
        padding: zero cells on each side, or before the first and after the last; an unstored ring
            of the input included.
        shape: rows, columns, channels of its result.
        grid_stride: input pixels between neighbouring cells of the result.
        grid_offset: input coordinate of the result's cell 0.
        field: extent of the receptive field in input pixels.
        parameters: number of its parameters.
        flops: floating point operations of one forward pass, 2 per multiply-add.
        crop: the derived offset of a crop, or None.
    """

    name: str
    kind: str
    kernel: int
    stride: Fraction
    padding: Padding
    shape: tuple[int, int, int]
    grid_stride: Fraction
    grid_offset: Fraction
    field: Fraction | float
    parameters: int
    flops: int
    crop: int | None


def explain(net: nn.Module, height: int, width: int, *, channels: int = 3) -> list[Row]:
    """The rows of a net for one image of that size; the net is traced, not computed."""
    rows: list[Row] = []

    def record(next_call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        result = next_call(*args, **kwargs)
        layer = context.module
        if context.method_name == "__call__" and isinstance(result, FeatureMap):
            cuts_nothing = isinstance(layer, Crop) and args[0].shape == result.shape
            if isinstance(layer, Conv | MaxPool | Upsampling | Crop) and not cuts_nothing:
                rows.append(_row(layer, args[0], result))
        return result

    images = placeholder(net, (1, height, width), channels=channels)
    with nn.intercept_methods(record), traced_for("cpu"):  # where every layer is called
        # A new function on each call, as JAX does not trace the same function twice.
        jax.eval_shape(lambda images: net.init(jax.random.key(0), images), images)
    return rows


def _row(layer: Any, x: FeatureMap, y: FeatureMap) -> Row:
    upsampling = isinstance(layer, Upsampling)
    params = layer.variables.get("params", {})
    shape = (*y.shape, y.channels)
    kernel = getattr(layer, "kernel", 0)
    low, high = low_high(getattr(layer, "padding", 0))
    ring = x.ring if isinstance(layer, Conv) else 0
    flops = 0
    if isinstance(layer, Conv):
        flops = 2 * prod(shape) * kernel**2 * (x.channels // layer.groups)
    elif upsampling:
        flops = 2 * prod(shape) * 4  # two taps along each axis
    return Row(
        name="/".join(p for p in layer.path if p != "trunk") or str(layer.name),
        kind=type(layer).__name__,
        kernel=kernel,
        stride=Fraction(1, layer.factor) if upsampling else Fraction(getattr(layer, "stride", 1)),
        padding=low + ring if low == high else (low + ring, high + ring),
        shape=shape,
        grid_stride=y.grid.stride,
        grid_offset=y.grid.offset,
        field=y.grid.field,
        parameters=sum(prod(p.shape) for p in jax.tree.leaves(params)),
        flops=flops,
        crop=layer.start if isinstance(layer, Crop) else None,
    )


def explain_table(rows: list[Row]) -> Any:
    """The rows as a table for a terminal (`rich`)."""
    from rich.table import Table

    table = Table(title="layers, and where the crop offsets come from", title_justify="left")
    columns = ("layer", "kernel", "stride", "pad", "output", "grid", "field", "params", "MFLOP")
    for column in columns:
        table.add_column(column, justify="left" if column == "layer" else "right")
    for row in rows:
        table.add_row(
            row.name,
            str(row.kernel or ""),
            "" if row.crop is not None else str(row.stride),
            f"crop {row.crop}" if row.crop is not None else str(row.padding),
            f"{row.shape[0]}x{row.shape[1]}x{row.shape[2]}",
            f"{float(row.grid_stride):g}i{float(row.grid_offset):+g}",
            "image" if row.field == WHOLE_IMAGE else f"{float(row.field):g}",
            f"{row.parameters:,}" if row.parameters else "",
            f"{row.flops / 1e6:,.0f}" if row.flops else "",
            end_section=row.kind == "MaxPool",
        )
    parameters, flops = sum(row.parameters for row in rows), sum(row.flops for row in rows)
    table.add_section()
    table.add_row("total", "", "", "", "", "", "", f"{parameters:,}", f"{flops / 1e6:,.0f}")
    table.caption = (
        "grid: input pixel under the centre of cell i. Two maps are added where their grids "
        "coincide: the crop offset is the difference of their offsets over the stride."
    )
    return table
