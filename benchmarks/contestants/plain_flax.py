"""FCN-8s on VGG16, written as in Flax's documentation."""

import functools
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.case import MOMENTUM, Case, Program, read

STAGES = (2, 2, 3, 3, 3)


class FCN8s(nn.Module):
    """FCN-8s; `channels` are by layer, and the kernels of `up` layers are fixed."""

    channels: Any
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Any) -> Any:
        """Scores (b, h, w, k) of images (b, h, w, 3)."""
        h, w = x.shape[1:3]

        def conv(x: Any, name: str, kernel: int, padding: int = 0) -> Any:
            size = (kernel, kernel)
            fields = {"padding": padding, "dtype": self.dtype, "name": name}
            return nn.Conv(self.channels[name], size, **fields)(x)

        def up(x: Any, name: str, factor: int) -> Any:
            size, strides = (2 * factor, 2 * factor), (factor, factor)
            fields = {"padding": "VALID", "use_bias": False, "dtype": self.dtype, "name": name}
            return nn.ConvTranspose(x.shape[-1], size, strides, **fields)(x)

        pools = []
        for stage, convs in enumerate(STAGES, 1):
            for i in range(1, convs + 1):
                padding = 100 if stage == i == 1 else 1
                x = nn.relu(conv(x, f"conv{stage}_{i}", 3, padding))
            rest: Any = [(0, n % 2) for n in x.shape[1:3]]  # ceil mode
            x = nn.max_pool(x, (2, 2), (2, 2), padding=rest)
            pools.append(x)
        x = nn.relu(conv(x, "fc6", 7))
        x = nn.relu(conv(x, "fc7", 1))
        x = up(conv(x, "score_fr", 1), "upscore2", 2)
        x = up(x + cropped(conv(pools[3], "score_pool4", 1), 5, *x.shape[1:3]), "upscore_pool4", 2)
        x = up(x + cropped(conv(pools[2], "score_pool3", 1), 9, *x.shape[1:3]), "upscore8", 8)
        return cropped(x, 31, h, w)


def cropped(x: Any, offset: int, h: int, w: int) -> Any:
    return x[:, offset : offset + h, offset : offset + w]


def program(case: Case, folder: Path) -> Program:
    """A case in plain Flax, by `jax.jit` without options."""
    weights, images, labels = read(folder)
    learned, fixed = {}, {}
    for name, array in weights.items():
        layer, _, part = name.rpartition(".")
        kernel = part == "weight"
        to = fixed if layer.startswith("up") else learned
        to.setdefault(layer, {})["kernel" if kernel else "bias"] = jnp.asarray(
            array.transpose(2, 3, 1, 0) if kernel else array
        )
    channels = {layer: len(arrays["bias"]) for layer, arrays in learned.items()}
    net = FCN8s(nn.FrozenDict(channels))
    run = step if case.train else forward
    return Program(
        run=run(case, net, learned, fixed, jnp.asarray(images), jnp.asarray(labels)),
        wait=jax.block_until_ready,
        result=lambda out: np.asarray(out[0]),
    )


def forward(case: Case, net: FCN8s, learned: Any, fixed: Any, images: Any, labels: Any) -> Any:
    scores = jax.jit(lambda params, images: net.apply({"params": params}, images))
    params = {**learned, **fixed}
    return lambda: (scores(params, images),)


def step(case: Case, net: FCN8s, learned: Any, fixed: Any, images: Any, labels: Any) -> Any:
    optimizer = optax.sgd(case.learning_rate, momentum=MOMENTUM)
    jitted = jax.jit(functools.partial(update, net, optimizer))
    state = optimizer.init(learned)

    def run() -> Any:
        nonlocal learned, state
        loss, learned, state = jitted(learned, state, fixed, images, labels)
        return loss, learned, state

    return run


def update(
    net: FCN8s,
    optimizer: Any,
    learned: Any,
    state: Any,
    fixed: Any,
    images: Any,
    labels: Any,
) -> Any:
    """One train step: the loss, the new parameters and the new state of the optimizer."""

    def objective(learned: Any) -> Any:
        scores: Any = net.apply({"params": {**learned, **fixed}}, images)
        wanted = jnp.where(labels == 255, 0, labels)
        scores = scores.astype(jnp.float32)
        losses = optax.softmax_cross_entropy_with_integer_labels(scores, wanted)
        return jnp.sum(losses, where=labels != 255)

    loss, gradient = jax.value_and_grad(objective)(learned)
    updates, state = optimizer.update(gradient, state)
    return loss, optax.apply_updates(learned, updates), state
