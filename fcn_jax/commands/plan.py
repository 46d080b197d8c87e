"""`python -m fcn_jax plan`."""

from typing import Any, Literal

from tyro.conf import Positional

from fcn_jax.commands.options import parse_size


def plan(
    recipe: Positional[str],
    /,
    topology: str = "local",
    batch: int | None = None,
    size: str = "512x512",
    mesh: str = "",
    dtype: Literal["float32", "bfloat16"] | None = None,
    rematerialise: bool = False,
    shard_optimizer: bool = False,
    uniform: bool = False,
    slices: bool = False,
) -> None:
    """Compile a recipe's train step without the hardware, and show what it needs.

    Args:
        recipe: module of a recipe, e.g. experiments.voc_fcn8s.
        topology: a TPU slice such as v5e:2x2 (extra `tpu`); cpu, gpu or local for the devices here.
        batch: images per pass over all chips. [the recipe's]
        size: rows x columns of the canvas.
        mesh: chips for images and for image rows, such as data=4,space=2. [all for images]
        dtype: that the trunk computes in. [the recipe's]
        rematerialise: compute activations again in the backward pass instead of keeping them.
        shard_optimizer: spread the optimizer's state over the chips for images.
        uniform: every image fills the canvas; otherwise each has its own size, and masks.
        slices: also compute what every other slice of the generation needs at as many images on a
            chip.
    """
    from fcn_jax.runs.messages import messages

    with messages(debug=False):
        if topology not in ("local", "gpu"):
            import jax

            jax.config.update("jax_platforms", "cpu")  # a TPU is only described
        import jax.numpy as jnp

        from fcn_jax.planning.slices import find_slice

        place = find_slice(topology)
        fields = {
            "shard_optimizer": shard_optimizer,
            "rematerialise": rematerialise,
            "uniform": uniform,
        }
        step = make_step(recipe, place, batch, parse_size(size), mesh, **fields)
        step = step.with_dtype(dtype and jnp.dtype(dtype).type)
        if slices and not (place.chip and step.space == 1 and step.data > 1):
            raise ValueError("--slices needs a TPU slice of several chips, and no space in --mesh")
        print(f"{recipe}: compiling for {topology}; a large net takes minutes", flush=True)
        print_plan(step, place, slices=slices)


def print_plan(step: Any, place: Any, *, slices: bool) -> None:
    """Prints what a step needs on a slice and, with `slices`, on others; or how to make it fit."""
    from fcn_jax.planning.program import compile_step
    from fcn_jax.planning.report import remedies_report, report, slices_report
    from fcn_jax.planning.search import fits, remedies

    program = compile_step(step, place)
    print(report(step, place, program), flush=True)
    if not fits(program, place):
        print(remedies_report(step, place, remedies(step, place, program, compile_step)))
    elif slices:
        print(slices_report(step, place, program))


def make_step(
    name: str, place: Any, batch: int | None, size: tuple[int, int], mesh: str, **fields: Any
) -> Any:
    """The train step of a recipe on a mesh of a slice's chips.

    Args:
        name: module of the recipe.
        place: the slice (`fcn_jax.planning.slices.Slice`).
        batch: images per pass; None for the recipe's.
        size: rows and columns of the canvas.
        mesh: such as `data=4,space=2`; empty for all chips along `data` that the batch can use.
        **fields: others of `fcn_jax.planning.program.Step`.

    Raises:
        ValueError: there is no such recipe, or no such mesh.
    """
    from fcn_jax.devices.mesh import make_mesh, parse_axes
    from fcn_jax.planning.program import Step
    from fcn_jax.preprocessing import CAFFE
    from fcn_jax.runs.lookup import recipe_named, recipe_preprocessing

    recipe = recipe_named(name)
    images: int = recipe.batch_size if batch is None else batch
    made = make_mesh(images, list(place.devices), axes=parse_axes(mesh))
    return Step(
        recipe=recipe,
        preprocessing=recipe_preprocessing(name) or CAFFE,
        batch=images,
        size=size,
        data=made.shape["data"],
        space=made.shape["space"],
        **fields,
    )
