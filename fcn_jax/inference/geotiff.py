"""Labels of GeoTIFFs that open at the same place as their images (extra `geo`)."""

import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

from PIL import Image

from fcn_jax.atomic import draft
from fcn_jax.inference.memory import any_size

# A GeoTIFF has a directory of keys, and a scale or a matrix from cells to coordinates.
# Source: OGC GeoTIFF 1.1, tables 1 to 3.
_TAGS = (33550, 34264, 34735)


def is_georeferenced(path: Path) -> bool:
    """Whether a file is a TIFF that says where it lies; other files are not."""
    if path.suffix.lower() not in (".tif", ".tiff"):
        return False
    try:
        with any_size(), Image.open(path) as image:  # only its header is read
            return image.format == "TIFF" and any(tag in image.tag_v2 for tag in _TAGS)  # type: ignore[attr-defined]
    except (OSError, ValueError, SyntaxError):
        return False


def keep_georeference(image: Path, labels: Iterable[Path], say: Callable[[str], None]) -> None:
    """Writes the labels of a GeoTIFF as GeoTIFFs too, or says why that cannot be.

    Args:
        image: any image; nothing is written unless it is a GeoTIFF.
        labels: its labels, palette PNGs.
        say: called with a line of text.
    """
    if is_georeferenced(image):
        try:
            for label in labels:
                write_georeferenced(image, label)
        except ValueError as error:
            say(str(error))


def write_georeferenced(image: Path, label: Path) -> Path:
    """Writes a label as a GeoTIFF too, with the place and coordinate system of its image.

    Args:
        image: a GeoTIFF.
        label: its label, a palette PNG of the same size.

    Returns:
        `NAME.tif` beside `NAME.png`: uint8 classes with the PNG's colours, compressed without loss.

    Raises:
        ValueError: rasterio is not installed, cannot read the georeference, or the result would
            replace the image.
    """
    try:
        import rasterio
        import rasterio.errors
        import rasterio.shutil
    except ImportError:
        raise ValueError(
            f"{image}: its label has no georeference without rasterio: pip install 'fcn-jax[geo]'"
        ) from None
    target = label.with_suffix(".tif")
    if target.resolve() == image.resolve():
        raise ValueError(f"{image}: its label would replace it as a GeoTIFF; give another --out")
    try:
        with draft(target) as part, warnings.catch_warnings():
            # The PNG has no place, and its copy has none before it is given one.
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            with rasterio.open(image) as source:
                crs, transform, gcps = source.crs, source.transform, source.gcps
            rasterio.shutil.copy(label, part, driver="GTiff", compress="deflate")
            with rasterio.open(part, "r+") as written:
                if gcps[0]:
                    written.gcps = gcps
                else:
                    written.crs, written.transform = crs, transform
    except rasterio.errors.RasterioError as error:
        raise ValueError(f"{image}: its georeference cannot be kept: {error}") from error
    return target
