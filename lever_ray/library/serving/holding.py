"""What one process has mapped of a library: shards and environments, looked up by environment, group and id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from lever_ray.errors import LibraryError
from lever_ray.library.format.environments import Environments
from lever_ray.library.format.files import MissingFile
from lever_ray.library.format.manifest import Manifest
from lever_ray.library.record import PolicyRecord
from lever_ray.library.serving.ids import IdIndex, places_of
from lever_ray.library.serving.mapped import MappedShard
from lever_ray.policies.group import GroupKey

Part = tuple[MappedShard, np.ndarray]
"""A mapped shard and rows of it, int64[n] ascending."""
Held = tuple[Sequence[MappedShard], Environments]
"""Shards and environments that lie in memory."""


class Holding:
    """Mapped shards of a library, and its environments.

    Args:
        path: folder of the library.
        manifest: with the shards that are held, and all environment files.
        held: shards and environments that lie in memory, in place of the files.
    """

    def __init__(self, path: Path, manifest: Manifest, held: Held | None = None) -> None:
        self.path, self.manifest = path, manifest
        shards, self.environments = held or _on_disk(path, manifest)
        self.mapped = list(shards)

    def having(self, environment: str) -> list[MappedShard]:
        """The mapped shards with policies of an environment, by what the manifest says: none is touched."""
        return [self.mapped[index] for index in self._places.get(environment, ())]

    @cached_property
    def _places(self) -> Mapping[str, list[int]]:
        places: dict[str, list[int]] = {}
        for index, mapped in enumerate(self.mapped):
            for name in mapped.entry.environments:
                places.setdefault(name, []).append(index)
        return places

    @cached_property
    def places(self) -> PolicyPlaces:
        """Where policies lie, by id."""
        return PolicyPlaces(self.mapped)

    def keys(self, environment: str | None = None) -> list[GroupKey]:
        """The groups that have members here."""
        if environment is not None:
            return sorted({key for mapped in self.having(environment) for key in mapped.keys_of.get(environment, ())})
        return sorted({key for mapped in self.mapped for key in mapped.runs})

    def census(self) -> list[tuple[GroupKey, int]]:
        """How many members each group has; no table is read."""
        return [(key, stop - first) for mapped in self.mapped for key, (first, stop) in mapped.runs.items()]

    def support_sources(self) -> list[tuple[str, int]]:
        """How many policies have their support from ``visits``, ``transitions``, or ``unknown``."""
        found = (
            each for mapped in self.mapped for each in mapped.policies["support_source"].value_counts().to_pylist()
        )
        return [(each["values"], each["counts"]) for each in found]

    def members(self, key: GroupKey) -> list[Part]:
        """Policies whose own objective is a group's."""
        found = [(mapped, mapped.runs.get(key)) for mapped in self.having(key.environment)]
        return [(mapped, np.arange(*run)) for mapped, run in found if run is not None]

    def records(self, keys: Sequence[GroupKey]) -> list[PolicyRecord]:
        """The members of some groups as full records."""
        return [
            record
            for key in keys
            for mapped, rows in self.members(key)
            for record in mapped.records(rows, self.environments)
        ]

    def find(self, ids: Sequence[str]) -> list[tuple[int, PolicyRecord]]:
        """Full records of those of some ids that are held, with their places among the ids."""
        found: list[tuple[int, PolicyRecord]] = []
        for mapped, places, rows in self._holding(ids):
            found += zip(places.tolist(), mapped.records(rows, self.environments), strict=True)
        return found

    def tables(self, ids: Sequence[str]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Q-tables of those of some ids that are held: places among the ids, int64[n], and float32[n, S, A]."""
        found = []
        for mapped, places, rows in self._holding(ids):
            if len(rows):
                found.append((places, np.stack([mapped.sound(row, row + 1).q[0] for row in rows.tolist()])))
        return found

    def _holding(self, ids: Sequence[str]) -> list[tuple[MappedShard, np.ndarray, np.ndarray]]:
        """Places among some ids, and rows, of those that each mapped shard has.

        Raises:
            LibraryError: an id is not found, and a shard that may have it cannot be read.
        """
        found: list[tuple[MappedShard, np.ndarray, np.ndarray]] = []
        seen, broken = 0, None
        for mapped in self.mapped:
            try:
                places, rows = places_of(mapped.ids, ids)
            except LibraryError as error:
                broken = broken if isinstance(broken, MissingFile) else error
                continue
            found.append((mapped, places, rows))
            seen += len(places)
        if broken is not None and seen < len(ids):
            raise broken
        return found


class PolicyPlaces:
    """Where the policies of mapped shards lie, by id; read when they are first asked for.

    Args:
        mapped: the shards.
    """

    def __init__(self, mapped: Sequence[MappedShard]) -> None:
        self._mapped, self._stale = mapped, True

    def _read(self) -> None:
        """Read the ids of every shard that can be read, and remember why another cannot."""
        self._sound: list[MappedShard] = []
        self._broken: LibraryError | None = None
        for each in self._mapped:
            try:
                _ = each.ids
                self._sound.append(each)
            except LibraryError as error:
                self._broken = self._broken if isinstance(self._broken, MissingFile) else error
        self._index, self._stale = IdIndex([each.ids for each in self._sound]), False

    def find(self, identity: str) -> tuple[MappedShard, int] | None:
        """The shard and the row of a policy; None where there is none of that id.

        Raises:
            LibraryError: it is not found, and a shard that may have it cannot be read; that is tried anew next time.
        """
        if self._stale:
            self._read()
        place = self._index.find(identity)
        if place is not None:
            return self._sound[place[0]], place[1]
        if self._broken is not None:
            self._stale = True
            raise self._broken
        return None


def _on_disk(path: Path, manifest: Manifest) -> Held:
    shards = [MappedShard(path, manifest.library, shard) for shard in manifest.shards]
    return shards, Environments(path, manifest.library, manifest.environments)
