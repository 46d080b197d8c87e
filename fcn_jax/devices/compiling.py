"""`jit` with the compiler options that a backend needs."""

import ctypes
import functools
import os
import re
import sys
import warnings
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
_CACHE_FAILS = "Error (?:reading|writing) persistent compilation cache entry"


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

    call.trace = lambda *args, **kwargs: compiled().trace(*args, **kwargs)  # type: ignore
    call.lower = lambda *args, **kwargs: compiled().lower(*args, **kwargs)  # type: ignore
    return call


def use_compile_cache() -> None:
    """Keep compiled programs in the user's cache folder, unless JAX has another cache folder.

    A folder that cannot be used costs time at every start, and nothing else. This is said once.
    """
    folder = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    if folder is None:
        try:
            root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        except RuntimeError as error:
            _say_cache_fails("~/.cache", str(error))
            return
        folder = str(Path(root) / "fcn_jax" / "xla")
        jax.config.update("jax_compilation_cache_dir", folder)
    show = warnings.showwarning

    def show_once(message: Any, *args: Any, **kwargs: Any) -> None:
        if not (found := re.match(_CACHE_FAILS + ".*?: (.*)", str(message), re.S)):
            return show(message, *args, **kwargs)
        warnings.filterwarnings("ignore", message=_CACHE_FAILS)
        _say_cache_fails(folder, found[1])

    warnings.showwarning = show_once


def _say_cache_fails(folder: str, why: str) -> None:
    text = f"the cache of compiled programs, {folder}, fails ({why}); they are compiled again"
    print(text, file=sys.stderr, flush=True)
