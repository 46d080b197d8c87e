"""One confusion matrix of a whole split, whatever the batches and the devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from three_colours import NET, VARIABLES, ThreeColours, plain, reference_label

from fcn_jax.data.batching import evaluation_batches
from fcn_jax.data.prefetch import read_ahead
from fcn_jax.data.scenes import Scenes
from fcn_jax.inference.confusion import confusion_matrices

SCENES = Scenes(length=7, seed=0, largest=(24, 20), smallest=(9, 9), num_classes=3)


def batches(batch_size):
    these = evaluation_batches(SCENES, batch_size=batch_size, canvases=((24, 20),))
    return read_ahead(these, 0, len(these), threads=0)


def reference_matrix():
    matrix = np.zeros((3, 3), np.int64)
    for i in range(len(SCENES)):
        image, label, _ = SCENES[i]
        predicted = reference_label(image)
        for t in range(3):
            for p in range(3):
                matrix[t, p] += ((label == t) & (predicted == p)).sum()
    return matrix


@pytest.mark.parametrize("batch_size", [1, 3, 7, 8])
def test_the_matrix_is_the_same_for_any_batch_size(batch_size):
    matrix = confusion_matrices(NET, VARIABLES, plain, batches(batch_size), 3)
    assert matrix.dtype == np.int64
    np.testing.assert_array_equal(matrix, reference_matrix())


def test_the_matrix_is_the_same_on_a_mesh():
    mesh = jax.make_mesh(
        (jax.device_count(), 1),
        ("data", "space"),
        axis_types=(jax.sharding.AxisType.Auto,) * 2,
    )
    matrix = confusion_matrices(
        NET, VARIABLES, plain, batches(3 * jax.device_count()), 3, mesh=mesh
    )
    np.testing.assert_array_equal(matrix, reference_matrix())


def test_the_host_fetches_a_batch_after_sending_the_next():
    events, sums = [], []

    def watched():
        for n, batch in enumerate(batches(3), start=1):
            events.append(f"load {n}")
            yield batch

    def progress(number, matrix):
        events.append(f"count {number}")
        sums.append(matrix.sum())

    matrix = confusion_matrices(NET, VARIABLES, plain, watched(), 3, progress=progress)
    assert events == ["load 1", "load 2", "count 1", "load 3", "count 2", "count 3"]
    assert sums == sorted(sums) and sums[-1] == matrix.sum()


def test_the_sum_has_64_bits(monkeypatch):
    large = jnp.full((3, 3), 2**30, jnp.int32)
    monkeypatch.setattr("fcn_jax.inference.confusion._count", lambda *_: large)
    assert (confusion_matrices(NET, VARIABLES, plain, batches(3), 3) == 3 * 2**30).all()


def test_without_batches_every_count_is_zero():
    assert not confusion_matrices(NET, VARIABLES, plain, [], 3).any()


def test_a_second_call_compiles_nothing():
    traced = []

    def counted(images, sizes):
        traced.append(images.shape)
        return plain(images, sizes)

    for _ in range(2):
        confusion_matrices(NET, VARIABLES, counted, batches(8), 3)
    assert len(traced) == 1


def test_a_wrong_number_of_classes_and_missing_entries_are_refused():
    with pytest.raises(ValueError, match=r"batch 1 has labels \[2\]; expected 0\.\.1 or 255"):
        confusion_matrices(
            ThreeColours(2), {"params": {"gain": np.ones(2, np.float32)}}, plain, batches(8), 2
        )
    with pytest.raises(ValueError, match="of 4 classes, found"):
        confusion_matrices(NET, VARIABLES, plain, batches(8), 4)
    without = [{"image": np.zeros((1, 2, 2, 3), np.uint8)}]
    with pytest.raises(ValueError, match=r"expected also \['label', 'size'\]"):
        confusion_matrices(NET, VARIABLES, plain, without, 3)
