"""Changing a library: one writer at a time, and either everything of a change is there or nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from lever_ray.library.format.files import belongs_to, write_table
from lever_ray.library.format.manifest import DataFile, Manifest, listed, read_manifest, write_manifest
from lever_ray.library.writing.lock import WriteLock, write_lock

_UNFINISHED = re.compile(r"\.(manifest\.json(\.damaged)?|[a-z]+-[0-9a-f]+\.arrow)\.\d+\.tmp")
"""Names of files that were being written."""


class Change:
    """A change of a library that is not committed yet.

    Attributes:
        path: folder of the library.
        manifest: as it is on disk.
        lock: of the library, held.
    """

    def __init__(self, path: Path, manifest: Manifest, lock: WriteLock) -> None:
        self.path, self.manifest, self.lock = path, manifest, lock
        self._written: list[str] = []

    def write(self, kind: str, table: pa.Table, *, shard: str = "", environments: Sequence[str] = ()) -> DataFile:
        """Write a data file; nobody reads it before the change is committed.

        Raises:
            LibraryError: the disk is full or cannot be written.
        """
        name, size, digest = write_table(self.path, kind, table, library=self.manifest.library, shard=shard)
        self._written.append(name)
        return DataFile(name, kind, table.num_rows, size, digest, tuple(environments))

    def commit(self, manifest: Manifest) -> Manifest:
        """Swap the manifest, and remove the files that it no longer lists."""
        new = replace(manifest, generation=self.manifest.generation).succeeded()
        write_manifest(self.path, new)
        self.lock.remember(new.library, new.generation)
        gone = {file.name for file in self.manifest.files} - {file.name for file in new.files}
        self.manifest, self._written = new, []
        remove_files(self.path, gone)
        return new

    def withdraw(self) -> None:
        """Remove what was written and not committed. The manifest on disk decides: a commit may have been cut short."""
        if self._written:
            remove_files(self.path, set(self._written) - listed(self.path, self._written))


def remove_files(path: Path, names: Iterable[str]) -> None:
    """Remove files that no manifest lists; what cannot be removed now is left to the next compaction."""
    for name in sorted(names):
        with suppress(OSError):
            (path / name).unlink()


def remove_orphans(begun: Change) -> int:
    """Remove files that no manifest lists: of writers that were killed. Nobody else writes while a change is open.

    Files that do not say they are of this library are not ours to remove.
    """
    known, library = {file.name for file in begun.manifest.files}, begun.manifest.library
    orphans = {
        file.name
        for file in begun.path.iterdir()
        if _UNFINISHED.fullmatch(file.name)
        or (file.suffix == ".arrow" and file.name not in known and belongs_to(file, library))
    }
    remove_files(begun.path, orphans)
    return len(orphans)


@contextmanager
def change(path: Path) -> Iterator[Change]:
    """Begin a change under the library's write lock; what is not committed is withdrawn.

    Raises:
        LibraryError: see :func:`~lever_ray.library.format.manifest.read_manifest` and
            :meth:`~lever_ray.library.writing.lock.WriteLock.check`.
    """
    with write_lock(path) as lock:
        begun = Change(path, read_manifest(path), lock)
        lock.check(begun.manifest.library, begun.manifest.generation)
        try:
            yield begun
        finally:
            begun.withdraw()
