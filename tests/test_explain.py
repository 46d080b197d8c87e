from math import prod

import jax
import jax.numpy as jnp
import pytest

import fcn_jax as fcn
from fcn_jax.nets.explain import explain, explain_table

NARROW = fcn.VGG16(width=1 / 64)
HEADS = {"32s": fcn.FCN32s, "16s": fcn.FCN16s, "8s": fcn.FCN8s}

# Sizes along one axis. Source: BVLC/caffe's Reshape of each layer, by hand.
LAYERS = (
    "conv1_1 pool1 pool2 pool3 pool4 pool5 fc6 upscore upscore2 upscore16 upscore_pool4 upscore8"
)
SIZES = {
    1: "199 100 50 25 13 7 1 64 4 80 10 88",
    26: "224 112 56 28 14 7 1 64 4 80 10 88",
    224: "422 211 106 53 27 14 8 288 18 304 38 312",
    256: "454 227 114 57 29 15 9 320 20 336 42 344",
    333: "531 266 133 67 34 17 11 384 24 400 50 408",
    375: "573 287 144 72 36 18 12 416 26 432 54 440",
    425: "623 312 156 78 39 20 14 480 30 496 62 504",
    480: "678 339 170 85 43 22 16 544 34 560 70 568",
    500: "698 349 175 88 44 22 16 544 34 560 70 568",
    560: "758 379 190 95 48 24 18 608 38 624 78 632",
    640: "838 419 210 105 53 27 21 704 44 720 90 728",
}


def rows_by_name(net, height, width, **kwargs):
    return {row.name: row for row in explain(net, height, width, **kwargs)}


def crops(net, height=61, width=90):
    return [row.crop for row in explain(net, height, width) if row.crop]


@pytest.mark.parametrize("head, offsets", [("32s", [19]), ("16s", [5, 27]), ("8s", [5, 9, 31])])
def test_crop_offsets_are_the_papers(head, offsets):
    assert crops(HEADS[head](NARROW, 2)) == offsets


@pytest.mark.parametrize("rows, columns", [(1, 26), (224, 256), (333, 375), (425, 560), (480, 640)])
def test_sizes_are_those_of_caffe(rows, columns):
    expected = zip(LAYERS.split(), SIZES[rows].split(), SIZES[columns].split(), strict=True)
    found = {}
    for head in HEADS.values():
        found |= rows_by_name(head(NARROW, 2), rows, columns)
    for layer, height, width in expected:
        assert found[layer].shape[:2] == (int(height), int(width)), layer


def test_receptive_fields():
    found = rows_by_name(fcn.FCN8s(NARROW, 2), 61, 90)
    for layer, field, stride in (
        ("pool3", 44, 8),
        ("pool4", 100, 16),
        ("pool5", 212, 32),
        ("fc7", 404, 32),
        ("score_fr", 404, 32),
    ):
        assert (found[layer].field, found[layer].grid_stride) == (field, stride)
    assert found["score"].grid_offset == 0


@pytest.mark.parametrize(
    "head, classes, channels, count",
    [
        ("32s", 21, 3, 134_346_581),
        ("16s", 21, 3, 134_357_354),
        ("8s", 21, 3, 134_362_751),
        ("32s", 40, 4, 134_425_000),
        ("8s", 60, 3, 134_552_564),
    ],
)
def test_parameter_counts(head, classes, channels, count):
    net = HEADS[head](fcn.VGG16(), classes)
    images = jax.ShapeDtypeStruct((1, 8, 8, channels), jnp.float32)
    shapes = jax.eval_shape(net.init, jax.random.key(0), images)
    assert sum(prod(leaf.shape) for leaf in jax.tree.leaves(shapes)) == count
    rows = explain(net, 8, 8, channels=channels)
    assert sum(row.parameters for row in rows) == count


def test_flops_by_hand():
    found = rows_by_name(fcn.FCN32s(fcn.SqueezeNet(), 5), 20, 30)
    conv1 = found["conv1"]
    assert conv1.padding == 100 and conv1.shape == (107, 112, 96)
    assert conv1.flops == 2 * 107 * 112 * 96 * 7 * 7 * 3
    assert found["fire2/expand3x3"].parameters == 3 * 3 * 16 * 64 + 64


def test_the_table_says_where_the_crops_come_from():
    from rich.console import Console

    console = Console(width=160)
    with console.capture() as capture:
        console.print(explain_table(explain(fcn.FCN8s(NARROW, 2), 61, 90)))
    text = capture.get()
    for word in ("crop 5", "crop 9", "crop 31", "conv1_1", "404", "total"):
        assert word in text
