"""What to change if a step does not fit into a chip's memory."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

from fcn_jax.arithmetic import ceil_div
from fcn_jax.planning.program import Program, Step
from fcn_jax.planning.slices import Slice, chips

Compile = Callable[[Step, Slice], Program]


class Remedy(NamedTuple):
    """A step that fits, in place of one that does not.

    Attributes:
        change: what was changed, as options of the command line.
        step: the changed step.
        program: its compiled program.
    """

    change: str
    step: Step
    program: Program


def fits(program: Program, place: Slice) -> bool:
    """Whether the compiler accepted the program, and the chip has enough memory."""
    return not program.refused and program.needed <= place.memory


def remedies(step: Step, place: Slice, program: Program, compile: Compile) -> list[Remedy]:
    """Ways to make a step fit: keep less, divide the optimizer or the rows, use fewer images.

    Args:
        step: a step that does not fit.
        place: the slice.
        program: the compiled program of the step.
        compile: `compile_step`.

    Returns:
        The steps that fit. It compiles at most five.
    """
    tried = [
        Remedy(change, changed, compile(changed, place))
        for change, changed in _at_the_same_batch(step, place)
    ]
    smaller = _fewer_images(step, place, program, compile)
    return [remedy for remedy in [*tried, smaller] if remedy and fits(remedy.program, place)]


def _at_the_same_batch(step: Step, place: Slice) -> list[tuple[str, Step]]:
    """Steps with the same images that need less memory, each with its options."""
    steps = []
    can_rematerialise = getattr(getattr(step.net, "trunk", None), "rematerialises", False)
    if can_rematerialise and not step.rematerialise:
        steps.append(("--rematerialise", dataclasses.replace(step, rematerialise=True)))
    if step.data > 1 and not step.shard_optimizer:
        steps.append(("--shard-optimizer", dataclasses.replace(step, shard_optimizer=True)))
    space = len(place.devices) // step.data
    if space > step.space:
        mesh = f"--mesh data={step.data},space={space}"
        steps.append((mesh, dataclasses.replace(step, space=space)))
    return steps


def _fewer_images(step: Step, place: Slice, program: Program, compile: Compile) -> Remedy | None:
    """The largest batch that fits, found by compiling two smaller ones at most.

    Memory grows linearly with the images on a chip. The first batch is a guess below the
    proportional one; a line through both programs then gives the second.
    """
    most = step.batch // step.data  # images on a chip
    if most == 1:
        return None

    def in_range(images: float) -> int:
        return max(1, min(int(images), most - 1))

    best = None
    images = in_range(0.9 * most * place.memory / program.needed)
    for _ in range(2):
        batch = images * step.data
        smaller = dataclasses.replace(step, batch=batch)
        result = compile(smaller, place)
        if fits(result, place):
            best = Remedy(f"--batch {batch}", smaller, result)
        bytes_per_image = max((program.needed - result.needed) / (most - images), 1)
        room = (place.memory - result.needed) // bytes_per_image  # in images; negative: too many
        estimate = in_range(images + room)
        if estimate == images or (best and estimate < images):
            break
        images = estimate
    return best


def slice_for(step: Step, place: Slice, per_chip: int) -> str | None:
    """The smallest slice of the generation that holds the batch at `per_chip` images on a chip.

    This is computed, not compiled: a chip runs the same program for any number of chips.
    """
    if place.chip is None:
        return None
    needed = ceil_div(step.batch, per_chip) * step.space
    enough = (shape for shape in place.chip.shapes if chips(shape) >= needed)
    shape = next(enough, None)
    return shape and f"{place.generation}:{shape}"
