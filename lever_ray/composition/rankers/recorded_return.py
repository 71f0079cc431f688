"""Mean recorded rewards, added up along the rollout until an observation is met twice (tier I2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lever_ray.composition.groups import CandidateSpace
from lever_ray.composition.operators import Operator, TableOperator
from lever_ray.composition.problem import Problem
from lever_ray.composition.scores import Scores
from lever_ray.embedding.offline import LEFT_SUPPORT
from lever_ray.embedding.recorded import recorded_returns
from lever_ray.errors import InvalidValue
from lever_ray.tasks.kernel import Dynamics


@dataclass(frozen=True)
class RecordedReturn:
    """Ranks by what training recorded of the members' own rewards, times their weight in the new objective."""

    name: ClassVar[str] = "recorded-return"
    tier: ClassVar[str] = "I2"
    ranks_routes: ClassVar[bool] = False
    no_prefixes: ClassVar[str] = "recorded shaping pays again in every lap of a loop"

    def bind(self, problem: Problem) -> RecordedReturnScorer:
        """See :class:`~lever_ray.composition.rankers.protocol.Ranker`."""
        task = problem.task
        return RecordedReturnScorer(task.dynamics, task.horizon, task.discount)


@dataclass(frozen=True)
class RecordedReturnScorer:
    """Scores by recorded rewards.

    Attributes:
        dynamics: of the environment.
        horizon: steps after which its episodes are cut.
        discount: of evaluation.
    """

    dynamics: Dynamics
    horizon: int
    discount: float = 1.0

    def score(self, space: CandidateSpace, mixtures: np.ndarray, *, operator: Operator, masked: bool) -> Scores:
        """See :class:`~lever_ray.composition.rankers.protocol.Scorer`.

        Raises:
            InvalidValue: members lack recorded rewards, or the operator is a user's own.
        """
        if not isinstance(operator, TableOperator):
            raise InvalidValue(
                f"ranker 'recorded-return' follows single members' records, which the function {operator.name!r} "
                "hides; use ranker='offline-return' or 'regressor'"
            )
        rewards = space.mean_rewards
        totals, ends = recorded_returns(
            self.dynamics, self.horizon, self.discount, space.pool, rewards, mixtures, operator.code, masked
        )
        return Scores(totals, ends == LEFT_SUPPORT)

    def member_scores(self, space: CandidateSpace, /) -> np.ndarray | None:
        """The recorded greedy returns on the own objectives, times the objective's weight; unknown ones rank last."""
        totals = np.concatenate(
            [group.totals * weight for group, weight in zip(space.groups, space.weights, strict=True)]
        )
        return np.where(np.isnan(totals), -np.inf, totals)
