"""Several processes that make one run, through `jax.distributed`: joining, stopping, ending.

Every process runs the same program on its own devices, and reads its own images. Process 0 leads:
it prints and writes. If a process dies, the others end: at once where that breaks a connection, and
otherwise by JAX when heartbeats have been missing for as long as `join` says.
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
    """Join the other processes of this run; before JAX is used for anything else.

    Without arguments JAX finds them itself on Cloud TPU, under SLURM (`srun`) and under Open MPI;
    on a plain machine nothing happens.

    Args:
        coordinator: HOST:PORT of process 0, where no cluster is found.
        processes: how many there are.
        process: which of them this is, from 0 on.
        heartbeat_seconds: a process that was silent for so long counts as dead (100 is JAX's own).

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
        return  # alone; under SLURM, JAX would leave it one GPU of its node
    try:
        jax.distributed.initialize(
            coordinator, processes, process, heartbeat_timeout_seconds=heartbeat_seconds
        )
    except ValueError as error:
        # How JAX says that it knows no cluster here.
        if not missing or "coordinator_address should be defined" not in str(error):
            raise
    except jax.errors.JaxRuntimeError as error:
        raise ValueError(
            f"the {processes or 'other'} processes of this run did not find each other: {error}. "
            "Start all of them within minutes of each other, with a --coordinator HOST:PORT that "
            "every machine can reach"
        ) from None


def is_leader() -> bool:
    """Whether this is the process that prints and writes."""
    return jax.process_index() == 0


def wait_for_all(where: str) -> None:
    """Go on when every process has come here; `where` is the same text in all of them."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(where)


def stop_agreed(step: int) -> bool:
    """Whether all processes end after this step, since one of them got SIGTERM.

    Every process asks once after every step; all get the same answer. JAX takes SIGTERM for it.
    """
    return multihost_utils.reached_preemption_sync_point(step)


def trouble(error: BaseException | None) -> str | None:
    """What to tell about an error that a process alone does not have; None of any other."""
    if not (isinstance(error, jax.errors.JaxRuntimeError) and jax.distributed.is_initialized()):
        return None
    return (
        f"process {jax.process_index()} of {jax.process_count()} cannot go on: {error}\n"
        "If another process has ended, its own output says why. Start all of them again: the run "
        "goes on from its last checkpoint."
    )


def leave(status: int) -> NoReturn:
    """End this process after an error.

    Not by way of Python's exit where there are others: JAX would wait for them there, while they
    wait for this one.
    """
    if not jax.distributed.is_initialized():
        sys.exit(status)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
