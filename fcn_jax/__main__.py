"""`python -m fcn_jax COMMAND`."""

import tyro

from fcn_jax.commands.nets import explain, list_recipes
from fcn_jax.commands.runs import evaluate, predict, submit
from fcn_jax.convert.commands import convert, export
from fcn_jax.download.command import download
from fcn_jax.hha.command import hha_command


def main() -> None:
    """The command line."""
    commands = {
        "list": list_recipes,
        "explain": explain,
        "download": download,
        "hha": hha_command,
        "convert": convert,
        "export": export,
        "evaluate": evaluate,
        "predict": predict,
        "submit": submit,
    }
    tyro.extras.subcommand_cli_from_dict(commands, prog="python -m fcn_jax")


if __name__ == "__main__":
    main()
