"""A library's policies as one process serves them: filter and top-k by text, groups, embeddings, predictions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lever_ray.library.behaviour import ShardBehaviour
from lever_ray.library.index import FlatIndex, merge_top_k
from lever_ray.library.manifest import Manifest
from lever_ray.library.stored import ID_LENGTH, GroupKey, StoredShard
from lever_ray.library.text import TextEncoder

_KEPT = 256
"""Filters whose index is kept."""


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

    For the arguments see :class:`~lever_ray.library.policies.ShardPolicies`.
    """

    def __init__(self, path: str | Path, manifest: Manifest, *, encoder: TextEncoder | None = None) -> None:
        super().__init__(path, manifest, encoder=encoder)
        self._indexes: dict[tuple[str, Where], tuple[FlatIndex, np.ndarray]] = {}

    def top_k(self, queries: np.ndarray, k: int, where: Where = ANYWHERE) -> tuple[np.ndarray, np.ndarray]:
        """The policies whose descriptions are nearest to some texts; exact.

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
        for stored in self.stored if where.environment is None else self._having(where.environment):
            index, rows = self._index(stored, where)
            scores, items = index.top_k(queries, k)
            parts.append((scores, stored.ids[rows[items]]))
        return merge_top_k(parts, k)

    def _index(self, stored: StoredShard, where: Where) -> tuple[FlatIndex, np.ndarray]:
        """An index over the policies that are looked at, in the order of their ids, and their rows."""
        question = stored.entry.id, where
        if question not in self._indexes:
            runs = [np.arange(*run) for key, run in self._runs(stored, where)]
            rows = np.concatenate([np.zeros(0, np.int64), *runs])
            rows = rows[np.argsort(stored.ids[rows])]
            if len(self._indexes) >= _KEPT:
                self._indexes.pop(next(iter(self._indexes)))
            self._indexes[question] = FlatIndex(self._texts.of(stored), stored.codes("description")[rows]), rows
        return self._indexes[question]

    @staticmethod
    def _runs(stored: StoredShard, where: Where) -> Iterator[tuple[GroupKey, tuple[int, int]]]:
        keys = stored.runs if where.environment is None else stored.keys_of.get(where.environment, ())
        return ((key, stored.runs[key]) for key in keys if where.admits(key))
