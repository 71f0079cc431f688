"""Where the compiled kernels of a submitted job lie: Ray unpacks a copy of the code, at another place in every cluster.

Numba keys its cache by a file's place, so that a copy would be compiled anew, half a minute of it. A job's environment
names these classes in ``NUMBA_CACHE_LOCATOR_CLASSES`` (see :func:`lever_ray.tracking.job_variables`); code that is no
part of this package is looked up as ever.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from numba import config

try:
    from numba.core.caching import InTreeCacheLocator, UserProvidedCacheLocator
except ImportError:  # an older Numba, which does not ask
    InTreeCacheLocator = UserProvidedCacheLocator = object

INSTALLATION_VARIABLE = "LEVER_RAY_INSTALLATION"
"""Folder of the package that a job was submitted from."""
LOCATORS = ",".join(
    [
        f"{__name__}.InstalledKernels",
        f"{__name__}.KernelsByContent",
        *("UserProvidedCacheLocator", "InTreeCacheLocator", "UserWideCacheLocator"),
    ]
)
PACKAGE = Path(__file__).resolve().parent


@cache
def digest_of(package: Path) -> str:
    """SHA-256 of a package's modules, by their places in it: a kernel is made of those that it calls, too."""
    found = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        found.update(
            f"{file.relative_to(package).as_posix()}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode()
        )
    return found.hexdigest()


def _place(file: str) -> Path | None:
    """A module's place in this package; None where it is no part of it."""
    path = Path(file).resolve()
    return path.relative_to(PACKAGE) if path.is_relative_to(PACKAGE) else None


class InstalledKernels(InTreeCacheLocator):  # type: ignore[misc]
    """Kernels beside the modules that a job was submitted from, where they are on this machine and the same."""

    @classmethod
    def from_function(cls, py_func: Callable[..., Any], py_file: str) -> Any:
        """See numba; None where this is not the place."""
        place, given = _place(py_file), os.environ.get(INSTALLATION_VARIABLE)
        if place is None or not given or not Path(given, place).is_file():
            return None
        installed = Path(given)
        if digest_of(installed) != digest_of(PACKAGE):
            return None
        return super().from_function(py_func, str(installed / place))


class KernelsByContent(UserProvidedCacheLocator):  # type: ignore[misc]
    """Kernels in ``NUMBA_CACHE_DIR``, in a folder for the content of this package, wherever the copy lies."""

    def __init__(self, py_func: Callable[..., Any], py_file: str) -> None:
        super().__init__(py_func, py_file)
        place = _place(py_file)
        assert place is not None, "from_function has seen to that"
        self._cache_path = str(Path(config.CACHE_DIR, f"lever-ray-{digest_of(PACKAGE)[:20]}", place.parent))

    @classmethod
    def from_function(cls, py_func: Callable[..., Any], py_file: str) -> Any:
        """See numba; None where this is not the place."""
        return None if _place(py_file) is None else super().from_function(py_func, py_file)
