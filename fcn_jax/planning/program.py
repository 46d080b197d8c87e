"""A recipe's train step, compiled without a parameter or a pixel."""

import dataclasses
import functools
import inspect
import re
import time
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from fcn_jax.devices.mesh import make_mesh, over_data
from fcn_jax.nets.inputs import placeholder
from fcn_jax.nn import savings
from fcn_jax.planning.collectives import Collective, collectives
from fcn_jax.planning.slices import Slice
from fcn_jax.preprocessing import CAFFE, Inputs, LogDepth
from fcn_jax.runs.recipe import Recipe
from fcn_jax.training.state import State, create_state
from fcn_jax.training.step import Batch, make_train_step


@dataclasses.dataclass(frozen=True, kw_only=True)
class Step:
    """A train step to be planned.

    Attributes:
        recipe: its net, loss, optimizer, frozen layers and passes.
        preprocessing: what the net is given; of a recipe that starts from a file, any of the same
            kind does, since the numbers change nothing.
        batch: images per pass, over all chips.
        size: rows and columns of the canvas.
        data: parts into which the images are divided.
        space: parts into which their rows are divided.
        shard_optimizer: the optimizer's state is divided like the images.
        rematerialise: keep fewer activations for the gradient, and compute them again.
        uniform: every image fills its canvas, so that the step needs no masks.
    """

    recipe: Recipe
    preprocessing: Inputs = CAFFE
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
    def net(self) -> nn.Module:
        """The recipe's net."""
        return self.recipe.model

    def mesh(self, place: Slice) -> Mesh:
        """The mesh of the step on a slice's first chips.

        Raises:
            ValueError: there are not as many, or the batch cannot be divided so.
        """
        axes = {"data": self.data, "space": self.space}
        return make_mesh(self.batch, list(place.devices), axes=axes)

    def with_dtype(self, dtype: Any) -> "Step":
        """The step of a net that computes in another type; None for the net's own."""
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
    """What the compiler says of a step, on one chip.

    Attributes:
        needed: bytes of memory at the fullest moment.
        state: of these, bytes of parameters and optimizer state.
        batch: of these, bytes of images and labels.
        flops: operations.
        traffic: bytes that the operations read and write, as XLA counts them.
        collectives: what the chips send each other.
        seconds: that compiling took.
        refused: the compiler gave up, since the memory is too small; only `needed` is known.
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
        """Bytes that a chip sends to others."""
        return sum((c.sent for c in self.collectives), 0.0)


def abstract_state(recipe: Recipe, mesh: Mesh, *, shard_optimizer: bool = False) -> State:
    """Shapes of the state before the first step: whole on every chip, but for `shard_optimizer`."""
    optimizer = recipe.optimizer()

    def create(variables: Any) -> State:
        return create_state(variables, optimizer, frozen=recipe.frozen, place=lambda tree: tree)

    def placed(tree: Any, where: Any) -> Any:
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where(x)), tree
        )

    def whole(_: Any) -> NamedSharding:
        return NamedSharding(mesh, PartitionSpec())

    key = jax.eval_shape(lambda: jax.random.key(0))
    state = jax.eval_shape(
        create, jax.eval_shape(recipe.model.init, key, placeholder(recipe.model))
    )
    spread = placed(state.opt_state, functools.partial(over_data, mesh))
    return placed(state, whole).replace(**{"opt_state": spread} if shard_optimizer else {})


def abstract_batch(step: Step, mesh: Mesh) -> Batch:
    """Shapes of a batch, images over `data`."""
    sharding = NamedSharding(mesh, PartitionSpec("data"))

    def array(*shape: int, dtype: Any = np.uint8) -> jax.ShapeDtypeStruct:
        images = step.batch * step.recipe.accumulate
        return jax.ShapeDtypeStruct((images, *shape), dtype, sharding=sharding)

    def image(of: jax.ShapeDtypeStruct, prepared: Any) -> jax.ShapeDtypeStruct:
        dtype = np.uint16 if isinstance(prepared, LogDepth) else np.uint8
        return array(*step.size, of.shape[-1], dtype=dtype)

    taken, prepared = placeholder(step.net), step.preprocessing
    if isinstance(taken, dict):
        parts: Any = getattr(prepared, "inputs", {})
        image_arrays = {name: image(of, parts.get(name)) for name, of in taken.items()}
    else:
        image_arrays = image(taken, prepared)
    label = array(*step.size)
    classes: Any = step.net.num_classes  # type: ignore[attr-defined]
    batch: Batch = {
        "image": image_arrays,
        "label": label if isinstance(classes, int) else {name: label for name in classes},
    }
    return batch if step.uniform else {**batch, "size": array(2, dtype=np.int32)}


def lower_step(step: Step, place: Slice) -> tuple[Any, State, Batch]:
    """The step that training runs, traced for chips that need not be there, and its arguments.

    Raises:
        ValueError: the mesh does not fit the slice or the batch.
    """
    mesh = step.mesh(place)
    recipe = step.recipe
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
    if place.chip:  # `fcn_jax.jit` would give it the options of this machine's compiler
        train_step = jax.jit(inspect.unwrap(train_step), donate_argnums=0)
    state = abstract_state(recipe, mesh, shard_optimizer=step.shard_optimizer)
    batch = abstract_batch(step, mesh)
    with savings.use(rematerialise=step.rematerialise):
        return train_step.lower(state, batch), state, batch


def compile_step(step: Step, place: Slice) -> Program:
    """What the compiler of these chips says of the step that training runs.

    Raises:
        ValueError: the mesh does not fit the slice or the batch.
    """
    lowered, state, batch = lower_step(step, place)
    begun = time.monotonic()
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        if (needed := memory_asked_for(str(error))) is None:
            raise
        return Program(needed=needed, refused=True, seconds=time.monotonic() - begun)
    return read_program(
        compiled,
        step.data * step.space,
        state=_bytes_on_a_chip(state),
        batch=_bytes_on_a_chip(batch),
        seconds=time.monotonic() - begun,
    )


def read_program(compiled: Any, devices: int, **known: Any) -> Program:
    """What a compiled program says of itself."""
    memory = compiled.memory_analysis()
    cost = compiled.cost_analysis()
    return Program(
        needed=memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
        + memory.temp_size_in_bytes
        + memory.generated_code_size_in_bytes,
        flops=cost.get("flops", 0.0),
        traffic=cost.get("bytes accessed", 0.0),
        collectives=tuple(collectives(compiled.as_text(), devices)),
        **known,
    )


def memory_asked_for(message: str) -> int | None:
    """Bytes that a TPU's compiler wanted when it gave up; None where that is not what it says.

    libtpu says "the total memory required … (24.00G) exceeds available HBM (15.75G)" or, later in
    its work, "Used 17.37G of 15.75G hbm"; arguments are counted in.
    """
    found = re.search(r"\(([\d.]+)([KMGT])\) exceeds|Used ([\d.]+)([KMGT]) of", message)
    if found is None:
        return None
    number, unit = (part for part in found.groups() if part)
    return int(float(number) * 1024 ** ("KMGT".index(unit) + 1))


def _bytes_on_a_chip(tree: Any) -> int:
    return sum(
        int(np.prod(x.sharding.shard_shape(x.shape))) * jnp.dtype(x.dtype).itemsize
        for x in jax.tree.leaves(tree)
    )
