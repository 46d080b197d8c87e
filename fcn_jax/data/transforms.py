"""Augmentation of an image together with its label.

Geometry is drawn first, as a small `Plan` made from the image's size alone, so the size of the
result is known before anything is decoded. `apply` then moves image and label in the same way.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image, ImageEnhance

from fcn_jax.data.kinds import as_labels, missing
from fcn_jax.data.named import Images, Labels, as_plain, primary, zip_named
from fcn_jax.data.readers import DataError

_UNCHANGED = (1.0, 1.0, 1.0)  # brightness, contrast, saturation
_Resize = Callable[[np.ndarray, tuple[int, int], range, range], np.ndarray]


class Plan(NamedTuple):
    """What happens to one image: resize, cut a window, mirror, recolour.

    Attributes:
      source: Rows and columns of the image before.
      scaled: Rows and columns after resizing.
      corner: Row and column of the window's first pixel on the resized image; where the window
        reaches outside, negative or beyond the image.
      size: Rows and columns of the window, and so of the result.
      mirror: Whether left and right are swapped, last.
      colour: Factors of brightness, contrast and saturation; 1 = unchanged.
    """

    source: tuple[int, int]
    scaled: tuple[int, int]
    corner: tuple[int, int]
    size: tuple[int, int]
    mirror: bool
    colour: tuple[float, float, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Augment:
    """Random mirroring, scaling, cropping, translation and colour. The default changes nothing.

    The papers saw no gain from mirroring or from translating by up to 32 pixels (FCN, CVPR 2015,
    section 4.3), so their recipes use no augmentation.

    Attributes:
      mirror: Swap left and right in half of the images.
      scale: Smallest and largest factor, drawn log-uniformly.
      crop: Rows and columns of a random window, after scaling; an axis along which the image is
        smaller is not cropped. None = no crop.
      jitter: Largest translation in pixels, along each axis, uniform; at most 32. What moves in
        from outside is `fill` in the image and 255 (ignored) in the label.
      colour: Strength s: factors of brightness, contrast and saturation uniform in 1 - s .. 1 + s.
        Of several inputs it changes `color` alone.
      fill: RGB, 0 to 255, of pixels outside the image; the mean of ImageNet. HHA is filled with the
        same numbers, depth with 0 = missing.

    Raises:
      DataError: A value is out of its range.
    """

    mirror: bool = False
    scale: tuple[float, float] = (1.0, 1.0)
    crop: tuple[int, int] | None = None
    jitter: int = 0
    colour: float = 0.0
    fill: tuple[int, int, int] = (123, 117, 104)

    def __post_init__(self) -> None:
        low, high = self.scale
        _expect(0 < low <= high < math.inf, "scale", "0 < smallest <= largest", self.scale)
        _expect(0 <= self.jitter <= 32, "jitter", "0 to 32 pixels", self.jitter)
        _expect(0 <= self.colour < 1, "colour", "0 <= colour < 1", self.colour)
        _expect(self.crop is None or min(self.crop) >= 1, "crop", "two sizes >= 1", self.crop)
        _expect(all(0 <= c <= 255 for c in self.fill), "fill", "RGB in 0..255", self.fill)

    def plan(self, size: tuple[int, int], rng: np.random.Generator) -> Plan:
        """Draws what will happen to an image of `size` rows and columns."""
        low, high = self.scale
        factor = math.exp(rng.uniform(math.log(low), math.log(high))) if low < high else low
        scaled = _scaled(size, factor)
        window = self._window(scaled)
        room = (scaled[0] - window[0], scaled[1] - window[1])
        corner = [int(rng.integers(0, r, endpoint=True)) for r in room]
        if self.jitter:
            move = rng.integers(-self.jitter, self.jitter, size=2, endpoint=True)
            corner = [c - int(m) for c, m in zip(corner, move, strict=True)]
        mirror = self.mirror and bool(rng.integers(2))
        colour = _UNCHANGED
        if self.colour:
            b, c, s = rng.uniform(1 - self.colour, 1 + self.colour, size=3)
            colour = (float(b), float(c), float(s))
        return Plan(size, scaled, (corner[0], corner[1]), window, mirror, colour)

    def largest(self, size: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns that no plan for an image of `size` exceeds."""
        return self._window(_scaled(size, self.scale[1]))

    def apply(self, plan: Plan, image: Images, label: Labels) -> tuple[Images, Labels]:
        """Applies a plan to an image and its label; to every input and label in the same way.

        Args:
          plan: Made for this image's size.
          image: uint8 RGB, 0 to 255; resized bilinearly, smoothed where it shrinks, like any input
            of three uint8 channels. Other inputs are resized to the nearest pixel: the holes of
            depth must not be mixed with what surrounds them.
          label: Class indices, 255 = ignored; resized to the nearest pixel. So are numbers of
            pixels, such as depth, whose values stay as they are: an image that is enlarged by s
            keeps its metres (Eigen et al. 2014, section 3.4, divide them by s). A label of the
            whole image stays as it is.

        Returns:
          Image and label of `plan.size`. Outside the image they are `fill`, and 255 or NaN.

        Raises:
          DataError: The plan was made for another size.
        """
        images = {name: self._move_input(plan, name, array) for name, array in zip_named(image)}
        labels = {
            name: _move(plan, array, _take_nearest, missing(array)) if array.ndim > 1 else array
            for name, array in zip_named(as_labels(label))
        }
        return as_plain(images), as_plain(labels)

    def _move_input(self, plan: Plan, name: str, array: np.ndarray) -> np.ndarray:
        if array.dtype != np.uint8 or array.shape[2:] != (3,):
            return _move(plan, array, _take_nearest, 0)
        colour = plan.colour if name in ("", "color") else _UNCHANGED
        return _move(plan, array, functools.partial(_take_bilinear, colour=colour), self.fill)

    def __call__(
        self, image: Images, label: Labels, rng: np.random.Generator
    ) -> tuple[Images, Labels]:
        """Draws a plan and applies it."""
        h, w = primary(image).shape[:2]
        return self.apply(self.plan((h, w), rng), image, label)

    def _window(self, scaled: tuple[int, int]) -> tuple[int, int]:
        crop = self.crop or scaled
        return min(crop[0], scaled[0]), min(crop[1], scaled[1])


def _expect(holds: bool, field: str, expected: str, got: object) -> None:
    if not holds:
        raise DataError(f"Augment: expected {field} to be {expected}, got {got}.")


def _scaled(size: tuple[int, int], factor: float) -> tuple[int, int]:
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def _move(
    plan: Plan, array: np.ndarray, resize: _Resize, fill: float | int | tuple[int, ...]
) -> np.ndarray:
    """The window of the resized array, mirrored where the plan says so; `fill` outside."""
    if array.shape[:2] != plan.source:
        raise DataError(
            f"the plan is for an image of {plan.source} (rows, columns), got an array of "
            f"{array.shape[:2]}."
        )
    # The part of the window that lies on the image, on the resized image's pixels.
    first = [max(0, c) for c in plan.corner]
    last = [min(s, c + n) for s, c, n in zip(plan.scaled, plan.corner, plan.size, strict=True)]
    rows, columns = range(first[0], last[0]), range(first[1], last[1])
    if (len(rows), len(columns)) == plan.size:
        moved = resize(array, plan.scaled, rows, columns)
    else:
        moved = np.full((*plan.size, *array.shape[2:]), fill, array.dtype)
        if rows and columns:  # else the image has left the window
            top, left = first[0] - plan.corner[0], first[1] - plan.corner[1]
            inside = np.s_[top : top + len(rows), left : left + len(columns)]
            moved[inside] = resize(array, plan.scaled, rows, columns)
    return moved[:, ::-1] if plan.mirror else moved


def _nearest(source: int, scaled: int, wanted: range) -> Int[np.ndarray, " n"]:
    """Index of the source pixel that holds the centre of each wanted pixel; exact integers."""
    return (2 * np.arange(wanted.start, wanted.stop) + 1) * source // (2 * scaled)


def _take_nearest(
    array: np.ndarray, scaled: tuple[int, int], rows: range, columns: range
) -> np.ndarray:
    """Rows and columns of the array resized to `scaled`."""
    array = array.take(_nearest(array.shape[0], scaled[0], rows), axis=0)
    return array.take(_nearest(array.shape[1], scaled[1], columns), axis=1)


def _take_bilinear(
    image: UInt8[np.ndarray, "h w 3"],
    scaled: tuple[int, int],
    rows: range,
    columns: range,
    *,
    colour: tuple[float, float, float],
) -> UInt8[np.ndarray, "h2 w2 3"]:
    """As `_take_nearest`, bilinearly and recoloured; computes only the wanted part."""
    if image.shape[:2] == scaled:
        return _recolour(image[rows.start : rows.stop, columns.start : columns.stop], colour)
    down, across = image.shape[0] / scaled[0], image.shape[1] / scaled[1]
    right = min(columns.stop * across, image.shape[1])
    bottom = min(rows.stop * down, image.shape[0])
    part = Image.fromarray(image).resize(
        (len(columns), len(rows)),
        Image.Resampling.BILINEAR,
        box=(columns.start * across, rows.start * down, right, bottom),
    )
    return _recolour(np.asarray(part), colour)


def _recolour(
    image: UInt8[np.ndarray, "h w 3"], factors: tuple[float, float, float]
) -> UInt8[np.ndarray, "h w 3"]:
    if factors == _UNCHANGED:
        return image
    picture = Image.fromarray(image)
    for enhance, factor in zip(
        (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color), factors, strict=True
    ):
        picture = enhance(picture).enhance(factor)
    return np.asarray(picture)
