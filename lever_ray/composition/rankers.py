"""Rankers: what predicts the return of a candidate before it is ever run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from lever_ray.composition.operators import Operator
from lever_ray.embedding.offline import LEFT_SUPPORT, Pool, offline_returns
from lever_ray.embedding.regressor import FittedRegressor
from lever_ray.embedding.successor import Embedder, embed
from lever_ray.gridworld.task import Task

RANKERS: tuple[str, ...] = ("regressor", "offline-return")
"""``regressor`` predicts from the embedding; ``offline-return`` simulates on recorded transitions."""


@dataclass(frozen=True, eq=False)
class Scores:
    """Predicted returns of K mixtures.

    Attributes:
        values: float64[K], in reward units.
        left_support: bool[K], True where the prediction is the return of a prefix; such mixtures rank last.
    """

    values: np.ndarray
    left_support: np.ndarray

    def best(self) -> int:
        """Index of the best mixture, the first on a tie."""
        candidates = np.flatnonzero(~self.left_support) if not self.left_support.all() else np.arange(len(self.values))
        return int(candidates[np.argmax(self.values[candidates])])

    def comparable(self) -> np.ndarray:
        """float64[K]: values in the order of the ranking, mixtures that left the support below all others."""
        if not self.left_support.any():
            return self.values
        drop = np.ptp(self.values) + 1.0
        return self.values - drop * self.left_support

    def ranked(self) -> np.ndarray:
        """int64[K]: indices from best to worst, ties in the given order."""
        return np.lexsort((-self.values, self.left_support))


class Ranker(Protocol):
    """Predicts the returns of mixtures of a pool."""

    @property
    def name(self) -> str:
        """One of :data:`RANKERS`."""
        ...

    @property
    def tier(self) -> str:
        """Information used: ``I0`` Q-tables, ``I1`` successors, ``I2`` mean rewards, ``I3`` reward function."""
        ...

    def score(self, pool: Pool, mixtures: np.ndarray, *, operator: Operator, masked: bool) -> Scores:
        """Predicted returns of mixtures int32[K, m]."""
        ...


@dataclass(frozen=True)
class OfflineReturnRanker:
    """Exact simulation on recorded deterministic transitions with the known reward function (tier I3).

    Attributes:
        task: the environment under the composite objective.
    """

    task: Task
    name: str = "offline-return"
    tier: str = "I3"

    def score(self, pool: Pool, mixtures: np.ndarray, *, operator: Operator, masked: bool) -> Scores:
        """See :class:`Ranker`."""
        totals, ends = offline_returns(self.task, pool, mixtures, operator.code, masked, True)
        return Scores(totals, ends == LEFT_SUPPORT)


@dataclass(frozen=True)
class RegressorRanker:
    """Return predicted from the embedding; tier I1 on own returns, I3 on relabelled ones.

    Attributes:
        embedder: of the environment.
        regressor: fitted on other environments.
    """

    embedder: Embedder
    regressor: FittedRegressor
    name: str = "regressor"

    @property
    def tier(self) -> str:
        """See :class:`Ranker`."""
        return "I3" if self.regressor.target == "composite" else "I1"

    def score(self, pool: Pool, mixtures: np.ndarray, *, operator: Operator, masked: bool) -> Scores:
        """See :class:`Ranker`."""
        x = embed(self.embedder, pool, mixtures, operator=operator.code, masked=masked, kind=self.regressor.kind)
        return Scores(self.regressor.predictor.predict(x), np.zeros(len(mixtures), bool))
