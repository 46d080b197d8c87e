"""`jit` with the compiler options that a backend needs."""

import ctypes
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.monitoring

CPU_OPTIONS: dict[str, Any] = {
    # XLA's CPU compiler hands convolutions to YNNPACK, whose weight gradients are several times
    # slower than Eigen's; this keeps only the matrix products there (docs/architecture.md).
    "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT",
    # Without it a train step copies all its parameters before it updates them in place, since
    # XLA does not see that nothing reads them afterwards.
    "xla_cpu_copy_insertion_use_region_analysis": True,
}
_COMPILED = "/jax/core/compile/backend_compile_duration"
_LONG = 2.0  # seconds


@functools.cache
def compiler_options() -> dict[str, Any] | None:
    """Options for the backend in use; None where it needs none or knows none of ours."""
    if jax.default_backend() != "cpu":
        return None
    jax.monitoring.register_event_duration_secs_listener(_return_memory)
    return {name: value for name, value in CPU_OPTIONS.items() if _known({name: value})} or None


def _known(options: dict[str, Any]) -> bool:
    """Whether this jaxlib has the options; another may have dropped them."""
    try:
        jax.jit(lambda x: x, compiler_options=options).lower(0.0).compile()
    except jax.errors.JaxRuntimeError:
        return False
    return True


def _return_memory(event: str, duration_secs: float, **_: Any) -> None:
    """Gives what the compiler has freed back to the system: half a GB of a VGG16 train step.

    It lies in pieces all over glibc's heap, which keeps them; elsewhere nothing is done.
    """
    if event == _COMPILED and duration_secs > _LONG:
        if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
            trim(0)


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


def use_compile_cache() -> None:
    """Keep compiled programs in the user's cache folder, unless JAX is told another."""
    if os.environ.get("JAX_COMPILATION_CACHE_DIR") is None:
        root = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
        jax.config.update("jax_compilation_cache_dir", str(root / "fcn_jax" / "xla"))
