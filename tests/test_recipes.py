"""Every recipe is a hashable value that can be stored, with the numbers of the reference."""

import dataclasses
import importlib
import json
import pkgutil

import jax
import pytest

import experiments
from fcn_jax.nets.inputs import placeholder
from fcn_jax.runs.description import describe
from fcn_jax.runs.lookup import load_recipe
from fcn_jax.runs.options import changed_fields, override, plain_fields
from fcn_jax.runs.recipe import Recipe

NAMES = sorted(m.name for m in pkgutil.iter_modules(experiments.__path__) if not m.ispkg)

# Learning rate, steps and learnable parameters. Source: the reference's solvers and nets.
REFERENCE = {
    "nyud_fcn32s_color": (1e-10, 100_000, 134_424_424),
    "nyud_fcn32s_hha": (1e-10, 100_000, 134_424_424),
    "nyud_fcn32s_color_d": (1e-10, 100_000, 134_425_000),
    "nyud_fcn32s_color_hha": (1e-12, 100_000, 268_848_848),
    "siftflow_fcn32s": (1e-10, 100_000, 134_408_036),
    "siftflow_fcn16s": (1e-12, 100_000, 134_426_504),
    "siftflow_fcn8s": (1e-12, 100_000, 134_435_756),
    "pascalcontext_fcn32s": (1e-10, 400_000, 134_506_364),
    "pascalcontext_fcn16s": (1e-12, 400_000, 134_537_144),
    "pascalcontext_fcn8s": (1e-14, 400_000, 134_552_564),
    "voc_fcn32s": (1e-10, 100_000, 134_346_581),
    "voc_fcn16s": (1e-12, 100_000, 134_357_354),
    "voc_fcn8s": (1e-14, 100_000, 134_362_751),
    "voc_fcn8s_atonce": (1e-10, 300_000, 134_362_751),
    "voc_fcn32s_fixed": (1e-10, 100_000, 134_346_581),
}


def recipe_of(name: str) -> Recipe:
    return importlib.import_module(f"experiments.{name}").RECIPE


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_is_a_value(name):
    recipe = recipe_of(name)
    assert recipe == override(recipe, {})
    assert hash(recipe) == hash(override(recipe, {}))
    assert type(recipe.model).__name__ in repr(recipe)
    described = json.loads(json.dumps(describe(recipe)))
    assert "root" not in json.dumps(described)
    same = load_recipe({"module": f"experiments.{name}", "overrides": {}, "recipe": described})
    assert same == recipe


@pytest.mark.parametrize("name", REFERENCE)
def test_the_reference_recipes_have_its_numbers(name):
    rate, steps, parameters = REFERENCE[name]
    recipe = recipe_of(name)
    assert (recipe.optimizer.learning_rate, recipe.steps) == (rate, steps)
    assert (recipe.optimizer.momentum, recipe.optimizer.weight_decay) == (0.99, 5e-4)
    assert (recipe.batch_size, recipe.accumulate, recipe.with_replacement) == (1, 1, True)
    shapes = jax.eval_shape(recipe.model.init, jax.random.key(0), placeholder(recipe.model))
    assert sum(x.size for x in jax.tree.leaves(shapes["params"])) == parameters


def test_options_override_plain_fields_and_nothing_else():
    recipe = recipe_of("voc_fcn32s")
    options = plain_fields(recipe)
    assert changed_fields(recipe, options()) == {}
    inner = type(options().optimizer)
    changed = changed_fields(recipe, options(steps=7, optimizer=inner(learning_rate=1e-9)))
    assert changed == {"steps": 7, "optimizer": {"learning_rate": 1e-9}}
    new = override(recipe, changed)
    assert (new.steps, new.optimizer.learning_rate) == (7, 1e-9)
    assert (new.optimizer.momentum, new.model) == (0.99, recipe.model)


def test_a_recipe_that_changed_since_its_run_is_refused():
    recipe = recipe_of("voc_fcn8s")
    described = describe(override(recipe, {"seed": 1}))
    with pytest.raises(ValueError, match=r"seed: the folder has 1, this recipe 1337"):
        load_recipe({"module": "experiments.voc_fcn8s", "overrides": {}, "recipe": described})


def test_only_a_module_s_own_name_is_left_out():
    @dataclasses.dataclass(frozen=True)
    class Named:
        name: str
        root: str

    assert describe(Named("a", "here")) == {
        "class": f"{Named.__module__}.{Named.__qualname__}",
        "name": "a",
    }
    assert "name" not in describe(recipe_of("voc_fcn8s").model.clone(name="net"))


def test_a_missing_module_is_named():
    with pytest.raises(ValueError, match="no module experiments.voc_fcn9s"):
        load_recipe({"module": "experiments.voc_fcn9s", "overrides": {}, "recipe": {}})


def test_classes_of_net_and_data_must_agree():
    recipe = recipe_of("voc_fcn8s")
    with pytest.raises(ValueError, match="the net has 20 classes, SBD has 21"):
        dataclasses.replace(recipe, model=recipe.model.clone(num_classes=20))


def test_a_recipe_made_from_options_is_restored_from_the_run_folder():
    from experiments import folders

    given = {"num_classes": 3, "steps": 5, "train_list": "a.txt", "validation_list": "b.txt"}
    recipe = folders.recipe(**given)
    assert (recipe.model.num_classes, recipe.train_set.split) == (3, "a.txt")
    described = {"recipe": describe(recipe), "arguments": given, "overrides": {}}
    assert load_recipe({"module": "experiments.folders", **described}) == recipe


def test_the_demo_is_three_stages_each_from_the_one_before():
    from fcn_jax.runs import demo

    recipes = [demo.recipe(stage) for stage in demo.STAGES]
    assert [len(recipe.model.skips) for recipe in recipes] == [0, 1, 2]
    assert [getattr(recipe.start, "run", None) for recipe in recipes] == [None, "fcn32s", "fcn16s"]
