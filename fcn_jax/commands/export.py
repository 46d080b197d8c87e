"""`python -m fcn_jax export`."""

from pathlib import Path

from tyro.conf import Positional

from fcn_jax.commands.options import check_target


def export(
    source: Positional[Path],
    target: Positional[Path],
    /,
    step: int | None = None,
    recipe: str | None = None,
) -> None:
    """Write our parameters under Caffe's names, as arrays or for PyTorch.

    A model card is written beside them: TARGET.md, and the same as TARGET.json.

    Args:
        source: a run's folder, or a weights file of ours (.safetensors).
        target: the file to write: OUT.npz (LAYER/w, LAYER/b) or OUT.safetensors (a state dict).
        step: a checkpoint of the run; the best one by default.
        recipe: module or file of the run's recipe, which is imported; needed only if its net is not
            part of fcn_jax.
    """
    from fcn_jax.report.card import write_card
    from fcn_jax.runs.cards import export_card
    from fcn_jax.runs.messages import messages
    from fcn_jax.runs.start import read_variables, run_at
    from fcn_jax.runs.stored import StoredRun
    from fcn_jax.weights.foreign.export import export

    with messages(debug=False):
        net = None
        check_target(source, target)
        if source.suffix == ".safetensors":
            if step is not None:
                raise ValueError(f"--step {step}: {source} has no steps; leave the option out")
            variables, preprocessing = read_variables(source)
        else:
            net = StoredRun(source, recipe=recipe).model
            step, variables, preprocessing = run_at(source, step)
        print(export(variables, target, preprocessing=preprocessing, net=net))
        card = export_card(target, source, preprocessing, step)
        written = write_card(target.with_suffix(".md"), card)
        print(f"card: {', '.join(map(str, written)) or 'not written over files of others'}")
