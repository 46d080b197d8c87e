"""Decoders: from the maps of a trunk to maps that heads stand on.

A decoder is a linen module, called as `decoder(maps, train=train)`: from feature maps by name, the
image first and the deepest last, to further maps by name. Heads use the last of these by default.
"""

from fcn_jax.nets.decoders.aspp import ASPP, DeepLabV3Plus
from fcn_jax.nets.decoders.fpn import FPN
from fcn_jax.nets.decoders.lraspp import LRASPP
from fcn_jax.nets.decoders.psp import PSP
from fcn_jax.nets.decoders.skips import Skips
from fcn_jax.nets.decoders.unet import UNet

__all__ = ["ASPP", "FPN", "LRASPP", "PSP", "DeepLabV3Plus", "Skips", "UNet"]
