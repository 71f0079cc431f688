"""A library's policies as one process serves them: filter and top-k by text, groups, embeddings, predictions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lever_ray.errors import check_known
from lever_ray.library.behaviour import ShardBehaviour
from lever_ray.library.ids import id_order
from lever_ray.library.index import INDEXES, VectorIndex, make_index, merge_top_k
from lever_ray.library.manifest import Manifest
from lever_ray.library.stored import ID_LENGTH, GroupKey, StoredShard
from lever_ray.library.text import TextEncoder

INDEX = "flat-int8"
"""What searches all policies unless told otherwise; exact."""
_KEPT = 256
"""Filters whose index is kept."""
_INDEXED_FROM = 4_096
"""Distinct descriptions from which an index other than a plain scan is worth its making."""


class Where(NamedTuple):
    """Which policies a search looks at; None for any."""

    environment: str | None = None
    gamma: float | None = None
    episodes: int | None = None

    def admits(self, key: GroupKey) -> bool:
        """Whether members of a group are looked at."""
        mine = (key.environment, key.gamma, key.episodes)
        return all(wanted in (None, held) for wanted, held in zip(self, mine, strict=True))


ANYWHERE = Where()


class LibraryShard(ShardBehaviour):
    """The policies of some of a library's shards; Ray runs it in an actor, a library in one process owns one.

    For the arguments see :class:`~lever_ray.library.policies.ShardPolicies`; ``index`` is one of
    :data:`~lever_ray.library.index.INDEXES`, for searches that look at all policies.
    """

    def __init__(
        self, path: str | Path, manifest: Manifest, *, encoder: TextEncoder | None = None, index: str = INDEX
    ) -> None:
        super().__init__(path, manifest, encoder=encoder)
        check_known("index", index, INDEXES)
        self._index_kind = index
        self._indexes: dict[tuple[str, Where, bool], tuple[VectorIndex, np.ndarray]] = {}

    def top_k(self, queries: np.ndarray, k: int, where: Where = ANYWHERE) -> tuple[np.ndarray, np.ndarray]:
        """The policies whose descriptions are nearest to some texts; exact, unless the index is approximate.

        Args:
            queries: float32[b, 256], unit vectors of texts.
            k: how many policies per text, at least 1.
            where: which policies are looked at.

        Returns:
            Cosines float32[b, k'] and ids bytes[b, k'], by cosine (descending), then id. k' is k, or as many as there
            are.

        Raises:
            InvalidValue: queries of another shape or not finite, or ``k`` below 1.
        """
        parts = [(np.zeros((len(queries), 0), np.float32), np.zeros((len(queries), 0), f"S{ID_LENGTH}"))]
        asked = self.stored if where.environment is None else self._having(where.environment)
        return merge_top_k(parts + [self._nearest(stored, where, queries, k) for stored in asked], k)

    def _nearest(self, stored: StoredShard, where: Where, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Cosines and ids of a stored shard's nearest.

        Scans in the order of rows, where vectors lie together. Of equal cosines the least ids count: queries for which
        that matters are asked again in the order of ids.
        """
        index, rows = self._index(stored, where, by_id=False)
        scores, items = index.top_k(queries, k + 1)
        found = stored.ids[rows[items]]
        if scores.shape[1] > k:
            tied = np.flatnonzero(scores[:, k - 1] == scores[:, k]) if index.exact else np.zeros(0, np.int64)
            scores, found = scores[:, :k], found[:, :k]
            if len(tied):
                index, rows = self._index(stored, where, by_id=True)
                scores[tied], items = index.top_k(queries[tied], k)
                found[tied] = stored.ids[rows[items]]
        return scores, found

    def _index(self, stored: StoredShard, where: Where, *, by_id: bool) -> tuple[VectorIndex, np.ndarray]:
        """An index over the policies that are looked at, and their rows, in the order of rows or of ids."""
        question = stored.entry.id, where, by_id
        if question not in self._indexes:
            runs = [np.arange(*run) for key, run in self._runs(stored, where)]
            rows = np.concatenate([np.zeros(0, np.int64), *runs])
            if by_id:
                rows = rows[id_order(stored.ids[rows])]
            while len(self._indexes) >= _KEPT:
                self._indexes.pop(next(iter(self._indexes)))
            self._indexes[question] = self._made_index(stored, where, rows), rows
        return self._indexes[question]

    def _made_index(self, stored: StoredShard, where: Where, rows: np.ndarray) -> VectorIndex:
        vectors, codes = self._texts.of(stored), stored.codes("description")[rows]
        first, stop = (int(codes.min()), int(codes.max()) + 1) if len(codes) else (0, 0)
        kind = self._index_kind if where == ANYWHERE and stop - first >= _INDEXED_FROM else "flat"
        return make_index(kind, vectors[first:stop], codes - np.int32(first))

    @staticmethod
    def _runs(stored: StoredShard, where: Where) -> Iterator[tuple[GroupKey, tuple[int, int]]]:
        keys = stored.runs if where.environment is None else stored.keys_of.get(where.environment, ())
        return ((key, stored.runs[key]) for key in keys if where.admits(key))
