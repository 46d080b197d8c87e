"""The loops of docs/own-loop.md, executed as they are printed, for fewer steps."""

import re
from pathlib import Path

import numpy as np
import pytest

PAGE = Path(__file__).parents[1] / "docs" / "own-loop.md"
DATA, *LOOPS = re.findall(r"```{code-cell}\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.mark.parametrize("number", range(2))
def test_a_loop(number):
    few = DATA.replace("length=20", "length=3"), LOOPS[number].replace("0, 40)", "0, 2)")
    assert "length=3" in few[0] and "0, 2)" in few[1]
    names: dict = {}
    for source in few:
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
