"""`compare`: two real runs, and made-up ones whose differences are known."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from fcn_jax.commands.compare import compare
from fcn_jax.commands.evaluate import evaluate
from fcn_jax.data.scenes import Scenes
from fcn_jax.metrics import Absent, ByImage, score
from fcn_jax.metrics.bootstrap import draws
from fcn_jax.report.comparison import _images_needed
from fcn_jax.runs.comparison import compare_runs
from fcn_jax.runs.kept_counts import keep, read_kept
from fcn_jax.runs.lookup import import_recipe_module
from fcn_jax.runs.options import override
from fcn_jax.runs.place import Place
from fcn_jax.runs.run import run
from fcn_jax.training.run_folder import RunFolder

SMALLEST = Path(__file__).with_name("smallest_recipe.py")
FOUR = ("pixel_accuracy", "mean_accuracy", "mean_iu", "frequency_weighted_iu")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two trained runs that differ in their seed; the first was evaluated twice."""
    recipe = import_recipe_module(str(SMALLEST)).RECIPE
    folders = []
    for name, steps in (("one", 2), ("two", 4)):
        folder = tmp_path_factory.mktemp("runs") / name
        changes = {"steps": steps, "evaluate_every": 1}
        origin = {"module": str(SMALLEST), "arguments": {}, "overrides": changes}
        changed = override(recipe, changes)
        run(changed, Place(workdir=folder, threads=0), origin=origin, say=lambda _: None)
        folders.append(folder)
    return folders


def copies(runs, tmp_path):
    return [Path(shutil.copytree(run, tmp_path / run.name)) for run in runs]


def test_training_keeps_the_counts_of_the_last_and_the_best_evaluation(runs):
    for folder in map(RunFolder, runs):
        lines = [line for line in folder.metrics() if "mean_iu" in line]
        kept = {path.name for path in folder.path.glob("validation_*.npz")}
        last, best = lines[-1]["step"], folder.best_step()
        assert kept == {f"validation_{step}.npz" for step in (last, best)}
        for line in lines:
            if line["step"] in (last, best):
                images = read_kept(folder.counts_file(line["step"])).images
                assert score(images.matrix()).mean_iu == line["mean_iu"]


def test_a_resumed_run_drops_counts_of_steps_that_it_will_repeat(runs, tmp_path):
    folder = RunFolder(copies(runs, tmp_path)[1])
    folder.counts_file(9).write_bytes(b"of a step after the checkpoint")
    folder.counts_file(4, "test").write_bytes(b"of another split")
    folder.rewind(4)
    assert folder.counts_file(4).exists() and not folder.counts_file(9).exists()
    assert folder.counts_file(4, "test").exists()
    folder.rewind(0)
    assert not list(folder.path.glob("validation_*")) and not folder.metrics()


def test_two_runs_side_by_side(runs, tmp_path, capsys):
    folders = copies(runs, tmp_path)
    compare(tuple(folders))
    out = capsys.readouterr().out
    assert f"B: {folders[1]}" in out.replace("\n", "") and "the same 4 images" in out
    assert "boundary IU" not in out and "too narrow" in out and "Cannot tell apart" in out
    for folder in folders:
        evaluate(folder, recipe=str(SMALLEST))
    assert "mean IU, 1 px band" in capsys.readouterr().out
    compare(tuple(folders))
    out = capsys.readouterr().out
    assert "boundary IU" in out and "calibration error" in out and "s per image" in out
    compare((folders[0], folders[1], folders[0]), json=True)
    found = json.loads(capsys.readouterr().out)
    same = found["outputs"][""]["differences"][1]["scores"]
    assert all(d["difference"] in (0, None) and not d["more_than_chance"] for d in same.values())
    first = found["outputs"][""]["scores"]["mean_iu"][0]
    line = [line for line in RunFolder(folders[0]).metrics() if "mean_iu" in line]
    assert first["value"] == pytest.approx(max(x["mean_iu"] for x in line))
    assert first["interval"][0] <= first["value"] <= first["interval"][1]


class FewClasses(Scenes):
    """A source of which only the class names count."""

    def __init__(self, names):
        object.__setattr__(self, "names", names)

    @property
    def class_names(self):
        return self.names


def made_up(folder, matrices, names=None, classes=("a", "b", "c"), details=None, width=0.02):
    """A run's folder whose evaluation counted these confusion matrices (n, 3, 3)."""
    folder.mkdir()
    rule = {"recipe": {"absent": "IN_NEITHER"}, "module": "none"}
    (folder / "recipe.json").write_text(json.dumps(rule))
    (folder / "metrics.jsonl").write_text('{"step": 5, "mean_iu": 0.5}\n')
    places = np.argwhere(matrices)
    images = ByImage(
        names=tuple(names or (f"image {i}" for i in range(len(matrices)))),
        num_classes=len(classes),
        entries=np.column_stack([places, matrices[tuple(places.T)]]).astype(np.int64),
        details=details or {},
        boundary_width=width,
    )
    scores = score(images.matrix())
    file = RunFolder(folder).counts_file(5)
    known = type(scores)(**{**vars(scores), "by_image": images})
    keep(file, known, 5, FewClasses(classes))
    return folder


def sets(n=30, seed=0, better=0.02):
    """Confusion matrices of two runs on n images; the second is a little better in each."""
    rng = np.random.default_rng(seed)
    both = np.zeros((2, n, 3, 3), np.int64)
    for i in range(n):
        truth = rng.multinomial(10_000, rng.dirichlet([3, 2, 1]))
        right = rng.uniform(0.4, 0.9)
        for c in range(3):
            for r, share in enumerate((right, right + rng.normal(better, 0.01))):
                hit = int(truth[c] * share)
                both[r, i, c] = (truth[c] - hit) // 2
                both[r, i, c, c] = 0
                both[r, i, c, c] = truth[c] - both[r, i, c].sum()
    return both


def test_differences_are_paired_and_their_intervals_those_of_a_loop(tmp_path):
    both = sets()
    order = np.random.default_rng(1).permutation(30)
    names = [f"image {i}" for i in order]
    folders = [
        made_up(tmp_path / "a", both[0]),
        made_up(tmp_path / "b", both[1][order], names),  # in another order
    ]
    [difference] = compare_runs(folders, absent=Absent.IN_NEITHER)["outputs"][""]["differences"]
    resampled = {name: [] for name in FOUR}
    for times in draws(30):
        first, other = (score(np.tensordot(times.astype(int), m, 1)) for m in both)
        for name, values in resampled.items():
            values.append(getattr(other, name) - getattr(first, name))
    whole = [score(m.sum(axis=0)) for m in both]
    for name in FOUR:
        found = difference["scores"][name]
        assert found["difference"] == pytest.approx(
            getattr(whole[1], name) - getattr(whole[0], name)
        )
        expected = np.percentile(resampled[name], [2.5, 97.5])
        np.testing.assert_allclose(found["interval"], expected, rtol=1e-9)
        # Each run's own interval is far wider than the difference: only pairs show it.
        assert found["more_than_chance"]
    assert [d["class"] for d in difference["classes"]] == [
        "abc"[c] for c in np.argsort(-np.abs(whole[1].iu - whole[0].iu))
    ]
    accuracy = np.trace(both, axis1=2, axis2=3) / both.sum(axis=(2, 3))
    worst = np.argmax(np.abs(accuracy[1] - accuracy[0]))
    assert difference["images"][0]["image"] == f"image {worst}"


def test_words_say_whether_it_is_chance(tmp_path, capsys):
    both = sets()
    folders = made_up(tmp_path / "a", both[0]), made_up(tmp_path / "b", both[1])
    compare(folders)
    out = " ".join(capsys.readouterr().out.split())
    assert "B is better, by more than chance explains: pixel accuracy +2." in out
    compare(folders[::-1])
    assert "A is better, by more than chance explains" in capsys.readouterr().out
    compare((folders[0], folders[0]))
    out = capsys.readouterr().out
    assert "Cannot tell apart with these 30 images: pixel accuracy; mean accuracy" in out
    assert "better, by more" not in out


def test_it_says_how_many_images_would_tell(tmp_path, capsys):
    both = sets(better=0.0)
    both[1, ::2], both[0, ::2] = both[0, ::2].copy(), both[1, ::2].copy()
    folders = [made_up(tmp_path / name, m) for name, m in zip("ab", both, strict=True)]
    [difference] = compare_runs(folders, absent=Absent.IN_NEITHER)["outputs"][""]["differences"]
    d = difference["scores"]["mean_iu"]
    needed = 30 * ((d["interval"][1] - d["interval"][0]) / 2 / d["difference"]) ** 2
    assert _images_needed(d, 30) == pytest.approx(needed, rel=0.05)
    compare(tuple(folders))
    assert f"take about {_images_needed(d, 30):,} images" in capsys.readouterr().out


def test_few_images_show_nothing(tmp_path):
    both = sets(n=5)
    folders = [made_up(tmp_path / name, m) for name, m in zip("ab", both, strict=True)]
    [difference] = compare_runs(folders, absent=Absent.IN_NEITHER)["outputs"][""]["differences"]
    assert difference["scores"]["mean_iu"]["interval"][0] > 0
    assert not difference["scores"]["mean_iu"]["more_than_chance"]
    folders = [made_up(tmp_path / f"{n}1", m[:1]) for n, m in zip("ab", both, strict=True)]
    found = compare_runs(folders, absent=Absent.IN_NEITHER)["outputs"][""]
    assert found["scores"]["mean_iu"][0]["interval"] is None
    assert found["differences"][0]["scores"]["mean_iu"]["interval"] is None


def refused(folders, capsys, **options):
    """What `compare` says as it ends with status 1."""
    with pytest.raises(SystemExit) as end:
        compare(tuple(folders), **options)
    said = capsys.readouterr()
    assert end.value.code == 1 and said.out == "" and said.err.startswith("error: ")
    return said.err


def test_what_cannot_be_compared_is_refused(tmp_path, capsys, runs):
    both = sets()
    a = made_up(tmp_path / "a", both[0])
    assert "two runs or more" in refused([a], capsys)
    names = [f"image {i}" for i in (*range(28), 90, 91)]
    said = refused([a, made_up(tmp_path / "b", both[1], names)], capsys)
    assert f"{tmp_path / 'b'} lacks 2: image 28, image 29" in said
    assert f"{a} lacks 2: image 90, image 91" in said
    other = both[1].copy()
    other[3, 0, 0] += 1
    said = refused([a, made_up(tmp_path / "c", other)], capsys)
    assert "other labels in 1 images: image 3." in said
    said = refused([a, made_up(tmp_path / "d", both[1], classes=("a", "b", "x"))], capsys)
    assert "other classes" in said
    twice = ["image 0"] * 2 + [f"image {i}" for i in range(2, 30)]
    same = [made_up(tmp_path / name, both[0], twice) for name in ("e", "f")]
    assert "same name" in refused(same, capsys)
    assert "is not the folder of a run" in refused([a, tmp_path / "nowhere"], capsys)
    said = refused([a, a], capsys, split="test")
    assert f"Evaluate it once: python -m fcn_jax evaluate {a} --split test" in said
    old = copies(runs, tmp_path)[0]
    for file in old.glob("validation_*.npz"):
        file.unlink()
    assert "an earlier version made it" in refused([old, runs[1]], capsys)


def test_a_run_of_an_earlier_version_is_evaluated_and_compared(tmp_path, capsys):
    stored = Path(__file__).with_name("run_of_0_1")
    folder = Path(shutil.copytree(stored, tmp_path / "old"))
    assert f"python -m fcn_jax evaluate {folder}" in refused([folder, folder], capsys)
    evaluate(folder)
    compare((folder, folder))
    assert "Cannot tell apart" in capsys.readouterr().out


def test_an_evaluation_that_cannot_be_kept_is_printed(runs, tmp_path, capsys, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fcn_jax.runs.kept_counts.keep", full)
    evaluate(copies(runs, tmp_path)[0], recipe=str(SMALLEST), details=False)
    said = capsys.readouterr()
    assert "mean IU" in said.out and "not kept for `compare`" in said.err
