"""The estimates of a TPU's compiler, read from the text of a program and summed by layer."""

import importlib.util
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.cycles import bounded_cycles, by_layer, layer, operations, together  # noqa: E402


def line(result, call, source="", cycles=None, **called):
    """An operation as XLA prints it."""
    roles = "".join(f", {role}=%{name}" for role, name in called.items())
    source = f', metadata={{op_name="{source}" stack_frame_id=7}}' if source else ""
    cycles = "" if cycles is None else f', backend_config={{"x":{{"estimated_cycles":"{cycles}"}}}}'
    return f"  {result} {call}{roles}{source}{cycles}"


TEXT = "\n".join(
    [
        "HloModule jit_step",
        "%body.1 (arg.1: (s32[], f32[8])) -> (s32[], f32[8]) {",
        line("%b.1 = f32[8]{0:T(128)}", "parameter(0)"),
        line("%b.2 = f32[8]{0:T(128)}", "negate(%b.1)", "jit(step)/jvp()/while/body/neg", 10),
        "}",
        "%cond.1 (arg.2: (s32[], f32[8])) -> pred[] {",
        "  %c.1 = s32[]{:T(128)} constant(22)",
        "  ROOT %c.2 = pred[]{:T(512)} compare(%x, %c.1), direction=LT",
        "}",
        "ENTRY %main.1 (p.1: bf16[4,10]) -> bf16[4,5] {",
        line("%p.1 = bf16[4,10]{1,0:T(8,128)(2,1)}", "parameter(0)"),
        line("%f.1 = bf16[4,10]{1,0:S(1)}", "fusion(%p.1)", "jit(step)/FCN/trunk/conv1_1/add", 100),
        line("%w.1 = (s32[], f32[8])", "while(%t)", condition="cond.1", body="body.1"),
        line("%k.1 = f32[9]{0}", "custom-call(%f.1)") + ', custom_call_target="ConcatBitcast"',
        line(
            "ROOT %s.1 = bf16[4,5]{1,0}",
            "select-and-scatter(%f.1, %p.1)",
            "jit(step)/transpose(jvp(FCN))/trunk/trunk._stage/pool1/cond/select_and_scatter",
        ),
        "}",
    ]
)


def test_a_loop_counts_as_often_as_it_runs():
    found = operations(TEXT)
    assert [(o.kind, o.cycles) for o in found] == [
        ("fusion", 100),
        ("negate", 22 * 10),
        ("select-and-scatter", None),
    ]
    assert together(found).cycles == 320


def test_bytes_are_those_of_main_memory():
    """The result of the fusion lies in fast memory."""
    assert [o.moved for o in operations(TEXT)] == [80, 22 * 64, 40 + 80]


def test_what_has_no_estimate_is_bounded_by_its_bytes():
    share = together(operations(TEXT))
    assert share.unknown == {"select-and-scatter"} and share.moved_unknown == 120
    assert bounded_cycles(share, bandwidth=60.0, clock=10.0) == 320 + 120 / 60 * 10


def test_operations_are_grouped_by_layer():
    shares = by_layer(operations(TEXT))
    assert {name: share.cycles for name, share in shares.items()} == {
        "conv1_1": 100,
        "loss": 220,
        "pool1, gradient": 0,
    }


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("jit(apply)/FCN/FCN._head/FCN._fuse/upscore2/BilinearUpsampling.enlarge/mul", "upscore2"),
        ("jit(<lambda>)/FCN8s/conv1_2/conv_general_dilated", "conv1_2"),
        ("jit(step)/jvp(FCN)/trunk/fc6/cond/branch_0_fun/conv_general_dilated", "fc6"),
        ("jit(step)/transpose(jvp())/mul", "loss, gradient"),
        ("jit(step)/jvp()/while/body/closed_call/jvp(BilinearUpsampling.enlarge)/mul", "loss"),
        ("jit(step)/add", "rest"),
        ("", "rest"),
    ],
)
def test_the_layer_of_a_path(source, expected):
    assert layer(source) == expected


def test_a_text_that_is_no_program_is_refused():
    with pytest.raises(ValueError, match="one ENTRY"):
        operations("HloModule empty")
    with pytest.raises(ValueError, match=r"w\.1: expected a loop"):
        operations(TEXT.replace("constant(22)", "parameter(0)"))


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="needs libtpu")
def test_the_compiler_still_writes_estimates():
    import jax
    import jax.numpy as jnp

    from benchmarks.tpu import shapes
    from fcn_jax.planning.slices import tpu_slice

    square = shapes(jax.ShapeDtypeStruct((1024, 1024), jnp.bfloat16), tpu_slice("v5e:1x1"))
    text = jax.jit(jnp.matmul).lower(square, square).compile().as_text()
    assert text is not None
    found = operations(text)
    assert together(found).cycles >= 1024**3 / (4 * 128**2)
