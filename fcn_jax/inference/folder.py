"""Predictions for image files and folders of them."""

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, ImageOps

from fcn_jax.inference.predictor import Predictor
from fcn_jax.report import pictures

_SUFFIXES = frozenset(".bmp .gif .jpeg .jpg .png .ppm .tif .tiff .webp".split())
# What Pillow raises on files that it cannot read.
_UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)


class Failure(NamedTuple):
    """A path without a prediction, and the reason."""

    path: Path
    reason: str


class Predicted(NamedTuple):
    """The label's file by its image's file, and what could not be found or read."""

    written: dict[Path, Path]
    failures: list[Failure]


def read_rgb(path: Path | str) -> UInt8[np.ndarray, "h w 3"]:
    """Reads an image file as viewers show it, as RGB.

    The image is turned upright as its EXIF orientation says, so rows and columns may be swapped.
    Transparent pixels are put on white. 16-bit gray is divided by 257. Pillow converts CMYK and
    palette images; of an animation, the first picture counts.

    Args:
        path: a file of any format that Pillow reads.

    Returns:
        uint8 (h, w, 3), 0..255, RGB.

    Raises:
        ValueError: if the pixels have 32 bits: no value of them is known to be white.
        OSError: if the file is missing, not an image, or cut short.
    """
    with Image.open(path) as stored:
        image = ImageOps.exif_transpose(stored)
        image.load()
    return rgb_pixels(image, path)


def upright_size(path: Path | str) -> tuple[int, int]:
    """Rows and columns of an image as `read_rgb` gives it, from its header alone.

    Raises:
        OSError: if the file is missing or not an image.
    """
    with Image.open(path) as stored:
        swapped = stored.getexif().get(ExifTags.Base.Orientation) in (5, 6, 7, 8)
        return stored.size if swapped else (stored.height, stored.width)


def rgb_pixels(image: Image.Image, path: Path | str) -> UInt8[np.ndarray, "h w 3"]:
    """Pixels of any mode as RGB: 16 bits scaled to 8, transparency put on white.

    Args:
        image: a decoded image, or a part of one.
        path: its file, for messages.

    Raises:
        ValueError: if the pixels have 32 bits: no value of them is known to be white.
    """
    if image.mode.startswith("I;16"):
        gray = np.round(np.asarray(image).astype(np.float32) / 257).astype(np.uint8)
        return np.repeat(gray[..., None], 3, axis=-1)
    if image.mode in ("I", "F"):
        raise ValueError(
            f"{path}: expected pixels of 8 or 16 bits, found 32 bits (mode {image.mode}): scale "
            "them to 0..255 and save the image again."
        )
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("RGB"))


def predict_files(
    predictor: Callable[[np.ndarray], np.ndarray],
    paths: Iterable[Path | str],
    out: Path | str,
    *,
    overlay: bool = True,
    palette: UInt8[np.ndarray, "256 3"] | None = None,
    background: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Predicted:
    """Predicts the label of every image and writes it as `NAME.png` into `out`.

    NAME is the image's name without its suffix. If it is taken, it becomes `NAME_jpg` (the suffix),
    then `NAME_2`. No image that is read is ever written over.

    Args:
        predictor: image uint8 (h, w, 3) RGB -> label uint8 (h, w). A `Predictor` is prepared for
            the sizes of all images first.
        paths: image files, and folders, for all images in them and their subfolders, by name.
        out: folder for `NAME.png`, a palette PNG whose values are the classes, of the size of the
            upright image (see `read_rgb`), and `NAME_overlay.png`.
        overlay: whether to write also the image with the colours of its classes.
        palette: colours by label, uint8 (256, 3) RGB; None is VOC's.
        background: whether the overlay colours label 0 too, where it is a class like the others.
        progress: called after each image with the numbers of images done and of all images.

    Returns:
        What was written, and what could not be found or read, with the reason.

    Raises:
        ValueError: if `out` is one of the folders to read or lies in one: a second run would take
            the predictions for images.
    """
    targets, failures = _targets(paths, Path(out))
    if isinstance(predictor, Predictor):
        predictor.prepare(_sizes(targets))
    written = {}
    for number, (path, target) in enumerate(targets.items(), start=1):
        try:
            image = read_rgb(path)
        except _UNREADABLE as error:
            failures.append(Failure(path, _reason(error)))
        else:
            label = predictor(image)
            written[path] = pictures.write_label_png(target, label, palette)
            if overlay:
                coloured = pictures.overlay(image, label, palette=palette, background=background)
                pictures.write_png(target.with_name(f"{target.stem}_overlay.png"), coloured)
        if progress is not None:
            progress(number, len(targets))
    return Predicted(written, failures)


def predict_large_files(
    predict_file: Callable[..., Path],
    paths: Iterable[Path | str],
    out: Path | str,
    *,
    palette: UInt8[np.ndarray, "256 3"] | None = None,
) -> Predicted:
    """As `predict_files`, with its result and errors, for images that need not fit into memory.

    Args:
        predict_file: `TiledPredictor.predict_file`: reads an image file and writes its label.
        paths: as in `predict_files`.
        out: folder for `NAME.png`; no overlays are written.
        palette: as in `predict_files`.
    """
    targets, failures = _targets(paths, Path(out))
    written = {}
    for path, target in targets.items():
        try:
            written[path] = predict_file(path, target, palette=palette)
        except _UNREADABLE as error:
            failures.append(Failure(path, _reason(error)))
    return Predicted(written, failures)


def _sizes(images: Iterable[Path]) -> Iterator[tuple[int, int]]:
    """Rows and columns of the images that can be opened; the others fail when they are read."""
    for path in images:
        with contextlib.suppress(*_UNREADABLE):
            yield upright_size(path)


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file or folder"
    return f"{type(error).__name__}: {error}"


def _targets(paths: Iterable[Path | str], out: Path) -> tuple[dict[Path, Path], list[Failure]]:
    """The label's file by its image's file, each image once; and the folders without images."""
    images, failures = {}, []
    for path in map(Path, paths):
        if not path.is_dir():
            images.setdefault(path.resolve(), path)
            continue
        if out.resolve().is_relative_to(path.resolve()):
            raise ValueError(
                f"{out}: expected a folder for predictions outside of the images, found one in "
                f"{path}: a second run would take predictions for images. Choose another folder."
            )
        inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in _SUFFIXES and p.is_file())
        if not inside:
            failures.append(Failure(path, f"no image ({', '.join(sorted(_SUFFIXES))}) in it"))
        for file in inside:
            images.setdefault(file.resolve(), file)
    names = _unique_names(list(images.values()), out)
    return {p: out / f"{n}.png" for p, n in zip(images.values(), names, strict=True)}, failures


def _unique_names(images: list[Path], out: Path) -> list[str]:
    """One name per image, such that no file to write is another one or an image to read."""

    # Two names that differ in case are one file on some disks.
    def files(name: str) -> set[str]:
        return {str(out.resolve() / f"{name}{end}").casefold() for end in (".png", "_overlay.png")}

    taken = {str(path.resolve()).casefold() for path in images}
    names = []
    for path in images:
        stem, suffix = path.stem, path.suffix.lstrip(".")
        numbered = (f"{stem}_{n}" for n in itertools.count(2))
        candidates = itertools.chain([stem, f"{stem}_{suffix}"], numbered)
        name = next(name for name in candidates if not files(name) & taken)
        taken |= files(name)
        names.append(name)
    return names
