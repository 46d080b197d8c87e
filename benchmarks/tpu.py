"""FCN-8s on VGG16 for a TPU chip, by its compiler alone: estimated cycles, by layer.

    python -m benchmarks.tpu                                  # both chips, all programs: an hour
    python -m benchmarks.tpu --chips v5e --only forward,uniform --layers
    python -m benchmarks.tpu --chips v5e --no-border-skipping --out off.md

Needs libtpu (`pip install 'fcn-jax[tpu]'`) and no TPU. The nets are those of `benchmarks.peers`:
ours and plain Flax, in bfloat16 with float32 parameters, 8 images of 512x512, SGD with momentum.
`ragged` programs know each image's own size; plain Flax has none. The figures are the compiler's
estimates (`benchmarks/cycles.py`); they are deterministic, and no time was measured.
"""

import argparse
import functools
import hashlib
import inspect
import itertools
import json
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.case import MOMENTUM, Case
from benchmarks.contestants import plain_flax
from benchmarks.cycles import Share, bounded_cycles, by_layer, operations, together
from benchmarks.prepare import make_net
from benchmarks.report import Report, machine
from fcn_jax.atomic import write_atomically
from fcn_jax.losses import Normalization, Softmax
from fcn_jax.nets.inputs import placeholder
from fcn_jax.nn import savings
from fcn_jax.optim import CaffeSGD
from fcn_jax.planning.slices import CHIPS, Slice, tpu_slice
from fcn_jax.preprocessing import CAFFE
from fcn_jax.training.state import create_state
from fcn_jax.training.step import make_train_step

CLOCK = {"v5e": 1.5e9, "v6e": 1.75e9}
"""Cycles/s. v5e: 197 TFLOP/s are 4 units of 128x128 multiply-adds at 1.5 GHz. v6e: 918 TFLOP/s are
4 units of 256x256 at 1.75 GHz. Source of the speeds: `fcn_jax.planning.slices.CHIPS`.
"""
PROGRAMS = tuple(itertools.product(("forward", "train step"), ("uniform", "ragged")))


def shapes(tree: Any, place: Slice, dtype: Any = None) -> Any:
    """Arguments without values, on the first chip of a slice."""
    sharding = jax.sharding.SingleDeviceSharding(place.devices[0])
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, dtype or x.dtype, sharding=sharding), tree
    )


def lower_ours(case: Case, place: Slice, ragged: bool) -> Any:
    """Our program, traced for the chip."""
    net, at = make_net(case), functools.partial(shapes, place=place)
    images = at(placeholder(net, (case.batch, *case.size)))
    sizes = at(jax.ShapeDtypeStruct((case.batch, 2), np.int32)) if ragged else None
    variables = at(jax.eval_shape(net.init, jax.random.key(0), placeholder(net)))
    if not case.train:
        return jax.jit(net.apply).lower(variables, images, sizes)
    optimizer = CaffeSGD(
        learning_rate=case.learning_rate, momentum=MOMENTUM, weight_decay=0.0, bias_multiplier=1.0
    )()
    state = jax.eval_shape(lambda v: create_state(v, optimizer, place=lambda t: t), variables)
    loss = Softmax(normalization=Normalization.SUM)
    # `fcn_jax.jit` would add the compiler options of this machine.
    train_step = inspect.unwrap(make_train_step(net, optimizer, loss, CAFFE, seed=0))
    labels = jax.ShapeDtypeStruct(images.shape[:3], np.uint8)
    batch = {"image": at(images, dtype=np.uint8), "label": at(labels)}
    batch |= {"size": sizes} if ragged else {}
    return jax.jit(train_step, donate_argnums=0).lower(at(state), batch)


def lower_flax(case: Case, place: Slice) -> Any:
    """Plain Flax's program, traced for the chip."""
    ours, at = make_net(case), functools.partial(shapes, place=place)
    images = at(placeholder(ours, (case.batch, *case.size)))
    params = jax.eval_shape(ours.init, jax.random.key(0), placeholder(ours))["params"]
    biases = {
        name: layer["bias"]
        for name, layer in {**params, **params["trunk"]}.items()
        if "bias" in layer
    }
    channels = nn.FrozenDict({name: bias.shape[0] for name, bias in biases.items()})
    net = plain_flax.FCN8s(channels, dtype=jnp.bfloat16)
    params = at(jax.eval_shape(net.init, jax.random.key(0), images)["params"])
    if not case.train:
        return jax.jit(lambda params, x: net.apply({"params": params}, x)).lower(params, images)
    fixed = {name: params.pop(name) for name in list(params) if name.startswith("up")}
    optimizer = optax.sgd(case.learning_rate, momentum=MOMENTUM)
    state = at(jax.eval_shape(optimizer.init, params))
    labels = at(jax.ShapeDtypeStruct(images.shape[:3], np.uint8))
    update = functools.partial(plain_flax.update, net, optimizer)
    return jax.jit(update, donate_argnums=(0, 1)).lower(params, state, fixed, images, labels)


def compiled(lowered: Any, place: Slice, cache: Path) -> dict[str, Any]:
    """The compiled program's text and operations, from the cache if it was compiled before."""
    made_of = f"{place.name} libtpu {metadata.version('libtpu')} {lowered.as_text(debug_info=True)}"
    path = cache / f"{hashlib.sha256(made_of.encode()).hexdigest()[:16]}.json"
    if not path.exists():
        program = lowered.compile()
        flops = program.cost_analysis()["flops"]
        content = json.dumps({"text": program.as_text(), "flops": flops})
        cache.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda part: part.write_text(content))
    return json.loads(path.read_text())


def cells(share: Share, chip: str, flops: float | None = None) -> list[str]:
    """A row of the table, in million cycles."""
    bandwidth, clock = CHIPS[chip].bandwidth, CLOCK[chip]
    return [
        f"{share.cycles / 1e6:.1f}",
        f"{bounded_cycles(share, bandwidth, clock) / 1e6:.1f}",
        "" if flops is None else f"{flops / CHIPS[chip].flops * clock / 1e6:.1f}",
        f"{share.moved / bandwidth * clock / 1e6:.1f}",
        ", ".join(sorted(share.unknown)),
    ]


def rows(args: argparse.Namespace) -> Iterator[list[str]]:
    """The lines of the table; each program is compiled when its line is asked for."""
    for chip in args.chips.split(","):
        place = tpu_slice(f"{chip}:1x1")
        for kind, images in PROGRAMS:
            if any(word not in (kind, images) for word in args.only.split(",") if word):
                continue
            case = Case(size=(512, 512), batch=8, dtype="bf16", train=kind != "forward")
            with savings.use(**args.savings), savings.traced_for("tpu"):
                lowered = {"ours": lower_ours(case, place, ragged=images == "ragged")}
            if images == "uniform":
                lowered["flax"] = lower_flax(case, place)
            for name, program in lowered.items():
                made = compiled(program, place, args.cache)
                found = operations(made["text"])
                about = f"{chip}, {kind}, {images}, {name}"
                yield [about, *cells(together(found), chip, made["flops"])]
                if args.layers:
                    for layer, share in by_layer(found).items():
                        yield [f"- {layer}", *cells(share, chip)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--chips", default="v5e,v6e", help=f"some of {','.join(CLOCK)}")
    parser.add_argument("--only", default="", help="of forward, train step, uniform, ragged")
    parser.add_argument("--layers", action="store_true", help="a line for every layer too")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache/fcn_jax/tpu")
    parser.add_argument("--border-skipping", action=argparse.BooleanOptionalAction)
    parser.add_argument("--row-tiles", action=argparse.BooleanOptionalAction)
    parser.add_argument("--out", type=Path, help="FILE.md; FILE.json has the same")
    args = parser.parse_args()
    if unknown := set(args.chips.split(",")) - set(CLOCK):
        parser.error(f"--chips: found {', '.join(unknown)}, expected some of {', '.join(CLOCK)}")
    jax.config.update("jax_platforms", "cpu")  # a TPU is only described
    chosen = {name: getattr(args, name) for name in ("border_skipping", "row_tiles")}
    args.savings = {name: value for name, value in chosen.items() if value is not None}
    lines = list(rows(args))
    report = Report(
        title="million cycles of a TPU chip, FCN-8s on VGG16, bfloat16, 8 images of 512x512",
        about=[
            "estimate: the compiler's; bounded: with the bytes of operations that have no estimate",
            "operations, bytes: the least cycles for them at the chip's highest speeds; computed",
            f"libtpu {metadata.version('libtpu')}; savings {args.savings or 'by default'}",
            *machine(),
        ],
        columns=("", "estimate", "bounded", "operations", "bytes", "without an estimate"),
        rows=lines,
        raw={"rows": lines},
    )
    report.show()
    if args.out:
        report.write(args.out)


if __name__ == "__main__":
    main()
