"""Compiling every kernel as a part of the installation, and saying how far it is."""

from __future__ import annotations

from lever_ray.console import make_console
from lever_ray.progress import working


def compile_kernels() -> None:
    """Compile them into numba's cache on disk."""
    with working(make_console(), "Compiling the kernels for this machine, once") as watch:
        from lever_ray.query.warm import compile_all

        compile_all(watch)
