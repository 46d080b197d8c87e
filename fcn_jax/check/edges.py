"""How well the edges of a label lie on the edges of an image.

Both are resized to 128 x 128 pixels, whatever their shape. An edge map has three channels: strength
s, s cos 2t and s sin 2t, where t is the direction of the edge. The sum of the products of two maps
is large where both have edges of the same direction. It is computed for every shift of the label by
at most 32 of those pixels, a quarter of the side, with the Fourier transform.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Complex64, Float32, Integer, UInt8
from PIL import Image

SIDE, REACH = 128, 32
_PADDED = SIDE + REACH  # shifts of at most REACH never meet their own wrapped end
_MOST_VALUES = 40  # of a label; one with more is taken as a picture: its edges may be smoothed

Edges = Float32[np.ndarray, "3 side side"]
Shifts = Float32[np.ndarray, "shifts shifts"]  # the centre is no shift; rows, columns

_rows, _columns = np.mgrid[-REACH : REACH + 1, -REACH : REACH + 1]
DISTANCE = np.maximum(abs(_rows), abs(_columns))
"""int (65, 65): how far each shift is, in pixels of the edge maps."""
_FAR = DISTANCE > 6

TURNS = {
    "mirrored left to right": "x",
    "upside down": "y",
    "turned by 180 degrees": "xy",
    "mirrored along its diagonal": "t",
    "turned by 90 degrees to the left": "tx",
    "turned by 90 degrees to the right": "ty",
}
"""What may have happened to a label, and the steps that undo it: x and y flip, t transposes."""
SIDEWAYS = tuple(name for name, steps in TURNS.items() if "t" in steps)


class Fit(NamedTuple):
    """How a label fits its image, in standard deviations of what far shifts give.

    Attributes:
      own: The best with at most two pixels of shift. On photographs with their own labels mostly 5
        to 25; with labels of other photographs below 4.
      turned: The same after undoing each of `TURNS`.
      best: The best of all shifts.
      place: That shift, (rows, columns) in pixels of the edge maps: where the label would fit.
      shifts: What `agreement` gives for the label as it is.
    """

    own: float
    turned: dict[str, float]
    best: float
    place: tuple[int, int]
    shifts: Shifts


def _gradients(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    down, across = np.zeros_like(values), np.zeros_like(values)
    down[1:-1], across[:, 1:-1] = values[2:] - values[:-2], values[:, 2:] - values[:, :-2]
    return down, across


def image_edges(rgb: UInt8[np.ndarray, "h w 3"]) -> Edges:
    """The edges of a photograph: the root of the gradient's length, less its mean."""
    edges = _of_picture(rgb)
    edges[0] -= edges[0].mean()
    return edges


def _of_picture(rgb: UInt8[np.ndarray, "h w 3"]) -> Edges:
    small = Image.fromarray(rgb).resize((SIDE, SIDE), Image.Resampling.BOX)
    down, across = _gradients(np.asarray(small, np.float32) / 255)
    yy, xx, xy = (down**2).sum(-1), (across**2).sum(-1), (down * across).sum(-1)
    length = np.sqrt(xx + yy)
    # The root, so that a few strong edges do not count for more than all others together.
    weight = 1 / (np.sqrt(length + 1e-3) * (length + 1e-6))
    edges = np.stack([(xx + yy) * weight, (xx - yy) * weight, 2 * xy * weight])
    return edges.astype(np.float32)


def label_edges(
    label: Integer[np.ndarray, "h w"], void: Bool[np.ndarray, "h w"] | None = None
) -> Edges | None:
    """The edges between the values of a label, those of void alone left out; None if it has none.

    Args:
      label: Any whole numbers.
      void: Pixels that belong to no class.
    """
    rows, columns = (
        np.linspace(0, n - 1, min(n, 2 * SIDE)).round().astype(int) for n in label.shape
    )
    label = label[np.ix_(rows, columns)]
    seen = label if void is None else label[~void[np.ix_(rows, columns)]]
    if seen.dtype == np.uint8:
        values = np.flatnonzero(np.bincount(seen.ravel()))
    else:
        values = np.unique(seen)
    if len(values) > _MOST_VALUES:
        gray = (label - values[0]) * (255 / (values[-1] - values[0]))
        return _of_picture(np.repeat(gray.astype(np.uint8)[..., None], 3, axis=-1))
    edges = no_edges()
    for value in values:
        mask = Image.fromarray((label == value).astype(np.uint8) * 255)
        small = mask.resize((SIDE, SIDE), Image.Resampling.BOX)
        down, across = _gradients(np.asarray(small, np.float32) / 255)
        length = np.sqrt(down**2 + across**2) + 1e-6
        edges += np.stack([length, (across**2 - down**2) / length, 2 * down * across / length])
    return edges if edges[0].max() > 1e-3 else None


def turn(edges: Edges, steps: str) -> Edges:
    """The edge map of a label that was flipped (x, y) or transposed (t), step by step."""
    strength, cosine, sine = edges
    for step in steps:
        if step == "t":
            strength, cosine, sine = strength.T, -cosine.T, sine.T
        else:
            flip = np.s_[:, ::-1] if step == "x" else np.s_[::-1]
            strength, cosine, sine = strength[flip], cosine[flip], -sine[flip]
    return np.stack([strength, cosine, sine])


def spectrum(edges: Edges) -> Complex64[np.ndarray, "3 n m"]:
    """The Fourier transform of an edge map, for `agreement`."""
    return np.fft.rfft2(edges, (_PADDED, _PADDED))


def agreement(
    image: Complex64[np.ndarray, "3 n m"], label: Complex64[np.ndarray, "3 n m"]
) -> Shifts:
    """The sum of products of two edge maps for every shift of the label, from their spectra."""
    products = np.fft.irfft2((image * label.conj()).sum(0), (_PADDED, _PADDED))
    whole = np.roll(products, (REACH, REACH), (0, 1))
    return whole[: 2 * REACH + 1, : 2 * REACH + 1].astype(np.float32)


def standardised(shifts: Shifts) -> Shifts:
    """In standard deviations from the mean of the far shifts."""
    far = shifts[_FAR]
    return (shifts - far.mean()) / (far.std() + 1e-9)


def near(shifts: Shifts, reach: int = 2) -> float:
    """The best with at most so many pixels of shift."""
    return float(shifts[DISTANCE <= reach].max())


def no_edges() -> Edges:
    """The edge map of nothing."""
    return np.zeros((3, SIDE, SIDE), np.float32)


def no_shifts() -> Shifts:
    """No agreement, for any shift."""
    return np.zeros((2 * REACH + 1, 2 * REACH + 1), np.float32)


def peak(shifts: Shifts) -> tuple[float, tuple[int, int]]:
    """The best of all shifts, and which it is: rows and columns."""
    row, column = np.unravel_index(shifts.argmax(), shifts.shape)
    return float(shifts[row, column]), (int(row) - REACH, int(column) - REACH)


def fit(image: Edges, label: Edges, *, sideways: bool) -> Fit:
    """Compares a label with its image, with its own shifts and with its own turns.

    Args:
      image: See `image_edges`.
      label: See `label_edges`.
      sideways: Whether to try the turns that swap rows and columns.
    """
    of_image = spectrum(image)
    raw = agreement(of_image, spectrum(label))
    shifts = standardised(raw)
    turned = {
        name: near(standardised(agreement(of_image, spectrum(turn(label, steps)))))
        for name, steps in TURNS.items()
        if sideways or name not in SIDEWAYS
    }
    return Fit(near(shifts), turned, *peak(shifts), raw)
