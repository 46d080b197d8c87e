"""fcn_jax by its public interface."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import fcn_jax as fcn
from benchmarks.case import CLASSES, MOMENTUM, Case, Program, read
from fcn_jax.inference.prepack import prepack
from fcn_jax.losses import Normalization, Softmax
from fcn_jax.optim import CaffeSGD
from fcn_jax.preprocessing import CAFFE
from fcn_jax.training.state import create_state, zero_variables
from fcn_jax.training.step import make_train_step
from fcn_jax.weights.foreign.pytorch_fcn import read_pytorch_fcn
from fcn_jax.weights.surgery import load_blobs


def make_net(case: Case) -> fcn.FCN:
    """The case's net. No dropout: masks of different libraries could not be compared."""
    fields = {
        "num_classes": CLASSES,
        "dtype": {"fp32": jnp.float32, "bf16": jnp.bfloat16}[case.dtype],
    }
    if case.trunk == "vgg16":
        return fcn.FCN8s(trunk=fcn.VGG16(width=case.width, dropout=0.0), **fields)
    if case.trunk == "squeezenet":
        return fcn.FCN32s(trunk=fcn.SqueezeNet(dropout=0.0), **fields)
    trunk = {"alexnet": fcn.AlexNet, "googlenet": fcn.GoogLeNet}[case.trunk]
    return fcn.FCN32s(trunk=trunk(width=case.width, dropout=0.0), **fields)


def random_variables(net: fcn.FCN) -> dict[str, Any]:
    """He's normal distribution, but small score layers: scores of about one at the start."""
    rng = np.random.default_rng(0)

    def draw(path: Any, leaf: Any) -> np.ndarray:
        fan_in = max(np.prod(leaf.shape[:-1]), 1)
        spread = (2 / fan_in) ** 0.5 if len(leaf.shape) > 1 else 0.1
        if "score" in jax.tree_util.keystr(path):
            spread /= 100
        return rng.standard_normal(leaf.shape, np.float32) * np.float32(spread)

    return jax.tree_util.tree_map_with_path(draw, zero_variables(net))


def program(case: Case, folder: Path) -> Program:
    """Our part of a case."""
    net = make_net(case)
    blobs = read_pytorch_fcn(folder / "weights.safetensors", net).blobs
    variables = load_blobs(zero_variables(net), blobs)
    gpu = case.device == "gpu"
    run = step(net, variables, case, folder) if case.train else forward(net, variables, folder)
    return Program(
        run=run,
        wait=jax.block_until_ready,
        result=lambda out: np.asarray(out[0], np.float32),
        device_peak=_device_peak if gpu else None,
    )


def forward(net: fcn.FCN, variables: Any, folder: Path) -> Any:
    images = jnp.asarray(read(folder)[1])
    variables = prepack(net, jax.tree.map(jnp.asarray, variables))
    scores = fcn.jit(net.apply)
    return lambda: (scores(variables, images),)


def step(net: fcn.FCN, variables: Any, case: Case, folder: Path) -> Any:
    optimizer = CaffeSGD(
        learning_rate=case.learning_rate, momentum=MOMENTUM, weight_decay=0.0, bias_multiplier=1.0
    )()
    state = create_state(variables, optimizer)
    train_step = make_train_step(
        net, optimizer, Softmax(normalization=Normalization.SUM), CAFFE, seed=0
    )
    batch = {
        "image": jnp.asarray(np.load(folder / "images.npy", allow_pickle=False)),
        "label": jnp.asarray(np.load(folder / "labels.npy", allow_pickle=False)),
    }

    def run() -> Any:
        nonlocal state
        state, metrics = train_step(state, batch)
        return metrics["loss"], state

    return run


def _device_peak() -> int:
    return jax.local_devices()[0].memory_stats()["peak_bytes_in_use"]
