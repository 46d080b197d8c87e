"""A plan compiles the step that training runs, and takes its figures from that program."""

import dataclasses
import importlib.util
import itertools
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_recipe

from fcn_jax import FCN, FeatureMap
from fcn_jax.commands.plan import make_step, parse_size, plan
from fcn_jax.data.batching import Batches
from fcn_jax.devices.mesh import make_mesh, replicate, shard_batch
from fcn_jax.nn.layers import Conv
from fcn_jax.planning.collectives import Collective, collectives
from fcn_jax.planning.least_time import LeastTime, least_time, least_time_on_slice
from fcn_jax.planning.program import (
    Program,
    Step,
    abstract_batch,
    abstract_state,
    compile_step,
    lower_step,
    memory_asked_for,
)
from fcn_jax.planning.report import remedies_report, report, slices_report
from fcn_jax.planning.search import fits, remedies, slice_for
from fcn_jax.planning.slices import CHIPS, Slice, chips, find_slice, links, local_slice, tpu_slice
from fcn_jax.training.state import create_state, initial_variables
from fcn_jax.training.step import make_train_step

RECIPE = tiny_recipe.RECIPE
STEP = Step(
    recipe=RECIPE, preprocessing=RECIPE.start.preprocessing, batch=RECIPE.batch_size, size=(32, 32)
)
V5E = Slice("v5e:2x2", (None,) * 4, CHIPS["v5e"].memory, CHIPS["v5e"], (2, 2))


def facts(tree):
    return jax.tree.map(lambda x: (x.shape, np.dtype(x.dtype)), tree)


def test_the_abstract_arguments_are_those_of_training():
    mesh = make_mesh(1)
    batches = Batches(
        RECIPE.train_set,
        batch_size=RECIPE.batch_size * RECIPE.accumulate,
        seed=0,
        with_replacement=True,
        canvases=((32, 32),),
        augment=RECIPE.augment,
    )
    assert facts(abstract_batch(STEP, mesh)) == facts(batches[0])
    uniform = abstract_batch(dataclasses.replace(STEP, uniform=True), mesh)
    assert facts(uniform) == facts({k: v for k, v in batches[0].items() if k != "size"})
    state = create_state(
        initial_variables(RECIPE.model, 0), RECIPE.optimizer(), frozen=RECIPE.frozen
    )
    assert facts(abstract_state(RECIPE, mesh)) == facts(state)


def test_several_inputs_and_heads_are_named_as_the_net_names_them():
    experiments = "nyud_fcn32s_color_d", "nyud_fcn16s_color_hha", "siftflow_fcn32s"
    depth, fused, heads = (
        abstract_batch(
            make_step(
                f"experiments.{name}", local_slice("cpu"), 2, (64, 96), "data=1", uniform=True
            ),
            make_mesh(1),
        )
        for name in experiments
    )
    colour = ((2, 64, 96, 3), np.dtype(np.uint8))
    assert facts(depth["image"]) == {"color": colour, "depth": ((2, 64, 96, 1), np.uint16)}
    assert facts(fused["image"]) == {"color": colour, "hha": colour}
    assert set(heads["label"]) == {"semantic", "geometric"}


def test_the_program_is_that_of_training():
    mesh = make_mesh(1)
    train_step = make_train_step(
        RECIPE.model,
        RECIPE.optimizer(),
        RECIPE.loss,
        RECIPE.start.preprocessing,
        seed=RECIPE.seed,
        accumulate=RECIPE.accumulate,
        mesh=mesh,
    )
    lowered, state, batch = lower_step(STEP, local_slice("cpu"))
    zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), (state, batch))
    trained = train_step.lower(replicate(mesh, zeros[0]), shard_batch(mesh, zeros[1]))
    assert lowered.as_text() == trained.as_text()


class OneLayer(nn.Module):
    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool) -> dict[str, FeatureMap]:
        return {"conv1": Conv(8, 3, padding=1, name="conv1")(x)}


def test_the_figures_of_a_compiled_step():
    recipe = dataclasses.replace(RECIPE, model=FCN(trunk=OneLayer(), num_classes=4), frozen=())
    step, place = dataclasses.replace(STEP, recipe=recipe), local_slice("cpu")
    program = compile_step(step, place)
    assert fits(program, place) and not program.collectives
    state = abstract_state(recipe, make_mesh(1))
    assert program.state == sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))
    assert program.batch == 4 * (32 * 32 * 4 + 8)
    assert program.needed >= program.state + program.batch
    # Of one pass: conv1 forward and the gradient of its kernel; the other operations are small.
    least = 2 * (2 * 2 * 30 * 30 * 9 * 3 * 8)
    assert least <= program.flops <= 4 * least and program.traffic >= program.needed
    text = report(step, place, program)
    assert "it fits" in text and "a step has 2 passes" in text and "at least" not in text


LINES = """
  %all-reduce.1 = (f32[8]{0:T(128)S(1)}, bf16[3,3,8,2]{3,2,1,0}) all-reduce(%a, %b), channel_id=1, \
replica_groups=mesh['x'=4,'y'=2] {'x'}, to_apply=%add
  %ag-start = (f32[8]{0}, f32[16]{0}) all-gather-start(%c), replica_groups=[4,2]<=[8]
  %use = f32[16]{0} multiply(%all-reduce.1, %c)
  ROOT %ag-done = f32[16]{0} all-gather-done(%ag-start)
  %rs = pred[10]{0} reduce-scatter(%d), replica_groups={{0,1,2},{3,4,5}}, dimensions={0}
  %permute = s32[5]{0} collective-permute(%e), source_target_pairs={{0,1},{1,0}}
  %all = f32[]{:T(128)} all-reduce(%f), channel_id=2, to_apply=%add
"""


def test_collectives_are_read_from_a_program():
    assert list(collectives(LINES, 8)) == [
        Collective("all-reduce", 8 * 4 + 3 * 3 * 8 * 2 * 2, 4),
        Collective("all-gather", 64, 2),
        Collective("reduce-scatter", 10, 3),
        Collective("collective-permute", 20, 2),
        Collective("all-reduce", 4, 8),
    ]
    sent = [c.sent for c in collectives(LINES, 8)]
    assert sent == [2 * 320 * 3 / 4, 64 / 2, 10 * 2, 20, 2 * 4 * 7 / 8]


@pytest.mark.parametrize(
    "generation,shape", [(g, s) for g in ("v5e", "v4") for s in CHIPS[g].shapes]
)
def test_links_are_those_of_the_grid(generation, shape):
    """Counted one by one: to each neighbour, and around the end if the axis is a ring."""
    chip, extents = CHIPS[generation], tuple(int(n) for n in shape.split("x"))
    found = 0
    for place in itertools.product(*map(range, extents)):
        for axis, n in enumerate(extents):
            for side in (-1, 1):
                there = place[axis] + side
                found += 0 <= there < n or n % chip.ring == 0
    assert links(chip, extents) == pytest.approx(found / chips(shape))


PROGRAM = Program(
    needed=6 * 2**30,
    state=2**30,
    batch=2**20,
    flops=197e10,
    traffic=819e8,
    collectives=(Collective("all-reduce", 10**9, 4), Collective("collective-permute", 10**8, 2)),
)


def test_the_least_time_is_the_slowest_of_three():
    least = least_time(PROGRAM, CHIPS["v5e"], (2, 2))
    assert least == pytest.approx((0.01, 0.1, (2 * 0.75 + 0.1) * 1e9 / (2 * 50e9)))
    assert least.seconds == pytest.approx(0.1) and least.limit == "memory"
    assert LeastTime(1.0, 2.0, 3.0).limit == "network"
    alone = least_time_on_slice(PROGRAM, CHIPS["v5e"], (1, 1), compiled_for=4)
    assert alone == pytest.approx((0.01, 0.1, 0))
    pod = least_time_on_slice(PROGRAM, CHIPS["v5e"], (16, 16), compiled_for=4)
    assert pod.network == pytest.approx((2 * 255 / 256 + 0.1) * 1e9 / (4 * 50e9))
    step = dataclasses.replace(STEP, batch=32, data=4)
    assert "limited by memory" in report(step, V5E, PROGRAM)
    assert "320 images/s" in report(step, V5E, PROGRAM)
    table = slices_report(step, V5E, PROGRAM).splitlines()
    assert len(table) == 3 + len(CHIPS["v5e"].shapes)
    assert table[-1].split()[:4] == ["16x16", "256", "2048", "10.0"]


def linear(fixed, each, compiled):
    """A compiler whose programs need `fixed + each * (images on a chip)` GiB."""

    def compile_linear(step, place):
        compiled.append(step)
        images = step.batch / (step.data * step.space)
        need = fixed + each * images
        return Program(needed=int(need * 2**30), refused=need > 15.75, flops=1e12, traffic=1e9)

    return compile_linear


@pytest.mark.parametrize(
    "fixed,each,batch,best",
    [(1, 1, 80, 56), (7.5, 4, 32, 8), (1, 1, 4096, 56), (15.5, 1, 32, None), (20, 1, 8, None)],
)
def test_the_largest_batch_that_fits_is_found(fixed, each, batch, best):
    compiled = []
    compile_linear = linear(fixed, each, compiled)
    step = dataclasses.replace(STEP, batch=batch, data=4)
    program = compile_linear(step, V5E)
    assert not fits(program, V5E) and "it does not fit" in report(step, V5E, program)
    found = [r for r in remedies(step, V5E, program, compile_linear) if "--batch" in r.change]
    assert len(compiled) <= 5
    assert [r.step.batch for r in found] == ([] if best is None else [best])
    text = remedies_report(step, V5E, found)
    assert f"--batch {best}" in text if best else "nothing that was tried fits" in text


def test_rows_are_divided_over_spare_chips():
    compiled = []
    compile_linear = linear(1, 30, compiled)
    step = dataclasses.replace(STEP, batch=1)
    program = compile_linear(step, V5E)
    changes = [r.change for r in remedies(step, V5E, program, compile_linear)]
    assert changes == ["--mesh data=1,space=4"]


def test_the_smallest_slice_that_holds_the_batch():
    step = dataclasses.replace(STEP, batch=32, data=4)
    assert slice_for(step, V5E, 8) == "v5e:2x2"
    assert slice_for(step, V5E, 3) == "v5e:4x4"
    assert slice_for(dataclasses.replace(step, batch=4096), V5E, 1) is None


@pytest.mark.parametrize(
    "message,needed",
    [
        ("Ran out of memory in memory space hbm. Used 17.50G of 15.75G hbm.", 17.5 * 2**30),
        (
            "Ran out of memory on HBM, the total memory required for HLO temporaries (24.00G) "
            "exceeds available HBM (15.75G).",
            24 * 2**30,
        ),
        ("INTERNAL: something else (24.00G)", None),
    ],
)
def test_the_memory_that_the_compiler_asked_for(message, needed):
    assert memory_asked_for(message) == needed


@pytest.mark.parametrize(
    "call,said",
    [
        (lambda: find_slice("v5e:3x3"), "v5e:3x3.*v4:2x2x1"),
        (lambda: find_slice("v7x:2x2"), "v7x:2x2.* is not a slice"),
        (lambda: parse_size("512"), "ROWSxCOLUMNS.*'512'"),
        (lambda: dataclasses.replace(STEP, batch=0), "at least 1"),
        (
            lambda: compile_step(dataclasses.replace(STEP, rematerialise=True), local_slice("cpu")),
            "TinyTrunk cannot compute its activations again",
        ),
        (
            lambda: compile_step(dataclasses.replace(STEP, batch=9, data=9), local_slice("cpu")),
            "--mesh data=9,space=1 does not fit",
        ),
        (lambda: make_step("fcn_jax.losses", V5E, 1, (9, 9), ""), "holds no RECIPE"),
    ],
)
def test_mistakes_are_named(call, said):
    with pytest.raises(ValueError, match=said):
        call()


def test_dtype_reaches_every_stream():
    place = local_slice("cpu")
    single = make_step("experiments.voc_fcn8s", place, None, (64, 64), "")
    late = make_step("experiments.nyud_fcn16s_color_hha", place, None, (64, 64), "")
    assert (single.batch, single.data, single.space) == (1, 1, 1)
    changed = [step.with_dtype(jnp.bfloat16) for step in (single, late)]
    nets = [changed[0].net, *changed[1].net.streams.values()]
    assert [net.dtype for net in nets] == [jnp.bfloat16] * 3
    assert single.with_dtype(None).net == single.net


def test_the_command_prints_a_plan(capsys):
    plan("tests/tiny_recipe.py", topology="cpu", batch=2, size="40x50", dtype="bfloat16")
    said = capsys.readouterr().out
    assert "2 images of 40x50, bfloat16, on 1 of cpu" in said and "it fits" in said


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="needs libtpu")
def test_a_step_is_compiled_for_a_tpu_without_the_hardware():
    place = tpu_slice("v5e:2x2")
    step = dataclasses.replace(STEP, batch=8, data=4)
    program = compile_step(step, place)
    assert fits(program, place)
    groups = {(c.kind, c.group) for c in program.collectives}
    assert groups == {("all-reduce", 4)}
    gradients = sum(
        x.size * 4 for x in jax.tree.leaves(abstract_state(RECIPE, make_mesh(1)).learning)
    )
    assert sum(c.size for c in program.collectives) >= gradients
    assert re.search(r"at least .* images/s", report(step, place, program))
