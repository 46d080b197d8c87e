"""HHA from depth: disparity, height above the floor, angle with gravity; without jax."""

from fcn_jax.prepare.hha.encoding import NYU, NYU_CROPPED, Camera, hha, nyu_camera
from fcn_jax.prepare.hha.files import Failure, Written, write_hha

__all__ = ["NYU", "NYU_CROPPED", "Camera", "Failure", "Written", "hha", "nyu_camera", "write_hha"]
