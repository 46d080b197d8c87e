"""How a net is computed: choices that change time and memory, but not the result.

They belong to the machine, so they are not part of a net's value. `use` changes them for what is
traced within it; `jax.jit` keeps a program for each choice.
"""

import contextlib
import dataclasses
from collections.abc import Iterator

import jax


@dataclasses.dataclass(frozen=True, kw_only=True)
class Savings:
    """What is saved. Every choice computes the same function and gradient, up to rounding.

    Attributes:
        border_skipping: compute once the cells around a padded image that do not depend on the
            image (see `fcn_jax.nn.background`); faster with a wide ring.
        row_tiles: losses, labels and confusion matrices take the scores a few rows at a time (see
            `fcn_jax.nn.coarse_scores`); less memory.
        rematerialise: trunks keep fewer activations for the gradient and compute them again; less
            memory, more time.
        fast_operations: the pooling, convolutions and sums of `fcn_jax.nn.ops`, several times
            faster on a CPU than XLA's own. Off, everything can be differentiated forwards too
            (`jax.jvp`, `jax.hessian`).
    """

    border_skipping: bool = True
    row_tiles: bool = True
    rematerialise: bool = False
    fast_operations: bool = True


_context = jax.make_user_context(Savings())


def current() -> Savings:
    """The choices in force."""
    return _context.value


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


@contextlib.contextmanager
def use_for_rows(spread: bool) -> Iterator[None]:
    """Where image rows are spread over devices: without the savings that cut rows out of maps.

    Every device would have to fetch the rows of the others.

    Args:
        spread: whether the rows are; otherwise nothing changes.
    """
    with use(**dict.fromkeys(("border_skipping", "row_tiles"), False) if spread else {}):
        yield
