import tarfile

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from fcn_jax.data.pipeline import evaluation_batches, read_ahead
from fcn_jax.data.scenes import Scenes
from fcn_jax.fcn import FCN8s
from fcn_jax.inference.evaluate import evaluate
from fcn_jax.inference.folder import predict_files, read_rgb
from fcn_jax.inference.predictor import Predictor, best_class
from fcn_jax.inference.voc_submission import check_submission, pack_submission, write_submission
from fcn_jax.report.palette import voc_palette
from fcn_jax.trunks import VGG16


class ThreeColours(nn.Module):
    """Scores red, green and blue by a 3 x 3 mean: it sees its neighbours, and the size."""

    num_classes: int = 3

    @nn.compact
    def __call__(self, images, sizes=None, *, train=False):
        gain = self.param("gain", nn.initializers.ones, (self.num_classes,))
        rows = jnp.arange(images.shape[1])[:, None] < sizes[:, 0, None, None]
        columns = jnp.arange(images.shape[2])[None, :] < sizes[:, 1, None, None]
        inside = (rows & columns)[..., None]
        mean = nn.avg_pool(jnp.where(inside, images, 0), (3, 3), padding="SAME")
        return jnp.where(inside, mean[..., : self.num_classes] * gain, 0)


NET = ThreeColours()
VARIABLES = {"params": {"gain": np.ones(3, np.float32)}}


OFFSET = (0, 5, 9)  # so that the canvas outside the image is not what the network's zeros are


def plain(images, sizes):
    return images.astype(jnp.float32) + jnp.asarray(OFFSET, jnp.float32)


def reference_label(image):
    """By loops: the first colour whose sum over the 3 x 3 neighbourhood is greatest."""
    h, w, _ = image.shape
    padded = np.zeros((h + 2, w + 2, 3), np.int64)
    padded[1:-1, 1:-1] = image + np.array(OFFSET)
    sums = sum(padded[i : i + h, j : j + w] for i in range(3) for j in range(3))
    return sums.argmax(-1)


def random_image(seed, h, w, high=256):
    return np.random.default_rng(seed).integers(0, high, (h, w, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def predictor():
    return Predictor(NET, VARIABLES, plain, multiple=16)


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (17, 5), (3, 40)])
def test_predicts_at_the_images_own_size(predictor, size):
    image = random_image(0, *size, high=12)
    label = predictor(image)
    assert label.dtype == np.uint8 and label.shape == size
    np.testing.assert_array_equal(label, reference_label(image))
    scores = predictor.scores(image)
    assert scores.dtype == np.float32 and scores.shape == (*size, 3)
    np.testing.assert_array_equal(scores.argmax(-1), label)


def test_of_equal_scores_the_first_class_wins(predictor):
    image = np.full((4, 4, 3), 20, np.uint8) - np.array(OFFSET, np.uint8)
    assert (predictor(image) == 0).all()
    image[..., 1:] += 7
    assert (predictor(image) == 1).all()


def test_close_sizes_share_a_program():
    traced = []

    def counted(images, sizes):
        traced.append(images.shape)
        return plain(images, sizes)

    predict = Predictor(NET, VARIABLES, counted, multiple=32)
    for size in ((1, 1), (32, 32), (20, 31), (33, 5), (64, 32)):
        predict(random_image(1, *size))
    assert traced == [(1, 32, 32, 3), (1, 64, 32, 3)]


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)]
)
def test_what_is_no_image_is_refused(predictor, image):
    with pytest.raises(ValueError, match="uint8 .h, w, 3.*found"):
        predictor._checked(image)


def test_more_classes_than_a_label_holds_are_refused():
    assert best_class(jnp.zeros((1, 1, 1, 255))).dtype == jnp.uint8
    with pytest.raises(ValueError, match="at most 255 classes, found 256"):
        best_class(jnp.zeros((1, 1, 1, 256)))
    with pytest.raises(ValueError, match="multiple of at least 1"):
        Predictor(NET, VARIABLES, plain, multiple=0)


def test_a_real_net_predicts_on_a_canvas_what_it_predicts_bare():
    net = FCN8s(trunk=VGG16(aligned=True, width=1 / 32), num_classes=4)
    image = random_image(2, 37, 50)
    bare = jnp.asarray(image[None], jnp.float32) / 128 - 1
    shapes = jax.eval_shape(net.init, jax.random.key(0), bare)
    rng = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda p: (rng.standard_normal(p.shape) / np.prod(p.shape[:-1]) ** 0.5).astype(np.float32),
        shapes,
    )
    predictor = Predictor(net, variables, lambda i, s: i.astype(jnp.float32) / 128 - 1)
    expected = np.asarray(jax.jit(net.apply)(variables, bare))[0]
    scale = np.abs(expected).max()
    assert scale > 0
    np.testing.assert_allclose(predictor.scores(image), expected, atol=1e-5 * scale)


SCENES = Scenes(length=7, seed=0, largest=(24, 20), smallest=(9, 9), num_classes=3)


def batches(batch_size):
    these = evaluation_batches(SCENES, batch_size=batch_size, canvases=((24, 20),))
    return read_ahead(these, 0, len(these), threads=0)


def reference_matrix():
    matrix = np.zeros((3, 3), np.int64)
    for i in range(len(SCENES)):
        image, label, _ = SCENES[i]
        predicted = reference_label(image)
        for t in range(3):
            for p in range(3):
                matrix[t, p] += ((label == t) & (predicted == p)).sum()
    return matrix


@pytest.mark.parametrize("batch_size", [1, 3, 7, 8])
def test_the_matrix_is_the_same_for_any_batch_size(batch_size):
    matrix = evaluate(NET, VARIABLES, plain, batches(batch_size), 3)
    assert matrix.dtype == np.int64
    np.testing.assert_array_equal(matrix, reference_matrix())


def test_the_matrix_is_the_same_on_a_mesh():
    mesh = jax.make_mesh(
        (jax.device_count(), 1),
        ("data", "space"),
        axis_types=(jax.sharding.AxisType.Auto,) * 2,
    )
    matrix = evaluate(NET, VARIABLES, plain, batches(3 * jax.device_count()), 3, mesh=mesh)
    np.testing.assert_array_equal(matrix, reference_matrix())


def test_the_host_fetches_a_batch_after_sending_the_next():
    events, sums = [], []

    def watched():
        for n, batch in enumerate(batches(3), start=1):
            events.append(f"load {n}")
            yield batch

    def progress(number, matrix):
        events.append(f"count {number}")
        sums.append(matrix.sum())

    matrix = evaluate(NET, VARIABLES, plain, watched(), 3, progress=progress)
    assert events == ["load 1", "load 2", "count 1", "load 3", "count 2", "count 3"]
    assert sums == sorted(sums) and sums[-1] == matrix.sum()


def test_the_sum_is_of_64_bits(monkeypatch):
    much = jnp.full((3, 3), 2**30, jnp.int32)
    monkeypatch.setattr("fcn_jax.inference.evaluate._count", lambda *_: much)
    assert (evaluate(NET, VARIABLES, plain, batches(3), 3) == 3 * 2**30).all()


def test_of_no_batches_nothing_is_counted():
    assert not evaluate(NET, VARIABLES, plain, [], 3).any()


def test_a_second_evaluation_compiles_nothing():
    traced = []

    def counted(images, sizes):
        traced.append(images.shape)
        return plain(images, sizes)

    for _ in range(2):
        evaluate(NET, VARIABLES, counted, batches(8), 3)
    assert len(traced) == 1


def test_labels_and_classes_that_disagree_are_refused():
    with pytest.raises(ValueError, match=r"batch 1 has labels \[2\]; expected 0\.\.1 or 255"):
        evaluate(
            ThreeColours(2), {"params": {"gain": np.ones(2, np.float32)}}, plain, batches(8), 2
        )
    with pytest.raises(ValueError, match="of 4 classes, found"):
        evaluate(NET, VARIABLES, plain, batches(8), 4)
    without = [{"image": np.zeros((1, 2, 2, 3), np.uint8)}]
    with pytest.raises(ValueError, match=r"expected also \['label', 'size'\]"):
        evaluate(NET, VARIABLES, plain, without, 3)


def test_reads_every_kind_of_image_as_rgb(tmp_path):
    rgb = random_image(3, 5, 8)
    path = tmp_path / "image.png"

    def read(image, name="image.png", **options):
        image.save(tmp_path / name, **options)
        return read_rgb(tmp_path / name)

    np.testing.assert_array_equal(read(Image.fromarray(rgb)), rgb)
    gray = rgb[..., 0]
    np.testing.assert_array_equal(read(Image.fromarray(gray)), np.stack([gray] * 3, -1))
    deep = gray.astype(np.uint16) * 257
    np.testing.assert_array_equal(read(Image.fromarray(deep)), np.stack([gray] * 3, -1))
    clear = np.dstack([rgb, np.zeros((5, 8), np.uint8)])
    clear[0, 0, 3] = 255
    seen = read(Image.fromarray(clear))
    assert (seen[0, 0] == rgb[0, 0]).all() and (seen[1:] == 255).all()
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
        read_rgb(tmp_path / "float.tif")
    assert path.exists()


def test_a_folder_is_predicted_and_failures_are_named(tmp_path, predictor):
    source, out = tmp_path / "in", tmp_path / "out"
    (source / "sub").mkdir(parents=True)
    images = {"b.png": random_image(4, 9, 13), "sub/b.png": random_image(5, 20, 4)}
    for name, image in images.items():
        Image.fromarray(image).save(source / name)
    (source / "a.jpg").write_bytes(b"no image")
    whole = (source / "b.png").read_bytes()
    (source / "cut.png").write_bytes(whole[: len(whole) // 2])
    (source / "notes.txt").write_text("not an image by its name")
    failures = predict_files(predictor, [source, tmp_path / "gone.png"], out)
    assert [f.path.name for f in failures] == ["a.jpg", "cut.png", "gone.png"]
    assert all(f.reason for f in failures)
    names = {"b": "b.png", "b_png": "sub/b.png"}
    assert {p.name for p in out.iterdir()} == {
        f"{n}{e}.png" for n in names for e in ("", "_overlay")
    }
    for name, original in names.items():
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
    assert predict_files(predictor, sorted(before), tmp_path, overlay=True) == []
    assert {p: p.read_bytes() for p in before} == before
    new = {p.name.casefold() for p in tmp_path.iterdir()} - {p.name.casefold() for p in before}
    assert len(new) == 6
    with pytest.raises(ValueError, match="outside of the images"):
        predict_files(predictor, [tmp_path], tmp_path / "out")


def test_a_folder_without_images_is_a_failure(tmp_path, predictor):
    (tmp_path / "in").mkdir()
    (failure,) = predict_files(predictor, [tmp_path / "in"], tmp_path / "out")
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
        (image, r"a\.png: .*mode RGB"),
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


def test_where_class_0_is_no_background_the_overlay_colours_it_too(tmp_path):
    Image.fromarray(np.full((5, 6, 3), 100, np.uint8)).save(tmp_path / "a.png")

    def nought(image):
        return np.zeros(image.shape[:2], np.uint8)

    palette = np.full((256, 3), 200, np.uint8)
    for background, value in ((False, 100), (True, 150)):
        out = tmp_path / str(background)
        predict_files(nought, [tmp_path / "a.png"], out, palette=palette, background=background)
        with Image.open(out / "a_overlay.png") as picture:
            assert np.unique(np.asarray(picture)).tolist() == [value]
