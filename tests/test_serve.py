"""The page for one photograph, without gradio: what it computes, keeps, says and refuses."""

import base64
import io
import struct
from pathlib import Path

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from image_files import chunk, noise, png
from PIL import Image

from fcn_jax import Model
from fcn_jax.app import page, panes, pictures
from fcn_jax.app.photographs import Limits
from fcn_jax.data.images import AS_STORED, ImageOptions
from fcn_jax.inference.anysize import AnySize
from fcn_jax.inference.result_files import Style
from fcn_jax.labels import LabelKind
from fcn_jax.report.palette import class_palette

CENTRES = np.linspace(0, 255, 7).astype(np.float32)
NAMES = ("background", *(f"gray {n}" for n in range(1, 7)))


def grays(images):
    """Scores of seven classes of brightness, which fall with the distance from each one's gray."""
    return -((images.mean(-1, keepdims=True) - CENTRES) ** 2) / 500


class Grays(nn.Module):
    num_classes = 7

    def __call__(self, images, sizes=None, *, train=False):
        return grays(images)


class Several(nn.Module):
    """Two outputs of classes, depth, and a class of the image."""

    num_classes = {"kind": 7, "half": 2, "depth": 1, "place": 3}
    output_kinds = {"depth": LabelKind.NUMBERS, "place": LabelKind.CLASS}

    def __call__(self, images, sizes=None, *, train=False):
        kind = grays(images)
        depth, place = images.mean(-1, keepdims=True), images.mean((1, 2))
        return {"kind": kind, "half": kind[..., 2:4], "depth": depth, "place": place}


class Colour(nn.Module):
    """A net of two inputs."""

    num_classes = 2
    inputs = (("color", 3), ("depth", 1))


class TooSmall(Grays):
    def __call__(self, images, sizes=None, *, train=False):
        return grays(images) * jnp.nan


def as_float(images, sizes=None):
    return jnp.asarray(images, jnp.float32)


def model(net, **more):
    return Model(net, {}, as_float, **more)


def shown(net=Grays, name="net", options=AS_STORED, **more):
    return panes.shown_net(name, model(net(), **more), options)


@pytest.fixture(scope="module")
def net():
    return shown(class_names=NAMES)


@pytest.fixture
def photograph(tmp_path):
    """`photograph(pixels)` writes a PNG and gives its path."""

    def write(pixels, name="photo.png", **more):
        Image.fromarray(pixels).save(tmp_path / name, **more)
        return tmp_path / name

    return write


def look(net, path, limits=Limits(), name=None):  # noqa: B008 - a frozen value
    return pictures.look([net], path, name or path.name, limits)


def decoded(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


def expected_scores(pixels):
    return -((pixels.mean(-1, keepdims=True, dtype=np.float64) - CENTRES) ** 2) / 500


def test_label_drawing_and_probabilities_are_those_of_the_scores(net, photograph):
    pixels = noise(0, 40, 56)
    kept, drawing, [label] = look(net, photograph(pixels))
    scores = expected_scores(pixels)
    np.testing.assert_array_equal(label, scores.argmax(-1))
    [pane] = drawing["panes"]
    np.testing.assert_array_equal(decoded(pane["label"]), label)  # gray: a value is a class
    assert decoded(drawing["photograph"]).shape == pixels.shape == (*kept.size, 3)
    counts = np.bincount(label.ravel(), minlength=7)
    assert [one["value"] for one in pane["classes"]] == list(
        np.argsort(-counts)[: (counts > 0).sum()]
    )
    for one in pane["classes"]:
        assert one["name"] == NAMES[one["value"]] and one["hidden"] == (one["value"] == 0)
        assert one["colour"] == class_palette(7)[one["value"]].tolist()
        assert one["share"] == f"{100 * counts[one['value']] / label.size:.1f} %"
    p = scipy.special.softmax(scores, axis=-1)
    for row, column in ((0, 0), (17, 3), (39, 55)):
        answer = pictures.at_pixel(kept, net.panes, row, column)
        assert (answer["row"], answer["column"]) == (row, column)
        [classes] = answer["panes"]
        order = np.argsort(-p[row, column])[:5]
        assert [one["name"] for one in classes[:2]] == [NAMES[k] for k in order[:2]]
        found = [one["probability"] for one in classes]
        np.testing.assert_allclose(found, p[row, column, order], atol=1e-3)
    outside = pictures.at_pixel(kept, net.panes, -5, 10**9)
    assert outside == pictures.at_pixel(kept, net.panes, 0, 55)


def test_of_equal_scores_the_first_class_comes_first():
    scores = np.zeros((1, 2, 6), np.float32)
    scores[0, 1, [4, 2]] = 9
    top = pictures.top_classes(scores)
    assert top.classes[0].tolist() == [[0, 1, 2, 3, 4], [2, 4, 0, 1, 3]]
    assert pictures.top_classes(scores[..., :2]).classes.shape == (1, 2, 2)


def test_percentages():
    assert [pictures.percent(p) for p in (1, 0.4126, 0.0005, 0.0004, 0)] == [
        *("100.0 %", "41.3 %", "0.1 %", "< 0.1 %", "< 0.1 %")
    ]


def test_a_large_photograph_is_labelled_whole_and_little_is_kept(net, photograph):
    y, x = np.mgrid[:1200, :1680]
    pixels = np.stack([(x // 300 * 36) % 256] * 3, axis=-1).astype(np.uint8)
    kept, drawing, [label] = look(net, photograph(pixels, compress_level=1))
    assert label.shape == (1200, 1680)
    assert (drawing["rows"], drawing["columns"]) == (731, 1024)
    [top] = kept.tops
    assert top.classes.nbytes + top.probabilities.nbytes == 15 * 731 * 1024
    assert max(len(drawing["photograph"]), len(drawing["panes"][0]["label"])) < 200_000
    # What is drawn lies where it lies on the photograph, to half a pixel of the drawing.
    rows, columns = pictures.sampled((1200, 1680))
    for found, n in ((rows, 1200), (columns, 1680)):
        middles = (np.arange(len(found)) + 0.5) * n / len(found)
        assert (np.abs(found + 0.5 - middles) <= 0.5).all()
    np.testing.assert_array_equal(
        decoded(drawing["panes"][0]["label"]), label[np.ix_(rows, columns)]
    )
    answer = pictures.at_pixel(kept, net.panes, 700, 1000)
    assert (answer["row"], answer["column"]) == (rows[700], columns[1000])
    assert answer["panes"][0][0]["name"] == NAMES[label[rows[700], columns[1000]]]
    assert [len(part) for part in pictures.sampled((1, 5000))] == [1, 1024]


def test_photographs_are_read_as_predict_reads_them(net, photograph, tmp_path):
    pixels = noise(1, 30, 44)
    turned = Image.Exif()
    turned[0x0112] = 6
    alpha = np.dstack([pixels, noise(2, 30, 44)[..., 0]])
    deep = tmp_path / "deep.png"
    png(deep, noise(3, 8, 9, most=65535))
    files = [
        photograph(pixels, "turned.png", exif=turned),
        photograph(alpha, "alpha.png"),
        photograph(pixels[..., 0], "gray.png"),
        photograph(pixels, "small.webp", lossless=True),
        deep,
    ]
    for file in files:
        _, drawing, [label] = look(net, file)
        np.testing.assert_array_equal(label, net.model(file))
        assert (drawing["rows"], drawing["columns"]) == label.shape
    assert look(net, files[0])[2][0].shape == (44, 30)


def test_the_label_is_the_file_that_predict_writes(net, photograph, tmp_path):
    path = photograph(noise(4, 33, 21))
    _, _, [label] = look(net, path)
    style = Style(palette=net.panes[0].palette, overlay=False)
    AnySize(Grays(), {}, as_float).predict_file(path, tmp_path / "a" / "photo.png", style=style)
    file = page.write_label(tmp_path, "photo.png", net.panes[0], label, alone=True)
    assert file.name == "photo_label.png"
    with Image.open(file) as ours, Image.open(tmp_path / "a" / "photo.png") as theirs:
        assert ours.mode == theirs.mode == "P"
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))
        colours = [
            np.asarray(one.getpalette()).reshape(-1, 3)[: label.max() + 1] for one in (ours, theirs)
        ]
        np.testing.assert_array_equal(*colours)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"these are words", "holiday.jpg: expected an image, found a file of no known kind"),
        (b"", "holiday.jpg: expected an image, found a file of no known kind"),
        (
            b"\xff\xd8\xff\xe0" + bytes(50),
            "holiday.jpg: expected an image, found a file of no known kind",
        ),
        (
            b"<svg xmlns='http://www.w3.org/2000/svg'/>",
            "holiday.jpg: expected an image, found a file of no known kind",
        ),
    ],
)
def test_what_is_no_image_gets_a_message_with_its_own_name(net, tmp_path, content, said):
    path = tmp_path / "f81c"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=said) as error:
        look(net, path, name="holiday.jpg")
    assert "f81c" not in str(error.value) and str(tmp_path) not in str(error.value)


def test_limits(net, photograph):
    path = photograph(noise(5, 100, 200))
    with pytest.raises(ValueError, match=r"photo.png: the file has 0\.1 MB, and at most 0\.05 MB"):
        look(net, path, Limits(megabytes=0.05))
    with pytest.raises(
        ValueError, match=r"photo.png: 200x100 pixels are 0\.02 megapixels, and at mo"
    ):
        look(net, path, Limits(megapixels=0.019))
    assert look(net, path, Limits(megapixels=0.02))
    for wrong in ({"megabytes": 0}, {"megapixels": float("nan")}, {"megapixels": float("inf")}):
        with pytest.raises(
            ValueError, match=f"--max-{next(iter(wrong))}: expected a number above 0"
        ):
            Limits(**wrong)


def test_the_pixels_are_counted_before_they_are_decoded(net, tmp_path, monkeypatch):
    """A small file that says it has many pixels takes no memory."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0))
    parts = [b"\x89PNG\r\n\x1a\n", header, chunk(b"IDAT", bytes(500_000)), chunk(b"IEND", b"")]
    (tmp_path / "a.png").write_bytes(b"".join(parts))
    monkeypatch.setattr("fcn_jax.app.photographs.read_image", None)
    with pytest.raises(ValueError, match="400 megapixels, and at most 16"):
        look(net, tmp_path / "a.png")


def test_options_of_images_are_obeyed(photograph, tmp_path):
    bands = photograph(noise(6, 9, 12), "a.png")
    one = look(shown(options=ImageOptions(bands=(3, 3, 3))), bands)[2][0]
    other = look(shown(), photograph(noise(6, 9, 12)[..., [2, 2, 2]], "b.png"))[2][0]
    np.testing.assert_array_equal(one, other)


def test_a_net_runs_once_for_each_photograph(photograph, monkeypatch):
    one, other = shown(), shown(Several, "several", kinds={**Several.output_kinds})
    runs = []
    for each in (one, other):
        scores = each.model.scores
        monkeypatch.setattr(each.model, "scores", lambda x, s=scores: (runs.append(1), s(x))[1])
    kept, _, labels = pictures.look([one, other], photograph(noise(7, 9, 8)), "a", Limits())
    assert len(runs) == 2 and len(labels) == 3 and len(kept.tops) == 3
    every = [*one.panes, *other.panes]
    assert [pane.title for pane in every] == ["net", "several · kind", "several · half"]
    assert [len(one) for one in pictures.at_pixel(kept, every, 3, 3)["panes"]] == [5, 5, 2]
    assert len(runs) == 2


def test_outputs_that_are_classes_of_pixels_are_shown():
    assert [pane.output for pane in shown(Several).panes] == ["kind", "half"]


@pytest.mark.parametrize(
    ("net", "more", "said"),
    [
        (Colour, {}, r"a: this net takes several inputs \(color, depth\)"),
        (Grays, {"kinds": LabelKind.NUMBERS}, r"none: its output is numbers \(7\)"),
        (Grays, {"kinds": LabelKind.CLASS}, r"none: its output is class \(7\)"),
    ],
)
def test_nets_that_cannot_be_shown(net, more, said):
    with pytest.raises(ValueError, match=said):
        shown(net, "a", **more)


def test_a_classifier_and_a_net_of_many_classes_are_refused():
    class Windows(Grays):
        keeps_size = False

    class Many(Grays):
        num_classes = 256

    with pytest.raises(ValueError, match="it is a classifier of whole images"):
        shown(Windows)
    with pytest.raises(ValueError, match=r"at most 255 classes, .* its output is classes \(256\)"):
        shown(Many)


def test_a_photograph_that_is_too_small_for_the_net(photograph):
    with pytest.raises(ValueError, match="3x4 pixels are too few for net"):
        look(shown(TooSmall), photograph(noise(8, 4, 3)))


def test_names_of_nets():
    assert panes.net_names([Path("runs/a"), Path("b.safetensors")]) == ["a", "b"]
    assert panes.net_names([Path("x/a"), Path("y/a")]) == ["x/a", "y/a"]
    assert panes.net_names([Path()]) == [Path.cwd().name]


def test_names_of_files():
    pane = panes.Pane("voc · <kind>", "kind", NAMES, class_palette(7))
    assert pictures.label_file("my photo.jpeg", pane, alone=True) == "my photo_label.png"
    assert pictures.label_file("a/b.png", pane, alone=False) == "b_label_voc_kind_.png"
    assert pictures.label_file("", pane, alone=True) == "photograph_label.png"
