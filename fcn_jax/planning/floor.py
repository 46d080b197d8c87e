"""The least time that a step can take, from what it computes, moves and sends."""

import dataclasses
import math
from typing import NamedTuple

from fcn_jax.planning.program import Program
from fcn_jax.planning.slices import Chip, links


class Floor(NamedTuple):
    """Seconds that each resource of a chip is busy in one step, at its best speed.

    Attributes:
        operations: computing.
        memory: reading and writing.
        network: sending to the other chips.
    """

    operations: float
    memory: float
    network: float

    @property
    def seconds(self) -> float:
        """The least time of a step: what takes longest, all else hidden behind it."""
        return max(self)

    @property
    def limit(self) -> str:
        """What takes longest: `operations`, `memory` or `network`."""
        return self._fields[self.index(self.seconds)]


def floor_of(program: Program, chip: Chip, shape: tuple[int, ...]) -> Floor:
    """The floor of a compiled program on a slice of this shape.

    All links of a slice carry at best what all of its chips send, so a chip sends at best at the
    speed of its links, on average over the slice.
    """
    sent, speed = program.sent, links(chip, shape) * chip.link
    return Floor(
        program.flops / chip.flops, program.traffic / chip.bandwidth, sent / speed if sent else 0.0
    )


def on_slice(program: Program, chip: Chip, shape: tuple[int, ...], devices: int) -> Floor:
    """The floor on a larger or smaller slice, with as many images on each chip.

    The program of a chip is then the same, but for how many chips take part in what all of them
    did together.

    Args:
        program: compiled for `devices` chips, several, and all of them along `data`.
        chip: the generation of both slices.
        shape: of the other slice.
        devices: chips that the program was compiled for.
    """
    chips = math.prod(shape)
    moved = tuple(
        collective._replace(group=chips) if collective.group == devices else collective
        for collective in program.collectives
    )
    return floor_of(
        dataclasses.replace(program, collectives=moved if chips > 1 else ()), chip, shape
    )
