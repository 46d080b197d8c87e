"""Tiles stitched together are the whole image: scores, files read by strips, memory."""

import functools
import struct
import zlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

import fcn_jax as fcn
from fcn_jax.inference import tiling
from fcn_jax.inference.folder import read_rgb
from fcn_jax.inference.png import MAGIC, chunk, header_chunk
from fcn_jax.inference.predictor import Predictor
from fcn_jax.inference.spans import Reach, reach, spans
from fcn_jax.inference.strips import read_strips, rolling, write_strips
from fcn_jax.inference.tiling import TiledPredictor
from fcn_jax.layers import Conv, GlobalMean, MaxPool
from fcn_jax.report.palette import class_palette, voc_palette
from fcn_jax.report.pictures import write_label_png

CLASSES = 3
FAST = {"xla_backend_optimization_level": 0}  # to compile, not to run


class Small(nn.Module):
    """Strides 1/2 to 1/8, pools whose windows overlap, and a ring or none."""

    ring: int = 11

    @nn.compact
    def __call__(self, x, *, train):
        x = Conv(4, 5, stride=2, padding=2, relu=True, name="conv1")(x)
        x = half = Conv(4, 3, padding=1, relu=True, name="conv2")(x)
        x = MaxPool(3, 2, name="pool2")(x)
        x = MaxPool(2, 2, name="pool3")(Conv(6, 3, padding=1, relu=True, name="conv3")(x))
        return {"half": half, "deep": Conv(8, 3, padding=1, relu=True, name="conv4")(x)}


class WithMean(Small):
    """The same with the mean of the whole image."""

    @nn.compact
    def __call__(self, x, *, train):
        maps = super().__call__(x, train=train)
        return {**maps, "deep": GlobalMean(name="scene")(maps["deep"])}


class Plain(nn.Module):
    """A net that does not say where it looks."""

    @nn.compact
    def __call__(self, images, sizes=None, *, train=False):
        return nn.Dense(CLASSES)(images)


def small_net(ring=11, num_classes=CLASSES, **fields):
    return fcn.FCN(trunk=Small(ring=ring), num_classes=num_classes, skips=("half",), **fields)


SMALL = {
    "ring": small_net(),
    "normalized": small_net(16, final_upsampling=fcn.NormalizedUpsampling),
    "learned": small_net(8, upsampling=fcn.LearnedUpsampling),
}

NARROW = {"width": 1 / 32}
LARGE = {
    "vgg-8s": (fcn.FCN8s(fcn.VGG16(**NARROW), CLASSES), 576),
    "vgg-16s": (fcn.FCN16s(fcn.VGG16(**NARROW), CLASSES), 576),
    "vgg-32s": (fcn.FCN32s(fcn.VGG16(**NARROW), CLASSES), 576),
    "vgg-8s-aligned": (fcn.FCN8s(fcn.VGG16(**NARROW, aligned=True), CLASSES), 576),
    "vgg-16s-aligned": (fcn.FCN16s(fcn.VGG16(**NARROW, aligned=True), CLASSES), 576),
    "vgg-32s-aligned": (fcn.FCN32s(fcn.VGG16(**NARROW, aligned=True), CLASSES), 576),
    "squeezenet": (fcn.FCN8s(fcn.SqueezeNet(), CLASSES, skips=("fire8", "fire4")), 256),
    "squeezenet-aligned": (
        fcn.FCN8s(fcn.SqueezeNet(aligned=True), CLASSES, skips=("fire8", "fire4")),
        256,
    ),
}


@pytest.fixture(autouse=True)
def compiled_fast(monkeypatch):
    """The programs of these tests run for milliseconds."""
    monkeypatch.setattr("fcn_jax.compiling.compiler_options", lambda: FAST)


def plain(images, sizes):
    return images.astype(jnp.float32) / 64 - 2


def random_image(seed, h, w, channels=3):
    return np.random.default_rng(seed).integers(0, 256, (h, w, channels)).astype(np.uint8)


def check_equal(tiled, whole):
    largest = np.abs(whole).max()
    assert largest > 0 and tiled.shape == whole.shape and tiled.dtype == whole.dtype
    assert np.abs(tiled - whole).max() <= 1e-5 * largest


@pytest.mark.parametrize(
    "name", ["ring", "normalized", pytest.param("learned", marks=pytest.mark.slow)]
)
def test_any_size_has_the_scores_of_the_whole_image(name, random_variables):
    net = SMALL[name]
    variables = random_variables(net)
    tiled = TiledPredictor(net, variables, plain, tile=128)
    whole = Predictor(net, variables, plain, multiple=320)
    side = st.integers(1, 320)

    @settings(max_examples=6)
    @example((129, 320))  # two tiles, of which one is cut off, and several
    @example((128, 127))  # one
    @example((193, 1))
    @given(st.tuples(side, side))
    def check(size):
        image = random_image(sum(size), *size)
        check_equal(tiled.scores(image), whole.scores(image))

    check()


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_the_papers_nets_are_stitched_without_a_seam(name, random_variables):
    net, tile = LARGE[name]
    variables = random_variables(net, size=256)
    tiled = TiledPredictor(net, variables, plain, tile=tile)
    # Four tiles on top of each other, of which the last is cut off at an odd place.
    image = random_image(1, 2 * tiled.reach.stride + tile + 39, 131)
    alone = jax.jit(net.apply, compiler_options=FAST)(variables, plain(image[None], None))
    check_equal(tiled.scores(image), np.asarray(alone[0]))


def test_the_reach_follows_from_the_grids(random_variables):
    # 404 pixels of fc7, and 3 * 16, 3 * 8 and 15 of the three upsamplings: half of 491 - 1.
    net = LARGE["vgg-8s"][0]
    assert reach(net, random_variables(net), plain) == Reach(245, 32)


def test_nothing_beyond_the_margin_changes_a_score(random_variables):
    net = SMALL["ring"]
    variables = random_variables(net)
    found = reach(net, variables, plain)

    @functools.partial(jax.jit, compiler_options=FAST)
    def gradient(image, y):
        return jax.grad(lambda x: net.apply(variables, x)[0, y, y].sum())(image)

    for y in (60, 65):
        seen = gradient(random_image(0, 128, 128)[None] / np.float32(64), y)
        rows = np.flatnonzero(np.any(np.asarray(seen), (0, 2, 3)))
        assert max(y - rows.min(), rows.max() - y) <= found.margin
        assert rows.max() - rows.min() > found.margin  # an upper bound, but no idle one


@settings(max_examples=60)
@given(st.integers(1, 3000), st.integers(0, 60), st.sampled_from([1, 8, 24, 32]), st.data())
def test_every_pixel_is_kept_once_and_with_its_context(length, margin, stride, data):
    tile = data.draw(st.integers(2 * margin + stride, 4 * margin + 5 * stride))
    cut = spans(length, tile, Reach(margin, stride))
    assert [p for span in cut for p in range(span.first, span.last)] == list(range(length))
    for span in cut:
        assert span.start % stride == 0 and span.start <= span.first < span.last <= span.stop
        assert span.start == 0 or span.start + margin <= span.first
        assert span.stop == length or span.last + margin <= span.stop
        size = span.stop - span.start
        assert tile - stride < size <= tile or len(cut) == 1 and size == length <= tile


def test_all_tiles_share_a_program(random_variables):
    traced = []

    def counted(images, sizes):
        traced.append(images.shape)
        return plain(images, sizes)

    net = SMALL["ring"]
    predict = TiledPredictor(net, random_variables(net), counted, tile=191)  # rounded to 128
    traced.clear()
    for size in ((320, 200), (129, 301), (128, 97)):
        assert predict(random_image(0, *size)).shape == size
    assert traced == [(1, 128, 128, 3)]


def test_what_cannot_be_tiled_is_refused(random_variables):
    def refused(net, tile=128):
        variables = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 256, 256, 3)))
        TiledPredictor(net, variables, plain, tile=tile)

    with pytest.raises(ValueError, match=r"trunk/scene \(GlobalMean\) looks at the whole image"):
        refused(fcn.FCN(trunk=WithMean(), num_classes=2))
    with pytest.raises(ValueError, match="depends on 27 pixels .* at least 64 pixels, found 63"):
        refused(SMALL["ring"], 63)
    with pytest.raises(ValueError, match="Plain: expected a net .* found no feature maps"):
        refused(Plain())
    heads = small_net(num_classes={"a": 2, "b": 3})
    with pytest.raises(ValueError, match="one array of scores, found several .a, b."):
        refused(heads)
    with pytest.raises(ValueError, match="Classifier: expected a net whose last feature map"):
        refused(fcn.Classifier(Small()))
    net = SMALL["ring"]
    predict = TiledPredictor(net, random_variables(net), plain, tile=128)
    with pytest.raises(ValueError, match="uint8.*found"):
        predict(np.zeros((0, 4, 3), np.uint8))
    with pytest.raises(ValueError, match=r"uint8 array \(h, w, 3\); found \(4, 4\)"):
        predict._stitched(np.zeros((4, 4), np.uint8), predict)  # `predict` is type-checked here


def test_auto_takes_half_of_the_free_memory(random_variables, monkeypatch):
    net = SMALL["ring"]
    variables = random_variables(net)
    assert tiling.free_memory() > 1e6
    needed = tiling.tile_memory(net, variables, plain, 128)
    assert needed > 128 * 128 * (3 + 1 + 4 * CLASSES)
    assert 3 < tiling.tile_memory(net, variables, plain, 256) / needed < 5
    monkeypatch.setattr(tiling, "tile_memory", lambda net, v, preprocess, tile: 10 * tile**2)

    def tile(megabytes):
        monkeypatch.setattr(tiling, "free_memory", lambda: megabytes * 1e6)
        return TiledPredictor(net, variables, plain, tile="auto").tile

    assert tile(80) == 1984  # 2000 ** 2 pixels of 10 bytes are half of it
    assert tile(1e6) == 4096 and tile(0.4) == 128
    with pytest.raises(ValueError, match="at least 64 pixels .* found 0 MB free"):
        tile(0.05)


def whole_file(path):
    size, blocks = read_strips(path)
    blocks = list(blocks)
    image = np.concatenate(blocks)
    assert image.shape == (*size, 3) and image.dtype == np.uint8
    return image, len(blocks)


def png(path, h, w, depth, colour, seed=0, extra=b"", interlaced=False):
    """A PNG of random bytes behind random filters, which every such PNG is."""
    rng = np.random.default_rng(seed)
    line = -(-w * depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour] // 8)
    filters = rng.integers(0, 5, (h, 1), dtype=np.uint8)
    data = np.hstack([filters, rng.integers(0, 256, (h, line), dtype=np.uint8)]).tobytes()
    header = header_chunk(h, w, depth, colour)
    if interlaced:
        header = chunk(b"IHDR", header[8:-5] + b"\1")
    if colour == 3:
        header += chunk(b"PLTE", rng.integers(0, 256, 3 << depth, dtype=np.uint8).tobytes())
    packed = zlib.compress(data)
    parts = [packed[i : i + 50] for i in range(0, len(packed), 50)]
    image = header + extra + b"".join(chunk(b"IDAT", part) for part in parts)
    path.write_bytes(MAGIC + image + chunk(b"IEND", b""))
    return path


KINDS = [(1, 0), (2, 0), (4, 0), (8, 0), (16, 0), (8, 2), (16, 2), (1, 3), (2, 3), (4, 3), (8, 3)]
KINDS += [(8, 4), (16, 4), (8, 6), (16, 6)]


@pytest.mark.parametrize("depth, colour", KINDS)
def test_a_png_by_strips_is_what_it_is_whole(tmp_path, monkeypatch, depth, colour):
    monkeypatch.setattr("fcn_jax.inference.png._BLOCK", 300)
    for w in (1, 13):
        path = png(tmp_path / "a.png", 41, w, depth, colour)
        image, blocks = whole_file(path)
        np.testing.assert_array_equal(image, read_rgb(path))
    assert blocks > 1 or depth < 8
    if colour in (0, 2, 3):
        clear = {0: b"\0\1", 2: b"\0\1\0\2\0\3", 3: bytes(range(0, 4, 2))}[colour]
        path = png(tmp_path / "b.png", 41, 13, depth, colour, extra=b"")
        whole = path.read_bytes()
        at = whole.index(b"IDAT") - 4
        path.write_bytes(whole[:at] + chunk(b"tRNS", clear) + whole[at:])
        np.testing.assert_array_equal(whole_file(path)[0], read_rgb(path))


def tiff(path, image, tile=None, packed=False, order="<", big=False, rows=7):
    """A TIFF in tiles, or in strips of some rows, by the letter of the standard."""
    h, w, channels = image.shape
    th, tw = tile or (rows, w)
    parts = []
    for y in range(0, h, th):
        for x in range(0, w, tw):
            part = image[y : y + th, x : x + tw]
            if tile:
                part = np.pad(part, ((0, th - len(part)), (0, tw - part.shape[1]), (0, 0)))
            parts.append(zlib.compress(part.tobytes()) if packed else part.tobytes())
    starts = (4096 + np.cumsum([0, *map(len, parts)])).tolist()[:-1]
    tags = {256: [w], 257: [h], 258: [8] * channels, 259: [8 if packed else 1]}
    tags |= {262: [2 if channels == 3 else 1], 277: [channels]}
    where = [322, 323, 324, 325] if tile else [256, 278, 273, 279]
    tags |= dict(zip(where, ([tw], [th], starts, list(map(len, parts))), strict=True))
    shorts = (258, 259, 262, 277)
    fields = "HHQ8s" if big else "HHL4s"
    at = (24 if big else 10) + struct.calcsize(f"<{fields}") * len(tags) + 8
    table, beyond = b"", b""
    for tag, values in sorted(tags.items()):
        value = struct.pack(f"{order}{len(values)}{'H' if tag in shorts else 'L'}", *values)
        if len(value) > int(fields[3]):
            value, beyond = struct.pack(f"{order}{fields[2]}", at + len(beyond)), beyond + value
        table += struct.pack(order + fields, tag, 3 if tag in shorts else 4, len(values), value)
    mark = b"II" if order == "<" else b"MM"
    start = struct.pack(f"{order}HHHQQ", 43, 8, 0, 16, len(tags))
    if not big:
        start = struct.pack(f"{order}HLH", 42, 8, len(tags))
    whole = (mark + start + table).ljust(at, b"\0") + beyond
    assert len(whole) <= 4096
    path.write_bytes(whole.ljust(4096, b"\0") + b"".join(parts))
    return path


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("tile", [None, (16, 32)])
@pytest.mark.parametrize("options", [{}, {"order": ">"}, {"packed": True}, {"big": True}], ids=str)
def test_a_tiff_by_strips_is_what_it_is_whole(tmp_path, monkeypatch, options, tile, channels):
    monkeypatch.setattr("fcn_jax.inference.tiff._BLOCK", 250)
    image = random_image(4, 45, 70, channels)
    path = tiff(tmp_path / "a.tif", image, tile, **options)
    read, blocks = whole_file(path)
    np.testing.assert_array_equal(read, np.broadcast_to(image, (45, 70, 3)))
    np.testing.assert_array_equal(read, read_rgb(path))
    assert blocks >= 3


COMPRESSIONS = ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "tiff_deflate"]


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGB", "RGBA", "CMYK", "YCbCr", "I;16"])
def test_pillows_own_tiffs_are_read_by_strips(tmp_path, monkeypatch, mode, compression):
    if compression == "jpeg" and mode in ("1", "P", "LA", "RGBA", "I;16"):
        pytest.skip("JPEG does not hold these")
    monkeypatch.setattr("PIL.TiffImagePlugin.STRIP_SIZE", 300)
    rgb = Image.fromarray(random_image(5, 45, 37))
    picture = rgb.convert("L").convert(mode) if mode == "I;16" else rgb.convert(mode)
    if mode in ("RGBA", "LA"):
        picture.putalpha(rgb.convert("L"))
    picture.save(tmp_path / "a.tif", compression=compression)
    image, _ = whole_file(tmp_path / "a.tif")
    np.testing.assert_array_equal(image, read_rgb(tmp_path / "a.tif"))


def test_what_is_not_read_by_strips_is_read_whole_or_refused(tmp_path, monkeypatch):
    image = random_image(6, 30, 20)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = Image.fromarray(image)
    for name in ("turned.png", "turned.tif", "a.jpg", "a.bmp"):
        picture.save(tmp_path / name, **({"exif": exif} if "turned" in name else {}))
    png(tmp_path / "interlaced.png", 1, 1, 8, 2, interlaced=True)
    names = ["turned.png", "turned.tif", "a.jpg", "a.bmp", "interlaced.png"]
    for name in names:
        read, blocks = whole_file(tmp_path / name)
        np.testing.assert_array_equal(read, read_rgb(tmp_path / name))
        assert blocks == 1
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    for name in names[:-1]:
        with pytest.raises(ValueError, match=f"{name}: .*read by strips.*at most 500 pixels"):
            read_strips(tmp_path / name)
    packed = tiff(tmp_path / "packed.tif", image, packed=True, rows=30)
    with pytest.raises(ValueError, match="compressed strips or tiles of 30 rows"):
        read_strips(packed)


def test_no_limit_of_pillow_bites(tmp_path):
    h, w = 20_000, 20_000  # more than twice what Pillow opens at all
    data = zlib.compress(bytes(h * (1 + w // 8)), 1)
    header = header_chunk(h, w, 1, 0) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    (tmp_path / "large.png").write_bytes(MAGIC + header)
    size, blocks = read_strips(tmp_path / "large.png")
    assert size == (h, w) and next(blocks).shape[1:] == (w, 3)
    with pytest.raises(Image.DecompressionBombError):
        read_rgb(tmp_path / "large.png")


def test_a_damaged_file_is_named(tmp_path):
    whole = png(tmp_path / "a.png", 41, 13, 8, 2).read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    cases = {"flip.png": bytes(flipped), "cut.png": whole[: len(whole) // 2], "no.png": MAGIC}
    body = tiff(tmp_path / "a.tif", random_image(0, 40, 20), packed=True).read_bytes()
    empty = MAGIC + header_chunk(0, 3, 8, 2)
    cases |= {"empty.png": empty, "cut.tif": body[:-50], "no.tif": b"II*\0\x08\0\0\0\0\0"}
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"{name}.*damaged or cut short"):
            whole_file(tmp_path / name)
    Image.fromarray(np.zeros((3, 4), np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(ValueError, match=r"float\.tif: expected pixels of 8 or 16 bits"):
        whole_file(tmp_path / "float.tif")
    with pytest.raises(OSError):
        read_strips(tmp_path / "gone.png")


def test_rows_roll_over_blocks_of_any_size():
    image = random_image(7, 50, 3)
    rows = rolling(iter(np.split(image, [1, 2, 20, 21, 44])))
    for start, stop in ((0, 10), (5, 23), (5, 30), (30, 50), (44, 50)):
        np.testing.assert_array_equal(rows(start, stop), image[start:stop])


def test_strips_are_written_as_one_png_or_not_at_all(tmp_path):
    label, image = random_image(8, 20, 31, 1)[..., 0], random_image(9, 20, 31)
    path, palette = tmp_path / "a.png", class_palette(7)
    write_strips(path, (20, 31), np.split(label, [3, 11]), palette)
    write_label_png(tmp_path / "b.png", label, palette)
    with Image.open(path) as ours, Image.open(tmp_path / "b.png") as pillows:
        assert ours.mode == "P" and ours.getpalette() == pillows.getpalette()
        np.testing.assert_array_equal(np.asarray(ours), label)
    before = path.read_bytes()

    def broken():
        yield label[:3]
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        write_strips(path, (20, 31), broken(), palette)
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 2
    write_strips(path, (20, 31), [image])
    np.testing.assert_array_equal(read_rgb(path), image)
    with pytest.raises(ValueError, match=r"expected \.png, found '\.jpg'"):
        write_strips(tmp_path / "a.jpg", (20, 31), [image])


def test_a_file_has_the_labels_of_the_image(tmp_path, random_variables, monkeypatch):
    monkeypatch.setattr("fcn_jax.inference.png._BLOCK", 5000)
    net = SMALL["ring"]
    variables = random_variables(net)
    predict = TiledPredictor(net, variables, plain, tile=128)
    image = random_image(10, 301, 170)
    expected = Predictor(net, variables, plain, multiple=320)(image)
    assert len(np.unique(expected)) == CLASSES
    Image.fromarray(image).save(tmp_path / "a.png")
    for path in (tmp_path / "a.png", tiff(tmp_path / "a.tif", image, (64, 48))):
        out = predict.predict_file(path, tmp_path / "out" / "label.png")
        with Image.open(out) as label:
            assert label.getpalette() == voc_palette().ravel().tolist()
            np.testing.assert_array_equal(np.asarray(label), expected)
    np.testing.assert_array_equal(predict(image), expected)
    with pytest.raises(ValueError, match="another file than the image"):
        predict.predict_file(tmp_path / "a.png", tmp_path / "a.png")
