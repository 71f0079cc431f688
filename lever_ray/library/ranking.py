"""Policies as a return regressor learns from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from lever_ray.embedding.regressor import term_weights
from lever_ray.tasks.gridworld.layout import Layout
from lever_ray.tasks.objective import Objective


@dataclass(frozen=True, eq=False)
class RankingRows:
    """Policies as a return regressor learns from them.

    Attributes:
        environments: str[P], environment of each policy.
        layouts: str[P], digest of that environment's layout.
        ids: str[P], its id.
        terms: float64[P, 4], term weights of its own objective, see :func:`lever_ray.embedding.regressor.term_weights`.
        x: float32[P, D], features of its behaviour.
        y: float64[P], returns on the target objective.
    """

    environments: np.ndarray
    layouts: np.ndarray
    ids: np.ndarray
    terms: np.ndarray
    x: np.ndarray
    y: np.ndarray

    def without(self, environment: str, layout: Layout) -> RankingRows:
        """The rows of all other environments, those with the same layout under another name left out, too."""
        return self.taken((self.environments != environment) & (self.layouts != layout.digest))

    @classmethod
    def merge(cls, parts: Sequence[RankingRows]) -> RankingRows:
        """Concatenate and sort by environment and id."""
        names = [part.name for part in fields(cls)]
        whole = cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))
        return whole.taken(np.lexsort((whole.ids, whole.environments)))

    def of_other_objectives(self, objective: Objective) -> RankingRows:
        """The rows of policies whose own objective is another: what an experiment about composing it may learn from."""
        return self.taken((self.terms != term_weights(objective)).any(axis=1))

    def taken(self, rows: np.ndarray) -> RankingRows:
        """Some of the rows, bool[P] or int[n]."""
        return RankingRows(*(getattr(self, part.name)[rows] for part in fields(self)))
