"""Rankers: what predicts the return of a candidate before it is ever run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from lever_ray.composition.groups import CandidateSpace
from lever_ray.composition.operators import Operator, kernel_form
from lever_ray.composition.routes import ROUTE_CODES, member_actions, route_returns
from lever_ray.embedding.offline import LEFT_SUPPORT, offline_returns
from lever_ray.embedding.outcome import behaviour_features
from lever_ray.embedding.recorded import recorded_returns
from lever_ray.embedding.regressor import TARGET_TIERS, FittedRegressor
from lever_ray.embedding.successor import Embedder
from lever_ray.errors import InvalidValue, check_known
from lever_ray.tasks.kernel import CompiledTask, Dynamics

RANKERS: tuple[str, ...] = ("regressor", "recorded-return", "offline-return")
"""``regressor`` predicts from the embedding; ``recorded-return`` adds up mean recorded rewards along the rollout;
``offline-return`` simulates on recorded transitions with the known reward function."""


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


def check_ranker(name: str, operator: Operator) -> None:
    """Refuse a ranker that cannot rank an operator's candidates.

    Raises:
        UnknownName: the ranker is not known.
        InvalidValue: the operator answers with routes, and the ranker is not ``offline-return``.
    """
    check_known("ranker", name, RANKERS)
    if operator.is_route and name != "offline-return":
        raise InvalidValue(
            f"ranker {name!r} embeds policies over positions, and operator {operator.name!r} answers with a route; "
            "use ranker='offline-return'"
        )


class Ranker(Protocol):
    """Predicts the returns of mixtures of a space's members."""

    @property
    def name(self) -> str:
        """One of :data:`RANKERS`."""
        ...

    @property
    def tier(self) -> str:
        """Information used: ``I0`` Q-tables, ``I1`` successors, ``I2`` mean rewards, ``I3`` reward function."""
        ...

    def score(self, space: CandidateSpace, mixtures: np.ndarray, *, operator: Operator, masked: bool) -> Scores:
        """Predicted returns of mixtures int32[K, m], rows of ``space.pool``."""
        ...

    def member_scores(self, space: CandidateSpace, /) -> np.ndarray | None:
        """float64[P], what is known of single members without evaluating them; None where they must be scored."""
        ...


@dataclass(frozen=True)
class OfflineReturnRanker:
    """Exact simulation on recorded deterministic transitions with the known reward function (tier I3).

    Attributes:
        task: the environment under the composite objective.
    """

    task: CompiledTask
    name: str = "offline-return"
    tier: str = "I3"

    def score(self, space: CandidateSpace, mixtures: np.ndarray, *, operator: Operator, masked: bool) -> Scores:
        """See :class:`Ranker`."""
        if operator.is_route:
            return self._score_routes(space, mixtures, operator)
        pool, rows, code = kernel_form(operator, space, mixtures)
        totals, ends = offline_returns(self.task, pool, rows, code, masked, True)
        return Scores(totals, ends == LEFT_SUPPORT)

    def _score_routes(self, space: CandidateSpace, mixtures: np.ndarray, operator: Operator) -> Scores:
        actions = member_actions(space.pool)
        unwanted = np.empty((0, self.task.rules.horizon), np.int16)
        code = ROUTE_CODES[operator.name]
        totals, ends, _ = route_returns(self.task, space.pool, actions, mixtures, code, unwanted)
        return Scores(totals, ends == LEFT_SUPPORT)

    def member_scores(self, _space: CandidateSpace, /) -> np.ndarray | None:
        """None: members are relabelled by simulation."""
        return None


@dataclass(frozen=True)
class RecordedReturnRanker:
    """Mean recorded rewards, added up along the rollout until an observation is met twice (tier I2).

    Weights of the objective's terms are not heeded: each member's rewards are those of its own training.

    Attributes:
        dynamics: of the environment.
        horizon: steps after which its episodes are cut.
        discount: of evaluation.
    """

    dynamics: Dynamics
    horizon: int
    discount: float = 1.0
    name: str = "recorded-return"
    tier: str = "I2"

    def score(self, space: CandidateSpace, mixtures: np.ndarray, *, operator: Operator, masked: bool) -> Scores:
        """See :class:`Ranker`.

        Raises:
            InvalidValue: members lack recorded rewards, or the operator is a user's function.
        """
        if operator.combine is not None:
            raise InvalidValue(
                f"ranker 'recorded-return' follows single members' records, which the function {operator.name!r} "
                "hides; use ranker='offline-return' or 'regressor'"
            )
        assert operator.code is not None
        totals, ends = recorded_returns(
            self.dynamics,
            self.horizon,
            self.discount,
            space.pool,
            space.mean_rewards,
            mixtures,
            operator.code,
            masked,
        )
        return Scores(totals, ends == LEFT_SUPPORT)

    def member_scores(self, space: CandidateSpace, /) -> np.ndarray | None:
        """The recorded greedy returns on the own objectives; unknown ones rank last."""
        totals = np.concatenate([group.totals for group in space.groups])
        return np.where(np.isnan(totals), -np.inf, totals)


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
        return TARGET_TIERS[self.regressor.target]

    def score(self, space: CandidateSpace, mixtures: np.ndarray, *, operator: Operator, masked: bool) -> Scores:
        """See :class:`Ranker`."""
        pool, rows, code = kernel_form(operator, space, mixtures)
        kind = self.regressor.kind
        x = behaviour_features(self.embedder, pool, rows, operator=code, masked=masked, kind=kind)
        return Scores(self.regressor.predictor.predict(x), np.zeros(len(mixtures), bool))

    def member_scores(self, _space: CandidateSpace, /) -> np.ndarray | None:
        """None: members are embedded."""
        return None
