"""Probabilities, confidence and entropy beside the labels."""

import numpy as np
import pytest
import scipy.special
from PIL import Image
from smallest_recipe import SmallestTrunk

from fcn_jax import FCN, Model, Preprocessing
from fcn_jax.inference.anysize import AnySize
from fcn_jax.inference.certainty import confidence, entropy
from fcn_jax.inference.folder import predict_files

NET = FCN(trunk=SmallestTrunk(), num_classes=5)
PREPROCESSING = Preprocessing(channels="RGB", mean=(120.0,) * 3)


@pytest.fixture(scope="module")
def made(random_variables, tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    pixels = np.random.default_rng(0).integers(0, 256, (150, 130, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "a.png")
    return folder, random_variables(NET, size=8), pixels


def read(path):
    with Image.open(path) as image:
        assert image.mode == "I;16"
        return np.asarray(image).astype(float)


@pytest.mark.parametrize("tile", [None, 64])
def test_files_hold_what_the_model_says(made, tmp_path, tile):
    folder, variables, pixels = made
    whole = Model(NET, variables, PREPROCESSING)
    p = scipy.special.softmax(whole.scores(pixels).astype(np.float64), axis=-1)
    predictor = AnySize(NET, variables, PREPROCESSING, tile=tile)
    options = {"probabilities": True, "confidence": True, "entropy": True}
    _, failures = predict_files(predictor, [folder], tmp_path / "out", **options)
    assert not failures
    out = tmp_path / "out"
    np.testing.assert_allclose(np.load(out / "a_probabilities.npy"), p, atol=1e-5)
    expected = scipy.special.entr(p).sum(-1) / np.log(5)
    assert expected.std() > 1e-4
    np.testing.assert_allclose(read(out / "a_confidence.png") / 65535, p.max(-1), atol=2e-5)
    np.testing.assert_allclose(read(out / "a_entropy.png") / 65535, expected, atol=2e-5)
    np.testing.assert_array_equal(np.asarray(Image.open(out / "a.png")), whole(pixels))
    names = {"a.png", "a_overlay.png", "predictions.csv", "a_probabilities.npy"}
    assert {path.name for path in out.iterdir()} == names | {"a_confidence.png", "a_entropy.png"}
    _, failures = predict_files(predictor, [folder], tmp_path / "one", entropy=True, overlay=False)
    assert {path.name for path in (tmp_path / "one").iterdir()} == {
        *("a.png", "a_entropy.png", "predictions.csv")
    }
    if tile is None:
        np.testing.assert_allclose(whole.confidence(pixels), p.max(-1), atol=1e-5)
        np.testing.assert_allclose(whole.entropy([pixels])[0], expected, atol=1e-5)


def test_entropy_goes_from_0_to_1():
    p = np.array([[1, 0, 0], [1 / 3] * 3, [0.5, 0.5, 0]], np.float32)
    np.testing.assert_allclose(entropy(p), [0, 1, np.log(2) / np.log(3)], atol=1e-6)
    np.testing.assert_allclose(confidence(p), [1, 1 / 3, 0.5])
    assert entropy(np.ones((2, 1), np.float32)).tolist() == [0, 0]


def test_the_options_are_there(capsys):
    import tyro

    from fcn_jax.commands.predict import predict

    with pytest.raises(SystemExit):
        tyro.cli(predict, args=["--help"])
    text = capsys.readouterr().out
    assert "--confidence" in text and "--entropy" in text and "--probabilities" in text
