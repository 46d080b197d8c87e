"""`python -m fcn_jax COMMAND`."""

import importlib
import sys
from typing import NamedTuple


class Command(NamedTuple):
    """A command, whose function is imported only when it is called.

    Attributes:
        function: module and name of the function, whose arguments are the options.
        summary: first line of the function's docstring.
    """

    function: str
    summary: str


COMMANDS = {
    "list": Command(
        "fcn_jax.commands.list:list_recipes",
        "List the recipes of a folder with the scores that their sources published.",
    ),
    "explain": Command(
        "fcn_jax.commands.explain:explain",
        "Show a net layer by layer: kernel, stride, padding, output, grid, receptive field, cost.",
    ),
    "plan": Command(
        "fcn_jax.commands.plan:plan",
        "Compile a recipe's train step for chips that need not be there, and say what it takes.",
    ),
    "download": Command(
        "fcn_jax.commands.download:download",
        "Fetch a data set and lay it out for the recipes; the same command goes on if interrupted.",
    ),
    "hha": Command(
        "fcn_jax.commands.hha:hha_command",
        "Encode depth as HHA: an RGB PNG of disparity, height and angle with gravity for each.",
    ),
    "tfds": Command(
        "fcn_jax.commands.tfds:tfds",
        "Prepare one of the papers' data sets for tensorflow-datasets.",
    ),
    "convert": Command(
        "fcn_jax.commands.convert:convert",
        "Turn other people's weights into ours (.safetensors).",
    ),
    "export": Command(
        "fcn_jax.commands.export:export",
        "Write our parameters under Caffe's names, as arrays or for PyTorch.",
    ),
    "evaluate": Command(
        "fcn_jax.commands.evaluate:evaluate",
        "Score a run on a whole data set: four metrics and the table of classes.",
    ),
    "predict": Command(
        "fcn_jax.commands.predict:predict",
        "Label images of any size: an index PNG in palette colours and an overlay for each.",
    ),
    "submit": Command(
        "fcn_jax.commands.submit:submit",
        "Write the folder and archive that PASCAL VOC's evaluation server takes.",
    ),
}


def overview() -> str:
    """What `--help` prints: every command in a line, nothing imported."""
    width = max(map(len, COMMANDS)) + 2
    lines = [f"  {name:{width}}{command.summary}" for name, command in COMMANDS.items()]
    head = ["usage: python -m fcn_jax COMMAND [OPTIONS]", "", "commands:"]
    return "\n".join([*head, *lines, "", "`python -m fcn_jax COMMAND --help` has the options."])


def main() -> None:
    """The command line."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name in ("-h", "--help"):
        print(overview())
    elif name not in COMMANDS:
        wrong = f"there is no command {name!r}" if name else "name a command"
        print(f"error: {wrong}\n\n{overview()}", file=sys.stderr)
        sys.exit(2)
    else:
        import tyro

        module, function = COMMANDS[name].function.split(":")
        tyro.cli(
            getattr(importlib.import_module(module), function),
            prog=f"python -m fcn_jax {name}",
            args=sys.argv[2:],
        )


if __name__ == "__main__":
    main()
