"""Small programs that repeat the papers' side studies: `python -m experiments.studies.NAME`.

Each prints a table with the papers' numbers beside ours, and saves a plot. The papers are FCN at
CVPR 2015 and in TPAMI 2017. docs/studies.md has our results.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from fcn_jax.devices.compiling import compiler_options


def command(main: Callable[..., None], options: type | None = None) -> None:
    """Runs a study from the command line.

    Args:
        main: the study; its parameters are the options.
        options: the dataclass of options, if `main` takes one.
    """
    import tyro

    from fcn_jax.runs.command_line import arguments, own_process
    from fcn_jax.runs.messages import messages

    own_process()
    with messages(False):
        if options is None:
            tyro.cli(main, args=arguments())
        else:
            main(tyro.cli(options, args=arguments()))


@dataclasses.dataclass(frozen=True)
class Cost:
    """Time and memory of one run of a compiled program.

    Attributes:
        flops: floating point operations, as the compiler counts them; a loop's body counts once.
        memory: bytes of temporaries and results.
        seconds: on a CPU, median processor time of all threads, which other work on the machine
            affects less than wall time; on other devices, median wall time.
    """

    flops: float
    memory: int
    seconds: float


def stopwatch() -> Callable[[], float]:
    """The clock of `Cost.seconds`."""
    return time.process_time if jax.default_backend() == "cpu" else time.perf_counter


def costs(programs: Mapping[str, Callable[..., Any]], *arguments: Any, repeats: int) -> list[Cost]:
    """The cost of each program on the same arguments.

    Args:
        programs: by name.
        arguments: of every program.
        repeats: timed runs of each, in turns, after one run that is not timed.
    """
    compiled = [
        jax.jit(program, compiler_options=compiler_options()).lower(*arguments).compile()
        for program in programs.values()
    ]
    clock = stopwatch()
    rounds = []
    for _ in range(repeats + 1):
        seconds = []
        for program in compiled:
            start = clock()
            jax.block_until_ready(program(*arguments))
            seconds.append(clock() - start)
        rounds.append(seconds)
    found = []
    for program, median in zip(compiled, np.median(rounds[1:], axis=0), strict=True):
        sizes, counts = program.memory_analysis(), program.cost_analysis()
        assert sizes is not None and counts is not None
        memory = sizes.temp_size_in_bytes + sizes.output_size_in_bytes
        found.append(Cost(counts["flops"], memory, float(median)))
    return found
