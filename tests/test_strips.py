"""Files that are read and written in strips have the same pixels as when read whole."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from fcn_jax.arithmetic import ceil_div
from fcn_jax.data import DataError
from fcn_jax.data.png import MAGIC, chunk, header_chunk
from fcn_jax.data.readers import read_image
from fcn_jax.inference.large_files.strips import read_strips, row_window, write_strips
from fcn_jax.inference.memory import Memory
from fcn_jax.report.palette import class_palette
from fcn_jax.report.pictures import write_label_png


def random_image(seed, h, w, channels=3):
    return np.random.default_rng(seed).integers(0, 256, (h, w, channels)).astype(np.uint8)


def read_all(path):
    size, strips = read_strips(path)
    strips = list(strips)
    image = np.concatenate(strips)
    assert image.shape == (*size, 3) and image.dtype == np.uint8
    return image, len(strips)


def png(path, h, w, depth, colour, seed=0, extra=b"", interlaced=False):
    """A PNG of random bytes and random filter types: any bytes are a valid image."""
    rng = np.random.default_rng(seed)
    line = ceil_div(w * depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour], 8)
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
def test_a_png_in_strips_equals_the_whole(tmp_path, monkeypatch, depth, colour):
    monkeypatch.setattr("fcn_jax.inference.large_files.strips.STRIP_BYTES", 300)
    for w in (1, 13):
        path = png(tmp_path / "a.png", 41, w, depth, colour)
        image, count = read_all(path)
        np.testing.assert_array_equal(image, read_image(path))
    assert count > 1 or depth < 8
    if colour in (0, 2, 3):
        clear = {0: b"\0\1", 2: b"\0\1\0\2\0\3", 3: bytes(range(0, 4, 2))}[colour]
        path = png(tmp_path / "b.png", 41, 13, depth, colour, extra=b"")
        whole = path.read_bytes()
        at = whole.index(b"IDAT") - 4
        path.write_bytes(whole[:at] + chunk(b"tRNS", clear) + whole[at:])
        np.testing.assert_array_equal(read_all(path)[0], read_image(path))


def tiff(path, image, tile=None, packed=False, order="<", big=False, rows=7):
    """A TIFF in tiles, or in strips of some rows, written as the standard says."""
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
def test_a_tiff_in_strips_equals_the_whole(tmp_path, monkeypatch, options, tile, channels):
    monkeypatch.setattr("fcn_jax.inference.large_files.strips.STRIP_BYTES", 250)
    image = random_image(4, 45, 70, channels)
    path = tiff(tmp_path / "a.tif", image, tile, **options)
    read, count = read_all(path)
    np.testing.assert_array_equal(read, np.broadcast_to(image, (45, 70, 3)))
    np.testing.assert_array_equal(read, read_image(path))
    assert count >= 3


COMPRESSIONS = ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "tiff_deflate"]


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGB", "RGBA", "CMYK", "YCbCr", "I;16"])
def test_pillows_own_tiffs_in_strips_equal_the_whole(tmp_path, monkeypatch, mode, compression):
    if compression == "jpeg" and mode in ("1", "P", "LA", "RGBA", "I;16"):
        pytest.skip("JPEG does not hold these")
    monkeypatch.setattr("PIL.TiffImagePlugin.STRIP_SIZE", 300)
    rgb = Image.fromarray(random_image(5, 45, 37))
    picture = rgb.convert(mode if mode != "I;16" else "L")
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(picture).astype(np.uint16) * 257)
    if mode in ("RGBA", "LA"):
        picture.putalpha(rgb.convert("L"))
    picture.save(tmp_path / "a.tif", compression=compression)
    image, _ = read_all(tmp_path / "a.tif")
    np.testing.assert_array_equal(image, read_image(tmp_path / "a.tif"))


def test_other_files_are_read_whole_or_refused(tmp_path, monkeypatch):
    image = random_image(6, 30, 20)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = Image.fromarray(image)
    for name in ("turned.png", "turned.tif", "a.jpg", "a.bmp"):
        picture.save(tmp_path / name, **({"exif": exif} if "turned" in name else {}))
    png(tmp_path / "interlaced.png", 1, 1, 8, 2, interlaced=True)
    names = ["turned.png", "turned.tif", "a.jpg", "a.bmp", "interlaced.png"]
    whole = {name: read_image(tmp_path / name) for name in names}
    for name in names:
        read, count = read_all(tmp_path / name)
        np.testing.assert_array_equal(read, whole[name])
        assert count == 1
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    for name in names[:-1]:  # Pillow's limit does not count, but the memory
        np.testing.assert_array_equal(read_all(tmp_path / name)[0], whole[name])
    monkeypatch.setattr("fcn_jax.inference.memory.host_memory", lambda: Memory(9000.0, 1e9))
    for name in names[:-1]:
        with pytest.raises(ValueError, match=f"{name}: .* pixels.*strip by strip.*memory"):
            read_strips(tmp_path / name)
    packed = tiff(tmp_path / "packed.tif", image, packed=True, rows=30)
    with pytest.raises(ValueError, match="compressed strips or tiles of 30 rows"):
        read_strips(packed)


def test_pillows_size_limit_does_not_apply(tmp_path):
    h, w = 20_000, 20_000  # more than twice what Pillow opens at all
    data = zlib.compress(bytes(h * (1 + w // 8)), 1)
    header = header_chunk(h, w, 1, 0) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    (tmp_path / "large.png").write_bytes(MAGIC + header)
    size, strips = read_strips(tmp_path / "large.png")
    assert size == (h, w) and next(strips).shape[1:] == (w, 3)
    with pytest.raises(DataError, match=r"large\.png: is too large to be read whole"):
        read_image(tmp_path / "large.png")


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
            read_all(tmp_path / name)
    Image.fromarray(np.zeros((3, 4), np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(ValueError, match=r"float\.tif: expected pixels of 8 or 16 bits"):
        read_all(tmp_path / "float.tif")
    with pytest.raises(DataError, match=r"gone\.png: there is no such file"):
        read_strips(tmp_path / "gone.png")


def test_a_row_window_moves_over_strips_of_any_size():
    image = random_image(7, 50, 3)
    rows = row_window(iter(np.split(image, [1, 2, 20, 21, 44])))
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
    np.testing.assert_array_equal(read_image(path), image)
    with pytest.raises(ValueError, match=r"expected \.png, found '\.jpg'"):
        write_strips(tmp_path / "a.jpg", (20, 31), [image])
