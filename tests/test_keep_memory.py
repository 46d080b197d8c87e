"""A process that keeps its memory does not ask the system for the same pages again."""

import os
import subprocess
import sys

import pytest

# Allocates, writes and frees 100 MB twice; prints the page faults of the second time.
PROGRAM = """
import ctypes, resource, sys
from fcn_jax.devices.memory import keep_memory
done = keep_memory() if sys.argv[1] == "keep" else None
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]

def use():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = libc.malloc(ctypes.c_size_t(100_000_000))
    ctypes.memset(block, 1, 100_000_000)
    libc.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

use()
print(done, use())
"""


def second_time(how: str, **environment: str) -> tuple[str, int]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, how],
        env=clean | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    kept, faults = done.stdout.split()
    return kept, int(faults)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_freed_memory_is_used_again():
    kept, faults = second_time("keep")
    assert kept == "True" and faults < 100
    assert second_time("as it is")[1] > 1000  # the control


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_the_environment_decides_where_it_speaks():
    assert second_time("keep", MALLOC_ARENA_MAX="4")[0] == "False"
