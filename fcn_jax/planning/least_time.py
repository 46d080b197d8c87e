"""The least time of a step, from what it computes, moves and sends."""

import dataclasses
import math
from typing import NamedTuple

from fcn_jax.planning.program import Program
from fcn_jax.planning.slices import Chip, links


class LeastTime(NamedTuple):
    """Seconds that each resource of a chip is busy in one step, at its highest speed.

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
        """The least time of a step: the busiest resource, while the others work beside it."""
        return max(self)

    @property
    def limit(self) -> str:
        """The busiest resource: `operations`, `memory` or `network`."""
        return self._fields[self.index(self.seconds)]


def least_time(program: Program, chip: Chip, shape: tuple[int, ...]) -> LeastTime:
    """The least time of a compiled program on a slice of this shape.

    The links of a slice carry at most what all of its chips send. So the highest speed at which a
    chip sends is that of its links, averaged over the slice.
    """
    speed = links(chip, shape) * chip.link
    return LeastTime(
        operations=program.flops / chip.flops,
        memory=program.traffic / chip.bandwidth,
        network=program.sent / speed if program.sent else 0.0,
    )


def least_time_on_slice(
    program: Program, chip: Chip, shape: tuple[int, ...], *, compiled_for: int
) -> LeastTime:
    """The least time on a larger or smaller slice, with the same number of images on each chip.

    Each chip then runs the same program. Only collectives among all chips change: more or fewer
    chips take part.

    Args:
        program: compiled for several chips, all of them along `data`.
        chip: the generation of both slices.
        shape: of the other slice.
        compiled_for: chips that the program was compiled for.
    """
    chips = math.prod(shape)
    resized = (
        collective._replace(group=chips) if collective.group == compiled_for else collective
        for collective in program.collectives
    )
    return least_time(
        dataclasses.replace(program, collectives=tuple(resized) if chips > 1 else ()), chip, shape
    )
