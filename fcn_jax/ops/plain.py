"""The switch between our operations and XLA's own."""

import contextlib
import contextvars
from collections.abc import Iterator

_plain = contextvars.ContextVar("plain", default=False)


@contextlib.contextmanager
def plain_ops() -> Iterator[None]:
    """Within it, what is traced uses XLA's own pooling, convolutions and sums instead of ours.

    The same functions and gradients, several times slower on a CPU; and, having no gradients of
    their own, they can be differentiated forwards too (`jax.jvp`, `jax.hessian`). A function that
    was compiled before keeps what it was compiled with.
    """
    token = _plain.set(True)
    try:
        yield
    finally:
        _plain.reset(token)


def plain() -> bool:
    """Whether `plain_ops` is in force."""
    return _plain.get()
