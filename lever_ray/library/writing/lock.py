"""The lock of whoever writes to a library, and what its file remembers of the last change."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lever_ray.errors import LibraryError

LOCK = ".lock"
_LONGEST = 4096
"""Bytes of the file that are read."""


class WriteLock:
    """A library's write lock while it is held.

    Args:
        file: of the lock.
        handle: its descriptor, open for reading and writing.

    Attributes:
        library: id of the library that was changed last; empty where the file does not say so.
        generation: of that library after the change; 0 where the file does not say so.
    """

    def __init__(self, file: Path, handle: int) -> None:
        self.file, self._handle = file, handle
        self.library, self.generation = _read(os.pread(handle, _LONGEST, 0))

    def precedes(self, library: str, generation: int) -> bool:
        """Whether a manifest was written before the last change of its library."""
        return library == self.library and generation < self.generation

    def check(self, library: str, generation: int) -> None:
        """Refuse to go on from a manifest that was put back: files of later changes would be taken for left-overs.

        Raises:
            LibraryError: it was written before the last change.
        """
        if self.precedes(library, generation):
            raise LibraryError(
                f"the manifest of library {self.file.parent} is of generation {generation}, its last change was "
                f"{self.generation}: an older one was put back. Run `lever-ray library restore` to gather all sound "
                f"data files again, or remove {self.file} to go on from the older state, without what was added since"
            )

    def remember(self, library: str, generation: int) -> None:
        """Note a change that was just committed; a note that cannot be written, or is cut short, is none."""
        self.library, self.generation = library, generation
        note = json.dumps({"library": library, "generation": generation}).encode()
        with suppress(OSError):
            os.pwrite(self._handle, note, 0)
            os.ftruncate(self._handle, len(note))


def _read(data: bytes) -> tuple[str, int]:
    """Library and generation of a lock file's note, whatever it holds."""
    try:
        note = json.loads(data)
        library, generation = note["library"], note["generation"]
    except (ValueError, RecursionError, TypeError, KeyError):
        return "", 0
    known = isinstance(library, str) and type(generation) is int
    return (library, generation) if known else ("", 0)


@contextmanager
def write_lock(path: Path) -> Iterator[WriteLock]:
    """Hold the library's write lock; the operating system releases it when the process ends, however it ends.

    Raises:
        LibraryError: the lock cannot be opened, or is a symbolic link, which is not followed.
    """
    file = path / LOCK
    try:
        handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise LibraryError(f"lock {file} is a symbolic link, which is not followed; delete the link") from error
        raise LibraryError(f"library {path} cannot be written ({error.strerror}); check its permissions") from error
    try:
        yield _held(file, handle)
    finally:
        os.close(handle)


def _held(file: Path, handle: int) -> WriteLock:
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        return WriteLock(file, handle)
    except OSError as error:
        raise LibraryError(
            f"library {file.parent} cannot be locked ({error.strerror}); check its permissions"
        ) from error
