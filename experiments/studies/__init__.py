"""Small programs that measure what the papers say in passing: `python -m experiments.studies.NAME`.

Each prints its table, the papers' numbers beside ours, and saves a plot. docs/studies.md has what
they showed.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from fcn_jax.devices.compiling import compiler_options


def command(main: Callable[..., None], options: type | None = None) -> None:
    """Runs a study from the command line; the last line of each.

    Args:
        main: the study; its parameters are the options.
        options: a dataclass of options, where `main` takes one.
    """
    import tyro

    from fcn_jax.runs.messages import messages

    with messages(False):
        if options is None:
            tyro.cli(main)
        else:
            main(tyro.cli(options))


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
