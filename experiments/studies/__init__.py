"""Small programs that measure what the papers say in passing: `python -m experiments.studies.NAME`.

Each prints its table, the papers' numbers beside ours, and saves a plot. docs/studies.md has what
they showed.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import numpy as np

from fcn_jax.compiling import compiler_options
from fcn_jax.files import write_atomically

_COLOURS = ("#1f4e79", "#c0504d", "#6a8f3c", "#7a5aa0", "#c98a1b", "#4a9a9a")
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 640, 360, 60, 50, 40


def save_chart(
    path: Path | str,
    title: str,
    ticks: Sequence[str],
    series: Mapping[str, Sequence[float | None]],
    places: Mapping[str, Sequence[float]] = MappingProxyType({}),
) -> Path:
    """Writes lines over evenly spaced ticks as an SVG, atomically.

    Args:
        path: the file, `.svg`.
        title: heading, which names the vertical axis and its unit.
        ticks: labels of the horizontal axis.
        series: by name, one value per tick, or None where there is none.
        places: by name, where the values of a series lie if not on the ticks: 1.5 is half way
            between the second and the third.

    Returns:
        `path`.

    Raises:
        ValueError: a series has not one entry per tick or place, or no series has a value.
    """
    values = [v for line in series.values() for v in line if v is not None]
    at = {name: places.get(name, range(len(ticks))) for name in series}
    if not values or any(len(line) != len(at[name]) for name, line in series.items()):
        raise ValueError(
            f"{path}: a chart needs values and one entry per tick ({len(ticks)}); found "
            f"{ {name: len(line) for name, line in series.items()} }. Put None where there is none."
        )
    low, high = min(0.0, *values), max(values)
    high = high if high > low else low + 1
    plot = _HEIGHT - _TOP - _BOTTOM

    def x(i: float) -> float:
        return _LEFT + (i + 0.5) * (_WIDTH - _LEFT) / len(ticks)

    def y(value: float) -> float:
        return _TOP + plot * (high - value) / (high - low)

    parts = [_text(_LEFT, 20, title, "start")]
    for i in range(5):
        level = low + (high - low) * i / 4
        parts.append(_text(_LEFT - 6, y(level) + 4, f"{level:.3g}", "end"))
        parts.append(
            f'<path d="M{_LEFT} {y(level):.1f}H{_WIDTH}" stroke="#ddd"/>'  # a level of the axis
        )
    parts += [_text(x(i), _HEIGHT - 30, tick, "middle") for i, tick in enumerate(ticks)]
    for n, (name, line) in enumerate(series.items()):
        colour = _COLOURS[n % len(_COLOURS)]
        points = [(x(i), y(v)) for i, v in zip(at[name], line, strict=True) if v is not None]
        path_data = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        parts.append(f'<polyline points="{path_data}" fill="none" stroke="{colour}"/>')
        parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{colour}"/>' for a, b in points]
        place = _LEFT + n * (_WIDTH - _LEFT) / len(series)
        parts.append(_text(place, _HEIGHT - 8, name, "start", colour))
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" '
        f'font-family="sans-serif" font-size="12">'
        f'<rect width="100%" height="100%" fill="white"/>{"".join(parts)}</svg>\n'
    )
    return write_atomically(path, lambda part: part.write_text(svg, encoding="utf-8"))


def _text(x: float, y: float, words: str, anchor: str, colour: str = "#333") -> str:
    safe = words.replace("&", "&amp;").replace("<", "&lt;")
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{safe}</text>'


@dataclasses.dataclass(frozen=True)
class Cost:
    """What one run of a compiled program takes.

    Attributes:
        flops: floating point operations, as the compiler counts them; a loop's body counts once.
        memory: bytes that it needs beside its arguments.
        seconds: median processor time of all its threads, which other work on the machine disturbs
            less than the clock on the wall; on other devices than a CPU, wall time.
    """

    flops: float
    memory: int
    seconds: float


def stopwatch() -> Callable[[], float]:
    """The clock of `Cost.seconds`."""
    return time.process_time if jax.default_backend() == "cpu" else time.perf_counter


def costs(programs: Mapping[str, Callable[..., Any]], *arguments: Any, repeats: int) -> list[Cost]:
    """The cost of each program on the same arguments, timed in turns after one run unmeasured."""
    compiled = [
        jax.jit(program, compiler_options=compiler_options()).lower(*arguments).compile()
        for program in programs.values()
    ]
    clock = stopwatch()
    seconds = []
    for _ in range(repeats + 1):
        turn = []
        for program in compiled:
            start = clock()
            jax.block_until_ready(program(*arguments))
            turn.append(clock() - start)
        seconds.append(turn)
    found = []
    for program, took in zip(compiled, np.median(seconds[1:], axis=0), strict=True):
        sizes, counts = program.memory_analysis(), program.cost_analysis()
        assert sizes is not None and counts is not None
        memory = sizes.temp_size_in_bytes + sizes.output_size_in_bytes
        found.append(Cost(counts["flops"], memory, float(took)))
    return found
