"""Exact simulation on recorded deterministic transitions with the known reward function (tier I3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lever_ray.composition.groups import CandidateSpace
from lever_ray.composition.operators import Operator
from lever_ray.composition.problem import Problem
from lever_ray.composition.scores import Scores
from lever_ray.composition.worth import Worth
from lever_ray.embedding.offline import LEFT_SUPPORT
from lever_ray.tasks.kernel import CompiledTask


@dataclass(frozen=True)
class OfflineReturn:
    """Ranks by the return of exact rollouts on recorded transitions."""

    name: ClassVar[str] = "offline-return"
    tier: ClassVar[str] = "I3"
    ranks_routes: ClassVar[bool] = True
    no_prefixes: ClassVar[str] = ""

    def bind(self, problem: Problem) -> OfflineReturnScorer:
        """See :class:`~lever_ray.composition.rankers.protocol.Ranker`."""
        return OfflineReturnScorer(problem.compiled)


@dataclass(frozen=True)
class OfflineReturnScorer:
    """Scores by simulation.

    Attributes:
        task: the environment under the composite objective.
    """

    task: CompiledTask

    def score(self, space: CandidateSpace, mixtures: np.ndarray, *, operator: Operator, masked: bool) -> Scores:
        """See :class:`~lever_ray.composition.rankers.protocol.Scorer`."""
        totals, ends = operator.returns(self.task, space, mixtures, masked=masked)
        return Scores(totals, ends == LEFT_SUPPORT)

    def worth(self, _problem: Problem, _space: CandidateSpace, /) -> Worth:
        """The reward itself."""
        return Worth(self.task)

    def member_scores(self, _space: CandidateSpace, /) -> np.ndarray | None:
        """None: members are relabelled by simulation."""
        return None
