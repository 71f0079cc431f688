"""Policies of some of a library's shards: groups, records and arrays, by key, by description and by id."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from lever_ray.composition.groups import PolicyGroup, Run
from lever_ray.errors import LibraryError
from lever_ray.library.environments import Environments
from lever_ray.library.files import MissingFile
from lever_ray.library.ids import places_of
from lever_ray.library.manifest import Manifest
from lever_ray.library.record import PolicyRecord
from lever_ray.library.stored import GroupKey, StoredShard
from lever_ray.library.text import TextEncoder, WordLlamaEncoder
from lever_ray.library.vectors import TextVectors
from lever_ray.library.wording import Closest, Wording, similarities

Part = tuple[StoredShard, np.ndarray]
"""A stored shard and rows of it, int64[n] ascending."""
_KEPT = 1_024
"""Groups that are kept: views of files, and their members' ids."""


class ShardPolicies:
    """What is stored of the policies of some of a library's shards.

    Args:
        path: folder of the library.
        manifest: with the shards that are served, and all environment files.
        encoder: of texts, for vectors that are not stored.
        held: shards and environments that lie in memory, in place of the files.
    """

    def __init__(
        self,
        path: str | Path,
        manifest: Manifest,
        *,
        encoder: TextEncoder | None = None,
        held: tuple[Sequence[StoredShard], Environments] | None = None,
    ) -> None:
        self._path, self._manifest = Path(path), manifest
        shards, self._environments = held or _on_disk(self._path, manifest)
        self.stored = list(shards)
        self._groups: dict[tuple[GroupKey, Wording | None], PolicyGroup | None] = {}
        self._texts = TextVectors(manifest.text_model, encoder or WordLlamaEncoder())

    def take_over(self, before: ShardPolicies) -> None:
        """Keep what was read, checked and made by an object that served some of the same files."""
        known = {stored.entry.id: stored for stored in before.stored}
        same_texts = self._texts.same_as(before._texts)
        for stored in self.stored:
            if stored.entry.id in known:
                stored.take_over(known[stored.entry.id], made=same_texts)

    def census(self) -> list[tuple[GroupKey, int]]:
        """How many members each group has; no table is read."""
        return [(key, stop - first) for stored in self.stored for key, (first, stop) in stored.runs.items()]

    def support_sources(self) -> dict[str, int]:
        """How many policies have their support from ``visits``, ``transitions``, or ``unknown``."""
        counts: dict[str, int] = {}
        for stored in self.stored:
            for found in stored.policies["support_source"].value_counts().to_pylist():
                counts[found["values"]] = counts.get(found["values"], 0) + found["counts"]
        return counts

    def keys(self, environment: str | None = None) -> list[GroupKey]:
        """The groups that the shard has members of."""
        if environment is not None:
            return sorted({key for stored in self._having(environment) for key in stored.keys_of.get(environment, ())})
        return sorted({key for stored in self.stored for key in stored.runs})

    def _having(self, environment: str) -> list[StoredShard]:
        """The stored shards with policies of an environment, by what the manifest says: none is touched."""
        return [self.stored[index] for index in self._places.get(environment, ())]

    @cached_property
    def _places(self) -> Mapping[str, list[int]]:
        places: dict[str, list[int]] = {}
        for index, stored in enumerate(self.stored):
            for name in stored.entry.environments:
                places.setdefault(name, []).append(index)
        return places

    # Groups and records.

    def groups(self, keys: Sequence[GroupKey], wordings: Sequence[Wording] = ()) -> list[PolicyGroup | None]:
        """The shard's members of each group; None where it has none.

        Args:
            keys: of the groups.
            wordings: one per group, to find members by their descriptions, too; none to go by own objectives alone.
        """
        each: Iterable[Wording | None] = wordings or [None] * len(keys)
        return [self._kept_group(key, wording) for key, wording in zip(keys, each, strict=True)]

    def _kept_group(self, key: GroupKey, wording: Wording | None) -> PolicyGroup | None:
        """A group; those that were asked for last are kept."""
        question = key, wording
        if question not in self._groups:
            while len(self._groups) >= _KEPT:
                self._groups.pop(next(iter(self._groups)))
            members = self._members(key) if wording is None else self._worded(key, wording)
            self._groups[question] = self._group(key, members)
        return self._groups[question]

    def _members(self, key: GroupKey) -> list[Part]:
        """Policies whose own objective is the group's."""
        found = [(stored, stored.runs.get(key)) for stored in self._having(key.environment)]
        return [(stored, np.arange(*run)) for stored, run in found if run is not None]

    def _worded(self, key: GroupKey, wording: Wording) -> list[Part]:
        """Policies that belong to a group by their description or, where the rule says so, by their own objective."""
        found = [
            (stored, rows[similar >= wording.retrieval.threshold])
            for stored, rows, similar in self._by_text(key, wording)
        ]
        if wording.retrieval.rule == "objective":
            own = {stored.entry.id: rows for stored, rows in self._members(key)}
            found = [(stored, np.union1d(rows, own.get(stored.entry.id, rows))) for stored, rows in found]
        return [(stored, rows) for stored, rows in found if len(rows)]

    def _by_text(self, key: GroupKey, wording: Wording) -> Iterable[tuple[StoredShard, np.ndarray, np.ndarray]]:
        """Policies that a group may have for their descriptions, and how similar these are, float64[n]."""
        for stored in self._having(key.environment):
            rows, similar = [np.empty(0, np.int64)], [np.empty(0)]
            for other in stored.keys_of.get(key.environment, ()):
                if other._replace(objective=key.objective) == key and wording.admits(other.objective):
                    rows.append(np.arange(*stored.runs[other]))
                    similar.append(self._similar(stored, rows[-1], other, wording))
            yield stored, np.concatenate(rows), np.concatenate(similar)

    def _similar(self, stored: StoredShard, rows: np.ndarray, key: GroupKey, wording: Wording) -> np.ndarray:
        codes, place = np.unique(stored.codes("description")[rows], return_inverse=True)
        vectors = self._texts.of(stored)[codes]
        found = similarities(vectors, self._texts.vector(wording.text))
        if wording.unwanted and not key.objective:
            nearer = similarities(vectors, self._texts.vector(wording.unwanted)) >= found
            found = np.where(nearer, -np.inf, found)
        return np.asarray(found[place])

    def closest(self, key: GroupKey, wording: Wording) -> Closest | None:
        """Whose description comes nearest to a group's; None where the shard has no policy that might be a member."""
        nearest = [
            Closest(float(similar.max()), stored.descriptions[stored.codes("description")[rows[similar.argmax()]]])
            for stored, rows, similar in self._by_text(key, wording)
            if len(rows)
        ]
        return max(nearest, default=None)

    def _group(self, key: GroupKey, parts: Sequence[Part]) -> PolicyGroup | None:
        groups = [self._group_of(key, stored, rows) for stored, rows in parts]
        if not groups:
            return None
        whole = groups[0] if len(groups) == 1 else PolicyGroup.merge(key.objective, groups)
        return whole if list(whole.ids) == sorted(whole.ids) else whole.ordered()

    def _group_of(self, key: GroupKey, stored: StoredShard, rows: np.ndarray) -> PolicyGroup:
        """Members in one stored shard; views of its file where their rows lie together."""
        environment = self._environments[key.environment]
        stored.check_task(key, environment)
        first, stop = int(rows[0]), int(rows[-1]) + 1
        tables, inside = stored.sound(first, stop), _within(rows)
        costs = (stored.numbers(name)[rows].tolist() for name in ("seed", "environment_steps", "seconds"))
        return PolicyGroup(
            objective=key.objective,
            ids=tuple(identity.decode() for identity in stored.ids[rows].tolist()),
            q=tables.q[inside],
            support=tables.support[inside],
            totals=stored.numbers("total")[rows],
            mean_rewards=None if tables.mean_rewards is None else tables.mean_rewards[inside],
            runs=frozenset(map(Run, *costs)),
            world=environment.task.digest,
            sources=tuple(stored.names("support_source", rows)),
        )

    def records(self, keys: Sequence[GroupKey]) -> list[PolicyRecord]:
        """The shard's members of some groups as full records."""
        return [
            record
            for key in keys
            for stored, rows in self._members(key)
            for record in stored.records(rows, self._environments)
        ]

    def find(self, ids: Sequence[str]) -> list[tuple[int, PolicyRecord]]:
        """Full records of those of some ids that the shard holds, with their places among the ids."""
        found: list[tuple[int, PolicyRecord]] = []
        for stored, places, rows in self._holding(ids):
            found += zip(places.tolist(), stored.records(rows, self._environments), strict=True)
        return found

    def tables(self, ids: Sequence[str]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Q-tables of those of some ids that the shard holds: places among the ids, int64[n], and float32[n, S, A]."""
        found = []
        for stored, places, rows in self._holding(ids):
            if len(rows):
                found.append((places, np.stack([stored.sound(row, row + 1).q[0] for row in rows.tolist()])))
        return found

    def _holding(self, ids: Sequence[str]) -> list[tuple[StoredShard, np.ndarray, np.ndarray]]:
        """Places among some ids, and rows, of those that each stored shard has.

        Raises:
            LibraryError: an id is not found, and a shard that may have it cannot be read.
        """
        found: list[tuple[StoredShard, np.ndarray, np.ndarray]] = []
        seen, broken = 0, None
        for stored in self.stored:
            try:
                places, rows = places_of(stored.ids, ids)
            except LibraryError as error:
                broken = broken if isinstance(broken, MissingFile) else error
                continue
            found.append((stored, places, rows))
            seen += len(places)
        if broken is not None and seen < len(ids):
            raise broken
        return found


def _on_disk(path: Path, manifest: Manifest) -> tuple[Sequence[StoredShard], Environments]:
    shards = [StoredShard(path, manifest.library, shard) for shard in manifest.shards]
    return shards, Environments(path, manifest.library, manifest.environments)


def _within(rows: np.ndarray) -> slice | np.ndarray:
    """Ascending rows counted from the first; a slice where they lie together."""
    if rows[-1] - rows[0] + 1 == len(rows):
        return slice(0, len(rows))
    return rows - rows[0]
