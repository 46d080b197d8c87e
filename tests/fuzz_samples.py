"""Sound files of every kind that fcn_jax reads, each with its readers, for random damage.

Formats with checksums or compression come twice: as they are, and as their content, which is
damaged before its checksum is computed.
"""

import gzip
import io
import json
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import download_server
import foreign_files
import image_files
import numpy as np
import safetensors.numpy
import scipy.io
from PIL import Image

from fcn_jax.data.lists import read_list
from fcn_jax.data.readers import image_size, read_depth, read_image, read_index_png, read_mat
from fcn_jax.inference.folder import predict_files
from fcn_jax.inference.large_files.strips import read_strips
from fcn_jax.prepare.download.unpack import unpack
from fcn_jax.runs.stored import StoredRun
from fcn_jax.training.run_folder import RunFolder
from fcn_jax.weights.foreign.caffe import read_exported
from fcn_jax.weights.foreign.caffemodel import read_caffemodel
from fcn_jax.weights.foreign.npz import read_npz
from fcn_jax.weights.foreign.pth import read_pth
from fcn_jax.weights.weights_file import load_weights

OLD_RUN = Path(__file__).parent / "run_of_0_1"


class Kind(NamedTuple):
    """A kind of file: how it is read, its name, sound contents, and how a content is stored."""

    read: Callable[[Path], Any]
    name: str
    contents: list[bytes]
    stored: Callable[[bytes], bytes] = bytes


def kinds() -> dict[str, Kind]:
    """All kinds by name."""
    return {**_weights(), **_images(), **_labels(), **_others()}


def _weights() -> dict[str, Kind]:
    rng = np.random.default_rng(0)
    arrays = {"conv1.weight": rng.normal(size=(2, 3, 2, 2)), "conv1.bias": rng.normal(size=2)}
    arrays = {name: a.astype(np.float32) for name, a in arrays.items()}
    blobs = {"conv1": list(arrays.values()), "scale_pool4": [np.ones(3)]}
    nets = [
        foreign_files.caffemodel(blobs, v1=v1, packed=packed, double=double)
        for v1 in (True, False)
        for packed in (True, False)
        for double in (True, False)
    ]
    tensors, storages = foreign_files.state_dict(arrays)
    checkpoint = {"epoch": 3, "model_state_dict": tensors, "names": ["a", ("b", None)]}
    pickles = [foreign_files.pickled(value) for value in (tensors, checkpoint)]
    weights = {"params/trunk/conv1/kernel": np.ones((2, 2), np.float32)}
    about = {
        "format": "fcn_jax weights 1",
        "architecture": "VGG16",
        "num_classes": 2,
        "preprocessing": {"channels": "BGR", "mean": [1.0, 2.0, 3.0], "std": [1.0, 1.0, 1.0]},
        "source": "x",
    }
    own = safetensors.numpy.save(weights, {"fcn_jax": json.dumps(about)})
    npz, npy = io.BytesIO(), io.BytesIO()
    np.savez(npz, allow_pickle=False, **{"conv1/w": np.ones((2, 3)), "conv1/b": np.ones(2)})
    np.save(npy, np.ones((2, 3), np.float32))

    def archived(content: bytes) -> bytes:
        return foreign_files.archive(content, storages)

    def streamed(content: bytes) -> bytes:
        return foreign_files.stream(content, storages)

    def zipped(content: bytes) -> bytes:
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w") as file:
            file.writestr("conv1/w.npy", content)
        return made.getvalue()

    return {
        "caffemodel": Kind(read_caffemodel, "x.caffemodel", nets),
        "pth archive": Kind(read_pth, "x.pth", [archived(p) for p in pickles]),
        "pickle in an archive": Kind(read_pth, "x.pth", pickles, archived),
        "pth stream": Kind(read_pth, "x.pth", [streamed(p) for p in pickles]),
        "pickle in a stream": Kind(read_pth, "x.pth", pickles, streamed),
        "npz": Kind(read_npz, "x.npz", [npz.getvalue()]),
        "npy in an npz": Kind(read_exported, "x.npz", [npy.getvalue()], zipped),
        "safetensors": Kind(load_weights, "x.safetensors", [own]),
    }


def image_contents() -> dict[str, list[bytes]]:
    """Images of one format each."""
    pixels, deep = image_files.noise(0, 12, 10), image_files.noise(1, 12, 10, 3, 65535)
    gray, clear = pixels[..., 0], np.dstack([pixels, pixels[..., 0]])

    def saved(array: np.ndarray, format: str, **options: Any) -> bytes:
        stream = io.BytesIO()
        Image.fromarray(array).save(stream, format, **options)
        return stream.getvalue()

    def made(write: Callable[..., Path], *args: Any, **options: Any) -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            return write(Path(folder) / "x", *args, **options).read_bytes()

    exif = Image.Exif()
    exif[0x0112] = 6
    tiffs = [made(image_files.tiff, pixels, packed=packed) for packed in (False, True)]
    tiffs += [made(image_files.tiff, deep, order=">", differences=True, packed=True)]
    tiffs += [made(image_files.tiff, clear, extra=(2,), tile=(16, 16)), saved(gray, "TIFF")]
    tiffs += [saved(pixels, "TIFF", compression=c) for c in ("tiff_lzw", "jpeg", "packbits")]
    return {
        "png": [
            *(saved(array, "PNG") for array in (pixels, gray, clear, gray > 99)),
            *(made(image_files.png, array) for array in (deep, deep[..., :1])),
            saved(pixels, "PNG", exif=exif),
        ],
        "jpeg": [saved(pixels, "JPEG"), saved(gray, "JPEG", progressive=True, exif=exif)],
        "tiff": tiffs,
        "other": [saved(pixels, format) for format in ("GIF", "BMP", "WEBP", "PPM")],
    }


def repaired(png: bytes) -> bytes:
    """A damaged PNG with the checksums of its chunks set right."""
    parts, at = [png[:8]], 8
    while at + 8 <= len(png):
        length, kind = struct.unpack(">I4s", png[at : at + 8])
        if at + 12 + length > len(png):
            break
        parts.append(image_files.chunk(kind, png[at + 8 : at + 8 + length]))
        at += 12 + length
    return b"".join(parts) + png[at:]


def _images() -> dict[str, Kind]:
    ways = {
        "read": read_image,
        "size of": image_size,
        "predict": predicted,
        "predict --tile": read_in_strips,
    }
    contents = image_contents()
    kinds = {}
    for way, read in ways.items():
        for format, sound in contents.items():
            kinds[f"{way} {format}"] = Kind(read, "x.img", sound)
        kinds[f"{way} png, repaired"] = Kind(read, "x.png", contents["png"], repaired)
        pixels = [b"\0" + bytes(range(30)) * 2 for _ in range(2)]
        kinds[f"{way} pixels of a png"] = Kind(read, "x.png", [b"".join(pixels)], _png_of_lines)
    return kinds


def _png_of_lines(lines: bytes) -> bytes:
    """An RGB PNG of 2 x 20 pixels with these lines, which begin with their filters."""
    header = struct.pack(">IIBBBBB", 20, 2, 8, 2, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(image_files.chunk(*chunk) for chunk in chunks)


def predicted(path: Path) -> Any:
    """The pixels that `predict` gives to a net."""
    seen: list[np.ndarray] = []

    def label(image: np.ndarray) -> np.ndarray:
        seen.append(image)
        return image[..., 0]

    with tempfile.TemporaryDirectory() as out:
        failures = predict_files(label, [path], out, overlay=False).failures
    for failure in failures:
        raise ValueError(f"{failure.path}: {failure.reason}")
    return seen


def read_in_strips(path: Path) -> Iterator[np.ndarray]:
    """The strips that `predict --tile` reads."""
    return read_strips(path)[1]


def _labels() -> dict[str, Kind]:
    label = image_files.noise(2, 9, 7, most=20)[..., 0]
    stream = io.BytesIO()
    palette = Image.fromarray(label)
    palette.putpalette(image_files.noise(3, 256, 1).tobytes())
    palette.save(stream, "PNG")
    depth = io.BytesIO()
    Image.fromarray(label.astype(np.uint16) * 300).save(depth, "PNG")
    struct_ = {"GTcls": {"Boundaries": [[1]], "Segmentation": label}, "S": label}
    mats = [foreign_mat({"T": [1.5], **struct_}, compress) for compress in (False, True)]
    plain = [foreign_mat({"S": label.astype(t)}, False)[128:] for t in ("u1", "i2", "f8")]
    field = [foreign_mat({"GTcls": struct_["GTcls"]}, False)[128:]]

    def packed(element: bytes) -> bytes:
        data = zlib.compress(element)
        return mats[0][:128] + struct.pack("<II", 15, len(data)) + data

    return {
        "label png": Kind(read_index_png, "x.png", [stream.getvalue()]),
        "label png, repaired": Kind(read_index_png, "x.png", [stream.getvalue()], repaired),
        "depth png": Kind(read_depth, "x.png", [depth.getvalue()], repaired),
        "mat": Kind(lambda path: read_mat(path, "S"), "x.mat", mats),
        "mat, field": Kind(lambda path: read_mat(path, "GTcls.Segmentation"), "x.mat", mats),
        "mat, unpacked": Kind(lambda path: read_mat(path, "S"), "x.mat", plain, packed),
        "mat, unpacked field": Kind(
            lambda path: read_mat(path, "GTcls.Segmentation"), "x.mat", field, packed
        ),
    }


def foreign_mat(contents: dict[str, Any], compress: bool) -> bytes:
    """A `.mat` file."""
    stream = io.BytesIO()
    scipy.io.savemat(stream, contents, do_compression=compress)
    return stream.getvalue()


def _others() -> dict[str, Kind]:
    members = ("a/b.txt", b"some text"), ("a/c d/e", bytes(600)), ("f", b"")
    tar = download_server.tar_of(*members, compress=False)
    run = [(OLD_RUN / "recipe.json").read_bytes()]
    metrics = [b'{"step": 1, "loss": 2.5}\n{"step": 2, "loss": 2.0, "mean_iu": 0.25}\n']
    return {
        "list": Kind(read_list, "x.txt", [b"2007_000032\n2007_000039\n\n2007_000063"]),
        "zip": Kind(unpacked, "x.zip", [download_server.zip_of(*members)]),
        "tar": Kind(unpacked, "x.tar", [tar]),
        "tar.gz": Kind(unpacked, "x.tar.gz", [gzip.compress(tar, mtime=0)]),
        "tar in a tar.gz": Kind(unpacked, "x.tar.gz", [tar], lambda t: gzip.compress(t, mtime=0)),
        "recipe.json": Kind(stored_run, "recipe.json", run),
        "metrics.jsonl": Kind(best_step, "metrics.jsonl", metrics),
    }


def unpacked(path: Path) -> list[bytes]:
    """The content of an archive; fails if anything is left or lies outside where it is refused."""
    with tempfile.TemporaryDirectory() as outer:
        folder = Path(outer) / "in"
        folder.mkdir()
        try:
            unpack(path, folder, at_most=10_000, members=50)
        except ValueError:
            assert not list(folder.iterdir()), "a refused archive left something behind"
            raise
        finally:
            assert [p.name for p in Path(outer).iterdir()] == ["in"], "written outside"
        return [file.read_bytes() for file in folder.rglob("*") if file.is_file()]


def stored_run(path: Path) -> list[Any]:
    """What `evaluate`, `predict` and `fcn_jax.load` take from `recipe.json`."""
    run = StoredRun(path.parent)
    return [run.model, run.train_set, run.validation_set, run.batch_size, run.absent]


def best_step(path: Path) -> list[Any]:
    """What is read of `metrics.jsonl`."""
    folder = RunFolder(path.parent)
    return [len(folder.metrics()), folder.best_step()]


def empty(folder: Path) -> None:
    """Deletes what is in a folder; a file may still be mapped into memory."""
    shutil.rmtree(folder)
    folder.mkdir()
