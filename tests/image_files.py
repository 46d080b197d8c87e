"""Image files that Pillow does not write: PNGs of 16 bits, TIFFs of any bands, damaged pictures."""

import struct
import zlib

import numpy as np


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(path, samples, *, extra=b"", late=b"", depth=None):
    """A PNG of samples (h, w, 1 to 4), uint8 or uint16; `late` are chunks after the pixels."""
    h, w, bands = samples.shape
    depth = depth or 8 * samples.itemsize
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[bands]
    lines = samples.astype(samples.dtype.newbyteorder(">")).reshape(h, -1)
    packed = zlib.compress(b"".join(b"\0" + line.tobytes() for line in lines))
    start = chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, depth, colour, 0, 0, 0))
    parts = start + extra + chunk(b"IDAT", packed) + late + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
    return path


def tiff(
    path,
    samples,
    *,
    photometric=2,
    extra=(),
    planes=False,
    packed=False,
    differences=False,
    tile=None,
    rows=7,
    order="<",
    orientation=1,
    pages=1,
):
    """A TIFF of samples (h, w, n), uint8 or uint16, as the standard says.

    `extra` says what the samples beyond the colours are; `planes` stores each by itself, `packed`
    is Deflate, `differences` the horizontal predictor, `tile` rows and columns, `rows` of a strip.
    """
    h, w, n = samples.shape
    th, tw = tile or (rows, w)
    parts = []
    for part in np.split(samples, n, axis=-1) if planes else [samples]:
        for y in range(0, h, th):
            for x in range(0, w, tw):
                piece = part[y : y + th, x : x + tw]
                if tile:
                    lack = ((0, th - piece.shape[0]), (0, tw - piece.shape[1]), (0, 0))
                    piece = np.pad(piece, lack)
                if differences:
                    piece = np.concatenate([piece[:, :1], np.diff(piece, axis=1)], axis=1)
                data = piece.astype(piece.dtype.newbyteorder(order)).tobytes()
                parts.append(zlib.compress(data) if packed else data)
    first = 8 + pages * 2048
    starts = (first + np.cumsum([0, *map(len, parts)])).tolist()[:-1]
    tags = {258: [8 * samples.itemsize] * n, 259: [8 if packed else 1], 262: [photometric]}
    tags |= {256: [w], 257: [h], 274: [orientation], 277: [n], 284: [2 if planes else 1]}
    tags |= {317: [2 if differences else 1], 338: list(extra)}
    where = [322, 323, 324, 325] if tile else [256, 278, 273, 279]
    tags |= dict(zip(where, ([tw], [th], starts, list(map(len, parts))), strict=True))
    tags = {tag: values for tag, values in tags.items() if values}
    whole = struct.pack(order + "2sHL", b"II" if order == "<" else b"MM", 42, 8)
    for page in range(pages):
        at = 8 + page * 2048
        beyond, table = b"", struct.pack(order + "H", len(tags))
        for tag, values in sorted(tags.items()):
            long = tag in (256, 257, 278, 273, 279, 322, 323, 324, 325)
            value = struct.pack(f"{order}{len(values)}{'L' if long else 'H'}", *values)
            if len(value) > 4:
                place = at + 6 + 12 * len(tags) + len(beyond)
                value, beyond = struct.pack(order + "L", place), beyond + value
            kind = 4 if long else 3
            table += struct.pack(order + "HHL", tag, kind, len(values)) + value.ljust(4, b"\0")
        following = at + 2048 if page + 1 < pages else 0
        ifd = table + struct.pack(order + "L", following) + beyond
        assert len(ifd) <= 2048
        whole += ifd.ljust(2048, b"\0")
    path.write_bytes(whole + b"".join(parts))
    return path


def noise(seed, h, w, bands=3, most=255):
    dtype = np.uint8 if most < 256 else np.uint16
    return np.random.default_rng(seed).integers(0, most + 1, (h, w, bands)).astype(dtype)
