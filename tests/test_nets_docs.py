"""The nets of docs/nets.md and of its tutorial are built as printed, train and predict."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fcn_jax.losses import ByOutput, Normalization, Softmax

DOCS = Path(__file__).parents[1] / "docs"
BLOCKS = re.findall(r"```python\n(.*?)```", (DOCS / "nets.md").read_text(), re.DOTALL)
CELLS = re.findall(
    r"```{code-cell}\n(.*?)```", (DOCS / "tutorials/own-net.md").read_text(), re.DOTALL
)
TUTORIAL = "".join(CELLS[: next(i for i, cell in enumerate(CELLS) if "net = " in cell) + 1])
NETS = [*(block for block in BLOCKS if "net = " in block), TUTORIAL]


@pytest.mark.parametrize("number", range(4))
def test_a_net_of_the_page_trains_and_predicts(number):
    names: dict = {}
    exec(compile(NETS[number], "docs", "exec"), names)
    net, images = names["net"], jax.ShapeDtypeStruct((2, 64, 96, 3), jnp.float32)
    loss = names.get("loss", lambda outputs, labels: sum(map(jnp.sum, jax.tree.leaves(outputs))))

    def both(images):
        variables = net.init(jax.random.key(0), images)

        def value(params):
            outputs, _ = net.apply(
                {**variables, "params": params},
                images,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": jax.random.key(1)},
            )
            labels = jnp.zeros(images.shape[:3], jnp.int32)
            if isinstance(outputs, dict) and "depth" in outputs:
                labels = {"semantic": labels, "depth": jnp.zeros(images.shape[:3])}
            return loss(outputs, labels)

        return jax.grad(value)(variables["params"]), net.apply(variables, images)

    _, outputs = jax.eval_shape(both, images)
    pixels = outputs["semantic"] if isinstance(outputs, dict) else outputs
    assert pixels.shape[:3] == (2, 64, 96)


def test_there_are_four():
    assert len(NETS) == 4


def test_an_auxiliary_head_takes_the_labels_of_another():
    ce = Softmax(normalization=Normalization.VALID)
    scores = {name: jnp.asarray(np.eye(3, dtype=np.float32)[None]) for name in ("out", "aux")}
    scores = {name: value[:, None] for name, value in scores.items()}
    labels = jnp.asarray([[[0, 1, 255]]], jnp.int32)
    expected = 1.4 * ce(scores["out"], labels)
    plain = ByOutput({"out": ce, "aux": ce}, {"aux": 0.4})
    named = ByOutput({"out": ce, "aux": ce}, {"aux": 0.4}, {"aux": "out"})
    np.testing.assert_allclose(plain(scores, labels), expected, rtol=1e-6)
    np.testing.assert_allclose(named(scores, {"out": labels}), expected, rtol=1e-6)
    with pytest.raises(ValueError, match="there are labels for out"):
        plain(scores, {"out": labels})
