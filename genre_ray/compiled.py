"""Loops compiled by numba on first use, kept on disk where a cache directory can be written. Knows nothing about sound.

librosa needs numba itself, so it is always there. A first call without a cache costs seconds, with one milliseconds.
"""

import functools
import logging
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

logger = logging.getLogger(__name__)


def compiled(*, fastmath: frozenset[str] = frozenset()) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Compile a function for the types it is first called with; single thread, the interpreter's lock released.

    `fastmath` names LLVM's flags. Without any, results follow IEEE 754 and numpy to the bit: no fused multiply-add, no
    other order of additions.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.cache
        def build() -> Callable[P, R]:
            return _build(function, set(fastmath))

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            return build()(*args, **kwargs)

        return call

    return decorate


def inlined(function: Callable[P, R]) -> Callable[P, R]:
    """Mark a function that compiled ones call, of the same file only: numba's cache sees no changes elsewhere."""
    from numba.extending import register_jitable

    marked: Callable[P, R] = register_jitable(function)
    return marked


def _build(function: Callable[P, R], fastmath: set[str]) -> Callable[P, R]:
    import numba

    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": fastmath}
    try:
        built: Callable[P, R] = numba.njit(cache=True, **options)(function)
    except RuntimeError as error:  # numba finds no directory that it may write to
        logger.debug("%s is compiled anew in this process: %s", function.__name__, error)
        built = numba.njit(**options)(function)
    return built
