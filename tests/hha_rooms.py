"""Rooms with known depth and HHA."""

import numpy as np

from fcn_jax.prepare.hha import Camera

SMALL = Camera(fx=62.0, fy=65.0, cx=38.2, cy=27.7)

SIZE = (60, 80)


def rays(camera=SMALL, size=SIZE):
    """Directions (h, w, 3) with z = 1."""
    rows, columns = np.indices(size)
    x, y = (columns - camera.cx) / camera.fx, (rows - camera.cy) / camera.fy
    return np.stack([x, y, np.ones(size)], axis=-1)


def room(pitch=0.0, roll=0.0, *, camera=SMALL, size=SIZE):
    """A floor 1.2 m below the camera, a wall 3 m ahead and another 1.5 m to the right.

    Angles in degrees, pitch downwards. Returns the depth, the plane at each pixel (0 to 2), and the
    direction of gravity.
    """
    p, r = np.radians([pitch, roll])
    down = np.array([np.sin(r) * np.cos(p), np.cos(r) * np.cos(p), np.sin(p)])
    ahead = np.array([0.0, 0.0, 1.0]) - down[2] * down
    ahead /= np.linalg.norm(ahead)
    planes = np.stack([down / 1.2, ahead / 3, np.cross(down, ahead) / 1.5], axis=-1)
    inverse = rays(camera, size) @ planes  # of depth; negative for a plane behind the camera
    return 1 / inverse.max(-1), inverse.argmax(-1), down
