"""What a run does at an evaluation: scores, and what it keeps for `compare` and for its page."""

from collections.abc import Callable
from typing import Any

from jax.sharding import Mesh

from fcn_jax.data.source import Source
from fcn_jax.devices.processes import is_leader
from fcn_jax.preprocessing import AnyPreprocessing
from fcn_jax.report.card import write_card
from fcn_jax.runs.cards import run_card
from fcn_jax.runs.kept_counts import keep
from fcn_jax.runs.kept_examples import ExampleMaker
from fcn_jax.runs.recipe import Recipe
from fcn_jax.runs.report import shown, write_page
from fcn_jax.runs.scoring import evaluate, example_names, format_scores, score_line, split_name
from fcn_jax.training.progress import Reporter
from fcn_jax.training.run_folder import RunFolder
from fcn_jax.training.state import State
from fcn_jax.training.stopping import StopRequest


def evaluator(
    recipe: Recipe,
    source: Source,
    preprocessing: AnyPreprocessing,
    *,
    mesh: Mesh,
    folder: RunFolder,
    reporter: Reporter,
    stop: StopRequest,
) -> Callable[[State, int], dict[str, Any]]:
    """What `fcn_jax.training.loop.fit` calls with a saved state and its step.

    Args:
        recipe: of the run.
        source: what is evaluated on.
        preprocessing: of the net's input.
        mesh: the devices.
        folder: gets what was counted in each image, and pictures.
        reporter: prints the scores.
        stop: asked after each batch.
    """
    names = example_names(source)
    examples = ExampleMaker(recipe.model, preprocessing, source)

    def evaluate_state(state: State, step: int) -> dict[str, Any]:
        scores = evaluate(
            recipe.model,
            state.variables,
            preprocessing,
            source,
            batch_size=recipe.batch_size,
            absent=recipe.absent,
            mesh=mesh,
            progress=lambda *_: stop.check(),
            names=names,
            evaluators=recipe.evaluators,
        )
        reporter.say(f"{folder.path.name}: step {step}, {format_scores(scores)}")
        if is_leader():
            keep(folder.counts_file(step), scores, step, source)
            examples.try_to_keep(folder.pictures_file(step), scores, state.variables, reporter.say)
        return score_line(scores, step=step, split=split_name(source))

    return evaluate_state


def show_run(folder: RunFolder, say: Callable[[str], None]) -> bool:
    """Writes the page and the card of a run; if that fails, a line says why.

    Args:
        folder: of the run.
        say: prints a line.
    """
    try:
        run = shown(folder)
        write_page([run], folder.page_file)
        write_card(folder.path / "README.md", run_card(folder, run))
        return True
    except Exception as error:  # a page is never worth a run
        say(f"{folder.page_file} was not written: {type(error).__name__}: {error}")
        return False
