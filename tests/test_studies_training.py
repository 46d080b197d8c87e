"""The training studies: the data of their variants, and that each runs to its end."""

import xml.etree.ElementTree as ElementTree
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from chart_points import points

from experiments.studies import (
    curves,
    fixed_trunk,
    learning,
    loss_sampling,
    masking,
    optimization,
    setting,
    staged_or_at_once,
)
from experiments.studies.learning import batches_of, train
from fcn_jax import FCN
from fcn_jax.nets.inputs import as_image
from fcn_jax.nn.layers import Conv, MaxPool
from fcn_jax.preprocessing import CAFFE
from fcn_jax.training.state import initial_variables
from fcn_jax.weights.weights_file import Metadata, save_weights


class Tiny(nn.Module):
    """Maps of SqueezeNet's names at strides 2, 4 and 8."""

    ring: int = 3
    only: str = ""

    @nn.compact
    def __call__(self, x, *, train):
        fire4 = Conv(4, 7, stride=2, relu=True, name="conv1")(x)
        fire8 = Conv(6, 3, padding=1, relu=True, name="fire8")(MaxPool(3, 2, name="pool4")(fire4))
        fire9 = Conv(8, 3, padding=1, relu=True, name="fire9")(MaxPool(3, 2, name="pool8")(fire8))
        maps = {"fire4": fire4, "fire8": fire8, "fire9": fire9}
        return {self.only: maps[self.only]} if self.only else maps


SIZES = {"images": 12, "held_out": 3, "crop": 32, "points": 2}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of the trunk's parameters, as of a classifier."""
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    params = initial_variables(FCN(Tiny(), 7), 0)["params"]
    about = Metadata(architecture="Tiny", num_classes=7, preprocessing=CAFFE, source="a test")
    save_weights(path, {"params": {"trunk": params["trunk"]}}, about)
    return path


@pytest.fixture
def options(weights, tmp_path, monkeypatch):
    """`options(study, **sizes)`: small options for a study."""
    monkeypatch.setattr(setting, "trunk", Tiny)

    def make(study, **sizes):
        return study.Options(**{**SIZES, "weights": weights, "out": tmp_path, **sizes})

    return make


def test_all_variants_see_the_same_images(options):
    recipe = optimization.accumulated(options(optimization, updates=2))
    made = optimization.variants(recipe)
    first, *others = [
        np.concatenate([batches_of(v.stages[0])[0][n]["image"] for n in range(v.steps)])
        for v in made.values()
    ]
    assert len(first) == 2 * optimization.PASSES
    for images in others:
        np.testing.assert_array_equal(images, first)


def test_turns_do_not_change_a_variant_s_result(options):
    given = options(fixed_trunk, steps=4)
    recipe = given.recipe(steps=4, batch_size=2, learning_rate=1e-2)
    made = fixed_trunk.variants(recipe)
    both = train(made, turns=2, points=2, weights=given.weights)
    for name, variant in made.items():
        alone = train({name: variant}, turns=4, points=1, weights=given.weights)
        last, only = both[name][-1], alone[name][0]
        assert (last.step, last.images) == (only.step, only.images) == (4, 8)
        np.testing.assert_array_equal(last.scores.iu, only.scores.iu)
        assert np.mean([point.loss for point in both[name]]) == pytest.approx(only.loss)
    assert both["all learns"][-1].loss != both["scores alone"][-1].loss
    with pytest.raises(ValueError, match="make them a multiple"):
        train(made, turns=3, points=1, weights=given.weights)


def test_each_stage_starts_from_the_one_before(options):
    given = options(staged_or_at_once)
    recipe = given.recipe(steps=2, batch_size=2, learning_rate=1e-2)
    scales = staged_or_at_once.scales(recipe, ("fire8", "fire4"), given.weights)
    made = staged_or_at_once.variants(recipe, ("fire8", "fire4"), scales, 10.0)
    assert [s.model.skips for s in made["staged"].stages] == [(), ("fire8",), ("fire8", "fire4")]
    rates = [s.optimizer.learning_rate for s in made["staged"].stages]
    assert rates == pytest.approx([1e-2, 1e-3, 1e-4])
    assert made["staged"].steps == made["at once"].steps == 6
    learner = learning._Learner(made["staged"], given.weights)
    learner.take(2)
    before = jax.tree.map(np.array, learner._state.variables["params"])
    learner._next_stage()
    after = learner._state.variables["params"]
    assert np.any(before["score_fr"]["kernel"])
    np.testing.assert_array_equal(after["score_fr"]["kernel"], before["score_fr"]["kernel"])
    assert not np.any(after["score_fire8"]["kernel"])


def test_scales_give_features_the_same_mean_size(options):
    given = options(staged_or_at_once)
    recipe = given.recipe(steps=1, batch_size=2, learning_rate=1e-2)
    one, two = staged_or_at_once.scales(recipe, ("fire9", "fire4"), given.weights)
    assert one == pytest.approx(1)
    start = learning.starting_point(recipe, given.out, given.weights)
    images = start.preprocessing(jnp.asarray(batches_of(recipe)[0][0]["image"]))
    image = as_image(images, None, jnp.float32).replace(ring=3)
    maps: Any = Tiny().apply({"params": start.variables["params"]["trunk"]}, image, train=False)
    size = {name: np.abs(maps[name].values).mean() for name in maps}
    assert two * size["fire4"] == pytest.approx(size["fire9"], rel=1e-4)


def test_every_published_row_of_masking_is_scored_once(options):
    recipe = options(masking, steps=1).recipe(steps=1, batch_size=1, learning_rate=1e-3)
    made = masking.variants(recipe)
    rows = [name for variant in made.values() for name in variant.others]
    assert sorted(rows) == sorted(name for name, *_ in masking.PUBLISHED) and len(made) == 4
    for name, trained, tested in masking.PUBLISHED:
        variant = made[f"trained on {trained}"]
        train_set = variant.stages[0].train_set
        assert isinstance(train_set, masking.Masked)
        assert train_set == masking.Masked(recipe.train_set, trained)
        assert variant.others[name].seen == tested


def test_curves_are_drawn_over_seconds(tmp_path):
    none: Any = None
    point = learning.Point(1, 1, 0.0, 0.0, none, {})
    made = {
        name: [point._replace(seconds=s, loss=1.0) for s in seconds]
        for name, seconds in {"slow": (4.0, 8.0), "fast": (1.0, 2.0)}.items()
    }
    _, path = curves.save_curves(tmp_path, "x", "loss", made, lambda point: point.loss)
    (slow_start, slow_end), (fast_start, fast_end) = (
        [x for x, _ in points(path, name)] for name in made
    )
    second = fast_end - fast_start
    assert second > 40
    assert slow_end - slow_start == pytest.approx(4 * second)
    assert slow_start - fast_end == pytest.approx(2 * second)


def check_program(study, given, words, capsys):
    study.main(given)
    printed = capsys.readouterr().out
    assert "published" in printed and words in printed
    name = study.__name__.rpartition(".")[2]
    for file in (f"{name}.svg", f"{name}_by_second.svg"):
        ElementTree.parse(given.out / file)


def test_a_program_prints_its_table_and_saves_its_plots(options, capsys):
    given = options(fixed_trunk, steps=4, batch_size=2, learning_rate=1e-2)
    check_program(fixed_trunk, given, "of the full mean IU", capsys)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("study", "sizes", "words"),
    [
        (staged_or_at_once, {"steps": 2, "batch_size": 2, "points": 1}, "features at once"),
        (optimization, {"updates": 2}, "best mean IU"),
        (masking, {"steps": 2, "batch_size": 2}, "Reference-BG"),
        (loss_sampling, {"steps": 2, "batch_size": 1}, "figure 5"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_every_program_runs(study, sizes, words, options, capsys, monkeypatch):
    monkeypatch.setattr(loss_sampling, "Shallow", lambda **fields: Tiny(only="fire4"))
    check_program(study, options(study, **sizes), words, capsys)


def test_masking_refuses_what_has_no_background(options, tmp_path):
    with pytest.raises(ValueError, match="Leave --data out"):
        masking.main(options(masking, data=tmp_path))
