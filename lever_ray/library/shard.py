"""A library's policies as one process serves them: filter and top-k by text, groups, embeddings, predictions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lever_ray.errors import check_known
from lever_ray.library.behaviour import ShardBehaviour
from lever_ray.library.environments import Environments
from lever_ray.library.ids import id_order
from lever_ray.library.index import INDEXES, VectorIndex, make_index, merge_top_k
from lever_ray.library.manifest import Manifest
from lever_ray.library.stored import ID_LENGTH, GroupKey, StoredShard
from lever_ray.library.text import TextEncoder

INDEX = "flat-int8"
"""What searches all policies unless told otherwise; exact."""
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


class _Nearest(NamedTuple):
    """One more than was asked for of a shard's nearest policies.

    Attributes:
        scores: float32[b, <= k + 1], cosines.
        ids: bytes[b, <= k + 1].
        tied: bool[b], whether the last two have equal cosines, so that another of them might have been kept.
    """

    scores: np.ndarray
    ids: np.ndarray
    tied: np.ndarray


class LibraryShard(ShardBehaviour):
    """The policies of some of a library's shards; Ray runs it in an actor, a library in one process owns one.

    For the arguments see :class:`~lever_ray.library.policies.ShardPolicies`; ``index`` is one of
    :data:`~lever_ray.library.index.INDEXES`, for searches that look at all policies.
    """

    def __init__(
        self,
        path: str | Path,
        manifest: Manifest,
        *,
        encoder: TextEncoder | None = None,
        index: str = INDEX,
        held: tuple[Sequence[StoredShard], Environments] | None = None,
    ) -> None:
        super().__init__(path, manifest, encoder=encoder, held=held)
        check_known("index", index, INDEXES)
        self._index_kind = index

    def top_k(self, queries: np.ndarray, k: int, where: Where = ANYWHERE) -> tuple[np.ndarray, np.ndarray]:
        """The policies whose descriptions are nearest to some texts; exact, unless the index is approximate.

        Args:
            queries: float32[b, 256], unit vectors of texts.
            k: how many policies per text, at least 1.
            where: which policies are looked at.

        Returns:
            Cosines float32[b, k'] and ids bytes[b, k'], by cosine (descending), then id. k' is k, or as many as there
            are; where an approximate index finds fewer, cosines of -inf fill up.

        Raises:
            InvalidValue: queries of another shape or not finite, or ``k`` below 1.
        """
        asked = self.stored if where.environment is None else self._having(where.environment)
        found = [self._nearest(stored, where, queries, k) for stored in asked]
        nothing = np.zeros((len(queries), 0), np.float32), np.zeros((len(queries), 0), f"S{ID_LENGTH}")
        scores, _ = merge_top_k([nothing, *((part.scores[:, :k], part.ids[:, :k]) for part in found)], k)
        worst = scores[:, -1] if scores.shape[1] == k else np.full(len(queries), -np.inf, np.float32)
        for stored, part in zip(asked, found, strict=True):
            self._break_ties(stored, where, queries, part, worst)
        return merge_top_k([nothing, *((part.scores[:, :k], part.ids[:, :k]) for part in found)], k)

    def _nearest(self, stored: StoredShard, where: Where, queries: np.ndarray, k: int) -> _Nearest:
        """The nearest of a stored shard and one more; of equal cosines those whose rows come first."""
        index = self._whole(stored)
        scores, items = index.top_k(queries, k + 1, None if where == ANYWHERE else self._rows(stored, where))
        cut = scores.shape[1] > k and index.exact
        tied = scores[:, k - 1] == scores[:, k] if cut else np.zeros(len(queries), bool)
        return _Nearest(scores, stored.ids[items], tied)

    def _break_ties(
        self, stored: StoredShard, where: Where, queries: np.ndarray, part: _Nearest, worst: np.ndarray
    ) -> None:
        """Where equal cosines were cut off that matter for the answer, ask again, for those of the least ids."""
        if not part.tied.any():
            return
        again = np.flatnonzero(part.tied & (part.scores[:, -1] >= worst))
        if len(again):
            index, rows = self._by_id(stored, where)
            scores, items = index.top_k(queries[again], part.scores.shape[1] - 1)
            part.scores[again, :-1], part.ids[again, :-1] = scores, stored.ids[rows[items]]

    def _whole(self, stored: StoredShard) -> VectorIndex:
        """The index over all policies of a stored shard."""

        def make() -> VectorIndex:
            vectors, codes = self._texts.of(stored), stored.codes("description")
            return make_index(self._index_kind if len(vectors) >= _INDEXED_FROM else "flat", vectors, codes)

        return stored.made(("index", self._index_kind), make)

    def _rows(self, stored: StoredShard, where: Where) -> np.ndarray:
        """int64[n]: rows of the policies that are looked at, ascending."""
        return stored.made(where, lambda: self._found_rows(stored, where))

    @staticmethod
    def _found_rows(stored: StoredShard, where: Where) -> np.ndarray:
        if where == ANYWHERE:
            return np.arange(stored.entry.rows)
        keys = stored.runs if where.environment is None else stored.keys_of.get(where.environment, ())
        runs = [np.arange(*stored.runs[key]) for key in keys if where.admits(key)]
        return np.concatenate([np.zeros(0, np.int64), *runs])

    def _by_id(self, stored: StoredShard, where: Where) -> tuple[VectorIndex, np.ndarray]:
        """An index over the policies that are looked at in the order of their ids, and their rows in that order."""

        def make() -> tuple[VectorIndex, np.ndarray]:
            rows = self._rows(stored, where)
            rows = rows[id_order(stored.ids[rows])]
            codes = stored.codes("description")[rows]
            first = int(codes.min())
            return make_index("flat", self._texts.of(stored)[first : codes.max() + 1], codes - np.int32(first)), rows

        return stored.made((where, "by id"), make)
