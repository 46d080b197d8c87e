"""Augmentation of an image together with its label.

Geometry is drawn first, as a small `Plan` made from the image's size alone, so the size of the
result is known before anything is decoded. `apply` then moves image and label by the same map.
"""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image, ImageEnhance

from fcn_jax.data.files import IGNORE, DataError


class Plan(NamedTuple):
    """What happens to one image: resize, cut a window, mirror, recolour.

    Attributes:
      source: Rows and columns of the image as it is.
      scaled: Rows and columns after resizing.
      corner: Row and column of the window's first pixel on the resized image; negative or beyond it
        where the window sticks out.
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

    The papers saw no gain from mirroring and from translating by up to 32 pixels (FCN, CVPR 2015,
    section 4.3), so their recipes use none of this.

    Attributes:
      mirror: Swap left and right in half of the images.
      scale: Smallest and largest factor, drawn log-uniformly.
      crop: Rows and columns of a random window, after scaling; an image smaller than that stays
        whole along that axis. None = no crop.
      jitter: Largest translation in pixels, along each axis, uniform; at most 32. What moves in
        from outside is `fill` in the image and 255 (ignored) in the label.
      colour: Strength s: factors of brightness, contrast and saturation uniform in 1 - s .. 1 + s.
      fill: RGB, 0 to 255, of pixels outside the image; the mean of ImageNet.

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
        colour = (1.0, 1.0, 1.0)
        if self.colour:
            b, c, s = rng.uniform(1 - self.colour, 1 + self.colour, size=3)
            colour = (float(b), float(c), float(s))
        return Plan(size, scaled, (corner[0], corner[1]), window, mirror, colour)

    def largest(self, size: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns that no plan for an image of `size` exceeds."""
        return self._window(_scaled(size, self.scale[1]))

    def apply(
        self, plan: Plan, image: UInt8[np.ndarray, "h w 3"], label: UInt8[np.ndarray, "h w"]
    ) -> tuple[UInt8[np.ndarray, "h2 w2 3"], UInt8[np.ndarray, "h2 w2"]]:
        """Does to an image and its label what the plan says.

        Args:
          plan: Made for this image's size.
          image: RGB, 0 to 255; resized bilinearly, smoothed where it shrinks.
          label: Class indices, 255 = ignored; resized to the nearest pixel.

        Returns:
          Image and label of `plan.size`. Outside the image they are `fill` and 255.

        Raises:
          DataError: The plan was made for another size.
        """
        if image.shape[:2] != plan.source or label.shape != plan.source:
            raise DataError(
                f"the plan is for an image of {plan.source} (rows, columns), got an image of "
                f"{image.shape[:2]} and a label of {label.shape}."
            )
        # The part of the window that lies on the image, on the resized image's pixels.
        first = [max(0, c) for c in plan.corner]
        last = [min(s, c + n) for s, c, n in zip(plan.scaled, plan.corner, plan.size, strict=True)]
        if first[0] >= last[0] or first[1] >= last[1]:  # moved out of sight
            return _blank(plan.size, self.fill)
        rows, columns = range(first[0], last[0]), range(first[1], last[1])
        image = _recolour(_resize_part(image, plan.scaled, rows, columns), plan.colour)
        label = label.take(_nearest(plan.source[0], plan.scaled[0], rows), axis=0)
        label = label.take(_nearest(plan.source[1], plan.scaled[1], columns), axis=1)
        if image.shape[:2] != plan.size:
            part, part_label = image, label
            image, label = _blank(plan.size, self.fill)
            top, left = first[0] - plan.corner[0], first[1] - plan.corner[1]
            inside = np.s_[top : top + len(rows), left : left + len(columns)]
            image[inside], label[inside] = part, part_label
        if plan.mirror:
            image, label = image[:, ::-1], label[:, ::-1]
        return image, label

    def __call__(
        self,
        image: UInt8[np.ndarray, "h w 3"],
        label: UInt8[np.ndarray, "h w"],
        rng: np.random.Generator,
    ) -> tuple[UInt8[np.ndarray, "h2 w2 3"], UInt8[np.ndarray, "h2 w2"]]:
        """Draws a plan and applies it."""
        return self.apply(self.plan((label.shape[0], label.shape[1]), rng), image, label)

    def _window(self, scaled: tuple[int, int]) -> tuple[int, int]:
        if self.crop is None:
            return scaled
        return min(self.crop[0], scaled[0]), min(self.crop[1], scaled[1])


def _expect(holds: bool, field: str, expected: str, got: object) -> None:
    if not holds:
        raise DataError(f"Augment: expected {field} to be {expected}, got {got}.")


def _scaled(size: tuple[int, int], factor: float) -> tuple[int, int]:
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def _blank(size: tuple[int, int], fill: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    return (
        np.broadcast_to(np.asarray(fill, np.uint8), (*size, 3)).copy(),
        np.full(size, IGNORE, np.uint8),
    )


def _nearest(source: int, scaled: int, wanted: range) -> Int[np.ndarray, " n"]:
    """Source index whose pixel holds the centre of each wanted pixel, in exact integers."""
    return (2 * np.arange(wanted.start, wanted.stop) + 1) * source // (2 * scaled)


def _resize_part(
    image: UInt8[np.ndarray, "h w 3"], scaled: tuple[int, int], rows: range, columns: range
) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Rows and columns of the image resized to `scaled`, without computing the others."""
    if image.shape[:2] == scaled:
        return image[rows.start : rows.stop, columns.start : columns.stop]
    down, across = image.shape[0] / scaled[0], image.shape[1] / scaled[1]
    box = (columns.start * across, rows.start * down, columns.stop * across, rows.stop * down)
    box = (box[0], box[1], min(box[2], image.shape[1]), min(box[3], image.shape[0]))
    part = Image.fromarray(image).resize(
        (len(columns), len(rows)), Image.Resampling.BILINEAR, box=box
    )
    return np.asarray(part)


def _recolour(
    image: UInt8[np.ndarray, "h w 3"], factors: tuple[float, float, float]
) -> UInt8[np.ndarray, "h w 3"]:
    if factors == (1.0, 1.0, 1.0):
        return image
    picture = Image.fromarray(image)
    for enhance, factor in zip(
        (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color), factors, strict=True
    ):
        picture = enhance(picture).enhance(factor)
    return np.asarray(picture)
