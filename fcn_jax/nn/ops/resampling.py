"""Maps brought to another number of cells by two small matrices, one for each axis.

A matrix has a row for each new cell. It follows from the true sizes, which may be traced, so that
one program serves every size. Rows beyond an image's new size are zero.
"""

from typing import Any

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


def bilinear_matrix(
    cells: int,
    new_cells: int,
    lengths: Lengths = None,
    new_lengths: Lengths = None,
    *,
    align_corners: bool = False,
) -> Float[Array, "_ n h"]:
    """Bilinear interpolation from `cells` to `new_cells` along an axis, both of the canvas.

    The source index is computed in float32 and in torch's order of operations, since near 500 cells
    its fraction is good to 4e-6 only. Beyond the outermost centres their values are repeated.

    Args:
        cells: of the canvas.
        new_cells: of the new canvas.
        lengths: true cells of each image.
        new_lengths: true new cells of each image; with `lengths`, or neither.
        align_corners: the centres of the first and the last cells coincide, rather than the outer
            edges. The result then depends on the size, even at a constant factor.

    Source: torch's `upsample_bilinear2d`, `area_pixel_compute_scale` and `_source_index`, with a
    size given.
    """
    old = _per_image(cells, lengths)
    new = _per_image(new_cells, new_lengths)
    target = jnp.arange(new_cells, dtype=jnp.float32)
    if align_corners:
        ratio = (old - 1) / jnp.maximum(new - 1, 1)
        source = ratio * target
    else:
        source = jnp.maximum(old / new * (target + 0.5) - 0.5, 0)
    first = jnp.minimum(jnp.floor(source), old - 1)
    second = jnp.minimum(first + 1, old - 1)
    share = jnp.clip(source - first, 0, 1)
    index = jnp.arange(cells, dtype=jnp.float32)
    weights = jnp.where(index == first[..., None], 1 - share[..., None], 0)
    weights += jnp.where(index == second[..., None], share[..., None], 0)
    return jnp.where((target < new)[..., None], weights, 0)


def averaging_matrix(cells: int, bins: int, lengths: Lengths = None) -> Float[Array, "_ bins h"]:
    """Means over `bins` parts of an axis; see `fcn_jax.nn.pooling.AdaptivePool`."""
    n = jnp.asarray([[cells]]) if lengths is None else lengths[:, None]
    i = jnp.arange(bins)
    start, end = i * n // bins, -(-(i + 1) * n // bins)
    index = jnp.arange(cells)
    inside = (index >= start[..., None]) & (index < end[..., None])
    return jnp.where(inside, 1 / (end - start)[..., None], 0).astype(jnp.float32)


def _per_image(cells: int, lengths: Any) -> Any:
    n = jnp.asarray([cells]) if lengths is None else lengths
    return n.astype(jnp.float32)[:, None]
