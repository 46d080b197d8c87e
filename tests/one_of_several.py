"""One process of a run of several, for `test_processes.py`.

Its arguments: process, processes, coordinator, folder, mesh, steps, and optionally what happens at
which batch (`kill 5`, `stop 5`, `fail 5`). A single process joins nobody. A run of 2 steps has a
smaller net than the others, without batch norm, dropout and accumulation.
"""

import dataclasses
import os
import signal
import sys
from pathlib import Path

import jax

import fcn_jax.runs.run as run_module
from fcn_jax import FCN
from fcn_jax.devices.processes import join
from fcn_jax.nn.layers import Conv, MaxPool, nn
from fcn_jax.runs.lookup import import_recipe_module
from fcn_jax.runs.messages import messages
from fcn_jax.runs.place import Place

HEARTBEAT = 5  # seconds until the others notice that a process died
TINY = Path(__file__).with_name("tiny_recipe.py")


class OneConv(nn.Module):
    @nn.compact
    def __call__(self, x, *, train):
        x = Conv(8, 3, padding=1, relu=True, name="conv1")(x)
        return {"pool1": MaxPool(name="pool1")(x)}


def recipe(steps):
    normal = dataclasses.replace(
        import_recipe_module(str(TINY)).RECIPE,
        steps=steps,
        evaluate_every=4,
        checkpoint_every=2,
    )
    if steps > 2:
        return normal
    return dataclasses.replace(normal, model=FCN(OneConv(), 4), accumulate=1, frozen=())


def read_ahead_until(what, at):
    """`read_ahead` that kills, stops or fails its process at batch `at`."""
    read_ahead = run_module.read_ahead

    def reader(batches, start, stop, *, threads):
        for n, batch in enumerate(read_ahead(batches, start, stop, threads=0), start):
            if n == at and what == "fail":
                raise ValueError("photo.jpg is damaged")
            if n == at:
                os.kill(os.getpid(), {"kill": signal.SIGKILL, "stop": signal.SIGTERM}[what])
            yield batch

    return reader


def main(process, processes, coordinator, folder, mesh, steps, what="", at="0"):
    if what:
        run_module.read_ahead = read_ahead_until(what, int(at))
    with messages(False):
        if int(processes) > 1:
            join(coordinator, int(processes), int(process), heartbeat_seconds=HEARTBEAT)
        place = Place(workdir=Path(folder), threads=0, mesh=mesh, shard_optimizer=True)
        run_module.run(recipe(int(steps)), place, origin={"module": str(TINY), "overrides": {}})


if __name__ == "__main__":
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", 4)
    main(*sys.argv[1:])
