"""Several processes that make one run, through `jax.distributed`: joining, stopping, ending.

Every process runs the same program on its own devices, and reads its own images. Process 0 leads:
it prints and writes. If a process dies, the others end: at once if a connection breaks, otherwise
when JAX misses heartbeats (see `join`).
"""

import os
import re
import sys
from typing import NoReturn

import jax
from jax.experimental import multihost_utils


def join(
    coordinator: str | None = None,
    processes: int | None = None,
    process: int | None = None,
    *,
    heartbeat_seconds: int = 100,
) -> None:
    """Join the other processes of this run; call it before any other use of JAX.

    Without arguments, JAX finds the others on Cloud TPU, under SLURM (`srun`) and under Open MPI;
    without a cluster, nothing happens.

    Args:
        coordinator: HOST:PORT of process 0, if JAX finds no cluster.
        processes: number of processes.
        process: number of this process, from 0.
        heartbeat_seconds: a process that is silent this long counts as dead (100 is JAX's default).

    Raises:
        ValueError: some of the three are missing or wrong, or the others did not come.
    """
    given = {"--coordinator": coordinator, "--processes": processes, "--process": process}
    missing = [name for name, value in given.items() if value is None]
    if missing and len(missing) < len(given):
        raise ValueError(
            f"{', '.join(sorted(given.keys() - missing))} without {', '.join(missing)}; a run of "
            "several processes needs all three: --coordinator HOST:PORT --processes N --process I"
        )
    if processes is not None and processes < 1:
        raise ValueError(f"--processes {processes}: expected at least 1")
    if coordinator is not None and not re.fullmatch(r".+:\d+", coordinator):
        raise ValueError(f"--coordinator {coordinator}: expected HOST:PORT")
    if processes is not None and process is not None and not 0 <= process < processes:
        raise ValueError(f"--process {process}: expected 0 to {processes - 1} of {processes}")
    if missing and os.environ.get("SLURM_NTASKS") == "1":
        return  # alone; JAX would use only one GPU of the node
    try:
        jax.distributed.initialize(
            coordinator, processes, process, heartbeat_timeout_seconds=heartbeat_seconds
        )
    except ValueError as error:
        # JAX's message when it finds no cluster.
        if not missing or "coordinator_address should be defined" not in str(error):
            raise
    except jax.errors.JaxRuntimeError as error:
        raise ValueError(
            f"the {processes or 'other'} processes of this run did not find each other: {error}. "
            "Start all of them within minutes of each other, with a --coordinator HOST:PORT that "
            "every machine can reach"
        ) from None


def is_leader() -> bool:
    """Whether this process prints and writes."""
    return jax.process_index() == 0


def wait_for_all(where: str) -> None:
    """Wait until every process has come here; `where` is the same text in all of them."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(where)


def stop_agreed(step: int) -> bool:
    """Whether all processes stop after this step, because one of them got SIGTERM.

    Every process asks once after every step, and all get the same answer. JAX's own handler of
    SIGTERM takes the signal.
    """
    return multihost_utils.reached_preemption_sync_point(step)


def lost_process_message(error: BaseException | None) -> str | None:
    """The message for JAX's error when another process has ended; None for other errors."""
    if not (isinstance(error, jax.errors.JaxRuntimeError) and jax.distributed.is_initialized()):
        return None
    return (
        f"process {jax.process_index()} of {jax.process_count()} cannot continue: {error}\n"
        "If another process has ended, its own output says why. Start all of them again: the run "
        "resumes from its last checkpoint."
    )


def exit_process(status: int) -> NoReturn:
    """End this process after an error.

    With several processes it does not use Python's normal exit: JAX would wait there for the
    others, while they wait for this process.
    """
    if not jax.distributed.is_initialized():
        sys.exit(status)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
