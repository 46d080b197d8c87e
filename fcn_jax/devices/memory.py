"""How a process on a CPU keeps the memory that its programs use again and again."""

import ctypes
import os

# Numbers of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8
_CHOSEN = ("GLIBC_TUNABLES", "MALLOC_", "LD_PRELOAD")


def keep_memory() -> bool:
    """Makes malloc keep freed memory for the next allocation, and not return it to the system.

    XLA allocates the temporary arrays of a program anew at each call. glibc returns arrays of more
    than 32 MB to the system when they are freed, and the next call waits until the system has
    mapped and cleared every page again: a third of a train step (docs/performance.md). The price
    is that a process stays as large as it once was, and somewhat larger.

    Call it before JAX starts its threads, so before the first array; commands and experiments do.
    Call `malloc_trim` to return memory all the same.

    Returns:
        Whether it was done: false without glibc, or where the environment already chooses how
        memory is allocated (`GLIBC_TUNABLES`, `MALLOC_…`, `LD_PRELOAD`).

    Source: mallopt(3). One arena, because those beside the first hold at most 64 MB in one piece.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None or any(name.startswith(_CHOSEN) for name in os.environ):
        return False
    settings = {_M_ARENA_MAX: 1, _M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: -1}
    return all([mallopt(name, value) for name, value in settings.items()])
