"""Several inputs and labels by name are moved, stacked and checked like a single one."""

import hashlib

import numpy as np
import pytest

from fcn_jax.data import (
    Augment,
    Batches,
    DataError,
    Example,
    Joined,
    NYUDv2,
    SIFTFlow,
    check_labels,
    evaluation_batches,
)
from fcn_jax.data.named import as_plain, check_names, plain_if_one, primary, zip_named

SIZES = [(4, 6), (6, 4), (5, 5), (3, 7), (8, 2)]


def arrays(h, w):
    """Depth and labels hold the pixel's row and column; the other images are noise."""
    row, column = np.mgrid[:h, :w]
    rng = np.random.default_rng(h)
    image = {
        "color": rng.integers(0, 256, (h, w, 3), dtype=np.uint8),
        "depth": (1000 * row + column + 1)[..., None].astype(np.uint16),
        "hha": rng.integers(0, 256, (h, w, 3), dtype=np.uint8),
    }
    return image, {"semantic": row.astype(np.uint8), "geometric": column.astype(np.uint8)}


class Several:
    num_classes = {"semantic": 30, "geometric": 40}
    class_names = {name: tuple(f"{name} {k}" for k in range(n)) for name, n in num_classes.items()}
    sizes = SIZES

    def __len__(self):
        return len(self.sizes)

    def at(self, root):
        return self

    def size(self, i):
        return self.sizes[i]

    def __getitem__(self, i):
        return Example(*arrays(*self.sizes[i]), str(i))


@pytest.mark.parametrize(
    "augment",
    [
        Augment(mirror=True, scale=(0.4, 2.5), jitter=9),
        Augment(mirror=True, scale=(0.5, 2.0), crop=(11, 9), jitter=3),
        Augment(jitter=32),
    ],
)
def test_all_inputs_and_labels_move_together(augment):
    image, label = arrays(23, 31)
    for seed in range(6):
        plan = augment.plan((23, 31), np.random.default_rng(seed))
        moved, labels = augment.apply(plan, image, label)
        assert list(moved) == list(image) and list(labels) == list(label)
        for name in ("color", "hha"):  # the same as alone
            alone, _ = augment.apply(plan, image[name], label["semantic"])
            np.testing.assert_array_equal(moved[name], alone)
        row, column = (labels[name].astype(int) for name in ("semantic", "geometric"))
        outside = row == 255
        np.testing.assert_array_equal(outside, column == 255)
        # No depth is interpolated, and pixels outside the image are missing.
        assert moved["depth"].dtype == np.uint16
        expected = np.where(outside, 0, 1000 * row + column + 1)[..., None]
        np.testing.assert_array_equal(moved["depth"], expected)


def test_colour_changes_only_the_colour_image():
    image, label = arrays(8, 9)
    changed, _ = Augment(colour=0.5)(image, label, np.random.default_rng(3))
    assert (changed["color"] != image["color"]).any()
    for name in ("depth", "hha"):
        np.testing.assert_array_equal(changed[name], image[name])
    depth, _ = Augment(colour=0.5)(image["depth"], label, np.random.default_rng(3))
    np.testing.assert_array_equal(depth, image["depth"])
    given = {"batch_size": 1, "seed": 0, "with_replacement": True, "augment": Augment(colour=0.5)}
    Batches(NYUDv2(split="train"), **given)
    for inputs in (("hha",), ("depth", "hha")):
        with pytest.raises(DataError, match="no colour.*hha"):
            Batches(NYUDv2(split="train", inputs=inputs), **given)


def test_every_input_and_label_must_have_the_size_of_the_plan():
    image, label = arrays(4, 5)
    plan = Augment().plan((4, 5), np.random.default_rng(0))
    for wrong in ("depth", "geometric"):
        one, two = dict(image), dict(label)
        (one if wrong in one else two)[wrong] = np.zeros((5, 4), np.uint8)
        with pytest.raises(DataError, match="plan is for"):
            Augment().apply(plan, one, two)


def test_batches_are_dicts_of_arrays_filled_up_with_0_and_255():
    batch = Batches(Several(), batch_size=4, seed=1, with_replacement=False)[0]
    canvas = tuple(batch["size"].max(axis=0))
    assert {k: (v.shape, v.dtype) for k, v in batch["image"].items()} == {
        "color": ((4, *canvas, 3), np.uint8),
        "depth": ((4, *canvas, 1), np.uint16),
        "hha": ((4, *canvas, 3), np.uint8),
    }
    assert list(batch["label"]) == ["semantic", "geometric"]
    for row, (h, w) in enumerate(batch["size"]):
        image, label = arrays(h, w)
        for fill, stacks, wanted in ((0, batch["image"], image), (255, batch["label"], label)):
            for name, array in wanted.items():
                got = stacks[name][row]
                np.testing.assert_array_equal(got[:h, :w], array)
                assert (got[h:] == fill).all() and (got[:, w:] == fill).all()


def test_evaluation_fills_up_and_splits_batches_of_dicts():
    whole = evaluation_batches(Several(), batch_size=4)[1]
    assert whole["index"].tolist()[1:] == [-1, -1, -1]
    assert whole["image"]["depth"].dtype == np.uint16 and not whole["image"]["depth"][1:].any()
    assert (whole["label"]["geometric"][1:] == 255).all()
    parts = [evaluation_batches(Several(), batch_size=4, part=(i, 2))[1] for i in range(2)]
    for key in ("image", "label"):
        for name, stack in whole[key].items():
            np.testing.assert_array_equal(stack, np.concatenate([p[key][name] for p in parts]))


def test_each_label_is_checked_with_its_own_classes():
    checked = check_labels(Several(), threads=2)
    counts = {name: np.zeros(k + 1, int) for name, k in Several.num_classes.items()}
    for h, w in SIZES:
        for name, label in arrays(h, w)[1].items():
            counts[name][:-1] += np.bincount(label.ravel(), minlength=len(counts[name]) - 1)
    assert list(checked.pixels) == list(checked.absent) == ["semantic", "geometric"]
    for name, count in counts.items():
        assert checked.pixels[name].tolist() == count.tolist()
        assert checked.absent[name] == tuple(f"{name} {k}" for k in np.flatnonzero(count[:-1] == 0))


def test_an_error_names_which_of_several_is_wrong():
    class Fewer(Several):
        num_classes = {"semantic": 30, "geometric": 3}

    with pytest.raises(DataError, match=r"\(geometric\): expected labels 0 to 2"):
        check_labels(Fewer())

    class Changed(Several):
        change = {}

        def __getitem__(self, i):
            image, label, name = super().__getitem__(i)
            new = {key: value(i, *self.size(i)) for key, value in self.change.items()}
            image |= {key: value for key, value in new.items() if key in image}
            return Example(image, label | {k: v for k, v in new.items() if k in label}, name)

    source = Changed()
    source.change = {"geometric": lambda i, h, w: np.full((h, w), 255, np.uint8)}
    with pytest.raises(DataError, match=r"\(geometric\).*nothing to learn"):
        check_labels(source)
    batch = Batches(source, batch_size=1, seed=0, with_replacement=True)[0]
    assert batch["label"]["semantic"].max() < 255
    source.change = {"depth": lambda i, h, w: np.zeros((w, h, 1), np.uint16)}
    with pytest.raises(DataError, match="the depth has 6 rows and 4 columns.*swapped"):
        check_labels(source)
    everywhere = lambda i, h, w: np.full((h, w), 255 if i == 2 else 1, np.uint8)  # noqa: E731
    source.change = {"geometric": everywhere}
    assert check_labels(source).unlabelled == ()  # example 2 has its semantic label
    source.change |= {"semantic": everywhere}
    assert check_labels(source).unlabelled == ("2",)


def test_names_that_do_not_match_are_refused():
    image, label = arrays(2, 2)
    for other in ({"color": image["color"]}, image["color"]):
        with pytest.raises(DataError, match="same names"):
            zip_named(image, other)
    with pytest.raises(DataError, match="classes and inputs"):
        Joined(sources=(NYUDv2(split="train"), NYUDv2(split="val", inputs=("depth",))))
    for labels in ((), ("semantic", "semantic"), "depth", ("depth",)):
        with pytest.raises(DataError, match="SIFTFlow.*semantic, geometric"):
            SIFTFlow(split="train", labels=labels)
    with pytest.raises(DataError, match=r"tuple.*\['semantic'\]"):
        check_names("SIFTFlow", "labels", ["semantic"], ("semantic",))
    with pytest.raises(DataError, match="NYUDv2.*color, depth, hha"):
        NYUDv2(split="train", inputs=("rgb",))


def test_one_is_plain_and_several_are_a_dict_in_order():
    assert zip_named(1, 2) == zip_named({"": 1}, 2) == [("", 1, 2)]
    assert zip_named({"p": 1, "q": 2}, {"q": 10, "p": 20}) == [("p", 1, 20), ("q", 2, 10)]
    for value in (3, {"p": 3}, {"b": 1, "a": 2}):
        assert as_plain({name: one for name, one in zip_named(value)}) == value
    assert plain_if_one({"p": 3}) == 3 and plain_if_one({"b": 1, "a": 2}) == {"b": 1, "a": 2}
    assert primary({"p": 1, "q": 2}) == primary(1) == 1


class Plain(Several):
    num_classes = 200
    sizes = [(7, 11), (8, 10), (9, 9), (10, 8), (11, 7)]

    def __getitem__(self, i):
        h, w = self.size(i)
        r = np.arange(h * w, dtype=np.uint8).reshape(h, w) + np.uint8(i)
        image = np.stack([r, r + np.uint8(50), r ^ np.uint8(255)], -1)
        return Example(image, r % np.uint8(200), str(i))


@pytest.mark.parametrize(
    ("augment", "keys", "digest"),
    [
        (
            Augment(mirror=True, crop=(6, 8), jitter=3),
            ("image", "label", "size"),
            "ec4a8286a5e68f74",
        ),
        (Augment(mirror=True, scale=(0.5, 2.0), jitter=3), ("label",), "a0e53956ee6ec88e"),
    ],
)
def test_a_plain_source_has_the_batches_it_always_had(augment, keys, digest):
    """A later version of this package resumes a run bit-exactly."""
    loader = Batches(Plain(), batch_size=4, seed=3, with_replacement=False, augment=augment)
    data = b"".join(loader[n][key].tobytes() for n in range(3) for key in keys)
    assert hashlib.sha256(data).hexdigest()[:16] == digest
