"""Mean recorded rewards, added up along the rollout until an observation is met twice (tier I2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lever_ray.composition.groups import CandidateSpace, cover
from lever_ray.composition.operators import Operator
from lever_ray.composition.problem import Problem
from lever_ray.composition.scores import Scores
from lever_ray.composition.table_operators import TableOperator
from lever_ray.composition.worth import Worth
from lever_ray.embedding.offline import LEFT_SUPPORT
from lever_ray.embedding.recorded import recorded_returns
from lever_ray.errors import InvalidValue
from lever_ray.tasks.kernel import ITEM, SWITCH, Dynamics, Rules, compiled_task
from lever_ray.tasks.support import taken_actions


@dataclass(frozen=True)
class RecordedReturn:
    """Ranks by what training recorded of the members' own rewards, times their weight in the new objective."""

    name: ClassVar[str] = "recorded-return"
    tier: ClassVar[str] = "I2"
    ranks_routes: ClassVar[bool] = False
    no_prefixes: ClassVar[str] = ""
    events_only: ClassVar[bool] = True

    def bind(self, problem: Problem) -> RecordedReturnScorer:
        """See :class:`~lever_ray.composition.rankers.protocol.Ranker`."""
        task = problem.task
        return RecordedReturnScorer(task.dynamics, task.horizon, task.discount)


def _mean_reward(space: CandidateSpace, groups: Sequence[int]) -> np.ndarray:
    """float64[S, A]: mean recorded reward of some groups' members over those that took the action; 0 where none did."""
    total, count = 0.0, 0.0
    for place in groups:
        rows = slice(space.offsets[place], space.offsets[place] + space.sizes[place])
        took = taken_actions(space.pool.support[rows], space.pool.actions)
        total = total + np.where(took, space.mean_rewards[rows].astype(np.float64), 0.0).sum(axis=0)
        count = count + took.sum(axis=0)
    return np.asarray(total / np.maximum(count, 1.0))


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

    def worth(self, problem: Problem, space: CandidateSpace, /) -> Worth:
        """Recorded rewards of the smallest cover of the objective, each group's mean over the members that moved so.

        What entering an item or turning the switch on paid on average counts once each; laps of a loop do not count.

        Raises:
            InvalidValue: members lack recorded rewards.
            UncoveredObjective: the members' objectives do not cover the objective.
        """
        names = [group.objective for group in space.groups]
        covering, task = set(cover(problem.objective, names)), problem.task
        rewards = np.zeros((task.observations, task.actions))
        for name in covering:
            rewards += _mean_reward(space, [place for place, each in enumerate(names) if each == name])
        entered, taken = task.dynamics.flags[task.dynamics.moves], taken_actions(space.union, task.actions)
        once = {}
        for bit, name in ((ITEM, "item_reward"), (SWITCH, "switch_reward")):
            pairs = ((entered & bit) != 0) & taken
            once[name] = float(rewards[pairs].mean()) if pairs.any() else 0.0
            rewards[pairs] = 0.0
        rules = Rules(
            task.horizon,
            task.discount,
            task.dynamics.memory,
            item_reward=once["item_reward"],
            switch_reward=once["switch_reward"],
        )
        return Worth(compiled_task(task.dynamics, rewards[None], rules), laps=False)

    def member_scores(self, space: CandidateSpace, /) -> np.ndarray | None:
        """The recorded greedy returns on the own objectives, times the objective's weight; unknown ones rank last."""
        totals = np.concatenate(
            [group.totals * weight for group, weight in zip(space.groups, space.weights, strict=True)]
        )
        return np.where(np.isnan(totals), -np.inf, totals)
