"""Runs a module up to its first train step: `python -m benchmarks.first_step MODULE ARGUMENTS`.

This is the program of `python -m MODULE ARGUMENTS`, except that the process ends with the status
`DONE` after the first step.
"""

import os
import runpy
import sys
from typing import Any

DONE = 17


def main() -> None:
    import jax

    import fcn_jax.runs.run

    make = fcn_jax.runs.run.make_train_step

    def make_and_end(*args: Any, **kwargs: Any) -> Any:
        step = make(*args, **kwargs)

        def first(state: Any, batch: Any) -> None:
            jax.block_until_ready(step(state, batch))
            os._exit(DONE)

        return first

    fcn_jax.runs.run.make_train_step = make_and_end
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
