import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fcn_jax.optim import AdamW, CaffeSGD, equivalent_momentum, merge, trainable

PARAMS = {
    "trunk": {"conv1": {"kernel": [[1.0, -2.0]], "bias": [0.5]}},
    "score_fr": {"kernel": [[3.0], [0.25]], "bias": [-1.0]},
    "bias_net": {"kernel": [[1.5]]},
}
PARAMS = jax.tree.map(
    lambda x: np.asarray(x, np.float64), PARAMS, is_leaf=lambda x: isinstance(x, list)
)
STEPS = 12


def gradients(step):
    return jax.tree.map(lambda p: np.cos(p * 3 + step), PARAMS)


def run(optimizer, params=PARAMS, steps=STEPS, gradient=gradients):
    params = jax.tree.map(jnp.asarray, params)
    transformation = optimizer()
    state = transformation.init(params)

    @jax.jit
    def step(params, state, gradient):
        updates, state = transformation.update(gradient, state, params)
        return optax.apply_updates(params, updates), state

    for i in range(steps):
        params, state = step(params, state, jax.tree.map(jnp.asarray, gradient(i)))
    return params


def rate(step):
    return jnp.where(step < 6, 0.1, 0.01)


def caffe(momentum, decay, lr_mult, decay_mult, rate=rate):
    """Caffe's solver, written out: `ComputeUpdateValue` of each parameter."""
    done = {}
    for path, w in traverse(PARAMS):
        w, v = w.copy(), np.zeros_like(w)
        for i in range(STEPS):
            g = dict(traverse(gradients(i)))[path]
            g = g + decay * decay_mult(path) * w
            v = momentum * v + float(rate(i)) * lr_mult(path) * g
            w = w - v
        done[path] = w
    return done


def traverse(tree):
    return [
        (jax.tree_util.keystr(keys, simple=True, separator="/"), value)
        for keys, value in jax.tree_util.tree_leaves_with_path(tree)
    ]


def assert_same(got, want):
    for path, value in traverse(got):
        np.testing.assert_allclose(value, want[path], rtol=2e-5, atol=1e-6, err_msg=path)


def test_caffe_sgd_is_caffes_under_a_changing_rate():
    want = caffe(0.9, 0.05, lambda p: 2 if p.endswith("/bias") else 1, lambda p: "/bias" not in p)
    assert_same(run(CaffeSGD(learning_rate=rate, momentum=0.9, weight_decay=0.05)), want)


def test_optax_sgd_is_not_caffes_once_the_rate_changes():
    want = caffe(0.9, 0, lambda p: 1, lambda p: 1)
    assert_same(
        run(CaffeSGD(learning_rate=rate, momentum=0.9, weight_decay=0.0, bias_multiplier=1.0)), want
    )
    other = dict(traverse(run(lambda: optax.sgd(rate, momentum=0.9))))
    assert abs(other["bias_net/kernel"] - want["bias_net/kernel"]).max() > 0.05


def test_multipliers_and_plain_layers():
    want = caffe(
        0.5,
        0.1,
        lambda p: 3 if p == "score_fr/bias" else 1,
        lambda p: 0.5 if p == "score_fr/bias" else 1,
    )
    got = run(
        CaffeSGD(
            learning_rate=rate,
            momentum=0.5,
            weight_decay=0.1,
            bias_multiplier=3.0,
            bias_decay=0.5,
            plain=("trunk",),
        )
    )
    assert_same(got, want)


def test_updates_are_the_same_for_flat_parameters():
    optimizer = CaffeSGD(learning_rate=0.1, momentum=0.9, weight_decay=0.05)
    nested = run(optimizer)
    flat = run(
        optimizer,
        trainable(PARAMS, ())[0],
        gradient=lambda i: trainable(gradients(i), ())[0],
    )
    assert_same(flat, dict(traverse(nested)))


def adam(optimizer, lr_mult, decay_mult):
    done = {}
    o = optimizer
    for path, w in traverse(PARAMS):
        w, m, v = w.copy(), 0, 0
        for i in range(STEPS):
            g = dict(traverse(gradients(i)))[path]
            if o.clip_norm is not None:
                norm = np.sqrt(sum((x**2).sum() for _, x in traverse(gradients(i))))
                g = g * min(1, o.clip_norm / norm)
            m, v = o.b1 * m + (1 - o.b1) * g, o.b2 * v + (1 - o.b2) * g**2
            update = (m / (1 - o.b1 ** (i + 1))) / (np.sqrt(v / (1 - o.b2 ** (i + 1))) + 1e-8)
            if i < o.warmup_steps:
                lr = o.learning_rate * (i + 1) / o.warmup_steps
            else:
                at = (i - max(o.warmup_steps - 1, 0)) / (o.total_steps - max(o.warmup_steps - 1, 0))
                low = o.end_factor
                lr = o.learning_rate * (low + (1 - low) * (1 + np.cos(np.pi * at)) / 2)
            decay = o.weight_decay * decay_mult(path) * w
            w = w - lr * lr_mult(path) * (update + decay)
        done[path] = w
    return done


@pytest.mark.parametrize("warmup, clip", [(4, None), (0, 0.5), (1, None)])
def test_adamw_is_written_out(warmup, clip):
    optimizer = AdamW(
        learning_rate=0.05,
        weight_decay=0.3,
        warmup_steps=warmup,
        total_steps=STEPS,
        end_factor=0.1,
        multipliers=(("trunk", 0.1), ("conv1", 0.5)),
        clip_norm=clip,
    )
    want = adam(
        optimizer,
        lambda p: 0.05 if p.startswith("trunk/") else 1,
        lambda p: p.endswith("kernel"),
    )
    assert_same(run(optimizer), want)


def test_optimizers_are_values():
    a = CaffeSGD(learning_rate=1e-10, momentum=0.99, weight_decay=5e-4)
    assert a == eval(repr(a)) and hash(a) == hash(dataclasses.replace(a))
    b = AdamW(learning_rate=1e-4, weight_decay=0.05, warmup_steps=1, total_steps=9)
    assert b == eval(repr(b)) and hash(b) == hash(dataclasses.replace(b))


def test_equivalent_momentum():
    assert equivalent_momentum(0.9, 20) == pytest.approx(0.9947, abs=5e-5)
    # The j-th last image weighs p**(j // k) in batches; at multiples of k both weigh the same.
    single = equivalent_momentum(0.9, 20)
    assert single**60 == pytest.approx(0.9**3)
    assert equivalent_momentum(single, 1, new_batch_size=20) == pytest.approx(0.9)


def test_split_by_prefix_and_by_layer():
    learning, frozen = trainable(PARAMS, ("trunk",))
    assert sorted(frozen) == ["trunk/conv1/bias", "trunk/conv1/kernel"]
    assert sorted(learning) == ["bias_net/kernel", "score_fr/bias", "score_fr/kernel"]
    assert sorted(trainable(PARAMS, ("conv1",))[1]) == sorted(frozen)
    assert sorted(trainable(PARAMS, ("score_fr/bias",))[1]) == ["score_fr/bias"]
    again = merge(learning, frozen)
    assert jax.tree.structure(again) == jax.tree.structure(PARAMS)
    assert_same(again, dict(traverse(PARAMS)))


def test_only_whole_names_count_and_unknown_ones_are_errors():
    with pytest.raises(ValueError, match=r"\['score'\].*bias_net.*score_fr.*trunk/conv1"):
        trainable(PARAMS, ("score",))
    with pytest.raises(ValueError, match=r"\['head'\].*trunk/conv1"):
        AdamW(
            learning_rate=1.0,
            weight_decay=0.0,
            warmup_steps=0,
            total_steps=1,
            multipliers=(("head", 2.0),),
        )().init(PARAMS)
    with pytest.raises(ValueError, match=r"\['conv9'\]"):
        CaffeSGD(learning_rate=1.0, momentum=0.0, weight_decay=0.0, plain=("conv9",))().init(PARAMS)
    with pytest.raises(ValueError, match="score_fr/bias"):
        merge(trainable(PARAMS, ("trunk",))[0], {"score_fr/bias": 1})


@pytest.mark.parametrize(
    "field, value", [("momentum", 1.0), ("momentum", -0.1), ("weight_decay", -1.0),
                     ("learning_rate", -1.0)]
)  # fmt: skip
def test_values_out_of_range(field, value):
    good = {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.0}
    with pytest.raises(ValueError, match=field):
        CaffeSGD(**(good | {field: value}))
    with pytest.raises(ValueError, match="warmup_steps"):
        AdamW(learning_rate=1.0, weight_decay=0.0, warmup_steps=5, total_steps=5)
