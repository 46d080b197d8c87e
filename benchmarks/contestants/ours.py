"""fcn_jax by its public interface."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import fcn_jax as fcn
from benchmarks.case import MOMENTUM, Case, Program, read
from benchmarks.prepare import make_net, torch_name
from fcn_jax.inference.prepack import prepack
from fcn_jax.losses import Normalization, Softmax
from fcn_jax.optim import CaffeSGD
from fcn_jax.preprocessing import CAFFE
from fcn_jax.training.state import create_state, zero_variables
from fcn_jax.training.step import make_train_step
from fcn_jax.weights.foreign.pytorch_fcn import read_pytorch_fcn
from fcn_jax.weights.foreign.torchvision_trunks import take_variables
from fcn_jax.weights.surgery import load_blobs
from fcn_jax.weights.weights_file import read_safetensors


def program(case: Case, folder: Path) -> Program:
    """A case in fcn_jax."""
    net = make_net(case)
    variables, path = zero_variables(net), folder / "weights.safetensors"
    if "batch_stats" in variables:
        variables = take_variables(variables, torch_name, read_safetensors(path)[0], path)
    else:
        variables = load_blobs(variables, read_pytorch_fcn(path, net).blobs)
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
