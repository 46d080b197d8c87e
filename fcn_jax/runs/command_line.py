"""What every command line does first: with its process, and with `~` in its arguments."""

import re
import signal
import sys
from pathlib import Path

from fcn_jax.devices.memory import keep_memory


def own_process() -> None:
    """Settings of a process that does nothing but this command; call it before the slow imports."""
    interruptible()
    keep_memory()


def interruptible() -> None:
    """Let Ctrl-C end the process at once, as SIGTERM does; call it before the slow imports.

    Python would raise KeyboardInterrupt in whatever runs. Where that is a callback of JAX or the
    start of an extension module, it is lost, and the program continues. A process that ignores
    Ctrl-C (in the background of a script) still does.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def arguments() -> list[str]:
    """The command line's arguments with `~` expanded, also in `--workdir=~/run`.

    Exits with one message where there is no such home folder.
    """
    return [re.sub(r"^(--[\w.-]+=)?(~.*)$", _expanded, one, flags=re.S) for one in sys.argv[1:]]


def _expanded(argument: re.Match[str]) -> str:
    try:
        return (argument[1] or "") + str(Path(argument[2]).expanduser())
    except RuntimeError:
        sys.exit(f"error: {argument[0]}: there is no such home folder; give the whole path")
