"""`python -m fcn_jax COMMAND`: starts the function COMMAND of the module `commands.COMMAND`."""

import importlib
import sys

COMMANDS = {
    "list": "List the recipes of a folder with the scores that their sources published.",
    "explain": "Show a net's layers: kernel, stride, padding, output, grid, receptive field, cost.",
    "plan": "Compile a recipe's train step without the hardware, and show what it needs.",
    "download": "Download a data set and lay it out for the recipes; run again to resume.",
    "check": "Look at images and labels before training: mistakes, and the options that mend them.",
    "hha": "Encode depth as HHA: an RGB PNG of disparity, height and angle with gravity for each.",
    "tfds": "Prepare one of the papers' data sets for tensorflow-datasets.",
    "convert": "Convert weights of other frameworks to ours (.safetensors).",
    "export": "Write our parameters under Caffe's names, as arrays or for PyTorch.",
    "evaluate": "Score a run on a whole data set: four metrics and the table of classes.",
    "compare": "Compare runs on the same images, with paired intervals: scores, classes, images.",
    "report": "Write the page of a run, or of several side by side: what ran, scores, images.",
    "predict": "Label images of any size: an index PNG in palette colours and an overlay for each.",
    "serve": "Open a page that labels a photograph: overlay, classes of a pixel, two nets at once.",
    "submit": "Write the folder and archive that PASCAL VOC's evaluation server takes.",
}
"""The first line of each function's docstring, so that the overview imports no command."""


def overview() -> str:
    """What `--help` prints: one line for each command."""
    width = max(map(len, COMMANDS)) + 2
    lines = [f"  {name:{width}}{summary}" for name, summary in COMMANDS.items()]
    head = ["usage: python -m fcn_jax COMMAND [OPTIONS]", "", "commands:"]
    return "\n".join([*head, *lines, "", "`python -m fcn_jax COMMAND --help` shows the options."])


def main() -> None:
    """Runs the command that is named first; its function's arguments are the options."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name in ("-h", "--help"):
        print(overview())
    elif name not in COMMANDS:
        wrong = f"there is no command {name!r}" if name else "name a command"
        print(f"error: {wrong}\n\n{overview()}", file=sys.stderr)
        sys.exit(2)
    else:
        from fcn_jax.runs.command_line import arguments, own_process

        own_process()
        import tyro

        module = importlib.import_module(f"fcn_jax.commands.{name}")
        tyro.cli(getattr(module, name), prog=f"python -m fcn_jax {name}", args=arguments()[1:])


if __name__ == "__main__":
    main()
