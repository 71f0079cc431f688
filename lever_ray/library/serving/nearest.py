"""The policies of a holding whose descriptions are nearest to texts: filters, indexes, and ties broken by id."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lever_ray.errors import check_known
from lever_ray.library.format.policies import ID_LENGTH
from lever_ray.library.search.index import INDEXES, VectorIndex, make_index, merge_top_k
from lever_ray.library.serving.holding import Holding
from lever_ray.library.serving.ids import id_order
from lever_ray.library.serving.mapped import MappedShard
from lever_ray.library.serving.vectors import TextVectors
from lever_ray.policies.group import GroupKey

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


class _Found(NamedTuple):
    """One more than was asked for of a shard's nearest policies.

    Attributes:
        scores: float32[b, <= k + 1], cosines.
        ids: bytes[b, <= k + 1].
        tied: bool[b], whether the last two have equal cosines, so that another of them might have been kept.
    """

    scores: np.ndarray
    ids: np.ndarray
    tied: np.ndarray


class Nearest:
    """Finds the policies whose descriptions are nearest to texts.

    Args:
        holding: what is mapped.
        texts: vectors of descriptions.
        index: for searches that look at all policies, one of :data:`~lever_ray.library.search.index.INDEXES`.

    Raises:
        UnknownName: there is no such index.
    """

    def __init__(self, holding: Holding, texts: TextVectors, index: str) -> None:
        check_known("index", index, INDEXES)
        self._holding, self._texts, self._index_kind = holding, texts, index

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
        asked = self._holding.mapped if where.environment is None else self._holding.having(where.environment)
        found = [self._nearest(mapped, where, queries, k) for mapped in asked]
        nothing = np.zeros((len(queries), 0), np.float32), np.zeros((len(queries), 0), f"S{ID_LENGTH}")
        scores, _ = merge_top_k([nothing, *((part.scores[:, :k], part.ids[:, :k]) for part in found)], k)
        worst = scores[:, -1] if scores.shape[1] == k else np.full(len(queries), -np.inf, np.float32)
        for mapped, part in zip(asked, found, strict=True):
            self._break_ties(mapped, where, queries, part, worst)
        return merge_top_k([nothing, *((part.scores[:, :k], part.ids[:, :k]) for part in found)], k)

    def _nearest(self, mapped: MappedShard, where: Where, queries: np.ndarray, k: int) -> _Found:
        """The nearest of a mapped shard and one more; of equal cosines those whose rows come first."""
        index = self.whole(mapped)
        scores, items = index.top_k(queries, k + 1, None if where == ANYWHERE else self._rows(mapped, where))
        cut = scores.shape[1] > k and index.exact
        tied = scores[:, k - 1] == scores[:, k] if cut else np.zeros(len(queries), bool)
        return _Found(scores, mapped.ids[items], tied)

    def _break_ties(
        self, mapped: MappedShard, where: Where, queries: np.ndarray, part: _Found, worst: np.ndarray
    ) -> None:
        """Where equal cosines were cut off that matter for the answer, ask again, for those of the least ids."""
        if not part.tied.any():
            return
        again = np.flatnonzero(part.tied & (part.scores[:, -1] >= worst))
        if len(again):
            index, rows = self._by_id(mapped, where)
            scores, items = index.top_k(queries[again], part.scores.shape[1] - 1)
            part.scores[again, :-1], part.ids[again, :-1] = scores, mapped.ids[rows[items]]

    def whole(self, mapped: MappedShard) -> VectorIndex:
        """The index over all policies of a mapped shard."""

        def make() -> VectorIndex:
            vectors, codes = self._texts.of(mapped), mapped.codes("description")
            return make_index(self._index_kind if len(vectors) >= _INDEXED_FROM else "flat", vectors, codes)

        return mapped.made(("index", self._index_kind), make)

    def _rows(self, mapped: MappedShard, where: Where) -> np.ndarray:
        """int64[n]: rows of the policies that are looked at, ascending."""
        return mapped.made(where, lambda: self._found_rows(mapped, where))

    @staticmethod
    def _found_rows(mapped: MappedShard, where: Where) -> np.ndarray:
        if where == ANYWHERE:
            return np.arange(mapped.entry.rows)
        keys = mapped.runs if where.environment is None else mapped.keys_of.get(where.environment, ())
        runs = [np.arange(*mapped.runs[key]) for key in keys if where.admits(key)]
        return np.concatenate([np.zeros(0, np.int64), *runs])

    def _by_id(self, mapped: MappedShard, where: Where) -> tuple[VectorIndex, np.ndarray]:
        """An index over the policies that are looked at in the order of their ids, and their rows in that order."""

        def make() -> tuple[VectorIndex, np.ndarray]:
            rows = self._rows(mapped, where)
            rows = rows[id_order(mapped.ids[rows])]
            codes = mapped.codes("description")[rows]
            first = int(codes.min())
            return make_index("flat", self._texts.of(mapped)[first : codes.max() + 1], codes - np.int32(first)), rows

        return mapped.made((where, "by id"), make)
