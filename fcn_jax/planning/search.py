"""What to change where a step does not fit into a chip's memory."""

import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple

from fcn_jax.planning.program import Program, Step
from fcn_jax.planning.slices import Slice, chips

Compile = Callable[[Step, Slice], Program]


class Remedy(NamedTuple):
    """A step that was compiled in place of one that does not fit.

    Attributes:
        change: what was changed, as options of the command line.
        step: the step.
        program: what the compiler says of it.
    """

    change: str
    step: Step
    program: Program


def fits(program: Program, place: Slice) -> bool:
    """Whether the compiler took the program, and the chip has the memory."""
    return not program.refused and program.needed <= place.memory


def remedies(step: Step, place: Slice, program: Program, compile: Compile) -> list[Remedy]:
    """Ways to make a step fit: less kept, an optimizer or rows divided, fewer images.

    Args:
        step: that does not fit.
        place: the slice.
        program: what the compiler says of the step.
        compile: `compile_step`.

    Returns:
        Those that do fit; at most five steps are compiled.
    """
    found = []
    for change, other in _at_the_same_batch(step, place):
        result = compile(other, place)
        if fits(result, place):
            found.append(Remedy(change, other, result))
    if (smaller := _fewer_images(step, place, program, compile)) is not None:
        found.append(smaller)
    return found


def _at_the_same_batch(step: Step, place: Slice) -> list[tuple[str, Step]]:
    tried = []
    can_rematerialise = getattr(getattr(step.net, "trunk", None), "rematerialises", False)
    if can_rematerialise and not step.rematerialise:
        tried.append(("--rematerialise", dataclasses.replace(step, rematerialise=True)))
    if step.data > 1 and not step.shard_optimizer:
        tried.append(("--shard-optimizer", dataclasses.replace(step, shard_optimizer=True)))
    space = len(place.devices) // step.data
    if space > step.space:
        mesh = f"--mesh data={step.data},space={space}"
        tried.append((mesh, dataclasses.replace(step, space=space)))
    return tried


def _fewer_images(step: Step, place: Slice, program: Program, compile: Compile) -> Remedy | None:
    """The largest batch that fits, as far as two compiled ones tell: memory grows by the image."""
    most, smallest = step.batch // step.data, 1
    if most == smallest:
        return None
    here = max(smallest, min(most - 1, int(most * 0.9 * place.memory / program.needed)))
    best = None
    points = [(most, program.needed)]
    for _ in range(2):
        batch = here * step.data
        other = dataclasses.replace(step, batch=batch)
        result = compile(other, place)
        points.append((here, result.needed))
        if fits(result, place):
            best = Remedy(f"--batch {batch}", other, result)
        (a, need_a), (b, need_b) = points[0], points[-1]
        each = max((need_a - need_b) / (a - b), 1)
        there = int(b + (place.memory - need_b) // each)
        there = max(smallest, min(there, most - 1))
        if there == here or (best and there < here):
            break
        here = there
    return best


def slice_for(step: Step, place: Slice, per_chip: int) -> str | None:
    """The smallest slice of the generation that holds the batch at so many images on a chip.

    Computed, not compiled: a chip's program is the same however many chips there are.
    """
    if place.chip is None:
        return None
    needed = math.ceil(step.batch / per_chip) * step.space
    enough = (shape for shape in place.chip.shapes if chips(shape) >= needed)
    shape = next(enough, None)
    return shape and f"{place.name.partition(':')[0]}:{shape}"
