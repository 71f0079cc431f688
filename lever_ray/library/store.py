"""A policy library on disk: a folder of immutable Arrow files and a manifest that is swapped atomically."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lever_ray.errors import LibraryError
from lever_ray.library.reader import LibraryReader
from lever_ray.library.record import EnvironmentRecord, PolicyRecord
from lever_ray.library.rows import environment_table, policy_table, read_policies
from lever_ray.library.schema import (
    MANIFEST,
    Manifest,
    read_manifest,
    read_table,
    write_lock,
    write_manifest,
    write_table,
)
from lever_ray.library.shard import LibraryShard


class PolicyLibrary(LibraryReader):
    """A library read in this process. Use :meth:`create` or :meth:`open`.

    Opening reads and checks the manifest; a data file is checked when it is first touched.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self._manifest = manifest
        self._ids_by_file: dict[str, frozenset[str]] = {}

    @classmethod
    def create(cls, path: str | Path) -> PolicyLibrary:
        """Make an empty library in a new or empty folder.

        Raises:
            LibraryError: the folder holds a library or anything else.
        """
        folder = Path(path)
        if (folder / MANIFEST).exists():
            raise LibraryError(
                f"{folder} holds a policy library already; open it to add to it, or choose another folder"
            )
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise LibraryError(f"{folder} exists and is not an empty folder; choose another one")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LibraryError(f"{folder} cannot be made ({error.strerror}); choose another folder") from error
        with write_lock(folder):
            if (folder / MANIFEST).exists():
                raise LibraryError(f"{folder} was made into a library by another process just now; open it")
            write_manifest(folder, Manifest())
        return cls(folder, Manifest())

    @classmethod
    def open(cls, path: str | Path) -> PolicyLibrary:
        """Open a library.

        Raises:
            LibraryError: it is missing, its manifest is damaged, or its schema version is newer than this code.
        """
        folder = Path(path)
        return cls(folder, read_manifest(folder))

    @cached_property
    def _shard(self) -> LibraryShard:
        return LibraryShard(self.path, self._manifest.of_kind("policies"), self._manifest.of_kind("environments"))

    def _ask(self, method: str, *args: Any, **kwargs: Any) -> list[Any]:
        return [getattr(self._shard, method)(*args, **kwargs)]

    @property
    def manifest(self) -> Manifest:
        """The files of the library as of opening or of the last append through this object."""
        return self._manifest

    @property
    def bytes(self) -> int:
        """Size of all data files."""
        return sum(file.bytes for file in self._manifest.files)

    def add(self, records: Iterable[PolicyRecord]) -> int:
        """Append policies; those that the library has already are left out.

        Nothing changes on disk unless every record is sound: a new data file is written first, then the manifest is
        swapped atomically under the library's write lock.

        Returns:
            How many policies were new.

        Raises:
            LibraryError: an environment's name is taken by another layout.
        """
        given: dict[str, PolicyRecord] = {}
        for record in records:
            given.setdefault(record.id, record)
        with write_lock(self.path):
            current = PolicyLibrary.open(self.path)
            known = self._ids_of(current)
            new = [record for identity, record in given.items() if not any(identity in ids for ids in known)]
            environments = _environment_updates(current, new)
            if new:
                entries = [write_table(self.path, "policies", policy_table(new))]
                if environments:
                    entries.append(write_table(self.path, "environments", environment_table(environments)))
                current._manifest = Manifest((*current._manifest.files, *entries))
                write_manifest(self.path, current._manifest)
        self._manifest = current._manifest
        self.__dict__.pop("_shard", None)
        self._forget()
        return len(new)

    def _ids_of(self, current: PolicyLibrary) -> list[frozenset[str]]:
        """Ids in every policy file; a file is read and checked once by this object, since files never change."""
        files = current.manifest.of_kind("policies")
        states = {name: current.environment(name).layout.states for name in current.environments}
        for file in files:
            if file.name not in self._ids_by_file:
                self._ids_by_file[file.name] = frozenset(read_policies(self.path, file, states)["id"].to_pylist())
        return [self._ids_by_file[file.name] for file in files]

    def verify(self) -> None:
        """Read and check every file.

        Raises:
            LibraryError: naming the first file that is missing, damaged or holds non-finite values.
        """
        for file in self._manifest.of_kind("environments"):
            read_table(self.path, file)
        self._shard.keys()
        for name in self._shard.environments():
            self._shard.environment(name)


def _environment_updates(library: PolicyLibrary, records: Sequence[PolicyRecord]) -> list[EnvironmentRecord]:
    """Rows for environments that are new, or whose recorded transitions grow; canonical states stay once drawn."""
    updates = []
    for name in sorted({record.environment for record in records}):
        mine = [record for record in records if record.environment == name]
        held = library._shard.environment(name)
        layout = mine[0].layout if held is None else held.layout
        for record in mine:
            if record.layout != layout:
                raise LibraryError(f"environment name {name!r} is taken by another layout; give this one another name")
        union = np.max([record.successors for record in mine], axis=0)
        if held is None:
            updates.append(EnvironmentRecord.of(name, layout, union))
        elif (union > held.successors).any():
            updates.append(EnvironmentRecord(name, layout, np.maximum(union, held.successors), held.canonical))
    return updates
