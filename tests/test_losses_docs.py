"""docs/losses.md: its losses are executed as printed, and its table has every loss."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from naive_losses import draw, jit

import fcn_jax as fcn
from fcn_jax import losses
from fcn_jax.nn.layers import Conv, nn
from fcn_jax.preprocessing import Preprocessing
from fcn_jax.training.state import create_state
from fcn_jax.training.step import make_train_step

PAGE = Path(__file__).parents[1] / "docs" / "losses.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


def executed(number):
    names: dict = {}
    exec(compile(BLOCKS[number], PAGE.name, "exec"), names)
    return names


class Small(nn.Module):
    ring = 2

    @nn.compact
    def __call__(self, x, *, train):
        return {"conv1": Conv(4, 3, relu=True, name="conv1")(x)}


@pytest.mark.parametrize("number", [1, 2])
def test_a_loss_of_the_page_trains_and_ignores_void_pixels(number, random_variables):
    loss = executed(number)["loss"]
    scores, labels, void = draw("dice")
    sizes = jnp.array([(4, 5), (2, 4), (0, 0)])
    value, gradient = jit(jax.value_and_grad(loss))(
        jnp.asarray(scores), jnp.asarray(labels), sizes=sizes
    )
    outside = void.copy()
    outside[1, 2:], outside[1, :, 4:], outside[2] = True, True, True
    assert np.isfinite(value) and (np.asarray(gradient)[outside] == 0).all()
    alone = loss(jnp.asarray(scores[:1]), jnp.asarray(labels[:1]))
    same = loss(jnp.asarray(scores), jnp.asarray(labels), sizes=sizes.at[1].set(0))
    np.testing.assert_allclose(same, alone, rtol=1e-6)

    net, sgd = fcn.FCN32s(Small(), 3), optax.sgd(0.01)
    images = (scores * 30 + 128).clip(0, 255).astype(np.uint8)
    batch = {"image": images, "label": labels.astype(np.uint8), "size": np.full((3, 2), (4, 5))}
    preprocess = Preprocessing(channels="RGB", mean=(128.0,) * 3, std=(60.0,) * 3)
    step = make_train_step(net, sgd, loss, preprocess, seed=0)
    state, found = create_state(random_variables(net), sgd), []
    for _ in range(3):
        state, metrics = step(state, batch)
        found.append(float(metrics["loss"]))
    assert found[2] < found[0]


def test_the_first_block_is_a_loss_of_two_outputs():
    loss = executed(0)["loss"]
    assert set(loss.losses) == {"semantic", "depth"} and loss.takes_coarse_scores


def test_the_table_has_every_loss():
    table = PAGE.read_text().split("## The table")[1].split("## Absent")[0]
    named = set(re.findall(r"^\| `(\w+)", table, re.M)) | {"ByOutput"}
    others = {"AbsentClasses", "Normalization", "takes_coarse_scores"}
    functions = {"softmax_loss", "sigmoid_loss"}  # as `Softmax`, and of sigmoids
    assert named == set(losses.__all__) - others - functions


def test_the_table_says_which_losses_take_coarse_scores():
    table = PAGE.read_text().split("## The table")[1].split("## Absent")[0]
    for row in re.findall(r"^\| `(\w+)`? .*$", table, re.M):
        cells = next(line for line in table.splitlines() if line.startswith(f"| `{row}`"))
        if row not in ("Sum", "PerPixel"):
            tiles = cells.replace("\\|", "").split("|")[5].strip()
            assert getattr(losses, row).takes_coarse_scores == (tiles != "no"), row
