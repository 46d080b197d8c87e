"""The loops of docs/own-loop.md, executed as they are printed on a small data set."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

PAGE = Path(__file__).parents[1] / "docs" / "own-loop.md"
LOOPS = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.fixture
def images(tmp_path):
    rng = np.random.default_rng(0)
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    for i in range(10):
        h, w = 40 + i % 2, 56 - i % 3
        label = np.kron(rng.integers(0, 3, (h // 8 + 1, w // 8 + 1)), np.ones((8, 8)))[:h, :w]
        label = label.astype(np.uint8)
        Image.fromarray(label * 100).convert("RGB").save(tmp_path / "images" / f"{i}.png")
        label[:2] = 255
        Image.fromarray(label).save(tmp_path / "labels" / f"{i}.png")
    return tmp_path


@pytest.mark.parametrize("number", range(2))
def test_a_loop(number, images):
    source = LOOPS[number].replace('"DIR"', repr(str(images))).replace("0, 1000)", "0, 2)")
    assert str(images) in source and "0, 2)" in source
    names: dict = {}
    exec(compile(source, PAGE.name, "exec"), names)
    if number == 0:
        assert np.isfinite(names["metrics"]["loss"]) and int(names["state"].step) == 2
        assert 0 < names["scores"].mean_iu <= 1
        held_out = names["held_out"]
        assert names["model"](held_out[0].image).shape == held_out[0].label.shape
    else:
        assert np.isfinite(names["value"])


def test_there_are_two():
    assert len(LOOPS) == 2
