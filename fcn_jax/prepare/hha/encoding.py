"""Encodes one depth image as HHA.

Source of every rule and number here: Gupta, Girshick, Arbelaez and Malik, ECCV 2014, section 3, and
their code: s-gupta/rcnn-depth (saveHHA.m, processDepthImage.m) and s-gupta/rgbdutils
(computeNormalsSquareSupport.m, getYDir.m). A camera's axes: x to the right, y down, z forward.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from jaxtyping import Bool, Float, UInt8

_FINE, _COARSE = 3, 10  # radii of the windows for the angle and for gravity: 7x7 and 21x21
_GRAVITY_ROUNDS = ((45.0, 5), (15.0, 5))  # degrees, iterations
_DISPARITY = 31000.0  # / depth in cm; clipped to 255, so every depth below 1.2 m looks the same
_NO_FLOOR, _DEFAULT_FLOOR = -90.0, -130.0  # cm above the camera; see _height
_UPRIGHT = 128.0  # the value of a vertical surface, 90 degrees
_TIE_BREAK = 1e-9  # weight of the last direction, a normal's being 1; see _gravity


@dataclasses.dataclass(frozen=True, kw_only=True)
class Camera:
    """A pinhole camera, in pixels.

    Attributes:
        fx: focal length along a row.
        fy: focal length along a column.
        cx: column of the principal point; the centre of the first column is 0.
        cy: row of the principal point; the centre of the first row is 0.

    Raises:
        ValueError: a focal length is not positive, or a number is not finite.
    """

    fx: float
    fy: float
    cx: float
    cy: float

    def __post_init__(self) -> None:
        if not (all(map(math.isfinite, dataclasses.astuple(self))) and min(self.fx, self.fy) > 0):
            raise ValueError(
                f"a camera needs finite numbers, fx and fy above 0 (in pixels); found {self}"
            )

    def cropped(self, top: int, left: int) -> Camera:
        """The camera of images cropped from the old ones at this row and column (from 0)."""
        return dataclasses.replace(self, cx=self.cx - left, cy=self.cy - top)


NYU = Camera(
    fx=518.85790117450188,
    fy=519.46961112127485,
    cx=325.58244941119034 - 1,
    cy=253.73616633400465 - 1,
)
"""The colour camera of NYUDv2, images of 480x640.

Source: camera_params.m of the data set's toolbox, which counts pixels from 1.
"""

NYU_CROPPED = NYU.cropped(45, 40)
"""NYUDv2 without the white frame, 425x560: rows 46 to 470 and columns 41 to 600, from 1."""

_NYU_SIZES = {(480, 640): NYU, (425, 560): NYU_CROPPED}


def nyu_camera(height: int, width: int) -> Camera:
    """The camera of NYUDv2's images of this size.

    Raises:
        ValueError: the size is neither 480x640 nor 425x560.
    """
    if (height, width) not in _NYU_SIZES:
        raise ValueError(
            f"expected depth of NYUDv2, 480x640 or cropped to 425x560; found {height}x{width}. For "
            "another camera give its focal lengths and principal point, in pixels (Camera)."
        )
    return _NYU_SIZES[height, width]


def hha(
    depth: np.ndarray, camera: Camera | None = None, *, measured: np.ndarray | None = None
) -> UInt8[np.ndarray, "h w 3"]:
    """Encodes depth as disparity, height above the floor and angle with gravity.

    - Disparity: 31000 / depth in cm.
    - Height: cm above the lowest point of the image, along gravity. If that point is less than
      90 cm below the camera, the floor is out of sight and assumed to be 130 cm below the camera.
    - Angle: 38 + the degrees between gravity and the surface normal that points away from the
      camera: 38 for a floor, 128 for a wall, 218 for a ceiling.

    All are clipped to 0..255 and rounded to the nearest integer, halves up.

    For disparity and height a pixel without depth takes the depth of the nearest pixel; normals are
    computed without it. If fewer than three pixels of a 7x7 window have depth, or if they lie on
    one line, the angle is 218. The original does the same with filled depth and the sensor's mask,
    so published nets were trained on holes of this kind.

    Args:
        depth: float (h, w), metres; 0 or NaN where it is missing.
        camera: of the depth; None selects NYUDv2's by the size.
        measured: bool (h, w), False where the depth was filled in later; None means that all depth
            was measured.

    Returns:
        uint8 (h, w, 3), 0..255, in the order disparity, height, angle.

    Raises:
        ValueError: the depth is not float (h, w), is negative or infinite, or is missing
            everywhere; `measured` is not a mask of this shape; the size is not NYUDv2's and there
            is no camera.
    """
    if depth.ndim != 2 or not np.issubdtype(depth.dtype, np.floating):
        raise ValueError(
            f"expected depth in metres, float (h, w); found {depth.dtype} {depth.shape}. Multiply "
            "stored integers by their unit, such as 0.001 for millimetres."
        )
    present = ~((depth == 0) | np.isnan(depth))
    if not present.any():
        raise ValueError("the depth is missing (0 or NaN) at every pixel; HHA needs some depth")
    values = depth[present]
    if not (np.isfinite(values).all() and values.min() > 0):
        raise ValueError(
            f"expected depth of 0 (missing) or more metres, finite; found {values.min()} to "
            f"{values.max()}"
        )
    known = present if measured is None else measured
    if known.shape != depth.shape or known.dtype != bool:
        raise ValueError(
            f"expected `measured` as bool {depth.shape}, found {known.dtype} {known.shape}"
        )
    camera, known = camera or nyu_camera(*depth.shape), known & present
    z = _fill(depth.astype(np.float64) * 100, present)
    gravity = _gravity(_normals(z, known, camera, _COARSE))
    channels = (
        _DISPARITY / z,
        _height(z, camera, gravity),
        _angle(_normals(z, known, camera, _FINE), gravity) + _UPRIGHT - 90,
    )
    return np.floor(np.clip(np.stack(channels, axis=-1), 0, 255) + 0.5).astype(np.uint8)


def _fill(
    depth: Float[np.ndarray, "h w"], present: Bool[np.ndarray, "h w"]
) -> Float[np.ndarray, "h w"]:
    """Replaces missing depth by the depth of the nearest pixel that has it."""
    from scipy.ndimage import distance_transform_edt

    if present.all():
        return depth
    nearest = distance_transform_edt(~present, return_distances=False, return_indices=True)
    return depth[tuple(np.asarray(nearest))]


def _rays(camera: Camera, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Viewing directions: x / z of each column (1, w) and y / z of each row (h, 1)."""
    rows, columns = np.arange(shape[0])[:, None], np.arange(shape[1])[None]
    return (columns - camera.cx) / camera.fx, (rows - camera.cy) / camera.fy


def _normals(
    z: Float[np.ndarray, "h w"], measured: Bool[np.ndarray, "h w"], camera: Camera, radius: int
) -> Float[np.ndarray, "3 h w"]:
    """Unit normals of planes fitted to square windows, away from the camera; 0 without a plane.

    A plane n.p = 1 has 1 / z = n.(x/z, y/z, 1), which is linear over the pixels: a per column, b
    per row, c at the window's centre. Positions are counted from the centre, which avoids
    cancellation; their sums are integers, so pixels on one line have a determinant of exactly 0.
    """
    from scipy.ndimage import correlate1d

    offsets = np.arange(-radius, radius + 1.0)
    powers = (np.ones_like(offsets), offsets, offsets**2)

    def sums(values: np.ndarray, *exponents: tuple[int, int]) -> list[np.ndarray]:
        """Sums over each window of column^i row^j values, for every (i, j)."""
        along = {
            i: correlate1d(values, powers[i], axis=1, mode="constant")
            for i in {i for i, _ in exponents}
        }
        return [correlate1d(along[i], powers[j], axis=0, mode="constant") for i, j in exponents]

    n, sx, sy, sxx, sxy, syy = sums(
        measured.astype(np.float64), (0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2)
    )
    t, tx, ty = sums(measured / z, (0, 0), (1, 0), (0, 1))
    # The inverse of the normal equations times the determinant: normals are scaled below anyway.
    inv_cc, inv_ca, inv_cb = sxx * syy - sxy * sxy, sxy * sy - sx * syy, sx * sxy - sxx * sy
    inv_aa, inv_bb, inv_ab = n * syy - sy * sy, n * sxx - sx * sx, sx * sy - n * sxy
    fits = n * inv_cc + sx * inv_ca + sy * inv_cb > 0
    c = inv_cc * t + inv_ca * tx + inv_cb * ty
    a = inv_ca * t + inv_aa * tx + inv_ab * ty
    b = inv_cb * t + inv_ab * tx + inv_bb * ty
    x, y = _rays(camera, z.shape)
    a *= camera.fx
    b *= camera.fy
    normals = np.stack([a, b, c - a * x - b * y])
    # c is the normal times a point on the ray through the centre; below 0 it faces the camera.
    length = np.where(c < 0, -1.0, 1.0) * np.sqrt(np.sum(normals * normals, axis=0))
    return np.divide(normals, length, out=np.zeros_like(normals), where=fits & (length != 0))


def _gravity(normals: Float[np.ndarray, "3 h w"]) -> Float[np.ndarray, " 3"]:
    """The direction orthogonal or parallel to most surfaces; the search starts straight down.

    Each iteration splits the normals into floors (within some degrees of the last direction) and
    walls (within as many degrees of the plane orthogonal to it). The next direction is the unit
    vector with the smallest sum of squared cosines to the walls minus that to the floors. If the
    normals do not determine it, as with a single bare wall, a small weight keeps the last one.
    """
    n = normals.reshape(3, -1)
    squares = np.stack([n[i] * n[j] for i in range(3) for j in range(3)])
    down = np.array([0.0, 1.0, 0.0])
    for degrees, iterations in _GRAVITY_ROUNDS:
        floor, wall = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        for _ in range(iterations):
            cosine = np.abs(np.einsum("i,in->n", down, n))  # `@` would start threads
            signs = (cosine < wall).astype(np.float64) - (cosine > floor)
            scatter = np.einsum("in,n->i", squares, signs).reshape(3, 3)
            scatter -= _TIE_BREAK * n.shape[1] * np.outer(down, down)
            best = np.linalg.eigh(scatter)[1][:, 0]  # of the smallest eigenvalue
            down = best * math.copysign(1, best @ down)
    return down


def _height(
    z: Float[np.ndarray, "h w"], camera: Camera, gravity: Float[np.ndarray, " 3"]
) -> Float[np.ndarray, "h w"]:
    """Height in cm above the lowest point, or above the assumed floor if none is in sight."""
    x, y = _rays(camera, z.shape)
    height = -z * (gravity[0] * x + gravity[1] * y + gravity[2])
    lowest = height.min()
    return height - (_DEFAULT_FLOOR if lowest > _NO_FLOOR else lowest)


def _angle(
    normals: Float[np.ndarray, "3 h w"], gravity: Float[np.ndarray, " 3"]
) -> Float[np.ndarray, "h w"]:
    """Degrees between normals and gravity; 180 where there is no normal.

    Source: saveHHA.m takes the arc cosine of min(1, max(-1, NaN)), which is -1 in MATLAB.
    """
    cosine = np.where(normals.any(axis=0), np.tensordot(gravity, normals, axes=1), -1.0)
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))
