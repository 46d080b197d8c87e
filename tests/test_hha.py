"""HHA against analytic scenes, a slow independent computation, and the original's own output."""

from pathlib import Path

import numpy as np
import pytest
from hha_rooms import SIZE, SMALL, rays, room
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fcn_jax.data.readers import read_depth
from fcn_jax.prepare.hha import NYU, Camera, hha, nyu_camera

SHARED = Path(__file__).parents[2] / "shared" / "data" / "hha"


def apart(planes, radius=3):
    """Whether a pixel's whole window shows one plane."""
    padded = np.pad(planes, radius, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (2 * radius + 1,) * 2)
    return windows.max((2, 3)) == windows.min((2, 3))


@settings(max_examples=10)
@given(st.floats(0, 25), st.floats(-10, 10))
def test_floor_and_walls_have_their_angles_and_heights(pitch, roll):
    camera, size = Camera(fx=155.0, fy=160.0, cx=98.2, cy=70.7), (150, 200)
    depth, planes, down = room(pitch, roll, camera=camera, size=size)
    assert len(np.unique(planes)) == 3
    found = hha(depth, camera).astype(float)
    angles = np.where(planes == 0, 38, 128)
    assert np.abs(found[..., 2] - angles)[apart(planes)].max() <= 1
    height = np.clip(120 - 100 * depth * (rays(camera, size) @ down), 0, 255)
    assert np.abs(found[..., 1] - height).max() <= 3  # windows over an edge tilt gravity a little
    assert np.abs(found[..., 0] - np.minimum(310 / np.maximum(depth, 1), 255)).max() <= 0.5 + 1e-9


@pytest.mark.parametrize(
    ("metres", "disparity"), [(0.5, 255), (1.0, 255), (1.75, 177), (2.0, 155), (4.0, 78)]
)
def test_a_bare_wall_has_its_disparity_and_stands_upright(metres, disparity):
    found = hha(np.full(SIZE, metres), SMALL)
    assert (found[..., 0] == disparity).all()  # 31000 / 400 is 77.5, rounded up
    assert (found[..., 2] == 128).all()
    height = -100 * metres * rays()[..., 1]
    lowest = height.min() if height.min() <= -90 else -130  # else the floor is out of sight
    assert np.abs(found[..., 1] - np.clip(height - lowest, 0, 255)).max() <= 0.5 + 1e-9


def test_a_ceiling_points_up():
    depth, _, _ = room(20)
    upside_down = Camera(fx=SMALL.fx, fy=SMALL.fy, cx=SMALL.cx, cy=SIZE[0] - 1 - SMALL.cy)
    angles = hha(depth[::-1], upside_down)[..., 2]
    assert np.median(angles[:10]) == 218
    assert np.median(angles[-10:]) == 128


def uneven(seed=0):
    rng = np.random.default_rng(seed)
    depth, _, _ = room(12, 4)
    return depth * (1 + 0.01 * rng.normal(size=SIZE)), rng


def test_a_mirrored_room_has_a_mirrored_hha():
    depth, _ = uneven()
    mirrored = Camera(fx=SMALL.fx, fy=SMALL.fy, cx=SIZE[1] - 1 - SMALL.cx, cy=SMALL.cy)
    there, back = hha(depth, SMALL), hha(depth[:, ::-1], mirrored)[:, ::-1]
    assert (there == back).mean() > 0.999  # the rest is rounding
    assert np.abs(there.astype(int) - back).max() <= 1


def test_a_room_twice_as_large_has_the_same_angles_and_twice_the_heights():
    depth, _ = uneven()
    one, two = hha(depth, SMALL).astype(int), hha(2 * depth, SMALL).astype(int)
    assert (one[..., 2] == two[..., 2]).mean() > 0.999
    high = one[..., 1] < 127
    assert np.abs(2 * one[..., 1] - two[..., 1])[high].max() <= 1


def test_a_crop_is_of_the_same_room():
    depth, planes, _ = room(8, 3, camera=NYU, size=(480, 640))
    crop = (slice(45, 470), slice(40, 600))
    whole, part = hha(depth)[crop].astype(int), hha(depth[crop]).astype(int)
    assert np.abs(whole[..., :2] - part[..., :2]).max() <= 1
    assert np.abs(whole[..., 2] - part[..., 2])[apart(planes)[crop]].max() <= 1


def slow_hha(depth, camera, measured):
    """The original's method, pixel by pixel: least squares, then eigenvectors."""
    z = depth * 100
    points = rays(camera, z.shape) * z[..., None]
    gravity = np.array([0.0, 1.0, 0.0])

    def normals(radius):
        found = np.full(points.shape, np.nan)
        for i, j in np.ndindex(z.shape):
            window = (slice(max(i - radius, 0), i + radius + 1),) + (
                slice(max(j - radius, 0), j + radius + 1),
            )
            p = points[window][measured[window]]
            normal, _, rank, _ = np.linalg.lstsq(p / p[:, 2:], 1 / p[:, 2], rcond=1e-9)
            if rank == 3:
                found[i, j] = normal / np.linalg.norm(normal)
                found[i, j] *= np.sign(found[i, j] @ points[i, j])
        return found

    coarse = normals(10).reshape(-1, 3)
    coarse = coarse[~np.isnan(coarse[:, 0])]
    for degrees in [45] * 5 + [15] * 5:
        angle = np.degrees(np.arccos(np.clip(np.abs(coarse @ gravity), 0, 1)))
        floors, walls = coarse[angle < degrees], coarse[angle > 90 - degrees]
        values, vectors = np.linalg.eig(walls.T @ walls - floors.T @ floors)
        best = vectors[:, np.argmin(values)]
        gravity = best * np.sign(best @ gravity)
    angle = np.degrees(np.arccos(np.clip(normals(3) @ gravity, -1, 1)))
    height = -points @ gravity
    lowest = height.min() if height.min() <= -90 else -130
    channels = 31000 / np.maximum(z, 100), height - lowest, np.nan_to_num(angle, nan=180) + 38
    return np.clip(np.stack(channels, axis=-1), 0, 255)


def test_equals_a_slow_independent_computation():
    depth, rng = uneven(1)
    depth = depth[30:54, 20:48]
    depth[:8] *= 1 + 9 * rng.random((8, 28))  # some planes are behind the camera
    camera = SMALL.cropped(30, 20)
    measured = rng.random(depth.shape) > 0.3
    measured[2:14, 8:20] = False
    measured[:, 26:] = False
    expected = slow_hha(depth, camera, measured)
    found = hha(depth, camera, measured=measured)
    assert np.abs(found - expected).max() <= 0.5 + 1e-6
    assert (found[..., 2] == 218).any()


@pytest.mark.parametrize("missing", [0.0, np.nan])
def test_missing_depth_is_the_nearest_pixels_and_has_no_normal(missing):
    depth, planes, _ = room(10)
    whole = hha(depth, SMALL)
    holes = depth.copy()
    holes[5:20, 5:25] = missing
    holes[20, 40] = missing
    found = hha(holes, SMALL)
    left = np.broadcast_to(whole[8:17, 4:5, 0], (9, 4))  # the nearest pixels of four columns
    np.testing.assert_array_equal(found[8:17, 5:9, 0], left)
    np.testing.assert_array_equal(found[8:17, 8:22, 2], 218)
    there = np.isfinite(holes) & (holes > 0)
    assert np.abs(found.astype(int) - whole)[there][:, :2].max() <= 3
    sure = apart(planes) & there
    assert np.abs(found[..., 2].astype(int) - whole[..., 2])[sure].max() <= 1
    assert abs(int(found[20, 40, 2]) - whole[20, 40, 2]) <= 1  # measured all around
    np.testing.assert_array_equal(found, hha(holes, SMALL, measured=np.ones(SIZE, bool)))


def test_a_single_pixel_of_depth_is_enough():
    depth = np.zeros(SIZE, np.float32)
    depth[30, 40] = 2
    found = hha(depth, SMALL)
    assert (found[..., 0] == 155).all() and (found[..., 2] == 218).all()


def test_mistakes_are_named():
    good = np.ones(SIZE)
    for depth, words in (
        ((good * 1000).astype(np.uint16), "metres, float"),
        (good[..., None], "found float64"),
        (good * 0, "missing"),
        (good - 2, "found -1.0"),
        (np.where(np.eye(*SIZE), np.inf, 1), "finite"),
    ):
        with pytest.raises(ValueError, match=words):
            hha(depth, SMALL)
    with pytest.raises(ValueError, match="480x640.*60x80"):
        hha(good)
    for mask in (good, good[:5] > 0):
        with pytest.raises(ValueError, match="`measured` as bool"):
            hha(good, SMALL, measured=mask)
    for wrong in ({"fx": 0.0}, {"cy": float("nan")}):
        with pytest.raises(ValueError, match="focal|finite"):
            Camera(**{"fx": 1.0, "fy": 1.0, "cx": 0.0, "cy": 0.0, **wrong})
    assert nyu_camera(425, 560) == nyu_camera(480, 640).cropped(45, 40)


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the original's output")
def test_equals_the_originals_own_output():
    expected = np.asarray(Image.open(SHARED / "matlab_hha.png")).astype(int)
    depth, raw = (read_depth(SHARED / name)[..., 0] / 1e4 for name in ("0.png", "0_raw.png"))
    difference = np.abs(hha(depth) - expected)
    assert difference.max() <= 1 and difference.mean() < 1e-3  # LAPACKs round differently
    masked = np.abs(hha(depth, measured=raw > 0) - expected)[raw > 0]
    assert (masked.mean(0) < 3).all() and ((masked > 10).mean(0) < 0.02).all()
