"""One depth image to HHA.

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
_ROUNDS = ((45.0, 5), (15.0, 5))  # degrees, iterations
_DISPARITY = 31000.0  # / depth in cm; at most 255, so nothing nearer than 1.2 m tells apart
_LOWEST, _FLOOR = -90.0, -130.0  # cm from the camera; see _height
_UPRIGHT = 128.0  # a vertical surface: 90 degrees
_KEEP = 1e-9  # of a normal's weight; see _gravity


@dataclasses.dataclass(frozen=True, kw_only=True)
class Camera:
    """A pinhole camera, in pixels.

    Attributes:
        fx: focal length along a row.
        fy: focal length along a column.
        cx: column of the principal point; the centre of the first column is 0.
        cy: row of the principal point; the centre of the first row is 0.

    Raises:
        ValueError: if a focal length is not positive, or a number not finite.
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
        """The camera of images that begin at this row and column (from 0) of the old ones."""
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
"""NYUDv2 without the white frame, images of 425x560: rows 46 to 470, columns 41 to 600 from 1."""

_NYU_SIZES = {(480, 640): NYU, (425, 560): NYU_CROPPED}


def nyu_camera(height: int, width: int) -> Camera:
    """The camera of NYUDv2's images of this size.

    Raises:
        ValueError: if the size is neither 480x640 nor 425x560.
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
    - Height: cm above the lowest point of the image, along gravity; where the lowest point is less
      than 90 cm below the camera, no floor is in sight, and it is taken to be 130 cm below.
    - Angle: 38 + the degrees between gravity and the surface's normal that points away from the
      camera. A floor has 38, a wall 128, a ceiling 218.

    Rounded to the nearest (halves up) and clipped to 0..255.

    Missing depth takes the nearest pixel's for disparity and height, and has no part in the
    normals. Near the edge of a hole they come from what was measured around; where the 7x7 window
    holds no three pixels off one line, the angle is 218. The original does the same with filled
    depth and the mask of what the sensor measured, so this is how holes look to published nets.

    Args:
        depth: float (h, w), metres; 0 or NaN where it is missing.
        camera: where the depth was taken; None is NYUDv2's, by the size.
        measured: bool (h, w), False where the depth was filled in rather than measured; None is
            everywhere but where it is missing.

    Returns:
        uint8 (h, w, 3), 0..255, in the order disparity, height, angle.

    Raises:
        ValueError: if the depth is not float (h, w), is negative or infinite, or is missing
            everywhere; if `measured` is no mask of this shape; if the size is not NYUDv2's and
            there is no camera.
    """
    if depth.ndim != 2 or not np.issubdtype(depth.dtype, np.floating):
        raise ValueError(
            f"expected depth in metres, float (h, w); found {depth.dtype} {depth.shape}. Multiply "
            "stored integers by their unit, such as 0.001 for millimetres."
        )
    present = ~((depth == 0) | np.isnan(depth))
    if not present.any():
        raise ValueError("the depth is missing (0 or NaN) at every pixel, so there is no HHA of it")
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
    z = _filled(depth.astype(np.float64) * 100, present)
    gravity = _gravity(_normals(z, known, camera, _COARSE))
    channels = (
        _DISPARITY / z,
        _height(z, camera, gravity),
        _angle(_normals(z, known, camera, _FINE), gravity) + _UPRIGHT - 90,
    )
    return np.floor(np.clip(np.stack(channels, axis=-1), 0, 255) + 0.5).astype(np.uint8)


def _filled(
    depth: Float[np.ndarray, "h w"], present: Bool[np.ndarray, "h w"]
) -> Float[np.ndarray, "h w"]:
    """Depth with that of the nearest pixel where there is none."""
    from scipy.ndimage import distance_transform_edt

    if present.all():
        return depth
    nearest = distance_transform_edt(~present, return_distances=False, return_indices=True)
    return depth[tuple(np.asarray(nearest))]


def _rays(camera: Camera, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Where each column (1, w) and each row (h, 1) looks: x / z and y / z."""
    rows, columns = np.arange(shape[0])[:, None], np.arange(shape[1])[None]
    return (columns - camera.cx) / camera.fx, (rows - camera.cy) / camera.fy


def _normals(
    z: Float[np.ndarray, "h w"], measured: Bool[np.ndarray, "h w"], camera: Camera, radius: int
) -> Float[np.ndarray, "3 h w"]:
    """Unit normals, away from the camera, of planes fitted to square windows; 0 where none fits.

    A plane n.p = 1 has 1 / z = n.(x/z, y/z, 1), which is linear over the pixels: a per column, b
    per row, c at the window's centre. Positions are counted from the centre, so that nothing
    cancels; their sums are whole numbers, and pixels on one line have a determinant of exactly 0.
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
    # The normal equations' inverse times the determinant: normals lose their length anyway.
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
    # c is the normal times a point on the ray through the centre: below 0 it faces the camera.
    length = np.where(c < 0, -1.0, 1.0) * np.sqrt(np.sum(normals * normals, axis=0))
    return np.divide(normals, length, out=np.zeros_like(normals), where=fits & (length != 0))


def _gravity(normals: Float[np.ndarray, "3 h w"]) -> Float[np.ndarray, " 3"]:
    """The direction that surfaces are most nearly orthogonal or parallel to, from straight down.

    Each round splits the normals into floors (within so many degrees of the present direction) and
    walls (within so many of its plane), and takes the unit vector with the smallest sum of squared
    cosines to the walls less that to the floors. A small weight on the present direction decides
    where the normals leave it open, as before a single bare wall.
    """
    n = normals.reshape(3, -1)
    squares = np.stack([n[i] * n[j] for i in range(3) for j in range(3)])
    down = np.array([0.0, 1.0, 0.0])
    for degrees, iterations in _ROUNDS:
        floor, wall = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        for _ in range(iterations):
            cosine = np.abs(np.einsum("i,in->n", down, n))  # `@` would start threads
            signs = (cosine < wall).astype(np.float64) - (cosine > floor)
            scatter = np.einsum("in,n->i", squares, signs).reshape(3, 3)
            scatter -= _KEEP * n.shape[1] * np.outer(down, down)
            best = np.linalg.eigh(scatter)[1][:, 0]  # of the smallest eigenvalue
            down = best * math.copysign(1, best @ down)
    return down


def _height(
    z: Float[np.ndarray, "h w"], camera: Camera, gravity: Float[np.ndarray, " 3"]
) -> Float[np.ndarray, "h w"]:
    """Height in cm above the lowest point, or above a floor out of sight."""
    x, y = _rays(camera, z.shape)
    height = -z * (gravity[0] * x + gravity[1] * y + gravity[2])
    lowest = height.min()
    return height - (_FLOOR if lowest > _LOWEST else lowest)


def _angle(
    normals: Float[np.ndarray, "3 h w"], gravity: Float[np.ndarray, " 3"]
) -> Float[np.ndarray, "h w"]:
    """Degrees between normals and gravity; 180 where there is no normal.

    Source: saveHHA.m takes the arc cosine of min(1, max(-1, NaN)), which is -1 in MATLAB.
    """
    cosine = np.where(normals.any(axis=0), np.tensordot(gravity, normals, axes=1), -1.0)
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))
