"""How a net is computed: choices that change time and memory, but not the result.

They belong to the machine, not to the net, so a net's fields do not contain them. `use` changes
them for everything that is traced within it; `jax.jit` keeps one program for each choice.
"""

import contextlib
import dataclasses
from collections.abc import Iterator

import jax


@dataclasses.dataclass(frozen=True, kw_only=True)
class Savings:
    """What is saved. Every choice computes the same function and gradient, up to rounding.

    Attributes:
        border_skipping: compute the cells around a padded image that do not depend on the image
            once (see `fcn_jax.nn.background`); faster with a wide ring.
        row_tiles: losses, labels and confusion matrices take the scores a few rows at a time (see
            `fcn_jax.nn.coarse_scores`); less memory.
        rematerialise: trunks keep fewer activations for the gradient and compute them again; less
            memory, more time.
        fast_operations: use the pooling, convolutions and sums of `fcn_jax.nn.ops`, which are
            several times faster on a CPU than XLA's own. XLA's also allow forward-mode
            differentiation (`jax.jvp`, `jax.hessian`).
    """

    border_skipping: bool = True
    row_tiles: bool = True
    rematerialise: bool = False
    fast_operations: bool = True


_context = jax.make_user_context(Savings())
_platform = jax.make_user_context("")


def current() -> Savings:
    """The choices in force."""
    return _context.value


def platform() -> str:
    """The hardware that a program is traced for, `cpu`, `gpu` or `tpu`: that of this process.

    Some savings have another form on other hardware. `lax.platform_dependent` serves where the
    forms give arrays of one shape; this serves where they do not.
    """
    return _platform.value or jax.default_backend()


def traced_for(platform: str) -> contextlib.AbstractContextManager[None]:
    """Within it, programs are traced for other hardware than that of this process."""
    return _platform(platform)


@contextlib.contextmanager
def use(savings: Savings | None = None, **changes: bool) -> Iterator[None]:
    """Within it, nets are computed with these choices.

    Args:
        savings: the choices; those in force by default.
        **changes: fields of `Savings` to change.

    Example:
        `with use(rematerialise=True): state, metrics = train_step(state, batch)`
    """
    with _context(dataclasses.replace(savings or current(), **changes)):
        yield


def use_for_rows(spread: bool) -> contextlib.AbstractContextManager[None]:
    """`use` without the savings that cut rows out of maps, if image rows are spread over devices.

    With them, every device would have to fetch the rows of the others.
    """
    return use(border_skipping=False, row_tiles=False) if spread else use()
