"""What is counted in each image, whatever the batches and the devices; kept in a file, and read."""

import dataclasses

import jax
import numpy as np
import pytest
from three_colours import NET, VARIABLES, plain, reference_label

from fcn_jax.data.batching import evaluation_batches
from fcn_jax.data.prefetch import read_ahead
from fcn_jax.data.scenes import Scenes
from fcn_jax.inference.by_image import count_by_image
from fcn_jax.metrics import MORE, ByImage, image_details, score
from fcn_jax.runs.kept_counts import keep, read_kept
from fcn_jax.runs.scoring import evaluate, example_names

SCENES = Scenes(length=7, seed=0, largest=(24, 20), smallest=(9, 9), num_classes=3)
NAMES = example_names(SCENES)


def counted(batch_size, mesh=None, details=True):
    these = evaluation_batches(SCENES, batch_size=batch_size, canvases=((24, 20),))
    read = read_ahead(these, 0, len(these), threads=0)
    images, _ = count_by_image(
        NET, VARIABLES, plain, read, 3, names=NAMES, mesh=mesh, details=details
    )
    return images


@pytest.fixture(scope="module")
def expected():
    """Of each image: its confusion matrix and its details, from the reference's labels."""
    found = []
    for i in range(len(SCENES)):
        image, label, _ = SCENES[i]
        predicted = reference_label(image).astype(np.uint8)
        matrix = np.array(
            [[((label == t) & (predicted == p)).sum() for p in range(3)] for t in range(3)]
        )
        sums = np.zeros((*label.shape, 3))
        padded = np.pad(image.astype(float) + np.array([0, 5, 9]), ((1, 1), (1, 1), (0, 0)))
        for y in range(3):
            for x in range(3):
                sums += padded[y : y + label.shape[0], x : x + label.shape[1]] / 9
        powers = np.exp(sums - sums.max(-1, keepdims=True))
        sure = (powers / powers.sum(-1, keepdims=True)).max(-1)
        found.append((matrix, image_details(label, predicted, sure, 3)))
    return found


def check(images, expected):
    assert images.names == NAMES
    for i, (matrix, details) in enumerate(expected):
        entries = images.entries[images.entries[:, 0] == i]
        dense = np.zeros((3, 3), int)
        dense[entries[:, 1], entries[:, 2]] = entries[:, 3]
        np.testing.assert_array_equal(dense, matrix)
        for name in images.details:
            tolerance = 1e-4 if name == "confidence" else 0
            np.testing.assert_allclose(images.details[name][i], details[name], rtol=tolerance)


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_counts_are_those_of_each_image_for_any_batch_size(batch_size, expected):
    check(counted(batch_size), expected)
    check(counted(batch_size, details=False), expected)


def test_counts_are_the_same_on_a_mesh(expected):
    mesh = jax.make_mesh(
        (jax.device_count(), 1),
        ("data", "space"),
        axis_types=(jax.sharding.AxisType.Auto,) * 2,
    )
    check(counted(3 * jax.device_count(), mesh), expected)


def test_details_are_for_one_process_and_the_width_is_a_share(monkeypatch):
    for width in (0.0, -0.1, 1.5):
        with pytest.raises(ValueError, match="above 0 and at most 1"):
            count_by_image(NET, VARIABLES, plain, [], 3, names=(), boundary_width=width)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(ValueError, match="counted by one process"):
        count_by_image(NET, VARIABLES, plain, [], 3, names=(), details=True)


def test_evaluate_gives_the_scores_their_intervals_and_more(expected):
    bare = evaluate(NET, VARIABLES, plain, SCENES, batch_size=3)
    full = evaluate(NET, VARIABLES, plain, SCENES, batch_size=3, details=True)
    matrix = sum(matrix for matrix, _ in expected)
    assert bare.mean_iu == full.mean_iu == score(matrix).mean_iu
    low, high = bare.intervals["mean_iu"]
    assert low < bare.mean_iu < high
    assert not bare.more and bare.seconds_per_image is None and bare.peak_memory is None
    assert tuple(full.more) == MORE and all(0 <= full.more[n] <= 1 for n in MORE[:3])
    assert full.seconds_per_image > 0 and full.peak_memory > 2**20
    wide = evaluate(NET, VARIABLES, plain, SCENES, details=True, boundary_width=0.2)
    assert wide.more["boundary_iu"] != full.more["boundary_iu"]
    assert wide.more["boundary_f"] == full.more["boundary_f"]


class Named(type(SCENES)):
    """A source of which only the names count."""

    split = "val"

    def __init__(self, class_names):
        object.__setattr__(self, "names", class_names)

    @property
    def class_names(self):
        return self.names


@pytest.fixture
def file(tmp_path):
    scores = evaluate(NET, VARIABLES, plain, SCENES, details=True)
    keep(tmp_path / "a.npz", scores, 7, Named(("a", "b", "c")))
    return scores, tmp_path / "a.npz"


def test_what_is_kept_is_what_was_counted(file, tmp_path):
    scores, path = file
    kept = read_kept(path)
    assert (kept.step, kept.split, kept.class_names) == (7, "val", ("a", "b", "c"))
    assert kept.seconds_per_image == scores.seconds_per_image
    for field in dataclasses.fields(ByImage):
        if field.name != "details":
            old, new = (getattr(x, field.name) for x in (scores.by_image, kept.images))
            np.testing.assert_array_equal(old, new)
    for name, values in scores.by_image.details.items():
        np.testing.assert_array_equal(kept.images.details[name], values)
    both = {"semantic": scores, "geometric": dataclasses.replace(scores)}
    names = {"semantic": ("a", "b", "c"), "geometric": ("x", "y", "z")}
    keep(tmp_path / "b.npz", both, 1, Named(names))
    two = read_kept(tmp_path / "b.npz")
    assert list(two.images) == list(names) and two.class_names == names
    again = tmp_path / "c.npz"
    keep(again, scores, 7, Named(("a", "b", "c")))
    assert again.read_bytes() == path.read_bytes()


def test_a_damaged_file_is_one_message(file, tmp_path):
    whole = file[1].read_bytes()
    rng = np.random.default_rng(0)
    broken = tmp_path / "broken.npz"
    for n in range(60):
        data = bytearray(whole)
        data[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        broken.write_bytes(bytes(data) if n % 3 else whole[: rng.integers(len(whole))])
        try:
            read_kept(broken)
        except ValueError as error:
            assert "broken.npz: cannot be read as counts" in str(error)
            assert "evaluate the run again" in str(error)
