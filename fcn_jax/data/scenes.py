"""Generated scenes: textured shapes on textured ground, drawn from (seed, index) alone.

A few pixels of texture and colour identify a class: a network with a small receptive field learns
that in a minute. The outlines need resolution: objects of 12 to 48 pixels with holes, arms and
tines, which a score map of stride 32 cannot draw and one of stride 8 can.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8

from fcn_jax.data.source import Example
from fcn_jax.labels import IGNORE

_Plane = Float[np.ndarray, "h w"]
_Mask = Bool[np.ndarray, "h w"]


class _Kind(NamedTuple):
    """A class: its colours, its outline (inside the unit circle), its texture in pixels."""

    name: str
    base: tuple[int, int, int]
    accent: tuple[int, int, int]
    outline: Callable[[_Plane, _Plane], _Mask]
    texture: Callable[[_Plane, _Plane], _Mask]


def _cycle(x: _Plane, period: float | int) -> _Plane:
    """Remainder of a division, several times faster than `%`."""
    return x - np.float32(period) * np.floor(x * np.float32(1 / period))


def _star(u: _Plane, v: _Plane) -> _Mask:
    turn = np.arctan2(v, u) * np.float32(5 / (2 * np.pi))
    return np.hypot(u, v) < 1.0 - 1.15 * np.abs(turn - np.round(turn))


# fmt: off
# In the order of their hues, which is the order of the colours in `report.palette`.
_KINDS = (
    _Kind("striped disc", (206, 44, 52), (250, 226, 214),
          lambda u, v: u * u + v * v < 0.9,
          lambda x, y: _cycle(x, 6) < 2.5),
    _Kind("dotted triangle", (244, 194, 24), (120, 50, 20),
          lambda u, v: (v < 0.5) & (v > 1.75 * np.abs(u) - 1.0),
          lambda x, y: (_cycle(x, 6) - 3) ** 2 + (_cycle(y, 6) - 3) ** 2 < 2.6),
    _Kind("ring", (40, 160, 74), (170, 235, 120),
          lambda u, v: np.abs(np.hypot(u, v) - 0.73) < 0.24,
          lambda x, y: _cycle(x + y, 7) < 2.2),
    _Kind("comb", (16, 166, 186), (8, 60, 84),
          lambda u, v: (np.abs(u) < 0.74) & (np.abs(v) < 0.67)
          & ((v < -0.34) | (np.abs(_cycle(u + 0.74, 0.57) - 0.17) < 0.17)),
          lambda x, y: _cycle(y, 5) < 1.7),
    _Kind("checkered square", (36, 74, 190), (214, 228, 250),
          lambda u, v: np.maximum(np.abs(u), np.abs(v)) < 0.7,
          lambda x, y: (_cycle(x, 8) < 4) ^ (_cycle(y, 8) < 4)),
    _Kind("cross", (134, 52, 170), (238, 170, 240),
          lambda u, v: (np.minimum(np.abs(u), np.abs(v)) < 0.27)
          & (np.maximum(np.abs(u), np.abs(v)) < 0.95),
          lambda x, y: np.abs(_cycle(x, 6) - 3) + np.abs(_cycle(y, 6) - 3) < 2),
    _Kind("star", (238, 116, 30), (255, 238, 190),
          _star,
          lambda x, y: (_cycle(x, 5) < 1.5) | (_cycle(y, 5) < 1.5)),
)
# fmt: on

_RADII = (9.0, 26.0)  # pixels
_AREA_OF_ONE = 44 * 44  # pixels of ground per object


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scenes:
    """A data set of generated scenes; element i is a function of (seed, i) alone.

    Attributes:
        length: number of scenes.
        seed: identifies the set; two sets of different seeds have no scene in common.
        largest: rows and columns of every scene, or the largest if `smallest` is given.
        smallest: if given, each scene's rows and columns are drawn between the two, inclusive.
        num_classes: background and the first `num_classes - 1` shapes, 2..8.
        border: width in pixels of the ignored (255) outline around every object, as in VOC.
    """

    length: int
    seed: int
    largest: tuple[int, int] = (96, 96)
    smallest: tuple[int, int] | None = None
    num_classes: int = 7
    border: int = 1

    def __post_init__(self):
        small = self.smallest or self.largest
        inside = all(1 <= a <= b for a, b in zip(small, self.largest, strict=True))
        most = len(_KINDS) + 1
        for good, field, expected in (
            (self.length >= 0, "length", "at least 0"),
            (self.seed >= 0, "seed", "at least 0"),
            (2 <= self.num_classes <= most, "num_classes", f"2..{most}"),
            (self.border >= 0, "border", "at least 0 pixels"),
            (inside, "smallest" if self.smallest else "largest", "1 <= smallest <= largest"),
        ):
            if not good:
                raise ValueError(
                    f"Scenes: expected {field} {expected}, found {getattr(self, field)}; change it."
                )

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, background first."""
        return ("background", *(kind.name for kind in _KINDS[: self.num_classes - 1]))

    def at(self, root: Path | str) -> "Scenes":
        """The set itself: scenes are drawn, not read, so `root` is ignored."""
        return self

    def __len__(self) -> int:
        return self.length

    def size(self, index: int) -> tuple[int, int]:
        """Rows and columns of scene `index`, without drawing it."""
        return self._rng_and_size(index)[1]

    def __getitem__(self, index: int) -> Example:
        """Draws scene `index`.

        Returns:
            `image`: uint8 (h, w, 3), 0..255, RGB. `label`: uint8 (h, w), 0 background,
            1..num_classes-1 shapes, 255 the ignored outline of objects. `name`: the index.

        Raises:
            IndexError: if `index` is not in 0..length-1.
        """
        rng, (h, w) = self._rng_and_size(index)
        image = _ground(rng, h, w)
        label = np.zeros((h, w), np.uint8)
        for _ in range(max(1, round(rng.uniform(0.5, 1.25) * h * w / _AREA_OF_ONE))):
            _paint(rng, image, label, int(rng.integers(1, self.num_classes)), self.border)
        return Example(_photograph(rng, image), label, f"{index:06d}")

    def _rng_and_size(self, index: int) -> tuple[np.random.Generator, tuple[int, int]]:
        """The scene's random generator, and its size, which is drawn first."""
        if not 0 <= index < self.length:
            raise IndexError(f"scene {index} of {self.length}: expected 0..{self.length - 1}.")
        rng = np.random.default_rng((self.seed, int(index)))
        if self.smallest is None:
            return rng, self.largest
        h, w = rng.integers(self.smallest, self.largest, endpoint=True)
        return rng, (int(h), int(w))


def _ground(rng: np.random.Generator, h: int, w: int) -> Float[np.ndarray, "3 h w"]:
    """A gray tone with a slight tint that changes across the image, under two plane waves."""
    y = np.linspace(-1, 1, h, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, w, dtype=np.float32)[None, :]
    waves = np.zeros((h, w), np.float32)
    for _ in range(2):
        angle, phase = rng.uniform(0, 2 * np.pi, 2)
        pitch = np.float32(rng.uniform(0.08, 0.6) * max(h, w) / 2)
        fy, fx = np.float32(np.sin(angle)) * pitch, np.float32(np.cos(angle)) * pitch
        # sin(a + b) from its parts: two short vectors instead of a sine per pixel
        a, b = y * fy, x * fx + np.float32(phase)
        waves += np.sin(a) * np.cos(b) + np.cos(a) * np.sin(b)
    gray, tint, drift = rng.uniform(70, 180), rng.uniform(-22, 22, 3), rng.uniform(-25, 25, (3, 2))
    waves *= np.float32(rng.uniform(3, 12))
    image = np.empty((3, h, w), np.float32)
    for plane, middle, (down, right) in zip(image, gray + tint, drift, strict=True):
        np.add(waves, y * np.float32(down) + x * np.float32(right), out=plane)
        plane += np.float32(middle)
    return image


def _paint(
    rng: np.random.Generator,
    image: Float[np.ndarray, "3 h w"],
    label: UInt8[np.ndarray, "h w"],
    k: int,
    border: int,
) -> None:
    """Draws one object of class `k` over the image and the label."""
    h, w = label.shape
    kind = _KINDS[k - 1]
    low, high = _RADII
    radius = min(low * (high / low) ** rng.random(), max(2.0, 0.45 * min(h, w)))
    cy, cx = rng.uniform(0.1, 0.9, 2) * (h, w)
    margin = radius + border + 1
    y0, y1 = max(0, int(cy - margin)), min(h, int(cy + margin) + 1)
    x0, x1 = max(0, int(cx - margin)), min(w, int(cx + margin) + 1)
    angle = rng.uniform(0, 2 * np.pi)
    sin, cos = np.float32(np.sin(angle)), np.float32(np.cos(angle))
    y = np.arange(y0, y1, dtype=np.float32)[:, None] - np.float32(cy)
    x = np.arange(x0, x1, dtype=np.float32)[None, :] - np.float32(cx)
    along, across = x * cos + y * sin, y * cos - x * sin
    scale = np.float32(1 / radius)
    mask = kind.outline(along * scale, across * scale)
    accent = kind.texture(along, across)
    light, cast = rng.uniform(0.8, 1.12), rng.uniform(-14, 14, 3)
    colours = (np.asarray((kind.base, kind.accent)) * light + cast).astype(np.float32)
    for plane, base, other in zip(image[:, y0:y1, x0:x1], *colours, strict=True):
        plane[mask] = base
        plane[mask & accent] = other
    window = label[y0:y1, x0:x1]
    window[_grow(mask, border)] = IGNORE
    window[mask] = k


def _grow(mask: _Mask, pixels: int) -> _Mask:
    """The mask and every pixel within `pixels` steps (up, down, left, right) of it."""
    for _ in range(pixels):
        grown = mask.copy()
        grown[1:] |= mask[:-1]
        grown[:-1] |= mask[1:]
        grown[:, 1:] |= mask[:, :-1]
        grown[:, :-1] |= mask[:, 1:]
        mask = grown
    return mask


def _photograph(
    rng: np.random.Generator, image: Float[np.ndarray, "3 h w"]
) -> UInt8[np.ndarray, "h w 3"]:
    """Blurs edges by a third of a pixel, lights the scene from one side, adds sensor noise."""
    _, h, w = image.shape
    slope = rng.uniform(-0.15, 0.15, 2).astype(np.float32)
    y = np.linspace(-1, 1, h, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, w, dtype=np.float32)[None, :]
    light = 1 + slope[0] * y + slope[1] * x
    noise = np.frombuffer(rng.bytes(3 * h * w), np.int8).reshape(3, h, w)
    strength = np.float32(rng.uniform(0.02, 0.1))
    photograph = np.empty((h, w, 3), np.uint8)
    for c, plane in enumerate(image):
        soft = plane.copy()
        soft[1:-1] += (plane[:-2] + plane[2:] - 2 * plane[1:-1]) * np.float32(0.17)
        plane[:] = soft
        plane[:, 1:-1] += (soft[:, :-2] + soft[:, 2:] - 2 * soft[:, 1:-1]) * np.float32(0.17)
        plane *= light
        plane += noise[c] * strength
        photograph[..., c] = np.clip(plane, 0, 255, out=plane)
    return photograph
