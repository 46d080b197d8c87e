"""A plan in words and figures."""

from collections import Counter
from collections.abc import Iterator

import jax.numpy as jnp

from fcn_jax.planning.floor import floor_of, on_slice
from fcn_jax.planning.program import Program, Step
from fcn_jax.planning.search import Remedy, fits, slice_for
from fcn_jax.planning.slices import Slice, chips

_GIB = 2**30


def report(step: Step, place: Slice, program: Program) -> str:
    """What a step takes on each chip, and how long it lasts at least."""
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
        yield "  the compiler gave up, and says no more"
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
        yield from _floor(step, place, program)


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


def _floor(step: Step, place: Slice, program: Program) -> Iterator[str]:
    assert place.chip
    floor = floor_of(program, place.chip, place.shape)
    rate = step.batch / floor.seconds
    yield ""
    yield (
        f"a step takes at least {floor.seconds * 1e3:.1f} ms, {rate:,.0f} images/s; "
        f"{floor.limit} sets it"
    )
    ms = [f"{seconds * 1e3:.1f} ms" for seconds in floor]
    yield _line("operations", f"{ms[0]} at {place.chip.flops / 1e12:.0f} TFLOP/s")
    yield _line("memory", f"{ms[1]} at {place.chip.bandwidth / 1e9:,.0f} GB/s")
    if floor.network:
        yield _line("network", f"{ms[2]} at {place.links * place.chip.link / 1e9:.0f} GB/s")


def remedies_report(step: Step, place: Slice, found: list[Remedy]) -> str:
    """What does fit, each compiled, and the slice that would hold the batch."""
    lines = ["", "what fits, each compiled:" if found else "nothing that was tried fits"]
    for change, other, program in found:
        line = f"  {change}: {program.needed / _GIB:.2f} GiB"
        if place.chip:
            seconds = floor_of(program, place.chip, place.shape).seconds
            line += f", at least {seconds * 1e3:.1f} ms, {other.batch / seconds:,.0f} images/s"
        lines.append(line)
    fewer = [other for _, other, _ in found if other.batch < step.batch]
    if fewer and (larger := slice_for(step, place, fewer[0].batch // fewer[0].data)):
        lines.append(
            f"  --topology {larger}: batch {step.batch}, as many images on a chip (computed)"
        )
    return "\n".join(lines)


def slices_report(step: Step, place: Slice, program: Program) -> str:
    """A line for every slice of the generation, at as many images on a chip; computed."""
    assert place.chip
    generation = place.name.partition(":")[0]
    compiled = step.data
    lines = [
        "",
        f"the slices of {generation} at {step.batch // compiled} images on a chip, ms; computed",
        "  slice  chips  batch  operations  memory  network  images/s  limit",
    ]
    for shape in place.chip.shapes:
        n, batch = chips(shape), step.batch // compiled * chips(shape)
        extents = tuple(int(extent) for extent in shape.split("x"))
        floor = on_slice(program, place.chip, extents, compiled)
        ms = [f"{seconds * 1e3:.1f}" for seconds in floor]
        lines.append(
            f"  {shape:>5}  {n:>5}  {batch:>5}  {ms[0]:>10}  {ms[1]:>6}  {ms[2]:>7}  "
            f"{batch / floor.seconds:>8,.0f}  {floor.limit}"
        )
    return "\n".join(lines)
