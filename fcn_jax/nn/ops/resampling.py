"""Maps brought to another number of cells by two small matrices, one for each axis.

A matrix has a row for each new cell. It follows from the true sizes, which may be traced, so that
one program serves every size. Rows beyond an image's new size are zero.
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

Lengths = Int[Array, " b"] | None  # true cells of each image along an axis; None: the whole canvas


def resample(
    x: Float[Array, "b h w c"], rows: Float[Array, "_ n h"], columns: Float[Array, "_ m w"]
) -> Float[Array, "b n m c"]:
    """`rows` · x · `columns`ᵀ of each channel, in float32; the result has the dtype of `x`."""
    wide = x.astype(jnp.float32)
    # One matrix for all images is a plain product; one each is a batched one.
    a = "nh" if len(rows) == 1 else "bnh"
    c = "mw" if len(columns) == 1 else "bmw"
    rows, columns = (m[0] if len(m) == 1 else m for m in (rows, columns))
    tall = jnp.einsum(f"{a},bhwc->bnwc", rows, wide, precision=lax.Precision.HIGHEST)
    full = jnp.einsum(f"{c},bnwc->bnmc", columns, tall, precision=lax.Precision.HIGHEST)
    return full.astype(x.dtype)


def source_index(
    target: Float[Array, " n"],
    cells: Float[Array, "_ 1"],
    new_cells: Float[Array, "_ 1"],
    *,
    align_corners: bool,
) -> Float[Array, "_ n"]:
    """Where in a map of `cells` the cells of a map of `new_cells` lie, by index.

    In float32 and in torch's order of operations, since near 500 cells the fraction is good to 4e-6
    only.

    Args:
        target: indices in the new map.
        cells: true cells of each image along the axis.
        new_cells: true new cells.
        align_corners: the centres of the first and the last cells coincide, rather than the outer
            edges. The result then depends on the size, even at a constant factor.

    Source: torch's `upsample_bilinear2d`, `area_pixel_compute_scale` and `_source_index`, with a
    size given.
    """
    if align_corners:
        return (cells - 1) / jnp.maximum(new_cells - 1, 1) * target
    return jnp.maximum(cells / new_cells * (target + 0.5) - 0.5, 0)


def bilinear_matrix(
    source: Float[Array, "*_ n"],
    cells: Float[Array, "b 1"],
    new_cells: Float[Array, "b2 1"],
    canvas: int,
) -> Float[Array, "_ n h"]:
    """Bilinear interpolation along an axis.

    Args:
        source: for each new cell, the (fractional) index where it lies.
        cells: true cells of each image; beyond the first and last the values are repeated.
        new_cells: true new cells; rows beyond them are zero.
        canvas: cells of the canvas.
    """
    new = jnp.arange(source.shape[-1])
    source = jnp.clip(source, 0, cells - 1)
    first = jnp.floor(source)
    share = source - first
    second = jnp.minimum(first + 1, cells - 1)
    index = jnp.arange(canvas, dtype=jnp.float32)
    weights = jnp.where(index == first[..., None], 1 - share[..., None], 0)
    weights += jnp.where(index == second[..., None], share[..., None], 0)
    return jnp.where((new < new_cells)[..., None], weights, 0)


def averaging_matrix(cells: int, bins: int, lengths: Lengths = None) -> Float[Array, "_ bins h"]:
    """Means over `bins` parts of an axis; see `fcn_jax.nn.pooling.AdaptivePool`."""
    n = jnp.asarray([[cells]]) if lengths is None else lengths[:, None]
    i = jnp.arange(bins)
    start, end = i * n // bins, -(-(i + 1) * n // bins)
    index = jnp.arange(cells)
    inside = (index >= start[..., None]) & (index < end[..., None])
    return jnp.where(inside, 1 / (end - start)[..., None], 0).astype(jnp.float32)
