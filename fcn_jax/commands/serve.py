"""`python -m fcn_jax serve`."""

from pathlib import Path

from tyro.conf import Positional


def serve(
    nets: Positional[tuple[Path, ...]],
    /,
    host: str = "127.0.0.1",
    port: int = 7860,
    max_megabytes: float = 25.0,
    max_megapixels: float = 16.0,
    step: int | None = None,
    recipe: str | None = None,
    max_value: int | None = None,
    bands: str | None = None,
) -> None:
    """Open a page that labels a photograph: overlay, classes of a pixel, two nets at once.

    Args:
        nets: one net or two: folders of runs, or .safetensors files of whole nets.
        host: the address to listen on; 0.0.0.0 lets others on the network use the page.
        port: its port; 0 takes any free one.
        max_megabytes: the largest file that is taken.
        max_megapixels: the largest photograph that is taken, in millions of pixels.
        step: a checkpoint of the runs; the best one by default.
        recipe: module or file of the runs' recipe, which is imported; needed only if its net is not
            part of fcn_jax.
        max_value: the number that is white in images of 16 bits; by default as in the run.
        bands: which bands of an image are red, green and blue, such as 4,3,2; as in the run.
    """
    from fcn_jax.app.panes import net_names, shown_net
    from fcn_jax.app.photographs import Limits
    from fcn_jax.app.server import check_gradio, serve_page
    from fcn_jax.runs.messages import messages

    with messages(debug=False):
        check_gradio()
        if not 1 <= len(nets) <= 2:
            raise ValueError(f"serve takes one net or two, found {len(nets)}")
        limits = Limits(max_megabytes, max_megapixels)

        from fcn_jax.commands.predict import image_options
        from fcn_jax.devices.compiling import use_compile_cache
        from fcn_jax.devices.memory import keep_memory
        from fcn_jax.runs.load import load

        keep_memory()
        use_compile_cache()
        shown = []
        for name, path in zip(net_names(nets), nets, strict=True):
            model = load(path, recipe=recipe, step=step)
            options = image_options(model, max_value, bands)
            shown.append(shown_net(name, model, options))
        serve_page(shown, limits, host, port, lambda line: print(line, flush=True))
