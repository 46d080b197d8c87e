"""A run folder that version 0.1.0 (commit 1fc2302) wrote: it resumes, evaluates and predicts.

`run_of_0_1` is the first stage of the demo, a sixty-fourth as wide, stopped after step 2 of 4.
Its recipe names the module `fcn_jax.demo` and has the fields `border_skipping`, `row_tiles` and
`rematerialise`, none of which is there any more. The expected lines are those of the same run
without the interruption, by the same commit.
"""

import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fcn_jax.runs.lookup import load_recipe
from fcn_jax.runs.place import Place
from fcn_jax.runs.run import run
from fcn_jax.runs.start import run_variables
from fcn_jax.training.run_folder import RunFolder

STORED = Path(__file__).with_name("run_of_0_1")
UNINTERRUPTED = [
    {"step": 2, "loss": 1.8554680347442627},
    {"step": 4, "loss": 1.6294167637825012},
    {
        "step": 4,
        "split": "Scenes",
        "pixel_accuracy": 0.7715804573453717,
        "mean_accuracy": 0.25,
        "mean_iu": 0.19289511433634293,
        "frequency_weighted_iu": 0.595336402157293,
    },
]


@pytest.fixture
def folder(tmp_path):
    shutil.copytree(STORED, tmp_path / "run")
    return tmp_path / "run"


def test_it_resumes_and_ends_as_it_would_have(folder):
    described = RunFolder(folder).described()
    origin = {key: described[key] for key in ("module", "arguments", "overrides")}
    said = []
    run(load_recipe(described), Place(workdir=folder), origin=origin, say=said.append)
    assert any("resuming after step 2 of 4" in line for line in said)
    lines = RunFolder(folder).metrics()
    for found, expected in zip(lines, UNINTERRUPTED, strict=True):
        assert found.keys() == expected.keys()
        numbers = [key for key, value in expected.items() if isinstance(value, float)]
        np.testing.assert_allclose(
            [found[key] for key in numbers], [expected[key] for key in numbers], rtol=1e-4
        )


def test_its_variables_fit_the_net_of_today(folder):
    recipe = load_recipe(RunFolder(folder).described())
    variables, preprocessing = run_variables(folder)
    variables = jax.tree.map(jnp.asarray, variables)
    scores = recipe.model.apply(variables, jnp.zeros((1, 40, 50, 3)))
    assert scores.shape == (1, 40, 50, 7) and np.abs(scores).max() > 0
    assert preprocessing.channels == "BGR"


def edited(folder, edit):
    described = json.loads((folder / "recipe.json").read_text())
    edit(described["recipe"])
    (folder / "recipe.json").write_text(json.dumps(described))
    return RunFolder(folder).described()


def test_a_field_that_it_lacks_had_its_default(folder):
    load_recipe(edited(folder, lambda recipe: recipe["model"].pop("skip_scales")))
    load_recipe(edited(folder, lambda recipe: recipe["loss"].pop("adjustment")))


def test_a_real_difference_is_refused(folder):
    described = edited(folder, lambda recipe: recipe["model"].pop("num_classes"))
    with pytest.raises(ValueError, match=r"model.num_classes: the folder has null, .* 7"):
        load_recipe(described)
    described = edited(folder, lambda recipe: recipe["model"].update(num_classes=7, dropout=1))
    with pytest.raises(ValueError, match=r"model.dropout: the folder has 1, this recipe nothing"):
        load_recipe(described)
    described = edited(
        folder, lambda recipe: recipe["model"].pop("dropout") and recipe.update(seed=1)
    )
    with pytest.raises(ValueError, match="seed: the folder has 1, this recipe 0"):
        load_recipe(described)
