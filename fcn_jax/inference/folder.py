"""Predictions for image files and folders of them."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, ImageOps

from fcn_jax.inference.predictor import Predictor
from fcn_jax.report.pictures import overlay as lay_over
from fcn_jax.report.pictures import write_label_png, write_png

_SUFFIXES = frozenset(".bmp .gif .jpeg .jpg .png .ppm .tif .tiff .webp".split())
_UNREADABLE = (
    OSError,
    ValueError,
    SyntaxError,
    Image.DecompressionBombError,
)  # Pillow raises these


class Failure(NamedTuple):
    """A path that gave no prediction, and why."""

    path: Path
    reason: str


class Predicted(NamedTuple):
    """What became of the paths.

    Attributes:
        written: the label's file by its image's.
        failures: what could not be read or found.
    """

    written: dict[Path, Path]
    failures: list[Failure]


def read_rgb(path: Path | str) -> UInt8[np.ndarray, "h w 3"]:
    """Reads an image file as a person sees it, as RGB.

    The image is turned upright as its EXIF orientation says, so the result may be as wide as the
    stored image is high. Transparent pixels are laid on white. 16-bit gray is divided by 257. CMYK
    and palette images are converted by Pillow; of an animation, the first picture counts.

    Args:
        path: a file of any format that Pillow reads.

    Returns:
        uint8 (h, w, 3), 0..255, RGB.

    Raises:
        ValueError: if the pixels are of 32 bits, which have no agreed white.
        OSError: if the file is missing, or no whole image.
    """
    with Image.open(path) as stored:
        image = ImageOps.exif_transpose(stored)
        image.load()
    return rgb_pixels(image, path)


def upright_size(path: Path | str) -> tuple[int, int]:
    """Rows and columns of an image as `read_rgb` gives it, from its header alone.

    Raises:
        OSError: if the file is missing, or no image.
    """
    with Image.open(path) as stored:
        lying = stored.getexif().get(ExifTags.Base.Orientation) in (5, 6, 7, 8)
        return stored.size if lying else (stored.height, stored.width)


def rgb_pixels(image: Image.Image, path: Path | str) -> UInt8[np.ndarray, "h w 3"]:
    """Pixels of any mode as RGB: 16 bits scaled to 8, transparency laid on white.

    Args:
        image: a decoded image, or a part of one.
        path: its file, for messages.

    Raises:
        ValueError: if the pixels are of 32 bits, which have no agreed white.
    """
    if image.mode.startswith("I;16"):
        gray = np.round(np.asarray(image).astype(np.float32) / 257).astype(np.uint8)
        return np.repeat(gray[..., None], 3, axis=-1)
    if image.mode in ("I", "F"):
        raise ValueError(
            f"{path}: expected pixels of 8 or 16 bits, found 32 bits (mode {image.mode}): scale "
            "them to 0..255 and save them again."
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

    Where two images would share a name, the later one's gets its suffix (`a_jpg`), then a number
    (`a_2`). No image that is read is ever written over.

    Args:
        predictor: image uint8 (h, w, 3) RGB -> label uint8 (h, w). A `Predictor` is prepared for
            the sizes of all images first.
        paths: image files, and folders, whose images are taken with those of their subfolders in
            the order of their names.
        out: folder for `NAME.png`, a palette PNG whose values are the classes, of the size of the
            upright image (see `read_rgb`), and `NAME_overlay.png`.
        overlay: whether to write the image with the colours of its classes too.
        palette: colours by label, uint8 (256, 3) RGB; None is VOC's.
        background: whether label 0 is coloured in the overlay too, where it is a class like others.
        progress: called after each image with the number of images that are done and of all.

    Returns:
        What was written, and what could not be read or found, with the reason.

    Raises:
        ValueError: if `out` is one of the folders to read or lies in one: a second run would take
            the predictions for images.
    """
    out = Path(out)
    images, failures = _expand([Path(p) for p in paths], out)
    targets = {
        path: out / f"{name}.png" for path, name in zip(images, _names(images, out), strict=True)
    }
    if isinstance(predictor, Predictor):
        predictor.prepare(_sizes(images))
    written = {}
    for number, (path, target) in enumerate(targets.items(), start=1):
        try:
            image = read_rgb(path)
        except _UNREADABLE as error:
            failures.append(Failure(path, _reason(error)))
        else:
            label = predictor(image)
            written[path] = write_label_png(target, label, palette)
            if overlay:
                coloured = lay_over(image, label, palette=palette, background=background)
                write_png(target.with_name(f"{target.stem}_overlay.png"), coloured)
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
    """As `predict_files`, for images that need not fit into memory; no overlays are written.

    Args:
        predict_file: reads an image file and writes its label, `TiledPredictor.predict_file`.
        paths: image files and folders.
        out: folder for `NAME.png`.
        palette: colours by label.

    Returns:
        What was written, and what could not be read, with the reason.

    Raises:
        ValueError: if `out` is one of the folders to read or lies in one.
    """
    out = Path(out)
    images, failures = _expand([Path(p) for p in paths], out)
    written = {}
    for path, name in zip(images, _names(images, out), strict=True):
        try:
            written[path] = predict_file(path, out / f"{name}.png", palette=palette)
        except _UNREADABLE as error:
            failures.append(Failure(path, _reason(error)))
    return Predicted(written, failures)


def _sizes(images: Iterable[Path]) -> Iterator[tuple[int, int]]:
    """Sizes of those that can be opened; the others fail when they are read."""
    for path in images:
        with contextlib.suppress(*_UNREADABLE):
            yield upright_size(path)


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file or folder"
    return f"{type(error).__name__}: {error}"


def _expand(paths: list[Path], out: Path) -> tuple[list[Path], list[Failure]]:
    """Files to read, folders replaced by the images in them, each file once."""
    images, failures = {}, []
    for path in paths:
        if not path.is_dir():
            images.setdefault(path.resolve(), path)
            continue
        if out.resolve().is_relative_to(path.resolve()):
            raise ValueError(
                f"{out}: expected a folder for predictions outside of the images, found it in "
                f"{path}: a second run would take predictions for images. Choose another folder."
            )
        inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in _SUFFIXES and p.is_file())
        if not inside:
            failures.append(Failure(path, f"no image ({', '.join(sorted(_SUFFIXES))}) in it"))
        for file in inside:
            images.setdefault(file.resolve(), file)
    return list(images.values()), failures


def _names(images: list[Path], out: Path) -> list[str]:
    """One name per image whose files are neither another's nor an image to read."""

    # Two names that differ in case are one file on some disks.
    def files(name: str) -> set[str]:
        return {str(out.resolve() / f"{name}{end}").casefold() for end in (".png", "_overlay.png")}

    taken = {str(path.resolve()).casefold() for path in images}
    names = []
    for path in images:
        stem, suffix, number = path.stem, path.suffix.lstrip("."), 2
        name = stem if not files(stem) & taken else f"{stem}_{suffix}"
        while files(name) & taken:
            name, number = f"{stem}_{number}", number + 1
        taken |= files(name)
        names.append(name)
    return names
