"""The label of a GeoTIFF opens at the same place, in the same coordinate system."""

import sys

import numpy as np
import pytest
from PIL import Image

rasterio = pytest.importorskip("rasterio", reason="needs the extra geo")

from fcn_jax.inference.folder import predict_files  # noqa: E402
from fcn_jax.inference.geotiff import is_georeferenced, write_georeferenced  # noqa: E402
from fcn_jax.report.palette import class_palette  # noqa: E402
from fcn_jax.report.pictures import write_label_png  # noqa: E402

# UTM zone 32N around Zurich, cells of 10 metres, a grid turned by 12 degrees.
CRS = "EPSG:32632"
TURN = np.deg2rad(12)
LABEL = np.arange(37 * 52, dtype=np.uint8).reshape(37, 52) % 5


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "image.tif"
    affine = rasterio.Affine(
        10 * np.cos(TURN),
        10 * np.sin(TURN),
        465_000,
        10 * np.sin(TURN),
        -10 * np.cos(TURN),
        5_247_000,
    )
    fields = {"driver": "GTiff", "height": 37, "width": 52, "count": 3, "dtype": "uint8"}
    with rasterio.open(path, "w", crs=CRS, transform=affine, **fields) as file:
        file.write(np.zeros((3, 37, 52), np.uint8))
    return path


def test_a_label_opens_at_the_same_place(image, tmp_path):
    assert is_georeferenced(image)
    label = write_label_png(tmp_path / "label.png", LABEL, class_palette(5))
    written = write_georeferenced(image, label)
    with rasterio.open(image) as there, rasterio.open(written) as here:
        assert here.crs == there.crs == rasterio.crs.CRS.from_string(CRS)
        assert here.transform.almost_equals(there.transform)
        assert here.xy(36, 51) == pytest.approx(there.xy(36, 51))
        assert (here.read(1) == LABEL).all() and here.dtypes == ("uint8",)
        assert here.colormap(1)[3][:3] == tuple(class_palette(5)[3])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["image.tif", "label.png", "label.tif"]


def test_predict_writes_it(image, tmp_path):
    said, out = [], tmp_path / "out"

    def predictor(pixels):
        assert pixels.shape == (37, 52, 3)
        return LABEL

    predict_files(predictor, [image], out, say=said.append)
    with rasterio.open(image) as there, rasterio.open(out / "image.tif") as here:
        assert here.transform.almost_equals(there.transform) and here.crs == there.crs
        assert (here.read(1) == LABEL).all()
    before = image.read_bytes()
    predict_files(predictor, [image], tmp_path, say=said.append)
    assert image.read_bytes() == before and any("another --out" in line for line in said)


def test_other_images_have_no_place(tmp_path, monkeypatch):
    Image.fromarray(LABEL).save(tmp_path / "a.tif")
    Image.fromarray(LABEL).save(tmp_path / "a.png")
    (tmp_path / "b.tif").write_bytes(b"II*\0")
    names = ("a.tif", "a.png", "b.tif", "missing.tif")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # a warning, which is an error here
    assert not any(is_georeferenced(tmp_path / name) for name in names)


def test_without_rasterio_the_extra_is_named(image, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rasterio", None)
    with pytest.raises(ValueError, match=r"image.tif.*fcn-jax\[geo\]"):
        write_georeferenced(image, tmp_path / "label.png")
