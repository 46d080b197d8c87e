"""Batches are functions of (seed, n), independent of threads, parts and canvases."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fcn_jax.arithmetic import round_up
from fcn_jax.data import (
    Augment,
    Batches,
    DataError,
    Example,
    Folders,
    choose_canvases,
    evaluation_batches,
    read_ahead,
)

SIZES = [(4, 6), (6, 4), (5, 5), (3, 7), (8, 2), (4, 6), (7, 7)]


@dataclasses.dataclass(frozen=True)
class Numbers:
    """Image i has the value i everywhere."""

    sizes: tuple[tuple[int, int], ...]
    num_classes: int = 200
    class_names: tuple[str, ...] = ()

    def __len__(self):
        return len(self.sizes)

    def at(self, root):
        return self

    def size(self, i):
        return self.sizes[i]

    def __getitem__(self, i):
        h, w = self.sizes[i]
        return Example(np.full((h, w, 3), i, np.uint8), np.full((h, w), i, np.uint8), str(i))


SOURCE = Numbers(tuple(SIZES))


def batches(**changes):
    given = {"batch_size": 4, "seed": 3, "with_replacement": False} | changes
    return Batches(given.pop("source", SOURCE), **given)


def same(a, b):
    assert a.keys() == b.keys()
    for key in a:
        np.testing.assert_array_equal(a[key], b[key])
        assert a[key].dtype == b[key].dtype


def drawn(loader, count):
    return [int(v) for n in range(count) for v in loader[n]["image"][:, 0, 0, 0]]


def test_a_batch_holds_each_image_in_its_corner_and_255_elsewhere():
    batch = batches()[0]
    assert batch["image"].dtype == batch["label"].dtype == np.uint8
    assert batch["size"].dtype == np.int32
    canvas = batch["size"].max(axis=0)
    assert batch["image"].shape == (4, *canvas, 3) and batch["label"].shape == (4, *canvas)
    for image, label, (h, w) in zip(*batch.values(), strict=True):
        i = image[0, 0, 0]
        assert SIZES[i] == (h, w)
        assert (label[:h, :w] == i).all() and (image[:h, :w] == i).all()
        assert (label[h:] == 255).all() and (label[:, w:] == 255).all()
        assert not image[h:].any() and not image[:, w:].any()


@pytest.mark.parametrize("with_replacement", [True, False])
def test_batches_depend_on_seed_and_number_alone(with_replacement):
    augment = Augment(mirror=True, scale=(0.5, 2.0), crop=(6, 6), jitter=2, colour=0.2)
    one = batches(with_replacement=with_replacement, augment=augment)
    forward = [one[n] for n in range(6)]
    for n in (5, 0, 3):  # a new object and another order, as after a restart
        same(batches(with_replacement=with_replacement, augment=augment)[n], forward[n])
    other = batches(with_replacement=with_replacement, augment=augment, seed=4)
    assert any(not np.array_equal(other[n]["size"], forward[n]["size"]) for n in range(6))


def test_shuffled_epochs_show_each_example_once_and_run_across_borders():
    numbers = drawn(batches(), 14)  # 56 draws = 8 epochs of 7
    epochs = [numbers[e * 7 : (e + 1) * 7] for e in range(8)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 4
    assert drawn(batches(batch_size=1), 56) == numbers  # the batch size does not change the order


def test_with_replacement_draws_uniformly_and_repeats():
    numbers = drawn(batches(with_replacement=True), 200)
    counts = np.bincount(numbers, minlength=7)
    assert counts.min() > 80 and counts.max() < 150  # mean 114
    assert any(len(set(numbers[e : e + 7])) < 7 for e in range(0, 70, 7))


@pytest.mark.parametrize("canvases", [None, ((8, 8),), ((6, 7), (9, 9))])
def test_parts_are_rows_of_the_whole_batch_on_the_same_canvas(canvases):
    augment = Augment(scale=(0.5, 1.1))
    whole = batches(canvases=canvases, augment=augment)
    parts = [batches(canvases=canvases, augment=augment, part=(i, 2)) for i in range(2)]
    evaluation = evaluation_batches(SOURCE, batch_size=4, canvases=canvases)
    split = [
        evaluation_batches(SOURCE, batch_size=4, canvases=canvases, part=(i, 2)) for i in range(2)
    ]
    for full, halves in ((whole, parts), (evaluation, split)):
        for n in range(2):
            one, two = halves[0][n], halves[1][n]
            same({key: np.concatenate([one[key], two[key]]) for key in one}, full[n])


def test_parts_that_do_not_fit_are_refused():
    for part in ((2, 2), (-1, 2), (0, 3)):
        with pytest.raises(DataError, match="multiple"):
            batches(part=part)
    with pytest.raises(DataError, match="seed"):
        batches(seed=-1)


def test_the_smallest_covering_canvas_is_taken_and_must_exist():
    canvases = ((4, 6), (9, 9), (7, 8))
    alone = batches(batch_size=1, canvases=canvases)
    for n in range(14):
        batch = alone[n]
        h, w = batch["size"][0]
        expected = (4, 6) if h <= 4 and w <= 6 else (7, 8) if h <= 7 and w <= 8 else (9, 9)
        assert batch["image"].shape[1:3] == expected
    for too_small in (((4, 6),), ((4, 6), (5, 5))):
        with pytest.raises(DataError, match="choose_canvases"):
            drawn(batches(canvases=too_small), 2)


sizes_strategy = st.lists(
    st.tuples(st.integers(1, 60), st.integers(1, 60)), min_size=1, max_size=30
)


@settings(max_examples=12, deadline=None)
@given(
    sizes=sizes_strategy,
    batch_size=st.integers(1, 9),
    multiple=st.sampled_from([1, 8]),
    most=st.integers(1, 5),
    augment=st.sampled_from([None, Augment(scale=(0.5, 1.7)), Augment(crop=(30, 20))]),
)
def test_canvases_cover_every_batch_and_are_never_larger_than_one(
    sizes, batch_size, multiple, most, augment
):
    canvases = choose_canvases(
        sizes, batch_size, multiple=multiple, max_canvases=most, augment=augment
    )
    grown = sizes if augment is None else [augment.largest(size) for size in sizes]
    tight = [max(size[axis] for size in grown) for axis in (0, 1)]
    covering = tuple(round_up(side, multiple) for side in tight)
    assert canvases[-1] == covering and 1 <= len(canvases) <= most
    assert all(h <= covering[0] and w <= covering[1] for h, w in canvases)
    assert all(h % multiple == w % multiple == 0 for h, w in canvases)
    assert len(set(canvases)) == len(canvases)
    source = Numbers(tuple(sizes))
    loader = batches(source=source, batch_size=batch_size, canvases=canvases, augment=augment)
    for n in range(3):
        assert loader[n]["image"].shape[1:3] in canvases


def test_canvases_are_as_few_as_worth_it():
    assert choose_canvases([(30, 40)] * 9, 4) == ((30, 40),)
    landscape_and_portrait = [(30, 50)] * 9 + [(50, 30)]
    assert choose_canvases(landscape_and_portrait, 1, max_canvases=2) == ((30, 50), (50, 50))
    assert choose_canvases(landscape_and_portrait, 1, worth=0.01) == ((30, 50), (50, 30), (50, 50))
    assert choose_canvases(landscape_and_portrait, 64) == ((50, 50),)
    assert choose_canvases([(100, 100)] * 50 + [(101, 101)] * 50, 1) == ((101, 101),)
    with pytest.raises(DataError, match="sizes"):
        choose_canvases([], 1)


@pytest.mark.parametrize("canvases", [None, ((8, 8),), ((6, 6), (8, 8))])
@pytest.mark.parametrize("batch_size", [1, 3, 4, 10])
def test_evaluation_shows_every_example_once(batch_size, canvases):
    loader = evaluation_batches(SOURCE, batch_size=batch_size, canvases=canvases)
    seen = []
    for n in range(len(loader)):
        batch = loader[n]
        assert batch["index"].dtype == np.int32 and len(batch["image"]) == batch_size
        for i, image, label, (h, w) in zip(
            *(batch[key] for key in ("index", "image", "label", "size")), strict=True
        ):
            if i < 0:
                assert (label == 255).all() and (h, w) == (1, 1)
            else:
                assert (h, w) == SIZES[i] and (image[:h, :w] == i).all()
                seen.append(int(i))
    assert sorted(seen) == list(range(7))
    assert not any((loader[n]["index"] < 0).any() for n in range(len(loader) - 1))
    with pytest.raises(IndexError):
        loader[len(loader)]


def test_evaluation_keeps_similar_sizes_together():
    source = Numbers(((10, 20), (20, 10)) * 6)
    loader = evaluation_batches(source, batch_size=6)
    assert sorted(loader[n]["image"].shape[1:3] for n in range(2)) == [(10, 20), (20, 10)]


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_read_ahead_keeps_the_order(threads):
    loader = batches()
    got = list(read_ahead(loader, 2, 9, threads=threads, ahead=2))
    assert len(got) == 7
    for n, batch in enumerate(got, 2):
        same(batch, loader[n])
    evaluation = evaluation_batches(SOURCE, batch_size=2)
    assert len(list(read_ahead(evaluation, 0, len(evaluation), threads=threads))) == 4
    assert list(read_ahead(loader, 3, 3, threads=threads)) == []


def test_read_ahead_can_be_closed_early():
    reader = read_ahead(batches(), 0, 10**9, threads=2, ahead=2)
    assert len(list(itertools.islice(reader, 3))) == 3
    reader.close()
    assert list(reader) == []


@pytest.mark.parametrize("threads", [0, 2])
def test_a_damaged_file_is_named(tmp_path, threads):
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    for name in ("a", "b", "c"):
        noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / "images" / f"{name}.jpg")
        Image.new("L", (40, 40), 1).save(tmp_path / "labels" / f"{name}.png")
    path = tmp_path / "images" / "b.jpg"
    path.write_bytes(path.read_bytes()[:900])
    loader = batches(source=Folders(num_classes=2).at(tmp_path), batch_size=2)
    with pytest.raises(DataError, match=r"b\.jpg.*cut off"):
        list(read_ahead(loader, 0, 3, threads=threads))
