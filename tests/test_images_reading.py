"""One reader of images: training, evaluation and prediction see the same pixels."""

import struct
import types

import image_files
import numpy as np
import pytest
from image_files import noise, png, tiff
from PIL import Image

from fcn_jax.data import Batches, DataError, Folders, check_labels, evaluation_batches
from fcn_jax.data.images import ImageOptions
from fcn_jax.data.readers import image_size, read_image
from fcn_jax.inference.folder import predict_files
from fcn_jax.inference.tiling import TiledPredictor

ORIENTATION = 0x0112
TURNS = {  # from the stored pixels to the upright ones (EXIF 2.32, tag 274)
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}


class Tiled(TiledPredictor):
    """Keeps the pixels that `predict --tile` gives to a net."""

    def __init__(self, seen):
        self.seen, self._predictor = seen, types.SimpleNamespace(inputs={})

    def _predict_strips(self, rows, size, predict):
        half = size[0] // 2 or 1
        strips = [rows(0, half), rows(half, size[0])]
        self.seen.append(np.concatenate(strips))
        yield from (strip[..., 0] for strip in strips)


class Ways:
    """The four ways to the pixels of one image, in the folder `images` of `root`."""

    def __init__(self, root):
        self.root = root
        (root / "images").mkdir()
        (root / "labels").mkdir()

    def label(self, array, name="x", **options):
        Image.fromarray(np.asarray(array, np.uint8)).save(
            self.root / "labels" / f"{name}.png", **options
        )

    def source(self, **options):
        return Folders(num_classes=3, **options).at(self.root)

    def predicted(self, **options):
        """The pixels that each of `predict` and `predict --tile` sees; or both give a reason."""
        seen = []
        reading = {"options": ImageOptions(**options)}
        (path,) = (self.root / "images").iterdir()

        def whole(image):
            seen.append(image)
            return image[..., 0]

        outs = self.root / "whole", self.root / "tiles"
        failed = predict_files(whole, [path], outs[0], overlay=False, **reading).failures
        tiled = Tiled(seen)
        failed += predict_files(tiled, [path], outs[1], overlay=False, **reading).failures
        return seen, [f"{failure.path}: {failure.reason}" for failure in failed]

    def all(self, **options):
        """The pixels of the four ways, all equal; and the label in a batch."""
        (path,) = (self.root / "images").iterdir()
        h, w = image_size(path)
        if not (self.root / "labels" / "x.png").exists():
            self.label(np.ones((h, w)))
        source = self.source(**options)
        check_labels(source, decode_images=True)
        training = Batches(source, batch_size=1, seed=0, with_replacement=False)[0]
        evaluation = evaluation_batches(source, batch_size=1)[0]
        seen, failures = self.predicted(**options)
        assert not failures, failures
        assert training["size"].tolist() == [[h, w]]
        np.testing.assert_array_equal(training["label"], evaluation["label"])
        for pixels in (evaluation["image"][0], *seen):
            np.testing.assert_array_equal(training["image"][0], pixels)
        return training["image"][0], training["label"][0]

    def refused(self, *parts, **options):
        """All four ways name the file and what is wrong."""
        if not (self.root / "labels" / "x.png").exists():
            self.label(np.ones((6, 9)))
        messages = self.predicted(**options)[1]
        source = self.source(**options)
        for use in (
            lambda: Batches(source, batch_size=1, seed=0, with_replacement=False)[0],
            lambda: evaluation_batches(source, batch_size=1)[0],
            lambda: check_labels(source, decode_images=True),
        ):
            with pytest.raises(DataError) as error:
                use()
            messages.append(str(error.value))
        assert len(messages) == 5
        for message in messages:
            for part in ("images/x.", *parts):
                assert part in message, message


@pytest.fixture
def ways(tmp_path):
    return Ways(tmp_path)


def save(ways, array, name="x.png", **options):
    Image.fromarray(array).save(ways.root / "images" / name, **options)


# --- orientation ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", ["png", "late.png", "tif", "packed.tif", "deep.tif", "jpg", "webp"]
)
@pytest.mark.parametrize("orientation", TURNS)
def test_the_orientation_is_obeyed_everywhere(ways, orientation, kind):
    pixels, path = noise(1, 6, 9), ways.root / "images" / f"x.{kind.split('.')[-1]}"
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    if kind == "late.png":  # metadata after the pixels, as some tools write them
        png(path, pixels, late=image_files.chunk(b"eXIf", exif.tobytes()[6:]))
    elif kind == "deep.tif":
        tiff(path, pixels.astype(np.uint16) * 257, orientation=orientation)
    elif kind.endswith("tif"):
        tiff(path, pixels, orientation=orientation, packed="packed" in kind)
    else:
        more = {"quality": 95} if kind == "jpg" else {"lossless": True} if kind == "webp" else {}
        Image.fromarray(pixels).save(path, exif=exif, **more)
        if kind == "jpg":
            Image.fromarray(pixels).save(ways.root / "plain.jpg", **more)
            with Image.open(ways.root / "plain.jpg") as plain:
                pixels = np.asarray(plain)
    expected = TURNS[orientation](pixels)
    stored = np.arange(54).reshape(6, 9) % 3
    ways.label(TURNS[orientation](stored))
    found, label = ways.all()
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(label, TURNS[orientation](stored))
    ways.label(stored, exif=exif)  # the label may have the tag too
    np.testing.assert_array_equal(ways.all()[1], TURNS[orientation](stored))
    assert image_size(path) == expected.shape[:2]


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_a_label_that_fits_only_without_turning_is_refused(ways, orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    save(ways, noise(2, 6, 9), exif=exif)
    ways.label(np.ones((6, 9)))
    for use in (lambda: ways.source()[0], lambda: check_labels(ways.source())):
        with pytest.raises(DataError, match=r"labels.x\.png: .*turned.*orientation.*[Rr]emove"):
            use()


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_metadata_turn_nothing(ways):
    save(ways, noise(2, 6, 9), "x.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f\x12\x01", quality=100)
    assert ways.all()[0].shape == (6, 9, 3)


# --- alpha ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", ["RGBA", "LA", "webp", "tif", "deep", "deep LA", "palette", "gray"]
)
def test_pixels_of_alpha_0_are_ignored_and_predicted(ways, kind):
    pixels, alpha = noise(3, 6, 9), np.full((6, 9), 255, np.uint8)
    alpha[1, 2], alpha[3:5, 4:6], alpha[0, 0] = 0, 0, 1
    path, image = ways.root / "images" / "x.png", np.dstack([pixels, alpha])
    if kind in ("LA", "deep LA", "gray"):
        pixels = np.repeat(pixels[..., :1], 3, -1)
    if kind in ("RGBA", "webp"):
        end = {"RGBA": "png", "webp": "webp"}[kind]
        exact = {"lossless": True, "exact": True} if end == "webp" else {}
        save(ways, image, f"x.{end}", **exact)
    elif kind == "tif":
        tiff(path.with_suffix(".tif"), image, extra=(2,))
    elif kind == "LA":
        png(path, np.dstack([pixels[..., 0], alpha]))
    elif kind == "deep":
        png(path, image.astype(np.uint16) * 257)
    elif kind == "deep LA":
        png(path, np.dstack([pixels[..., 0], alpha]).astype(np.uint16) * 257)
    elif kind == "palette":
        indices = np.where(alpha == 0, 2, np.arange(9) % 2).astype(np.uint8)
        colours = np.array([[9, 8, 7], [100, 50, 0], [30, 60, 90]], np.uint8)
        stored = Image.fromarray(indices)
        stored.putpalette(colours.tobytes())
        stored.save(path, transparency=2)
        pixels = colours[indices]
    else:
        pixels[pixels == 77] = 78
        pixels[alpha == 0] = 77
        png(path, pixels[..., :1], extra=image_files.chunk(b"tRNS", struct.pack(">H", 77)))
    found, label = ways.all()
    np.testing.assert_array_equal(found, pixels)
    np.testing.assert_array_equal(label, np.where(alpha == 0, 255, 1))
    checked = check_labels(ways.source())
    assert checked.pixels.tolist() == [0, 49, 0, 5]  # what is counted is what is learned


# --- gray, one bit, palette, inks, min-is-white ---------------------------------------------------


def test_gray_one_bit_and_palette_are_as_a_viewer_shows_them(ways):
    gray = noise(4, 6, 9, 1)
    path = ways.root / "images" / "x.png"
    png(path, gray)
    np.testing.assert_array_equal(ways.all()[0], np.repeat(gray, 3, -1))
    Image.fromarray(gray[..., 0] > 99).save(path)
    np.testing.assert_array_equal(ways.all()[0], np.repeat((gray > 99) * np.uint8(255), 3, -1))
    colours = noise(5, 256, 1)[:, 0]
    stored = Image.fromarray(gray[..., 0])
    stored.putpalette(colours.tobytes())
    stored.save(path)
    np.testing.assert_array_equal(ways.all()[0], colours[gray[..., 0]])


@pytest.mark.parametrize("end", ["jpg", "tif"])
def test_inks_are_turned_into_colours(ways, end):
    inks = Image.new("CMYK", (9, 6), (0, 255, 255, 0))
    inks.save(ways.root / "images" / f"x.{end}")
    found, _ = ways.all()
    assert (found[..., 0] > 200).all() and (found[..., 1:] < 60).all()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("most", [255, 65535])
def test_min_is_white_is_not_inverted(ways, most, packed):
    gray = noise(6, 6, 9, 1, most)
    tiff(ways.root / "images" / "x.tif", gray, photometric=0, packed=packed)
    expected = np.rint((most - gray.astype(float)) * (255 / most)).astype(np.uint8)
    np.testing.assert_array_equal(ways.all()[0], np.repeat(expected, 3, -1))


# --- 16 bits -------------------------------------------------------------------------------------

DEEP = [
    "png1",
    "png2",
    "png3",
    "png4",
    "tif1",
    "tif3",
    "tif3 >",
    "tif4",
    "tif3 packed",
    "pgm",
    "ppm",
]


def deep_file(ways, kind, most):
    """An image of 16 bits whose largest stored number is `most`; its colours (h, w, 1 or 3)."""
    bands = {"pgm": 1, "ppm": 3}.get(kind) or int(kind[3])
    stored = noise(7, 6, 9, bands, most)
    stored[0, 0] = most
    if bands in (2, 4):
        stored[..., -1] = 65535
    path = ways.root / "images" / f"x.{kind[:3]}"
    if kind[:3] == "png":
        png(path, stored)
    elif kind[:3] == "tif":
        order = ">" if ">" in kind else "<"
        options = {"photometric": 1 if bands == 1 else 2, "extra": (2,) if bands == 4 else ()}
        tiff(path, stored, order=order, packed="packed" in kind, **options)
    else:
        path.write_bytes(
            b"P%d 9 6 65535\n" % (5 if bands == 1 else 6) + stored.astype(">u2").tobytes()
        )
    return stored[..., : 1 if bands < 3 else 3].astype(float)


@pytest.mark.parametrize("kind", DEEP)
def test_16_bits_are_read_at_full_range(ways, kind):
    stored = deep_file(ways, kind, 65535)
    expected = np.rint(stored * (255 / 65535)).astype(np.uint8)
    np.testing.assert_array_equal(ways.all()[0], np.broadcast_to(expected, (6, 9, 3)))


@pytest.mark.parametrize("most", [1023, 4095, 8191])
@pytest.mark.parametrize("kind", DEEP)
def test_few_bits_in_16_are_refused_and_read_with_max_value(ways, kind, most):
    stored = deep_file(ways, kind, most)
    ways.refused(f"largest is {most}", f"--max-value {most}")
    expected = np.rint(stored * (255 / most)).astype(np.uint8)
    found, _ = ways.all(max_value=most)
    np.testing.assert_array_equal(found, np.broadcast_to(expected, (6, 9, 3)))
    ways.refused("up to 1000", f"largest is {most}", max_value=1000)


@pytest.mark.parametrize("end", ["png", "tif"])
def test_a_dark_strip_of_16_bits_is_not_a_dark_image(ways, monkeypatch, end):
    monkeypatch.setattr("fcn_jax.inference.large_files.strips.STRIP_BYTES", 200)
    stored = noise(16, 40, 30, 3, 65535)
    stored[:20] //= 50
    write = {"png": png, "tif": tiff}[end]
    write(ways.root / "images" / f"x.{end}", stored)
    np.testing.assert_array_equal(ways.all()[0], np.rint(stored / 257.0).astype(np.uint8))


def test_a_dark_image_is_read_at_full_range_where_that_is_said(ways):
    stored = deep_file(ways, "png3", 4095)
    found, _ = ways.all(max_value=65535)
    np.testing.assert_array_equal(found, np.rint(stored * (255 / 65535)).astype(np.uint8))


def test_numbers_that_no_colour_is_known_for_are_refused(ways):
    Image.fromarray(noise(8, 6, 9)[..., 0].astype(np.float32)).save(ways.root / "images" / "x.tif")
    ways.refused("8 or 16 bits")


# --- bands ---------------------------------------------------------------------------------------

MANY = {
    "no word on the fourth": {"bands": 4},
    "unspecified": {"bands": 4, "extra": (0,)},
    "gray and three": {"bands": 4, "extra": (0, 0, 0), "photometric": 1},
    "five": {"bands": 5, "extra": (0, 0)},
    "eight, packed": {"bands": 8, "extra": (0,) * 5, "packed": True},
    "differences": {"bands": 5, "extra": (0, 0), "packed": True, "differences": True},
    "planes": {"bands": 5, "extra": (0, 0), "planes": True},
    "tiles": {"bands": 4, "extra": (0,), "tile": (16, 16), "packed": True},
    "16 bits": {"bands": 4, "extra": (0,), "most": 65535},
    "16 bits, differences": {"bands": 6, "most": 65535, "packed": True, "differences": True},
    "big endian": {"bands": 5, "extra": (0, 0), "most": 65535, "order": ">", "tile": (16, 16)},
}


@pytest.mark.parametrize("kind", MANY)
def test_more_than_three_bands_are_refused_and_read_with_bands(ways, kind):
    given = dict(MANY[kind])
    stored = noise(9, 20, 23, given.pop("bands"), given.pop("most", 255))
    tiff(ways.root / "images" / "x.tif", stored, **given)
    n, most = stored.shape[-1], np.iinfo(stored.dtype).max
    ways.label(np.ones((20, 23)))
    ways.refused(f"{n} bands", "--bands 1,2,3")
    for bands in ((1, 2, 3), (4, 3, 2), (4,)):
        chosen = stored[..., [band - 1 for band in bands]].astype(float)
        expected = np.rint(chosen * (255 / most)).astype(np.uint8)
        found, label = ways.all(bands=bands)
        np.testing.assert_array_equal(found, np.broadcast_to(expected, (20, 23, 3)))
        assert (label == 1).all()
    ways.refused(f"{n} bands", f"--bands 1,2,{n + 1}", bands=(1, 2, n + 1))


def test_three_bands_without_colours_are_red_green_and_blue(ways):
    stored = noise(10, 6, 9, 3, 65535)
    tiff(ways.root / "images" / "x.tif", stored, photometric=1, extra=(0, 0))
    np.testing.assert_array_equal(ways.all()[0], np.rint(stored / 257.0).astype(np.uint8))


def test_a_declared_alpha_is_none_of_the_bands(ways):
    stored = noise(11, 6, 9, 5)
    stored[..., 3] = 255
    stored[2, 2, 3] = 0
    tiff(ways.root / "images" / "x.tif", stored, extra=(2, 0))
    ways.refused("4 bands", "--bands 1,2,3")
    found, label = ways.all(bands=(1, 2, 3))
    np.testing.assert_array_equal(found, stored[..., :3])
    assert (label == 255).sum() == 1 and label[2, 2] == 255


def test_a_jpeg_2000_of_four_bands_has_alpha_only_if_it_says_so(ways):
    path, stored = ways.root / "images" / "x.jp2", noise(12, 32, 32, 4)
    stored[..., 3] |= 1
    Image.fromarray(stored).save(path)
    np.testing.assert_array_equal(ways.all()[0], stored[..., :3])
    path.write_bytes(path.read_bytes().replace(b"cdef", b"free"))
    ways.refused("4 bands", "--bands 1,2,3")
    np.testing.assert_array_equal(ways.all(bands=(4, 2, 1))[0], stored[..., [3, 1, 0]])


def test_bands_choose_among_those_of_any_image(ways):
    pixels = noise(13, 6, 9)
    save(ways, pixels)
    np.testing.assert_array_equal(ways.all(bands=(3, 2, 1))[0], pixels[..., ::-1])
    Image.fromarray(pixels[..., 0]).save(ways.root / "images" / "x.png")  # gray: all three alike
    expected = np.repeat(pixels[..., :1], 3, -1)
    np.testing.assert_array_equal(ways.all(bands=(1, 2, 3))[0], expected)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_value": 0}, "max_value"),
        ({"max_value": 65536}, "max_value"),
        ({"bands": (1, 2)}, "bands"),
        ({"bands": (0, 1, 2)}, "bands"),
    ],
)
def test_options_that_mean_nothing_are_refused(options, said):
    with pytest.raises(DataError, match=said):
        ImageOptions(**options)
    with pytest.raises(DataError, match=said):
        Folders(num_classes=2, **options)


# --- several frames, damaged files ---------------------------------------------------------------


@pytest.mark.parametrize("end", ["gif", "tif", "webp", "png"])
def test_of_several_frames_the_first_is_read(ways, end):
    frames = [Image.fromarray(np.full((6, 9, 3), value, np.uint8)) for value in (40, 90, 200)]
    more = {"lossless": True} if end == "webp" else {}
    frames[0].save(
        ways.root / "images" / f"x.{end}", save_all=True, append_images=frames[1:], **more
    )
    found, _ = ways.all()
    np.testing.assert_array_equal(found, np.full((6, 9, 3), 40))
    assert check_labels(ways.source()).several_frames == ("x",)
    said = []
    for _ in range(2):
        predict_files(lambda i: i[..., 0], [ways.root / "images"], ways.root / "o", say=said.append)
        (line,) = said
        assert "1 image has several frames" in line and f"x.{end}" in line
        said.clear()


@pytest.mark.parametrize(
    "end", ["png", "jpg", "tif", "gif", "bmp", "webp", "jp2", "ppm", "deep.png"]
)
def test_a_truncated_image_is_refused_by_name(ways, end):
    path = ways.root / "images" / f"x.{end.split('.')[-1]}"
    if end == "deep.png":
        png(path, noise(14, 60, 90, 3, 65535))
    else:
        Image.fromarray(noise(14, 60, 90)).save(path)
    ways.label(np.ones((60, 90)))
    whole = path.read_bytes()
    for kept in (len(whole) // 2, len(whole) - len(whole) // 5, 10):
        path.write_bytes(whole[:kept])
        ways.refused()


def test_a_file_of_no_known_kind_is_refused_by_name(ways):
    (ways.root / "images" / "x.jpg").write_bytes(b"not an image")
    ways.refused("of no known kind")


def test_an_image_needs_no_path():
    pixels = noise(15, 6, 9)
    import io

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    np.testing.assert_array_equal(read_image(file.getvalue(), "record 3"), pixels)
    with pytest.raises(DataError, match="record 3"):
        read_image(b"nothing", "record 3")
