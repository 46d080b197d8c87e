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
    # XLA's CPU compiler gives convolutions to YNNPACK, whose weight gradients are several times
    # slower than Eigen's. With this, only matrix products go there (docs/architecture.md).
    "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT",
    # Without it a train step copies all its parameters before it updates them in place: XLA does
    # not see that nothing reads them afterwards.
    "xla_cpu_copy_insertion_use_region_analysis": True,
}
_COMPILED = "/jax/core/compile/backend_compile_duration"
_LONG = 2.0  # seconds


@functools.cache
def compiler_options() -> dict[str, Any] | None:
    """Options for the backend in use; None if it needs none, or accepts none of ours."""
    if jax.default_backend() != "cpu":
        return None
    jax.monitoring.register_event_duration_secs_listener(_return_memory)
    return {name: value for name, value in CPU_OPTIONS.items() if _accepted({name: value})} or None


def _accepted(options: dict[str, Any]) -> bool:
    """Whether this version of jaxlib accepts the options; another version may not have them."""
    try:
        jax.jit(lambda x: x, compiler_options=options).lower(0.0).compile()
    except jax.errors.JaxRuntimeError:
        return False
    return True


def _return_memory(event: str, duration_secs: float, **_: Any) -> None:
    """Returns memory that the compiler has freed to the system: 0.5 GB after a VGG16 train step.

    glibc keeps freed pieces in its heap until it is asked; other C libraries have no `malloc_trim`.
    """
    if event == _COMPILED and duration_secs > _LONG:
        if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
            trim(0)


def jit(function: Callable[..., Any] | None = None, **arguments: Any) -> Callable[..., Any]:
    """`jax.jit` with `compiler_options()`, compiled at the first call; also a decorator.

    It looks up the backend when the function is first called, so importing a module never
    initialises a backend.
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
    """Keep compiled programs in the user's cache folder, unless JAX has another cache folder."""
    if os.environ.get("JAX_COMPILATION_CACHE_DIR") is None:
        root = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
        jax.config.update("jax_compilation_cache_dir", str(root / "fcn_jax" / "xla"))
