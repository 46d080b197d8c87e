"""Damaged images in `predict` and `predict --tile`: the file is named, and the others go on."""

import re
import struct
import zlib

import foreign_files
import image_files
import numpy as np
import pytest
from PIL import Image

from fcn_jax.damage import BoundedFile, reading
from fcn_jax.data import DataError
from fcn_jax.data.readers import image_size, read_image
from fcn_jax.inference.folder import predict_files
from fcn_jax.inference.large_files.strips import read_strips

PIXELS = image_files.noise(0, 12, 10)
HEADER = struct.pack(">IIBBBBB", 10, 12, 8, 2, 0, 0, 0)


def png(*chunks):
    return b"\x89PNG\r\n\x1a\n" + b"".join(image_files.chunk(*chunk) for chunk in chunks)


def rows(count=12):
    return zlib.compress(bytes(31 * count))


def tiff(tmp_path, **changed):
    """A TIFF whose tags, of type LONG or SHORT, hold other values: by number."""
    content = bytearray(image_files.tiff(tmp_path / "sound", PIXELS, rows=12).read_bytes())
    (count,) = struct.unpack_from("<H", content, 8)
    for at in range(10, 10 + 12 * count, 12):
        number, kind, _ = struct.unpack_from("<HHL", content, at)
        if (value := changed.get(f"t{number}")) is not None:
            struct.pack_into("<HHL" + "L", content, at, number, 4, 1, value)
    return bytes(content)


def hostile(tmp_path):
    """Files by name."""
    yield "empty.png", b""
    yield "magic.png", b"\x89PNG\r\n\x1a\n"
    yield "short header.png", png((b"IHDR", HEADER[:5]), (b"IDAT", rows()), (b"IEND", b""))
    yield "no pixels.png", png((b"IHDR", HEADER), (b"IEND", b""))
    yield "few rows.png", png((b"IHDR", HEADER), (b"IDAT", rows(3)), (b"IEND", b""))
    yield "no zlib.png", png((b"IHDR", HEADER), (b"IDAT", bytes(99)), (b"IEND", b""))
    length = struct.pack(">I", 0xFFFFFFF0)
    yield "long chunk.png", png((b"IHDR", HEADER)) + length + b"IDAT" + rows()
    yield "long palette.png", png((b"IHDR", HEADER)) + length + b"PLTE" + rows()
    for w, h, name in ((1 << 31, 1, "wide"), (1, 1 << 31, "tall"), (1 << 30, 1 << 30, "large")):
        header = struct.pack(">IIBBBBB", w, h, 16, 6, 0, 0, 0)
        yield f"{name}.png", png((b"IHDR", header), (b"IDAT", rows()), (b"IEND", b""))
    yield "filter.png", png((b"IHDR", HEADER), (b"IDAT", zlib.compress(b"\x09" * 31 * 12)))
    yield "cut.tif", tiff(tmp_path)[:40]
    yield "magic.tif", b"II*\0\x08\0\0\0"
    yield "far.tif", b"II*\0" + b"\xff" * 20
    yield "big.tif", b"II+\0" + b"\xff" * 20
    yield "rows.tif", tiff(tmp_path, t257=0xFFFFFFFF, t278=0xFFFFFFFF)
    yield "more rows.tif", tiff(tmp_path, t257=8_000_000)
    yield "columns.tif", tiff(tmp_path, t256=0xFFFFFFFF)
    yield "offset.tif", tiff(tmp_path, t273=0xFFFFFFF0)
    yield "bytes.tif", tiff(tmp_path, t279=0xFFFFFFF0, t273=4000)
    yield "bands.tif", tiff(tmp_path, t277=60000)
    yield "packed.tif", tiff(tmp_path, t259=8)
    yield "unknown packing.tif", tiff(tmp_path, t259=777)
    yield "no rows.tif", tiff(tmp_path, t278=0)
    yield "no columns.tif", tiff(tmp_path, t256=0)
    for end, magic in (
        ("gif", b"GIF89a"),
        ("bmp", b"BM"),
        ("jpg", b"\xff\xd8\xff"),
        ("ppm", b"P6 "),
    ):
        yield f"x.{end}", magic + bytes(20)


def in_strips(path, target, **_):
    """Reads as `predict --tile` does."""
    size, strips = read_strips(path)
    assert sum(len(strip) for strip in strips) == size[0]
    return target


class Tiled:
    """A predictor of files."""

    predict_file = staticmethod(in_strips)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("predictor", [lambda image: image[..., 0], Tiled()], ids=["", "--tile"])
def test_damaged_images_are_failures_and_the_others_go_on(tmp_path, predictor):
    folder, names = tmp_path / "images", []
    folder.mkdir()
    for name, content in hostile(tmp_path):
        (folder / name).write_bytes(content)
        names.append(name)
    for name in ("a sound.png", "z sound.tif"):
        Image.fromarray(PIXELS).save(folder / name)
    with foreign_files.little_memory(16 << 20):
        done = predict_files(predictor, [folder], tmp_path / "out", overlay=False)
    assert {path.name for path in done.written} >= {"a sound.png", "z sound.tif"}
    assert sorted(failure.path.name for failure in done.failures) >= sorted(
        {*names} - {path.name for path in done.written}
    )
    tolerated = {path.name for path in done.written} - {"a sound.png", "z sound.tif"}
    # Pillow reads these: lengths that nothing needs, and rows that are not there.
    assert tolerated <= {"few rows.png", "long chunk.png", "bytes.tif", "no rows.tif"}
    for failure in done.failures:
        assert failure.reason and "Traceback" not in failure.reason


@pytest.mark.filterwarnings("ignore")
def test_every_error_names_the_file_in_all_ways_to_read_it(tmp_path):
    for name, content in hostile(tmp_path):
        path = tmp_path / name
        path.write_bytes(content)
        for read in (read_image, image_size, lambda path: in_strips(path, path)):
            with foreign_files.little_memory(8 << 20):
                try:
                    read(path)
                except DataError as error:
                    assert name in str(error)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_a_row_of_tiles_that_swells_is_not_unpacked(tmp_path, kind):
    """Thousands of tiles of 1024 x 1024 pixels, all of which are the same few stored bytes."""
    path = tmp_path / "tiles.tif"
    tile = np.zeros((1024, 1024, 3), kind)
    content = bytearray(image_files.tiff(path, tile, packed=True, tile=(1024, 1024)).read_bytes())
    many, place = 5000, len(content)
    (count,) = struct.unpack_from("<H", content, 8)
    for at in range(10, 10 + 12 * count, 12):
        number, _, _, value = struct.unpack_from("<HHLL", content, at)
        if number == 256:
            struct.pack_into("<HHLL", content, at, 256, 4, 1, 1024 * many)
        elif number in (324, 325):
            struct.pack_into("<HHLL", content, at, number, 4, many, len(content))
            content += struct.pack("<L", value) * many
    assert len(content) - place == 8 * many
    path.write_bytes(content)
    with foreign_files.little_memory(8 << 20):
        for read in (read_image, lambda path: in_strips(path, path)):
            with pytest.raises(ValueError, match=re.escape(str(path))):
                read(path)


ODD = [SyntaxError("a"), KeyError(3), IndexError(), TypeError("b"), EOFError(), struct.error("c"),
       AssertionError(), MemoryError(), OverflowError("d"), zlib.error("e"), ValueError("f"),
       OSError("g"), RecursionError("h"), UnicodeDecodeError("utf-8", b"", 0, 1, "i"),
       ZeroDivisionError(), Image.DecompressionBombError("j"), NotImplementedError()]  # fmt: skip


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: type(odd).__name__)
def test_whatever_a_decoder_raises_names_the_file(odd, monkeypatch, tmp_path):
    with pytest.raises(DataError, match=r"^x\.y: cannot be read as an egg \(.+\)\. Boil it\.$"):
        with reading("x.y", "an egg", "Boil it.", DataError):
            raise odd
    Image.fromarray(PIXELS).save(tmp_path / "x.png")

    def fail(*_, **__):
        raise odd

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fail)
    done = predict_files(lambda image: image[..., 0], [tmp_path / "x.png"], tmp_path / "out")
    assert [failure.path.name for failure in done.failures] == ["x.png"]


def test_what_names_the_file_already_and_missing_files_pass():
    for error in (DataError("x.y: is odd"), FileNotFoundError("x.y"), KeyboardInterrupt()):
        with pytest.raises(type(error)) as caught, reading("x.y", "", "", DataError):
            raise error
        assert caught.value is error


def test_a_file_gives_what_it_has(tmp_path):
    (tmp_path / "a").write_bytes(bytes(range(200)))
    with BoundedFile(tmp_path / "a") as file, foreign_files.little_memory():
        assert file.read(3) == b"\0\1\2"
        assert file.read(1 << 40) == bytes(range(3, 200))
        assert file.read(1 << 40) == b""
        file.seek(500)
        assert file.read(1 << 40) == file.read() == b""
        file.seek(198)
        assert file.read() == bytes((198, 199))
