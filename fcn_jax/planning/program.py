"""A recipe's train step, compiled from shapes alone: without parameters, images or hardware."""

import dataclasses
import inspect
import math
import re
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from fcn_jax.devices.mesh import make_mesh
from fcn_jax.nets.inputs import placeholder
from fcn_jax.nn import savings
from fcn_jax.planning.collectives import Collective, collectives
from fcn_jax.planning.slices import Slice
from fcn_jax.preprocessing import CAFFE, AnyPreprocessing, LogDepth
from fcn_jax.runs.recipe import Recipe
from fcn_jax.training.state import State, create_state, state_shardings
from fcn_jax.training.step import Batch, make_train_step


@dataclasses.dataclass(frozen=True, kw_only=True)
class Step:
    """A train step to plan.

    Attributes:
        recipe: gives net, loss, optimizer, frozen layers and passes.
        preprocessing: the preprocessing of the net's inputs. If the recipe takes it from a file of
            weights, any of the same kind will do: its numbers do not change the plan.
        batch: images per pass, over all chips.
        size: rows and columns of the canvas.
        data: parts into which the images are divided.
        space: parts into which their rows are divided.
        shard_optimizer: the optimizer's state is divided along `data`.
        rematerialise: keep fewer activations for the gradient, and compute them again.
        uniform: every image fills its canvas, so the step needs no masks.

    Raises:
        ValueError: batch or size is below 1.
    """

    recipe: Recipe
    preprocessing: AnyPreprocessing = CAFFE
    batch: int
    size: tuple[int, int]
    data: int = 1
    space: int = 1
    shard_optimizer: bool = False
    rematerialise: bool = False
    uniform: bool = False

    def __post_init__(self):
        if min(self.batch, *self.size) < 1:
            h, w = self.size
            raise ValueError(f"batch and size must be at least 1; found {self.batch}, {h}x{w}")

    @property
    def net(self) -> Any:
        """The recipe's net."""
        return self.recipe.model

    def with_dtype(self, dtype: Any) -> "Step":
        """The same step with a net that computes in another dtype; None changes nothing."""
        if dtype is None:
            return self
        model = _with_dtype(self.net, dtype)
        return dataclasses.replace(self, recipe=dataclasses.replace(self.recipe, model=model))


def _with_dtype(net: Any, dtype: Any) -> Any:
    if streams := getattr(net, "streams", None):
        return net.clone(streams={name: _with_dtype(each, dtype) for name, each in streams.items()})
    return net.clone(dtype=dtype)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Program:
    """The compiler's figures for a step, on one chip.

    Attributes:
        needed: peak memory, in bytes.
        state: bytes of it for parameters and optimizer state.
        batch: bytes of it for images and labels.
        flops: operations.
        traffic: bytes that the operations read and write, as XLA counts them.
        collectives: operations between the chips.
        seconds: time that compiling took.
        refused: the compiler stopped because the memory is too small; only `needed` is known.
    """

    needed: int
    state: int = 0
    batch: int = 0
    flops: float = 0.0
    traffic: float = 0.0
    collectives: tuple[Collective, ...] = ()
    seconds: float = 0.0
    refused: bool = False

    @property
    def sent(self) -> float:
        """Bytes that a chip sends to the others."""
        return sum((c.sent for c in self.collectives), 0.0)


def abstract_state(recipe: Recipe, mesh: Mesh, *, shard_optimizer: bool = False) -> State:
    """Shapes of the state before the first step, each with its sharding."""
    optimizer = recipe.optimizer()

    def create(key: Any, images: Any) -> State:
        variables = recipe.model.init(key, images)
        return create_state(variables, optimizer, frozen=recipe.frozen, place=lambda tree: tree)

    state = jax.eval_shape(create, jax.random.key(0), placeholder(recipe.model))
    return jax.tree.map(
        lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        state,
        state_shardings(state, mesh, shard_optimizer=shard_optimizer),
    )


def abstract_batch(step: Step, mesh: Mesh) -> Batch:
    """Shapes of a batch, images over `data`."""
    images = step.batch * step.recipe.accumulate
    sharding = NamedSharding(mesh, PartitionSpec("data"))

    def array(*shape: int, dtype: Any = np.uint8) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((images, *shape), dtype, sharding=sharding)

    def image(taken: jax.ShapeDtypeStruct, preprocessing: Any) -> jax.ShapeDtypeStruct:
        dtype = np.uint16 if isinstance(preprocessing, LogDepth) else np.uint8
        return array(*step.size, taken.shape[-1], dtype=dtype)

    inputs, classes = placeholder(step.net), step.net.num_classes
    if isinstance(inputs, dict):
        of_input = getattr(step.preprocessing, "inputs", {})
        inputs = {name: image(taken, of_input.get(name)) for name, taken in inputs.items()}
    else:
        inputs = image(inputs, step.preprocessing)
    label = array(*step.size)
    labels = label if isinstance(classes, int) else dict.fromkeys(classes, label)
    batch: Batch = {"image": inputs, "label": labels}
    return batch if step.uniform else {**batch, "size": array(2, dtype=np.int32)}


def lower_step(step: Step, place: Slice) -> tuple[Any, State, Batch]:
    """The step that training runs, traced for the chips without the hardware; its arguments.

    Raises:
        ValueError: the mesh does not fit the slice or the batch.
    """
    recipe, axes = step.recipe, {"data": step.data, "space": step.space}
    mesh = make_mesh(step.batch, list(place.devices), axes=axes)
    train_step: Any = make_train_step(
        recipe.model,
        recipe.optimizer(),
        recipe.loss,
        step.preprocessing,
        seed=recipe.seed,
        accumulate=recipe.accumulate,
        mesh=mesh,
        shard_optimizer=step.shard_optimizer,
    )
    if place.chip:  # `fcn_jax.jit` would add the compiler options of this machine
        train_step = jax.jit(inspect.unwrap(train_step), donate_argnums=0)
    state = abstract_state(recipe, mesh, shard_optimizer=step.shard_optimizer)
    batch = abstract_batch(step, mesh)
    platform = "tpu" if place.chip else place.devices[0].platform
    with savings.use(rematerialise=step.rematerialise), savings.traced_for(platform):
        return train_step.lower(state, batch), state, batch


def compile_step(step: Step, place: Slice) -> Program:
    """Compiles the step that training runs with the compiler of these chips.

    Raises:
        ValueError: the mesh does not fit the slice or the batch.
    """
    lowered, state, batch = lower_step(step, place)
    start = time.monotonic()
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        if (needed := memory_asked_for(str(error))) is None:
            raise
        return Program(needed=needed, refused=True, seconds=time.monotonic() - start)
    seconds = time.monotonic() - start
    memory, cost = compiled.memory_analysis(), compiled.cost_analysis()
    return Program(
        needed=memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
        + memory.temp_size_in_bytes
        + memory.generated_code_size_in_bytes,
        state=_bytes_on_a_chip(state),
        batch=_bytes_on_a_chip(batch),
        flops=cost.get("flops", 0.0),
        traffic=cost.get("bytes accessed", 0.0),
        collectives=tuple(collectives(compiled.as_text(), step.data * step.space)),
        seconds=seconds,
    )


def memory_asked_for(message: str) -> int | None:
    """Bytes that a program needs, from the error of a TPU's compiler; None for other errors.

    libtpu's error is "the total memory required … (24.00G) exceeds available HBM (15.75G)" or, at a
    later stage, "Used 17.37G of 15.75G hbm". Both include the arguments.
    """
    found = re.search(r"\(([\d.]+)([KMGT])\) exceeds|Used ([\d.]+)([KMGT]) of", message)
    if found is None:
        return None
    number, unit = (part for part in found.groups() if part)
    return int(float(number) * 1024 ** ("KMGT".index(unit) + 1))


def _bytes_on_a_chip(tree: Any) -> int:
    shards = ((x.sharding.shard_shape(x.shape), x.dtype) for x in jax.tree.leaves(tree))
    return sum(math.prod(shape) * jnp.dtype(dtype).itemsize for shape, dtype in shards)
