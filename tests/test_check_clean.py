"""Sound data sets: `check` says nothing is wrong."""

import shutil
from pathlib import Path

import layout_files
import numpy as np
import pytest
from check_sets import SIZE, drawn, fields, image, label, painted, relabel, save, smooth, write
from PIL import Image
from test_check_mistakes import checked

from fcn_jax.check.inspect import inspect
from fcn_jax.data import VOC, NYUDv2, SIFTFlow

SHARED = Path(__file__).parents[2] / "shared" / "data"
QUIET = {"classes with almost none", "classes only in validation"}


def video(folder):
    """Frames of a camera that stands still, with a car that passes."""
    rng = np.random.default_rng(0)
    ground = fields(rng, classes=3)
    picture = painted(ground, rng)
    for k in range(12):
        frame, classes = picture + rng.normal(0, 3, picture.shape), ground.copy()
        part = np.s_[40:60, 5 + 8 * k : 30 + 8 * k]
        frame[part], classes[part] = (200, 40, 60), 3
        save(folder, f"f{k:03}", frame.clip(0, 255).astype(np.uint8), classes)


def unsteady(folder):
    """Labels that were drawn up to two pixels beside their edges."""
    for k in range(12):
        rng = np.random.default_rng((8, k))
        classes = drawn(rng, size=(104, 136))
        y, x = rng.integers(2, 7, 2)
        picture = painted(classes, rng)[4:100, 4:132]
        save(folder, f"n{k:02}", picture, classes[y : y + 96, x : x + 128])


def boxes(folder):
    """Rough boxes that follow no edge."""
    for k in range(12):
        rng = np.random.default_rng((9, k))
        gray = (128 + 60 * smooth(rng, *SIZE, 6)).astype(np.uint8)
        classes = np.zeros(SIZE, np.uint8)
        y, x = rng.integers(0, 60), rng.integers(0, 90)
        classes[y : y + 30, x : x + 35] = 1
        save(folder, f"n{k:02}", np.repeat(gray[..., None], 3, -1), classes)


def symmetrical(folder):
    for k in range(12):
        rng = np.random.default_rng((10, k))
        half = drawn(rng, size=(96, 64))
        classes = np.concatenate([half, half[:, ::-1]], 1)
        save(folder, f"n{k:02}", painted(classes, rng), classes)


def bordered(folder):
    """255 between objects, as in VOC."""

    def change(classes):
        near = [np.roll(classes, (y, x), (0, 1)) for y in (-1, 0, 1) for x in (-1, 0, 1)]
        return np.where(np.ptp(near, axis=0) > 0, 255, classes).astype(np.uint8)

    relabel(write(folder), change)


def with_palette(folder):
    def change(classes):
        picture = Image.fromarray(classes)
        picture.putpalette(np.random.default_rng(1).integers(0, 256, 768).astype(np.uint8).tolist())
        return picture

    relabel(write(folder), change)


SOUND = {
    "objects": write,
    "land seen from above": lambda folder: write(folder, n=14, make=fields),
    "tiny objects": lambda folder: write(folder, shapes=5, small=3, large=6),
    "background and object": lambda folder: write(folder, shapes=2, classes=2),
    "one image": lambda folder: write(folder, n=1),
    "two images": lambda folder: write(folder, n=2),
    "video": video,
    "unsteady": unsteady,
    "boxes": boxes,
    "symmetrical": symmetrical,
    "void borders": bordered,
    "palette": with_palette,
}


@pytest.mark.parametrize("kind", SOUND)
def test_nothing_is_said_of_a_sound_set(kind, tmp_path):
    SOUND[kind](tmp_path)
    findings = [one for one in checked(tmp_path).findings if one.kind not in QUIET]
    assert findings == []


@pytest.mark.parametrize("present", [[0, 15], [0, 10, 20]])
def test_few_of_many_classes_are_no_gray_levels(present, tmp_path):
    table = np.array(present, np.uint8)
    relabel(write(tmp_path, classes=len(present)), lambda classes: table[classes])
    assert {one.kind for one in checked(tmp_path, num_classes=21).findings} <= QUIET


def test_camvid_as_it_is_downloaded_is_sound(tmp_path):
    for split, seed in (("train", 1), ("val", 2)):
        write(tmp_path / "x", n=6, seed=seed, classes=11)
        relabel(tmp_path / "x", lambda classes: np.where(classes == 10, 11, classes))
        for k in range(6):
            (tmp_path / split).mkdir(exist_ok=True)
            (tmp_path / f"{split}annot").mkdir(exist_ok=True)
            Image.open(image(tmp_path / "x", f"n{k:02}")).save(tmp_path / split / f"{k}.png")
            shutil.move(label(tmp_path / "x", f"n{k:02}"), tmp_path / f"{split}annot" / f"{k}.png")
    shutil.rmtree(tmp_path / "x")
    report = checked(tmp_path)
    assert {one.kind for one in report.findings} <= QUIET
    assert report.known and report.class_names[0] == "sky"
    assert sum(look.classes[11:255].sum() for look in report.looks) == 0
    assert sum(look.classes[255] for look in report.looks) > 0
    assert [look.item.part for look in report.looks] == ["train"] * 6 + ["validation"] * 6


LAYOUTS = {
    "cityscapes": lambda root: layout_files.cityscapes(root),
    "ade20k": lambda root: layout_files.ade20k(root),
    "coco": lambda root: layout_files.coco(root),
    "labelme": lambda root: layout_files.labelme(
        root,
        {f"n{k}": [layout_files.shape("car", [[1, 1], [5, 1], [5, 4]])] for k in range(3)},
        inside=("n1",),
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_read(layout, tmp_path):
    """Labels of noise, so speckles and copies are rightly told; but all is read."""
    report = checked(LAYOUTS[layout](tmp_path))
    assert report.looks and report.known
    assert not any(look.image_error or look.label_error or look.why for look in report.looks)
    assert all(look.classes is not None for look in report.looks)


REAL = {
    "VOC": lambda: {part: VOC(split=part).at(SHARED / "voc") for part in ("train", "val")},
    "NYUDv2": lambda: {part: NYUDv2(split=part).at(SHARED / "nyud") for part in ("train", "val")},
    "SIFT Flow": lambda: {"train": SIFTFlow(split="trainval").at(SHARED / "sift-flow")},
    "SIFT Flow, geometric": lambda: {
        "train": SIFTFlow(split="trainval", labels="geometric").at(SHARED / "sift-flow")
    },
}
TRUE = {"SIFT Flow": {"copies in one part"}, "SIFT Flow, geometric": {"copies in one part"}}


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the real data sets in shared/data")
@pytest.mark.parametrize(
    "name", ["VOC", *(pytest.param(n, marks=pytest.mark.slow) for n in list(REAL)[1:])]
)
def test_nothing_is_wrong_in_real_sets(name):
    report = inspect(REAL[name]())
    assert {one.kind for one in report.findings} - QUIET == TRUE.get(name, set())
    assert not report.wrong
