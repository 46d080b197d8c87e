"""Submissions to PASCAL VOC's evaluation server: labels as index PNGs in a folder of fixed name."""

import gzip
import tarfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np

from fcn_jax.atomic import write_atomically
from fcn_jax.data.readers import read_index_png
from fcn_jax.report.pictures import write_label_png

_LAST_CLASS = 20


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
        year: year of the challenge; the test sets of 2011 and 2012 differ only in name.
        competition: "comp5" if only VOC's own segmentations were used for training, "comp6" for
            any data except the test set. A net that starts from ImageNet or uses SBD is comp6.

    Returns:
        The folder of the PNGs.

    Raises:
        ValueError: if an ID appears twice, the competition is unknown, or a predicted label has
            another size than its image or a value other than the 21 classes.

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
        path = folder / f"{name}.png"
        _check_label(path, label, image.shape[:2])
        write_label_png(path, label)
    return folder


def check_submission(folder: Path | str, sizes: Mapping[str, tuple[int, int]]) -> None:
    """Checks a submission's folder as the server does: names, kind of PNG, sizes, values.

    Args:
        folder: folder of ID.png, as `write_submission` returns it.
        sizes: rows and columns of every image of the test set, by ID.

    Raises:
        ValueError: for the first file that is missing, superfluous, not a palette or gray PNG, of
            another size than its image, or with a value above 20 (255 is not allowed either).
    """
    folder = Path(folder)
    found = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    expected = {f"{name}.png" for name in sizes}
    for word, names in (("missing", expected - found), ("superfluous", found - expected)):
        if names:
            raise ValueError(
                f"{folder / min(names)}: {word}, like {len(names) - 1} others; expected exactly "
                f"the {len(expected)} images of the test set. Predict that set again."
            )
    for name, size in sizes.items():
        path = folder / f"{name}.png"
        _check_label(path, read_index_png(path), size)


def pack_submission(folder: Path | str, archive: Path | str) -> Path:
    """Packs a submission for the server; equal folders give equal bytes.

    Args:
        folder: folder of ID.png, as `write_submission` returns it.
        archive: file to write, `.tgz` or `.tar.gz`; the paths in it begin with `results/`.

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

    def write(draft: Path) -> None:
        with (
            open(draft, "wb") as file,
            gzip.GzipFile("", "wb", mtime=0, fileobj=file) as packed,
            tarfile.open(fileobj=packed, mode="w") as tar,
        ):
            for path in sorted(folder.glob("*.png")):
                entry = tarfile.TarInfo(path.relative_to(folder.parents[3]).as_posix())
                entry.size = path.stat().st_size
                with open(path, "rb") as png:
                    tar.addfile(entry, png)

    return write_atomically(archive, write)


def _check_label(path: Path, label: np.ndarray, size: tuple[int, ...]) -> None:
    if label.shape != tuple(size):
        raise ValueError(
            f"{path}: expected rows and columns {tuple(size)}, found {label.shape}: do not resize."
        )
    if label.size and label.max() > _LAST_CLASS:
        raise ValueError(
            f"{path}: expected classes 0..{_LAST_CLASS}, found {label.max()}; 255 is not allowed."
        )
