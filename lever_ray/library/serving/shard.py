"""A library's policies as one process serves them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lever_ray.library.format.manifest import Manifest
from lever_ray.library.record import PolicyRecord
from lever_ray.library.search.text import TextEncoder, WordLlamaEncoder
from lever_ray.library.search.wording import Closest, Wording
from lever_ray.library.serving.groups import Groups
from lever_ray.library.serving.holding import Held, Holding
from lever_ray.library.serving.mapped import MappedShard
from lever_ray.library.serving.nearest import ANYWHERE, INDEX, Nearest, Where
from lever_ray.library.serving.vectors import TextVectors
from lever_ray.policies.group import GroupKey, PolicyGroup


class Shard:
    """The policies of some of a library's shards; Ray runs it in an actor, a library in one process owns one.

    Its methods are what can be asked of whoever holds shards, see
    :meth:`~lever_ray.library.serving.service.ShardService.apply`; what is computed of the arrays is a function of it.

    Args:
        path: folder of the library.
        manifest: with the shards that are served, and all environment files.
        encoder: of texts, for vectors that are not stored.
        index: for searches that look at all policies, one of :data:`~lever_ray.library.search.index.INDEXES`.
        held: shards and environments that lie in memory, in place of the files.

    Raises:
        UnknownName: there is no such index.
    """

    def __init__(
        self,
        path: str | Path,
        manifest: Manifest,
        *,
        encoder: TextEncoder | None = None,
        index: str = INDEX,
        held: Held | None = None,
    ) -> None:
        self.holding = Holding(Path(path), manifest, held)
        self._texts = TextVectors(manifest.text_model, encoder or WordLlamaEncoder())
        self._groups, self.nearest = Groups(self.holding, self._texts), Nearest(self.holding, self._texts, index)

    @property
    def mapped(self) -> list[MappedShard]:
        """The shards that are served."""
        return self.holding.mapped

    def take_over(self, before: Shard) -> None:
        """Keep what was read, checked and made by an object that served some of the same files."""
        known = {mapped.entry.id: mapped for mapped in before.mapped}
        same_texts = self._texts.same_as(before._texts)
        for mapped in self.mapped:
            if mapped.entry.id in known:
                mapped.take_over(known[mapped.entry.id], made=same_texts)

    def keys(self, environment: str | None = None) -> list[GroupKey]:
        """See :meth:`Holding.keys`."""
        return self.holding.keys(environment)

    def census(self) -> list[tuple[GroupKey, int]]:
        """See :meth:`Holding.census`."""
        return self.holding.census()

    def support_sources(self) -> list[tuple[str, int]]:
        """See :meth:`Holding.support_sources`."""
        return self.holding.support_sources()

    def records(self, keys: Sequence[GroupKey]) -> list[PolicyRecord]:
        """See :meth:`Holding.records`."""
        return self.holding.records(keys)

    def find(self, ids: Sequence[str]) -> list[tuple[int, PolicyRecord]]:
        """See :meth:`Holding.find`."""
        return self.holding.find(ids)

    def tables(self, ids: Sequence[str]) -> list[tuple[np.ndarray, np.ndarray]]:
        """See :meth:`Holding.tables`."""
        return self.holding.tables(ids)

    def groups(self, keys: Sequence[GroupKey], wordings: Sequence[Wording] = ()) -> list[PolicyGroup | None]:
        """See :meth:`Groups.get`."""
        return self._groups.get(keys, wordings)

    def closest(self, key: GroupKey, wording: Wording) -> Closest | None:
        """See :meth:`Groups.closest`."""
        return self._groups.closest(key, wording)

    def top_k(self, queries: np.ndarray, k: int, where: Where = ANYWHERE) -> tuple[np.ndarray, np.ndarray]:
        """See :meth:`Nearest.top_k`."""
        return self.nearest.top_k(queries, k, where)
