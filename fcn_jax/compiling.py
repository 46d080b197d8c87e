"""`jit` with the compiler options that a backend needs."""

import functools
from collections.abc import Callable
from typing import Any

import jax

# XLA's CPU compiler hands convolutions to YNNPACK, whose weight gradients are several times
# slower than Eigen's; this keeps only the matrix products there (docs/architecture.md).
CPU_OPTIONS = {
    "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT",
}


@functools.cache
def compiler_options() -> dict[str, Any] | None:
    """Options for the backend in use; None where it needs none or does not know them."""
    if jax.default_backend() != "cpu":
        return None
    try:
        jax.jit(lambda x: x, compiler_options=CPU_OPTIONS).lower(0.0).compile()
    except jax.errors.JaxRuntimeError:  # another jaxlib may have dropped the option
        return None
    return CPU_OPTIONS


def jit(function: Callable[..., Any] | None = None, **arguments: Any) -> Callable[..., Any]:
    """`jax.jit` with `compiler_options()`, compiled at the first call; also a decorator.

    The backend is only looked up when the function is first called, so that importing a module
    never initialises one.
    """
    if function is None:
        return functools.partial(jit, **arguments)

    @functools.cache
    def compiled() -> Callable[..., Any]:
        return jax.jit(function, compiler_options=compiler_options(), **arguments)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return compiled()(*args, **kwargs)

    call.lower = lambda *args, **kwargs: compiled().lower(*args, **kwargs)  # type: ignore
    return call
