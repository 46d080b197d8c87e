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

from fcn_jax.devices.meeting import Patience, aloud, meet

# What the transports between processes say when the other side is gone.
_LOST = re.compile(
    r"Gloo|coordination service|CoordinationService|Connection (reset|closed) by peer"
)


def join(
    coordinator: str | None = None,
    processes: int | None = None,
    process: int | None = None,
    *,
    timeout_seconds: int | float = 300,
    heartbeat_seconds: int = 100,
) -> None:
    """Join the other processes of this run; call it before any other use of JAX.

    Without arguments, JAX finds the others on Cloud TPU, under SLURM (`srun`) and under Open MPI;
    without a cluster, nothing happens.

    Args:
        coordinator: HOST:PORT of process 0, if JAX finds no cluster.
        processes: number of processes.
        process: number of this process, from 0.
        timeout_seconds: how long to wait for the others. Every minute says who is missing.
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
    address = re.fullmatch(r".+:(\d+)", coordinator or "")
    if coordinator is not None and not (address and 0 < int(address[1]) < 2**16):
        raise ValueError(f"--coordinator {coordinator}: expected HOST:PORT")
    if not timeout_seconds > 0:
        raise ValueError(f"--join-timeout {timeout_seconds}: expected more than 0 seconds")
    if processes is not None and process is not None and not 0 <= process < processes:
        raise ValueError(f"--process {process}: expected 0 to {processes - 1} of {processes}")
    if missing and os.environ.get("SLURM_NTASKS") == "1":
        return  # alone; JAX would use only one GPU of the node
    patience = Patience(timeout_seconds)
    if coordinator is not None and processes is not None and process is not None:
        meet(coordinator, processes, process, patience)
    where = f" at {coordinator}" if coordinator else ""
    try:
        with aloud(f"waiting for the other processes of this run{where}", patience):
            jax.distributed.initialize(
                coordinator,
                processes,
                process,
                initialization_timeout=int(timeout_seconds) + 60,  # `aloud` ends it before
                heartbeat_timeout_seconds=heartbeat_seconds,
            )
    except ValueError as error:
        # JAX's message when it finds no cluster.
        if not missing or "coordinator_address should be defined" not in str(error):
            raise
    except jax.errors.JaxRuntimeError as error:
        raise ValueError(f"the processes of this run{where} did not join: {error}") from None


def is_leader() -> bool:
    """Whether this process prints and writes."""
    return jax.process_index() == 0


def wait_for_all(where: str) -> None:
    """Wait until every process has come here; `where` is the same text in all of them."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(where)


def stop_agreed(call: int) -> bool:
    """Whether all processes stop now, because one of them got SIGTERM.

    Every process asks equally often, in its calls 1, 2, 3, ..., and all get the same answer. JAX's
    own handler of SIGTERM takes the signal.
    """
    return multihost_utils.reached_preemption_sync_point(call)


def lost_process_message(error: BaseException | None) -> str | None:
    """The message where an error shows that another process has ended; None for other errors.

    JAX raises its own kind of error for that. Libraries that use JAX may turn it into another.
    """
    if not jax.distributed.is_initialized():
        return None
    cause = error
    while cause and not (isinstance(cause, jax.errors.JaxRuntimeError) or _LOST.search(str(cause))):
        hidden = cause.__suppress_context__
        cause = cause.__cause__ or (None if hidden else cause.__context__)
    if cause is None:
        return None
    return (
        f"process {jax.process_index()} of {jax.process_count()} cannot continue: {cause}\n"
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
