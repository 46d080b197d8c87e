"""HHA: disparity, height above the floor and angle with gravity, from depth (no jax in here)."""

from fcn_jax.prepare.hha.encoding import NYU, NYU_CROPPED, Camera, hha, nyu_camera
from fcn_jax.prepare.hha.files import Failure, Written, read_depth, write_hha

__all__ = [
    "NYU",
    "NYU_CROPPED",
    "Camera",
    "Failure",
    "Written",
    "hha",
    "nyu_camera",
    "read_depth",
    "write_hha",
]
