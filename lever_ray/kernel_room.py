"""Where compiled kernels are kept."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

VARIABLE = "NUMBA_CACHE_DIR"
_FOLDER = "numba"


def find_room() -> None:
    """Name a folder for compiled kernels where Numba has none, since it refuses to import them then.

    Numba looks at ``NUMBA_CACHE_DIR``, beside the sources and in the user's cache. Where none of these takes files, it
    is ``LEVER_RAY_HOME/numba``, else a folder that goes with the process.
    """
    if any(map(_takes_files, _known())):
        return
    home = Path(os.environ.get("LEVER_RAY_HOME", ""))
    if home.is_absolute() and _takes_files(home / _FOLDER):
        os.environ[VARIABLE] = str(home / _FOLDER)
        return
    import atexit
    import shutil
    import tempfile

    os.environ[VARIABLE] = tempfile.mkdtemp(prefix="lever-ray-numba-")
    atexit.register(shutil.rmtree, os.environ[VARIABLE], ignore_errors=True)


def _known() -> Iterator[Path]:
    if given := os.environ.get(VARIABLE):
        yield Path(given)
    yield Path(__file__).absolute().parent / "__pycache__"
    with suppress(RuntimeError):  # nobody's home
        yield Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / _FOLDER


def _takes_files(folder: Path) -> bool:
    """Whether a folder takes files, or can be made."""
    with suppress(OSError):
        there = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
        return there.is_dir() and os.access(there, os.W_OK | os.X_OK)
    return False
