import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

import fcn_jax as fcn
from fcn_jax.weights.surgery import (
    expand_input,
    expand_score,
    layer_name,
    load_blobs,
    transplant,
    zero_scores,
)

K = 3
NETS = {"32s": fcn.FCN32s, "16s": fcn.FCN16s, "8s": fcn.FCN8s}


@functools.cache
def shapes(name="8s", classes=K, channels=3, **fields):
    trunk = fcn.VGG16(width=1 / 32)
    net = fcn.Classifier(trunk=trunk, num_classes=classes) if name == "classifier" else (
        NETS[name](trunk=trunk, num_classes=classes, **fields)
    )  # fmt: skip
    images = jax.ShapeDtypeStruct((1, 224, 224, channels), jnp.float32)
    return jax.eval_shape(net.init, jax.random.key(0), images)


def values(*args, seed=0, **fields):
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda s: rng.normal(size=s.shape).astype(np.float32), shapes(*args, **fields)
    )


def flat(variables):
    return traverse_util.flatten_dict(variables, sep="/")


def blob_name(path):
    return path.removeprefix("params/").removeprefix("trunk/").rsplit("/", 1)[0]


def as_blobs(variables):
    """Our arrays in Caffe's layout, axis by axis."""
    blobs = {}
    for path, value in sorted(flat(variables).items(), reverse=True):  # kernel before bias
        if path.endswith("kernel"):
            axes = (2, 3, 0, 1) if "upscore" in path else (3, 2, 0, 1)
            value = np.transpose(value, axes)
        blobs.setdefault(blob_name(path), []).append(np.asarray(value))
    return blobs


def assert_equal(got, want):
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for path, value in flat(got).items():
        assert value.dtype == jnp.float32
        np.testing.assert_array_equal(value, flat(want)[path], err_msg=path)


def test_blobs_of_every_layout_come_back():
    want = values()
    blobs = as_blobs(want)
    out, channels, rows, columns = blobs["fc6"][0].shape
    assert (rows, columns) == (7, 7)
    blobs["fc6"][0] = blobs["fc6"][0].reshape(1, 1, out, channels * 49)  # fully connected, 4-D
    blobs["fc7"][0] = blobs["fc7"][0][:, :, 0, 0]
    for arrays in blobs.values():
        arrays[1] = arrays[1].reshape(1, 1, 1, -1)
    assert_equal(load_blobs(shapes(), blobs), want)


def test_kernels_are_in_caffes_order():
    want = values()
    blobs = as_blobs(want)
    conv, fc6 = blobs["conv2_1"][0], blobs["fc6"][0].reshape(128, -1)
    blobs["fc6"][0] = fc6
    trunk = load_blobs(shapes(), blobs)["params"]["trunk"]
    assert trunk["conv2_1"]["kernel"][2, 1, 0, 3] == conv[3, 0, 2, 1]
    # The row of a fully connected layer runs over channels, then rows, then columns.
    assert trunk["fc6"]["kernel"][5, 2, 4, 9] == fc6[9, (4 * 7 + 5) * 7 + 2]


def scatter(x, kernel, stride):
    """Caffe's deconvolution, (in, out, rows, columns), one input cell after another."""
    h, w, _ = x.shape
    k = kernel.shape[2]
    out = np.zeros((stride * (h - 1) + k, stride * (w - 1) + k, kernel.shape[1]))
    for i, j in np.ndindex(h, w):
        patch = np.einsum("c,cdkl->kld", x[i, j], kernel)
        out[stride * i : stride * i + k, stride * j : stride * j + k] += patch
    return out


@pytest.mark.parametrize("layer", [fcn.DenseUpsampling, fcn.LearnedUpsampling])
def test_an_imported_deconvolution_computes_what_caffe_computes(layer):
    rng = np.random.default_rng(0)
    blob = rng.normal(size=(K, K, 4, 4)).astype(np.float32)
    if layer is fcn.LearnedUpsampling:
        blob *= np.eye(K, dtype=np.float32)[..., None, None]
    template = shapes("16s", upsampling=layer)
    blobs = as_blobs(values("16s")) | {"upscore2": [blob]}
    loaded = jax.tree.map(jnp.asarray, load_blobs(template, blobs)["params"]["upscore2"])
    x = rng.normal(size=(1, 3, 4, K)).astype(np.float32)
    got = layer(2, 4).apply({"params": loaded}, fcn.FeatureMap(jnp.asarray(x), None, fcn.Grid()))
    np.testing.assert_allclose(got.values[0], scatter(x[0], blob, 2), atol=1e-5)


@pytest.mark.parametrize("layer", [fcn.DenseUpsampling, fcn.LearnedUpsampling])
def test_one_group_per_channel_is_the_diagonal(layer):
    rng = np.random.default_rng(0)
    grouped = rng.normal(size=(K, 1, 4, 4)).astype(np.float32)
    dense = grouped * np.eye(K, dtype=np.float32)[..., None, None]
    blobs = as_blobs(values("16s"))
    template = shapes("16s", upsampling=layer)
    one = load_blobs(template, blobs | {"upscore2": [grouped]})
    assert_equal(one, load_blobs(template, blobs | {"upscore2": [dense]}))


def test_a_dense_kernel_needs_a_dense_layer():
    template = shapes("16s", upsampling=fcn.LearnedUpsampling)
    blobs = as_blobs(values("16s")) | {"upscore2": [np.ones((K, K, 4, 4), np.float32)]}
    with pytest.raises(ValueError, match="upscore2/kernel mixes channels.*DenseUpsampling.*`upsam"):
        load_blobs(template, blobs)


def bilinear(k):
    f = (k + 1) // 2
    centre = f - 1 if k % 2 else f - 0.5
    row = 1 - abs(np.arange(k) - centre) / f
    return (np.eye(K)[..., None, None] * row[:, None] * row).astype(np.float32)


def test_a_fixed_upsampling_layer_takes_only_the_bilinear_kernel():
    want = values()
    blobs = as_blobs(want)
    grouped = np.repeat(bilinear(4)[:1, :1], K, axis=0)
    fixed = {"upscore2": [bilinear(4)], "upscore_pool4": [grouped], "upscore8": [bilinear(63)]}
    assert_equal(load_blobs(shapes(), blobs | fixed), want)
    for bad in (2 * bilinear(4), bilinear(4)[::-1], bilinear(4)[..., :3], bilinear(4)[:, :2]):
        with pytest.raises(ValueError, match="unexpected: upscore2 .*not bilinear.*Learned"):
            load_blobs(shapes(), blobs | {"upscore2": [bad]})


def test_one_error_lists_everything():
    blobs = as_blobs(values())
    del blobs["conv1_2"]
    blobs["fc8"] = [np.zeros((9, 9))]
    blobs["conv3_1"][0] = np.swapaxes(blobs["conv3_1"][0], 0, 1)
    blobs["score_fr"] = blobs["score_fr"][:1]
    with pytest.raises(ValueError) as caught:
        load_blobs(shapes(), blobs, without=("conv9",), ignore=("fc9",))
    text = str(caught.value)
    for line in (
        "missing: conv1_2, expected {'bias': (2,), 'kernel': (3, 3, 2, 2)}",
        "unexpected: fc8 [(9, 9)]",
        "misshapen: conv3_1/kernel expects (8, 4, 3, 3), found (4, 8, 3, 3)",
        "misshapen: score_fr has kernel and bias, found 1 blobs",
        "the net has no layer conv9",
        "there is no blob fc9",
    ):
        assert line in text
    assert text.count("missing") == 1


def test_without_leaves_and_ignore_skips():
    mine, theirs = values(seed=1), values(seed=2)
    blobs = as_blobs(theirs) | {"fc8": [np.zeros((9, 9))]}
    got = load_blobs(mine, blobs, without=("score_fr", "conv1_1"), ignore=("fc8", "score_fr"))
    want = {
        path: flat(mine if blob_name(path) in ("score_fr", "conv1_1") else theirs)[path]
        for path in flat(mine)
    }
    assert_equal(got, traverse_util.unflatten_dict(want, sep="/"))
    with pytest.raises(ValueError, match="params/score_fr/kernel has a shape only"):
        load_blobs(shapes(), as_blobs(theirs), without=("score_fr",))


def test_the_result_is_new_and_float32():
    mine = jax.tree.map(jnp.asarray, values())
    got = load_blobs(mine, as_blobs(jax.tree.map(lambda a: np.asarray(a, np.float16), mine)))
    assert all(value.dtype == jnp.float32 for value in jax.tree.leaves(got))
    same, _ = transplant(mine, mine)
    jax.tree.map(lambda a: a.delete(), mine)  # as a train step that donates its state does
    assert np.isfinite(same["params"]["score_fr"]["bias"]).all()


def test_blobs_are_copied_once_in_the_order_in_which_they_are_written():
    blobs = as_blobs(values())
    for value in jax.tree.leaves(load_blobs(shapes(), blobs)):
        assert isinstance(value, np.ndarray) and value.flags.c_contiguous
        assert not any(np.shares_memory(value, blob) for pair in blobs.values() for blob in pair)


def test_a_layers_name_is_caffes():
    for path, name in (
        (("params", "trunk", "conv1_1", "kernel"), "conv1_1"),
        (("params", "trunk", "fire2", "squeeze1x1", "bias"), "fire2/squeeze1x1"),
        (("batch_stats", "trunk", "norm1", "norm", "mean"), "norm1/norm"),
        (("params", "score_fr_semantic", "kernel"), "score_fr_sem"),
        (("params", "streams_color", "trunk", "conv1_1", "kernel"), "conv1_1color"),
    ):
        assert layer_name(path) == name


def test_the_chain_of_stages():
    net = values("classifier", classes=10)
    total = {}
    for name, new in (
        ("32s", ("score_fr",)), ("16s", ("score_pool4",)), ("8s", ("score_pool3",))
    ):  # fmt: skip
        target = zero_scores(values(name, seed=9))
        got, report = transplant(target, net)
        assert jax.tree.structure(got) == jax.tree.structure(target)
        assert report.kept == new
        assert report.dropped == (("fc8",) if name == "32s" else ())
        for path, value in flat(got).items():
            source = flat(target if blob_name(path) in new else net)
            np.testing.assert_array_equal(value, source[path])
        assert not np.any(got["params"][new[0]]["kernel"])
        total[name] = set(report.copied)
        net = got
    assert total["8s"] - total["16s"] == {"score_pool4"}


def test_what_is_new_or_misshapen_must_be_named():
    donor, target = values("32s", classes=5), values("16s", upsampling=fcn.LearnedUpsampling)
    with pytest.raises(ValueError) as caught:
        transplant(target, donor, keep=("score_pool9",))
    text = str(caught.value)
    assert "lacks params/score_pool4/kernel, which is not a zero score layer" in text
    assert "lacks params/upscore2/kernel" in text
    assert "misshapen: params/score_fr/bias is (3,), donor's (5,)" in text
    assert "keep: the net has no layer score_pool9" in text
    got, report = transplant(target, donor, keep=("score_pool4", "upscore2", "score_fr"))
    assert set(report.kept) == {"score_pool4", "upscore2", "score_fr"}
    np.testing.assert_array_equal(
        got["params"]["score_fr"]["bias"], target["params"]["score_fr"]["bias"]
    )
    with pytest.raises(ValueError, match="share no layer"):
        transplant(
            {"params": {"score_fr": {"bias": np.zeros(2)}}}, {"params": {"x": {"bias": np.ones(2)}}}
        )


def test_zero_scores_zeroes_scores_only():
    before = values()
    after = zero_scores(before)
    for path, value in flat(after).items():
        want = np.zeros_like(value) if "/score_" in path else flat(before)[path]
        np.testing.assert_array_equal(value, want)
    with pytest.raises(ValueError, match="no layer that begins with score"):
        zero_scores(values("classifier"))


def test_expand_score_copies_the_first_classes():
    small, large = values("32s", classes=2, seed=1), values("32s", classes=5, seed=2)
    got = expand_score(large, small, layers=("score_fr",))
    for path, value in flat(got).items():
        want = np.array(flat(large)[path])
        if "score_fr" in path:
            want[..., :2] = flat(small)[path]
        np.testing.assert_array_equal(value, want)
    with pytest.raises(ValueError, match=r"score_fr/kernel is \(1, 1, 128, 2\), donor's"):
        expand_score(small, large, layers=("score_fr",))
    with pytest.raises(ValueError, match="no layer score_x"):
        expand_score(large, small, layers=("score_x",))


def test_expand_input_gives_depth_the_mean_of_the_colours():
    colour, both = values("32s", seed=1), values("32s", channels=4, seed=2)
    got = expand_input(both, colour)["params"]["trunk"]["conv1_1"]
    old = colour["params"]["trunk"]["conv1_1"]
    np.testing.assert_array_equal(got["kernel"][:, :, :3], old["kernel"])
    np.testing.assert_allclose(got["kernel"][:, :, 3], old["kernel"].mean(2), rtol=1e-6)
    np.testing.assert_array_equal(got["bias"], old["bias"])
    with pytest.raises(ValueError, match="conv1_1/kernel is"):
        expand_input(colour, both)
