"""The benchmarks: contestants compute the same, take turns, and are reported."""

import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import match, peers, report, turns  # noqa: E402
from benchmarks.case import Case, read  # noqa: E402
from benchmarks.contestants import loading, ours, plain_flax  # noqa: E402
from benchmarks.loader import make_files  # noqa: E402
from benchmarks.prepare import prepare  # noqa: E402

SMALL = {
    "vgg16": Case(width=1 / 32, size=(37, 50)),
    "squeezenet": Case(trunk="squeezenet", size=(37, 50)),
    "alexnet": Case(trunk="alexnet", width=1 / 16, size=(37, 50)),
    "googlenet": Case(trunk="googlenet", width=1 / 8, size=(37, 50)),
    "efficientnet_lite0": Case(trunk="efficientnet_lite0", width=1 / 8, size=(37, 50)),
}


def first_scores(made, case, folder):
    program = made(case, folder)
    out = program.run()
    program.wait(out)
    scores = program.result(out)
    return scores.transpose(0, 2, 3, 1) if program.channels_first else scores


@pytest.mark.parametrize(
    "trunk",
    [
        *("vgg16", "squeezenet", "alexnet", "efficientnet_lite0"),
        pytest.param("googlenet", marks=pytest.mark.slow),
    ],
)
def test_the_peers_nets_give_our_scores(trunk, tmp_path, close):
    torch = pytest.importorskip("torch")
    from benchmarks.contestants import in_torch

    case = SMALL[trunk]
    threads = torch.get_num_threads()
    prepare(case, tmp_path)
    scores = first_scores(ours.program, case, tmp_path)
    assert scores.shape == (1, 37, 50, 21) and scores.std() > 0.01
    close(scores, first_scores(in_torch.program, case, tmp_path))
    if trunk == "vgg16":
        close(scores, first_scores(plain_flax.program, case, tmp_path))
    torch.set_num_threads(threads)


def losses(made, case, folder):
    program, values = made(case, folder), []
    for _ in range(3):
        out = program.run()
        program.wait(out)
        values.append(float(program.result(out)))
    return np.array(values)


def test_the_train_steps_are_the_same(tmp_path):
    torch = pytest.importorskip("torch")
    from benchmarks.contestants import in_torch

    case = Case(trunk="alexnet", width=1 / 16, size=(37, 50), train=True)
    threads = torch.get_num_threads()
    prepare(case, tmp_path)
    expected = losses(ours.program, case, tmp_path)
    found = losses(in_torch.program, case, tmp_path)
    torch.set_num_threads(threads)
    assert expected[2] < (1 - match.MIN_FALL) * expected[0]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_files_depend_on_the_case_only_and_a_case_survives_json(tmp_path):
    case = SMALL["alexnet"]
    assert Case.from_json(case.to_json()) == case
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        prepare(case, tmp_path / name)
    (weights, images, labels), again = read(tmp_path / "a"), read(tmp_path / "b")[0]
    assert all(np.array_equal(weights[name], again[name]) for name in weights)
    assert (
        images.shape == (1, 37, 50, 3)
        and (labels == 255).any()
        and labels[labels < 255].max() == 20
    )


def test_a_contestant_with_other_results_is_excluded(tmp_path, monkeypatch):
    monkeypatch.setitem(match.PEERS, "base", match.PEERS["fcn_jax"])
    monkeypatch.setitem(match.PEERS, "other", match.PEERS["torch"])
    scores = np.linspace(-10, 10, 60, dtype=np.float32).reshape(1, 4, 5, 3)
    base, other = SimpleNamespace(name="base"), SimpleNamespace(name="other")
    np.save(tmp_path / "base.npy", scores)
    np.save(tmp_path / "other.npy", scores + 5e-4)
    match.check(Case(), base, other, tmp_path)
    for wrong in (scores + 2e-3, scores[:, :3], np.where(scores > 9, np.nan, scores)):
        np.save(tmp_path / "other.npy", wrong)
        with pytest.raises(turns.Excluded, match="other: differs from base by"):
            match.check(Case(), base, other, tmp_path)


def test_losses_must_agree_and_must_fall(tmp_path, monkeypatch):
    for name in ("base", "other"):
        monkeypatch.setitem(match.PEERS, name, match.PEERS["fcn_jax"])
    case = Case(train=True)
    base = SimpleNamespace(name="base", ready={"losses": [100.0, 90.0, 80.0]})
    other = SimpleNamespace(name="other", ready={"losses": [100.0, 90.0, 80.005]})
    match.check(case, base, other, tmp_path)
    other.ready["losses"][2] = 80.05
    with pytest.raises(turns.Excluded, match="differs"):
        match.check(case, base, other, tmp_path)
    constant = SimpleNamespace(name="base", ready={"losses": [100.0, 99.9, 99.8]})
    with pytest.raises(turns.Excluded, match="do not fall"):
        match.check(case, constant, constant, tmp_path)


CHILD = """
import sys, threading, time
from benchmarks.turns import serve

def spin(clock):
    start = clock()
    while clock() - start < 0.2:
        pass

def make():
    print("output of a library")
    if sys.argv[1] == "broken":
        raise ModuleNotFoundError("No module named 'peer'")
    def answer(request):
        start = time.monotonic()
        if request == "spin in the turn":
            spin(time.process_time)
        if request == "spin after the turn":
            threading.Thread(target=spin, args=(time.thread_time,)).start()
        return {"seconds": 1.5, "request": request, "from": start, "to": time.monotonic()}
    return answer

serve(make, 1)
"""


@pytest.fixture
def contestant(tmp_path):
    (tmp_path / "turning.py").write_text(CHILD)
    started = []

    def start(name):
        env = {"PYTHONPATH": str(tmp_path)}
        started.append(turns.Contestant(name, "turning", name, threads=1, env=env))
        return started[-1]

    yield start
    for each in started:
        each.close()


def test_contestants_run_one_at_a_time_and_each_once_a_round(contestant, monkeypatch):
    monkeypatch.setattr(turns, "PAUSE", 0)
    both = [contestant("a"), contestant("b")]
    assert [c.ready["request"] for c in both] == ["ready"] * 2
    turns.take_turns(both, rounds=4)
    spans = sorted((t["from"], t["to"]) for c in both for t in c.turns)
    assert len(spans) == 8 and all(a[1] <= b[0] for a, b in zip(spans, spans[1:], strict=False))
    rounds = zip(*(c.turns for c in both), strict=True)
    ends = [(min(a["from"], b["from"]), max(a["to"], b["to"])) for a, b in rounds]
    assert all(a[1] <= b[0] for a, b in zip(ends, ends[1:], strict=False))


def test_processor_time_between_turns_is_measured(contestant):
    """A thread that spins for 0.2 s after its turn is noticed; one that spins in it is not."""
    child = contestant("a")
    child.ask("spin in the turn")
    assert child.ask("memory")["idle_cpu"] < 0.1
    child.ask("spin after the turn")
    idle, deadline = 0.0, time.monotonic() + 60
    while idle < 0.15 and time.monotonic() < deadline:
        time.sleep(0.1)
        idle += child.ask("memory")["idle_cpu"]
    assert 0.15 <= idle < 0.4


def test_a_contestant_that_fails_gives_the_reason(contestant):
    with pytest.raises(turns.Excluded, match="broken: ModuleNotFoundError: No module named 'peer'"):
        contestant("broken")


def test_quartiles_and_ratios_within_a_round():
    assert turns.Quartiles.of([4.0, 1, 2, 3, 5]) == turns.Quartiles(2, 3, 4)
    assert str(turns.Quartiles.of([0.5])) == "0.5 (0.5–0.5)"
    # The machine becomes twice as slow after the first round; the base has one more round.
    base = SimpleNamespace(turns=[{"seconds": s} for s in (99.0, 1.0, 2.0, 2.0)])
    other = SimpleNamespace(turns=[{"seconds": s} for s in (3.0, 6.0, 6.0)])
    assert turns.ratios(other, base) == turns.Quartiles(3, 3, 3)


def test_the_peak_is_reset_if_the_system_can():
    before = turns.host_peak()
    block = np.ones(100 << 20, np.uint8)
    assert turns.host_peak() >= before
    del block
    if turns.reset_host_peak():
        start = turns.host_peak()
        block = np.ones(100 << 20, np.uint8)
        assert turns.host_peak() >= start + block.nbytes * 0.9


def test_only_contestants_that_can_run_the_case_are_invited():
    everyone = peers.invited(Case(), "both")
    assert everyone[0] == "fcn_jax" and set(everyone) == set(match.PEERS)
    assert {"onnxruntime", "opencv"} & set(peers.invited(Case(train=True), "both")) == set()
    assert "flax" not in peers.invited(SMALL["alexnet"], "fp32")
    on_gpu = peers.invited(Case(device="gpu"), "both")
    assert on_gpu[0] == "fcn_jax-bf16" and all(name.endswith("bf16") for name in on_gpu)


def test_a_report_lists_who_was_not_timed_and_has_every_turn(tmp_path, capsys):
    three = turns.Quartiles(1, 2, 3)
    outcome = match.Outcome(
        seconds=three, ratio=three, difference=0.0, peak=3_000_000_000, peak_in_turns=2_000_000_000,
        device_peak=None, idle=0.5, turns=[{"seconds": 2.0}],
    )  # fmt: skip
    made = peers.report(Case(), {"fcn_jax": outcome, "torch": "torch: no such module"}, 1)
    made.show()
    made.write(tmp_path / "table.md")
    text = (tmp_path / "table.md").read_text()
    assert "| fcn_jax | 2 (1–3) | 2 (1–3) |" in text and "| 2.00 | 3.00 |" in text
    assert "not timed: torch: no such module" in text and "fcn_jax 50%" in text
    assert all(line in text for line in made.about) and "fcn_jax" in capsys.readouterr().out
    raw = json.loads((tmp_path / "table.json").read_text())
    assert raw["outcomes"]["fcn_jax"]["turns"] == [{"seconds": 2.0}]
    assert report.machine()


@pytest.mark.parametrize("augment", (False, True))
def test_both_loaders_read_the_same_files(augment, tmp_path):
    pytest.importorskip("torch")
    assert make_files(tmp_path, 4, size=(40, 50)) > 500
    from PIL import Image

    expected = [
        sum(int(np.asarray(Image.open(p)).sum()) for p in (tmp_path / name).iterdir())
        for name in ("images", "labels")
    ]
    given = {"folder": str(tmp_path), "batch": 1, "augment": augment, "workers": 0}
    for library in ("fcn_jax", "torch"):
        answer = loading.make({**given, "library": library})
        assert answer("ready") == {"sums": expected}
        assert answer("go")["seconds"] > 0


@pytest.mark.slow
def test_a_match_from_start_to_end(tmp_path):
    pytest.importorskip("torch")
    case = SMALL["squeezenet"]
    outcomes = match.compare(
        case, ["fcn_jax", "torch", "torch-nhwc"], tmp_path, rounds=2, alive=2, iterations=1
    )
    assert list(outcomes) == ["fcn_jax", "torch", "torch-nhwc"]
    for outcome in outcomes.values():
        assert isinstance(outcome, match.Outcome) and outcome.difference < 1e-5
        assert 0 < outcome.peak_in_turns <= outcome.peak
    assert [len(o.turns) for o in outcomes.values() if isinstance(o, match.Outcome)] == [4, 2, 2]


@pytest.mark.slow
def test_startup_reaches_the_first_step_and_a_prediction(tmp_path):
    from benchmarks import startup

    start = time.monotonic()
    waits = startup.measure("tests.tiny_recipe", 1, tmp_path)
    for name, wait in waits.items():
        assert len(wait.wall) == 1 and 0 < wait.wall[0] < time.monotonic() - start, name
        assert wait.cpu[0] > 0
    with pytest.raises(RuntimeError, match="No module named"):
        startup.run(("benchmarks.nothing",), cache=tmp_path)
