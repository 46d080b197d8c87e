"""Predictions as PASCAL VOC's evaluation server takes them: index PNGs in a fixed folder."""

import gzip
import tarfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from fcn_jax.atomic import write_atomically
from fcn_jax.report.pictures import write_label_png

_NUM_CLASSES = 21


def write_submission(
    predictor: Callable[[np.ndarray], np.ndarray],
    images: Iterable[tuple[str, np.ndarray]],
    root: Path | str,
    *,
    year: int = 2012,
    competition: str = "comp6",
) -> Path:
    """Writes `root/results/VOC2012/Segmentation/comp6_test_cls/ID.png` for every image.

    Args:
        predictor: image uint8 (h, w, 3) RGB -> label uint8 (h, w) in 0..20.
        images: pairs of an image's ID and its pixels, uint8 (h, w, 3), 0..255, RGB.
        root: folder in which `results` is made.
        year: year of the challenge: the test sets of 2011 and 2012 differ in name only.
        competition: "comp5", trained on VOC's own segmentations alone, or "comp6", on any data
            but the test set. A network that starts from ImageNet or uses SBD is comp6.

    Returns:
        The folder of the PNGs.

    Raises:
        ValueError: if an ID appears twice, the competition is unknown, or a predicted label is
            not one of the 21 classes or not of its image's size.

    Source: VOC2012 development kit, sections 4.2 and 10.2 (VOCopts.seg.clsrespath).
    """
    if competition not in ("comp5", "comp6"):
        raise ValueError(f"competition: expected 'comp5' or 'comp6', found {competition!r}.")
    folder = Path(root) / "results" / f"VOC{year}" / "Segmentation" / f"{competition}_test_cls"
    seen = set()
    for name, image in images:
        if name in seen:
            raise ValueError(f"{folder / name}.png: expected every ID once, found {name!r} twice.")
        seen.add(name)
        label = predictor(image)
        _check(folder / f"{name}.png", label, image.shape[:2])
        write_label_png(folder / f"{name}.png", label)
    return folder


def check_submission(folder: Path | str, sizes: Mapping[str, tuple[int, int]]) -> None:
    """Checks a folder of a submission as far as the server would: names, mode, sizes, values.

    Args:
        folder: folder of ID.png, as `write_submission` returns it.
        sizes: rows and columns of every image of the test set, by ID.

    Raises:
        ValueError: naming the first file that is missing, superfluous, no palette or gray PNG,
            not of its image's size, or holds a value above 20 (255 is not allowed either).
    """
    folder = Path(folder)
    found = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    expected = {f"{name}.png" for name in sizes}
    for word, names in (("missing", expected - found), ("superfluous", found - expected)):
        if names:
            raise ValueError(
                f"{folder / min(names)}: {word}, and so are {len(names) - 1} others; expected "
                f"exactly the {len(expected)} images of the test set. Predict that set again."
            )
    for name, size in sizes.items():
        path = folder / f"{name}.png"
        with Image.open(path) as image:
            if image.mode not in ("P", "L"):
                raise ValueError(
                    f"{path}: expected class indices (mode P or L), found mode {image.mode}: "
                    "write it with fcn_jax.report.pictures.write_label_png."
                )
            _check(path, np.asarray(image), size)


def pack_submission(folder: Path | str, archive: Path | str) -> Path:
    """Packs a submission as the server takes it; equal folders give equal bytes.

    Args:
        folder: folder of ID.png, as `write_submission` returns it.
        archive: file to write, `.tgz` or `.tar.gz`; it holds paths from `results/` on.

    Returns:
        `archive`.

    Raises:
        ValueError: if `folder` is not a `results/VOC*/Segmentation/comp*_test_cls`.
    """
    folder = Path(folder)
    if len(folder.parts) < 4 or folder.parts[-4] != "results":
        raise ValueError(
            f"{folder}: expected .../results/VOC2012/Segmentation/comp6_test_cls, as "
            "write_submission makes it."
        )
    root = folder.parents[3]

    def write(draft: Path) -> None:
        with (
            open(draft, "wb") as file,
            gzip.GzipFile("", "wb", mtime=0, fileobj=file) as packed,
            tarfile.open(fileobj=packed, mode="w") as tar,
        ):
            for path in sorted(folder.glob("*.png")):
                entry = tarfile.TarInfo(path.relative_to(root).as_posix())
                entry.size = path.stat().st_size
                with open(path, "rb") as png:
                    tar.addfile(entry, png)

    return write_atomically(archive, write)


def _check(path: Path, label: np.ndarray, size: tuple[int, ...]) -> None:
    if label.shape != tuple(size):
        raise ValueError(
            f"{path}: expected rows and columns {tuple(size)}, found {label.shape}: predict at the "
            "image's own size."
        )
    if label.size and label.max() >= _NUM_CLASSES:
        raise ValueError(
            f"{path}: expected classes 0..{_NUM_CLASSES - 1}, found {label.max()}: the server "
            "takes VOC's 21 classes and no 255."
        )
