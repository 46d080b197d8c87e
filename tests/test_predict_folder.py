"""Labels of files and folders, and VOC's submission."""

import tarfile

import numpy as np
import pytest
from PIL import Image
from three_colours import NET, VARIABLES, plain, random_image, reference_label

from fcn_jax.data.readers import image_size, read_image
from fcn_jax.inference.folder import predict_files
from fcn_jax.inference.predictor import Predictor
from fcn_jax.inference.submission import check_submission, pack_submission, write_submission
from fcn_jax.report.palette import voc_palette


@pytest.fixture(scope="module")
def predictor():
    return Predictor(NET, VARIABLES, plain, multiple=16)


def test_reads_every_kind_of_image_as_rgb(tmp_path):
    rgb = random_image(3, 5, 8)
    path = tmp_path / "image.png"

    def read(image, name="image.png", **options):
        image.save(tmp_path / name, **options)
        pixels = read_image(tmp_path / name)
        assert image_size(tmp_path / name) == pixels.shape[:2]
        return pixels

    np.testing.assert_array_equal(read(Image.fromarray(rgb)), rgb)
    gray = rgb[..., 0]
    np.testing.assert_array_equal(read(Image.fromarray(gray)), np.stack([gray] * 3, -1))
    deep = gray.astype(np.uint16) * 257
    np.testing.assert_array_equal(read(Image.fromarray(deep)), np.stack([gray] * 3, -1))
    clear = np.dstack([rgb, np.zeros((5, 8), np.uint8)])
    clear[0, 0, 3] = 255
    seen = read(Image.fromarray(clear))
    np.testing.assert_array_equal(seen, rgb)
    indices = Image.fromarray(gray % 4)
    indices.putpalette(voc_palette().tobytes())
    np.testing.assert_array_equal(read(indices), voc_palette()[gray % 4])
    cmyk = Image.new("CMYK", (4, 3), (0, 255, 255, 0))
    red = read(cmyk, "cmyk.tif")
    assert red.shape == (3, 4, 3) and (red[..., 0] > 200).all() and (red[..., 1:] < 60).all()
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise
    np.testing.assert_array_equal(read(Image.fromarray(rgb), exif=exif), np.rot90(rgb, -1))
    Image.fromarray(gray.astype(np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(ValueError, match=r"float\.tif: expected pixels of 8 or 16 bits"):
        read_image(tmp_path / "float.tif")
    assert path.exists()


def test_a_folder_is_predicted_and_failures_are_named(tmp_path, predictor):
    source, out = tmp_path / "in", tmp_path / "out"
    (source / "sub").mkdir(parents=True)
    images = {"b.png": random_image(4, 9, 13), "sub/b.png": random_image(5, 20, 4)}
    for name, image in images.items():
        Image.fromarray(image).save(source / name)
    (source / "a.jpg").write_bytes(b"not an image")
    whole = (source / "b.png").read_bytes()
    (source / "cut.png").write_bytes(whole[: len(whole) // 2])
    (source / "notes.txt").write_text("not an image by its name")
    seen = []
    written, failures = predict_files(
        predictor, [source, tmp_path / "gone.png"], out, progress=lambda *done: seen.append(done)
    )
    assert [f.path.name for f in failures] == ["a.jpg", "cut.png", "gone.png"]
    assert seen == [(n, 5) for n in range(1, 6)]
    assert all(f.reason for f in failures)
    names = {"b": "b.png", "sub/b": "sub/b.png"}
    labels = {f"{n}{e}.png" for n in names for e in ("", "_overlay")}
    assert {str(p.relative_to(out)) for p in out.rglob("*.*")} == {*labels, "predictions.csv"}
    for name, original in names.items():
        assert written[source / original] == out / f"{name}.png"
        expected = reference_label(images[original])
        with Image.open(out / f"{name}.png") as label:
            assert label.mode == "P"
            np.testing.assert_array_equal(np.asarray(label), expected)
        with Image.open(out / f"{name}_overlay.png") as laid:
            laid = np.asarray(laid)
        np.testing.assert_array_equal(laid[expected == 0], images[original][expected == 0])


def test_images_are_never_written_over(tmp_path, predictor):
    image = random_image(6, 4, 4)
    for name in ("x.png", "X.bmp", "x_overlay.png"):
        Image.fromarray(image).save(tmp_path / name)
    before = {p: p.read_bytes() for p in tmp_path.iterdir()}
    assert predict_files(predictor, sorted(before), tmp_path, overlay=True).failures == []
    assert {p: p.read_bytes() for p in before} == before
    new = {p.name.casefold() for p in tmp_path.iterdir()} - {p.name.casefold() for p in before}
    assert len(new) == 7 and "predictions.csv" in new
    with pytest.raises(ValueError, match="outside of the images"):
        predict_files(predictor, [tmp_path], tmp_path / "out")


def test_a_folder_without_images_is_a_failure(tmp_path, predictor):
    (tmp_path / "in").mkdir()
    written, (failure,) = predict_files(predictor, [tmp_path / "in"], tmp_path / "out")
    assert not written
    assert failure.path == tmp_path / "in" and "no image" in failure.reason


def test_a_submission_is_written_checked_and_packed(tmp_path, predictor):
    images = {"2008_000006": random_image(7, 6, 9), "2008_000011": random_image(8, 11, 5)}
    folder = write_submission(predictor, images.items(), tmp_path)
    assert folder == tmp_path / "results/VOC2012/Segmentation/comp6_test_cls"
    sizes = {name: image.shape[:2] for name, image in images.items()}
    check_submission(folder, sizes)
    first = pack_submission(folder, tmp_path / "a.tgz").read_bytes()
    assert pack_submission(folder, tmp_path / "b.tgz").read_bytes() == first
    assert first[4:8] == b"\0\0\0\0"  # gzip's time of packing
    with tarfile.open(tmp_path / "a.tgz") as tar:
        assert tar.getnames() == [
            f"results/VOC2012/Segmentation/comp6_test_cls/{name}.png" for name in images
        ]
        packed = tar.extractfile(tar.getmembers()[0])
        assert packed is not None
        with Image.open(packed) as image:
            np.testing.assert_array_equal(np.asarray(image), reference_label(images["2008_000006"]))


def test_a_bad_submission_is_refused(tmp_path, predictor):
    image = random_image(9, 6, 9)
    folder = write_submission(predictor, [("a", image)], tmp_path)
    with pytest.raises(ValueError, match=r"b\.png: missing"):
        check_submission(folder, {"a": (6, 9), "b": (6, 9)})
    with pytest.raises(ValueError, match=r"a\.png: superfluous"):
        check_submission(folder, {})
    with pytest.raises(ValueError, match=r"a\.png: .*\(9, 6\), found \(6, 9\)"):
        check_submission(folder, {"a": (9, 6)})
    for pixels, message in (
        (np.full((6, 9), 255, np.uint8), r"a\.png: expected classes 0\.\.20, found 255"),
        (image, r"a\.png: .*mode 'RGB'"),
    ):
        Image.fromarray(pixels).save(folder / "a.png")
        with pytest.raises(ValueError, match=message):
            check_submission(folder, {"a": (6, 9)})
    with pytest.raises(ValueError, match="found 21"):
        write_submission(lambda i: np.full(i.shape[:2], 21, np.uint8), [("a", image)], tmp_path)
    with pytest.raises(ValueError, match="'a' twice"):
        write_submission(predictor, [("a", image)] * 2, tmp_path)
    with pytest.raises(ValueError, match="'comp5' or 'comp6', found 'comp7'"):
        write_submission(predictor, [], tmp_path, competition="comp7")
    with pytest.raises(ValueError, match="as write_submission makes it"):
        pack_submission(tmp_path, tmp_path / "x.tgz")


def test_the_overlay_colours_class_0_only_if_told_to(tmp_path):
    Image.fromarray(np.full((5, 6, 3), 100, np.uint8)).save(tmp_path / "a.png")

    def all_zero(image):
        return np.zeros(image.shape[:2], np.uint8)

    palette = np.full((256, 3), 200, np.uint8)
    for background, value in ((False, 100), (True, 150)):
        out = tmp_path / str(background)
        predict_files(all_zero, [tmp_path / "a.png"], out, palette=palette, background=background)
        with Image.open(out / "a_overlay.png") as picture:
            assert np.unique(np.asarray(picture)).tolist() == [value]
