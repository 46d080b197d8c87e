"""The demo: 32s, 16s and 8s, each from the one before, on generated scenes, in minutes on a CPU.

It runs the same program as every experiment. The net is a narrow VGG16 without the padded ring, and
with batch norm, because it starts from random weights.
"""

import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from fcn_jax.atomic import write_atomically
from fcn_jax.data.scenes import Scenes
from fcn_jax.losses import Normalization, Softmax
from fcn_jax.metrics import Absent
from fcn_jax.nets.fcn import FCN
from fcn_jax.nets.trunks import VGG16
from fcn_jax.nn.upsampling import NormalizedUpsampling
from fcn_jax.optim import AdamW
from fcn_jax.preprocessing import CAFFE, Preprocessing
from fcn_jax.runs.recipe import FromRun, FromScratch, Recipe
from fcn_jax.training.stopping import StopRequest

STAGES = ("fcn32s", "fcn16s", "fcn8s")
SKIPS = {"fcn32s": (), "fcn16s": ("pool4",), "fcn8s": ("pool4", "pool3")}
STEPS = {"fcn32s": 400, "fcn16s": 300, "fcn8s": 450}
INPUT = Preprocessing(channels=CAFFE.channels, mean=CAFFE.mean, std=(64.0, 64.0, 64.0))


def recipe(stage: str) -> Recipe:
    """The recipe of one stage: `fcn32s`, `fcn16s` or `fcn8s`."""
    before = STAGES.index(stage) - 1
    model = FCN(
        VGG16(aligned=True, width=1 / 16, batch_norm=True, dropout=0.0),
        7,
        skips=SKIPS[stage],
        upsampling=NormalizedUpsampling,
        final_upsampling=NormalizedUpsampling,
    )
    steps = STEPS[stage]
    return Recipe(
        model=model,
        train_set=Scenes(length=10_000, seed=0, largest=(64, 64)),
        validation_set=Scenes(length=200, seed=1, largest=(64, 64)),
        start=FromScratch(preprocessing=INPUT) if before < 0 else FromRun(run=STAGES[before]),
        optimizer=AdamW(
            learning_rate=5e-3,
            weight_decay=1e-3,
            warmup_steps=20,
            total_steps=steps,
            end_factor=0.02,
        ),
        loss=Softmax(normalization=Normalization.VALID),
        batch_size=8,
        accumulate=1,
        steps=steps,
        with_replacement=False,
        augment=None,
        frozen=(),
        absent=Absent.IN_NEITHER,
        evaluate_every=0,
        checkpoint_every=0,
        seed=STAGES.index(stage),
    )


def run_demo(workdir: Path, *, threads: int = 4, stop: StopRequest | None = None) -> None:
    """Train the three stages, print their scores and draw their predictions.

    Writes `workdir/metrics.jsonl` (the lines of all stages, each with `stage`) and
    `workdir/demo.png` beside the three runs' own folders.
    """
    from rich.console import Console

    from fcn_jax.report.pictures import write_png
    from fcn_jax.report.tables import metrics_table
    from fcn_jax.runs.kept_counts import kept_intervals
    from fcn_jax.runs.place import Place
    from fcn_jax.runs.run import run
    from fcn_jax.training.run_folder import RunFolder

    started = time.monotonic()
    rows: dict[str, Any] = {}
    lines: list[dict[str, Any]] = []
    for stage in STAGES:
        folder = workdir / stage
        last = run(
            recipe(stage),
            Place(workdir=folder, threads=threads),
            origin={"module": "fcn_jax.runs.demo", "arguments": {"stage": stage}, "overrides": {}},
            stop=stop,
        )
        if last is None:
            return
        counts = RunFolder(folder).counts_file(last["step"])
        intervals = kept_intervals(counts, recipe(stage).absent)
        rows[stage] = SimpleNamespace(**last, intervals=intervals)
        lines += [{"stage": stage, **line} for line in RunFolder(folder).metrics()]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        write_atomically(workdir / "metrics.jsonl", lambda part, text=text: part.write_text(text))
    write_png(workdir / "demo.png", _picture(workdir))
    console = Console()
    console.print(metrics_table(rows, title="generated scenes, 200 held out, per cent"))
    print(f"image, truth and the three predictions: {workdir / 'demo.png'}")
    print(f"{time.monotonic() - started:.0f} s from start to end")


def _picture(workdir: Path) -> Any:
    """Image, truth and the prediction of every stage, for a few held-out scenes."""
    from fcn_jax.inference.predictor import Predictor
    from fcn_jax.report.palette import class_palette
    from fcn_jax.report.pictures import contact_sheet
    from fcn_jax.runs.start import run_variables

    predictors = [
        Predictor(recipe(stage).model, *run_variables(workdir / stage)) for stage in STAGES
    ]
    scenes = recipe(STAGES[0]).validation_set
    for predict in predictors:
        predict.prepare(scenes.size(i) for i in range(5))
    rows = [
        (e.image, e.label, *(predict(e.image) for predict in predictors))
        for e in (scenes[i] for i in range(5))
    ]
    return contact_sheet(
        rows,
        ("image", "truth", "FCN-32s", "FCN-16s", "FCN-8s"),
        class_names=scenes.class_names,
        palette=class_palette(scenes.num_classes),
        zoom=2,
    )
