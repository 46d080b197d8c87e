"""A plan as text."""

from collections import Counter
from collections.abc import Iterator

import jax.numpy as jnp

from fcn_jax.planning.least_time import least_time, least_time_on_slice
from fcn_jax.planning.program import Program, Step
from fcn_jax.planning.search import Remedy, fits, slice_for
from fcn_jax.planning.slices import Slice, chips, chips_along_axes, links

_GIB = 2**30


def report(step: Step, place: Slice, program: Program) -> str:
    """Memory, operations and bytes of a step on each chip, and its least time."""
    return "\n".join(_lines(step, place, program))


def _lines(step: Step, place: Slice, program: Program) -> Iterator[str]:
    parts = step.data * step.space
    (rows, columns), dtype = step.size, getattr(step.net, "dtype", None)
    kind = f", {jnp.dtype(dtype).name}" if dtype else ""
    yield f"{step.batch} images of {rows}x{columns}{kind}, on {parts} of {place.name}"
    yield f"mesh data={step.data},space={step.space}; compiled in {program.seconds:.0f} s"
    yield ""
    yield "on each chip"
    verdict = "it fits" if fits(program, place) else "it does not fit"
    yield _line(
        "memory", f"{program.needed / _GIB:.2f} of {place.memory / _GIB:.2f} GiB: {verdict}"
    )
    if program.refused:
        yield "  the compiler stopped here, so the rest is not known"
        return
    rest = program.needed - program.state - program.batch
    yield _line("  state", f"{program.state / _GIB:.2f} GiB, parameters and optimizer")
    yield _line("  images", f"{program.batch / _GIB:.2f} GiB, with labels")
    yield _line("  the rest", f"{rest / _GIB:.2f} GiB, activations, gradients and program")
    yield _line("operations", f"{program.flops / 1e12:.3f} TFLOP")
    yield _line("bytes moved", f"{program.traffic / 1e9:.1f} GB")
    yield _line("bytes sent", f"{program.sent / 1e9:.2f} GB")
    if step.recipe.accumulate > 1:
        yield f"  (one pass and the update; a step has {step.recipe.accumulate} passes)"
    yield from _collectives(program)
    if place.chip and fits(program, place):
        yield from _least_time(step, place, program)


def _line(name: str, value: str) -> str:
    return f"  {name:14}{value}"


def _collectives(program: Program) -> Iterator[str]:
    together: Counter[tuple[str, int]] = Counter()
    times: Counter[tuple[str, int]] = Counter()
    for kind, size, group in program.collectives:
        together[kind, group] += size
        times[kind, group] += 1
    yield ""
    yield "between chips" if together else "nothing is sent between chips"
    for (kind, group), size in together.most_common():
        among = "to a neighbour" if kind == "collective-permute" else f"among {group}"
        yield f"  {times[kind, group]} {kind} {among}, {size / 1e6:,.1f} MB in all"


def _least_time(step: Step, place: Slice, program: Program) -> Iterator[str]:
    assert place.chip
    chip, least = place.chip, least_time(program, place.chip, place.shape)
    yield ""
    yield (
        f"a step takes at least {least.seconds * 1e3:.1f} ms, "
        f"{step.batch / least.seconds:,.0f} images/s; limited by {least.limit}"
    )
    operations, memory, network = (f"{seconds * 1e3:.1f} ms" for seconds in least)
    yield _line("operations", f"{operations} at {chip.flops / 1e12:.0f} TFLOP/s")
    yield _line("memory", f"{memory} at {chip.bandwidth / 1e9:,.0f} GB/s")
    if least.network:
        speed = links(chip, place.shape) * chip.link
        yield _line("network", f"{network} at {speed / 1e9:.0f} GB/s")


def remedies_report(step: Step, place: Slice, found: list[Remedy]) -> str:
    """The steps that fit, all compiled, and the slice that would hold the batch."""
    lines = ["", "what fits, each compiled:" if found else "nothing that was tried fits"]
    for change, other, program in found:
        line = f"  {change}: {program.needed / _GIB:.2f} GiB"
        if place.chip:
            seconds = least_time(program, place.chip, place.shape).seconds
            line += f", at least {seconds * 1e3:.1f} ms, {other.batch / seconds:,.0f} images/s"
        lines.append(line)
    fewer = [other for _, other, _ in found if other.batch < step.batch]
    if fewer and (larger := slice_for(step, place, fewer[0].batch // fewer[0].data)):
        lines.append(
            f"  --topology {larger}: batch {step.batch}, as many images on a chip (computed)"
        )
    return "\n".join(lines)


def slices_report(step: Step, place: Slice, program: Program) -> str:
    """A line for every slice of the generation, with the same images on a chip; computed."""
    assert place.chip
    per_chip = step.batch // step.data
    lines = [
        "",
        f"the slices of {place.generation} at {per_chip} images on a chip, ms; computed",
        "  slice  chips  batch  operations  memory  network  images/s  limit",
    ]
    for shape in place.chip.shapes:
        n, axes = chips(shape), chips_along_axes(shape)
        least = least_time_on_slice(program, place.chip, axes, compiled_for=step.data)
        operations, memory, network = (f"{seconds * 1e3:.1f}" for seconds in least)
        lines.append(
            f"  {shape:>5}  {n:>5}  {per_chip * n:>5}  {operations:>10}  {memory:>6}  "
            f"{network:>7}  {per_chip * n / least.seconds:>8,.0f}  {least.limit}"
        )
    return "\n".join(lines)
