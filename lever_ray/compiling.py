"""How kernels are compiled: one decorator for all of them."""

from __future__ import annotations

from typing import Any

from numba import njit


def compiled(**options: Any) -> Any:
    """Compile a function when it is first called, and keep it on disk.

    Numba makes an entry for C callbacks of every kernel; nothing here is called back from C, and without these entries
    compiling takes 5% less.

    Args:
        options: of ``numba.njit``, such as ``nogil``.
    """
    return njit(cache=True, no_cfunc_wrapper=True, **options)
