"""The batches of the training studies: samples of cells, patches, masked images."""

import dataclasses

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies import loss_sampling, masking, setting
from experiments.studies.learning import train
from fcn_jax import FCN
from fcn_jax.data.scenes import Scenes
from fcn_jax.nn.layers import Conv, MaxPool
from fcn_jax.preprocessing import CAFFE
from fcn_jax.runs.recipe import FromScratch


def batch(labels):
    return {"image": np.zeros((*labels.shape, 3), np.uint8), "label": labels}


class Ten:
    """Ten batches of random labels, 23x30 pixels."""

    def __getitem__(self, n):
        return batch(np.random.default_rng(n).integers(0, 5, (3, 23, 30)).astype(np.uint8))


def test_a_sample_of_all_cells_is_the_whole_image():
    for n in range(3):
        sampled = loss_sampling.Sampled(Ten(), 1.0, 8)[n]
        np.testing.assert_array_equal(sampled["label"], Ten()[n]["label"])
        assert sampled["image"].dtype == np.uint8


def test_a_sample_has_whole_cells_with_the_given_probability():
    kept = []
    for n in range(10):
        sampled = loss_sampling.Sampled(Ten(), 0.25, 8, seed=1)[n]["label"]
        for image, truth in zip(sampled, Ten()[n]["label"], strict=True):
            for y, x in np.ndindex(3, 4):
                cell = np.s_[8 * y : 8 * y + 8, 8 * x : 8 * x + 8]
                whole = np.array_equal(image[cell], truth[cell])
                assert whole or np.all(image[cell] == 255)
                kept.append(whole)
    assert len(kept) == 360 and 0.17 < np.mean(kept) < 0.33
    again, other = (loss_sampling.Sampled(Ten(), 0.25, 8, seed=1)[n]["label"] for n in (9, 8))
    np.testing.assert_array_equal(again, sampled)
    assert not np.array_equal(other == 255, sampled == 255)


class Two(nn.Module):
    """Stride 4; a cell sees 19 pixels."""

    ring: int = 3

    @nn.compact
    def __call__(self, x, *, train):
        x = MaxPool(3, 2, name="pool1")(Conv(5, 7, stride=2, relu=True, name="conv1")(x))
        return {"conv2": Conv(6, 3, padding=1, relu=True, name="conv2")(x)}


def test_a_patch_has_the_score_of_the_whole_image_at_its_centre(random_variables, close):
    net, patches = FCN(Two(), 4), loss_sampling.PatchNet(Two(), 4)
    grid = loss_sampling.grid_of(Two())
    assert (grid.stride, grid.field) == (4, 19)
    variables = random_variables(net, size=32)
    image = jnp.asarray(np.random.default_rng(0).normal(size=(1, 48, 40, 3)), jnp.float32)
    whole = net.apply(variables, image)
    for y, x in [(10, 10), (14, 26), (34, 18)]:  # pixels at cells: 2 + 4 i
        patch = image[:, y - 9 : y + 10, x - 9 : x + 10]
        close(patches.apply(variables, patch)[:, 0, 0], whole[:, y, x])
    with pytest.raises(ValueError, match="no cell at the centre"):
        patches.apply(variables, image[:, :21, :21])


def test_patches_are_cut_around_their_labels():
    source = setting.Few(Scenes(length=5, seed=3, largest=(40, 32)), 5)
    made = loss_sampling.Patches(source, 19, 30)[4]
    assert made["image"].shape == (30, 19, 19, 3) and made["label"].shape == (30, 1, 1)
    windows = {
        source[i].image[y : y + 19, x : x + 19].tobytes(): source[i].label[y + 9, x + 9]
        for i in range(5)
        for y, x in np.ndindex(40 - 18, 32 - 18)
    }
    for image, label in zip(made["image"], made["label"], strict=True):
        assert windows[image.tobytes()] == label[0, 0]


def test_loss_sampling_trains_all_variants_on_as_many_cells():
    given = setting.Setting(images=12, held_out=3, crop=32)
    recipe = dataclasses.replace(
        given.recipe(steps=2, batch_size=1, learning_rate=0.0),
        model=FCN(Two(), 7),
        start=FromScratch(preprocessing=CAFFE),
    )
    made = loss_sampling.variants(recipe, 32)
    assert [v.stages[0].batch_size for v in made.values()] == [1, 2, 4, 8 * 8]
    patches, image = made["patches of 19x19"], made["p = 1"]
    found = train({"p = 1": image, "patches": patches}, turns=2, points=1)
    # At a rate of 0 the loss of every cell and every patch stays ln 7.
    for (point,) in found.values():
        assert point.step == 2 and point.seconds > 0
        assert point.loss == pytest.approx(np.log(7), rel=1e-5)


def test_masks_hide_the_right_pixels():
    source = Scenes(length=3, seed=0, largest=(48, 48))
    fill = np.array([123, 117, 104])
    for i in range(3):
        image, label, _ = source[i]
        void, ground = label == 255, label == 0
        objects = ~void & ~ground
        assert void.any() and ground.any() and objects.any()
        for seen in (masking.BOTH, masking.FOREGROUND, masking.BACKGROUND, masking.SHAPE):
            shown = masking.Masked(source, seen)[i]
            np.testing.assert_array_equal(shown.label, label)
            if seen == masking.BOTH:
                np.testing.assert_array_equal(shown.image, image)
                continue
            white = np.full(3, 255)
            for part, kept, else_ in (
                (objects, seen.foreground, white if seen == masking.SHAPE else fill),
                (ground, seen.background, fill),
                (void, False, fill),
            ):
                expected = image[part] if kept else np.broadcast_to(else_, image[part].shape)
                np.testing.assert_array_equal(shown.image[part], expected)


def test_few_examples_are_spread_and_kept():
    source = Scenes(length=10, seed=0, largest=(16, 16))
    few = setting.Few(source, 5)
    assert len(few) == 5 and [few[i].name for i in range(5)] == [
        source[2 * i].name for i in range(5)
    ]
    assert few[3] is few[3] and few.size(3) == (16, 16) and len(setting.Few(source, 99)) == 10
