"""What the documents print is run."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp

ROOT = Path(__file__).parents[1]


def test_the_trunk_of_the_docs_works_at_any_size():
    code = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "trunks.md").read_text(), re.S)
    assert code is not None
    names: dict = {"__name__": "docs"}
    exec(code[1], names)  # noqa: S102 - our own document
    net = names["net"]
    variables = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    for h, w in ((1, 1), (2, 17), (33, 8), (64, 65)):
        images = jax.ShapeDtypeStruct((1, h, w, 3), jnp.float32)
        assert jax.eval_shape(net.apply, variables, images).shape == (1, h, w, 5)


def test_the_readme_is_short_and_prints_the_two_commands():
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= 150
    assert "pip install -e . && python -m experiments.voc_fcn8s --demo" in lines
    assert "pip install -e '.[test]' && pytest" in lines
