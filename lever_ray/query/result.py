"""The answer to a query, and how groups of policies become it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np

from lever_ray.composition.coverage import Coverage, route_coverage
from lever_ray.composition.groups import CandidateSpace, PolicyGroup
from lever_ray.composition.operators import Operator, is_masked
from lever_ray.composition.rankers import Ranker, Scores
from lever_ray.composition.search import BATCH, SearchResult, Strategy, search
from lever_ray.embedding.offline import mixture_table
from lever_ray.executor import Executor, in_order
from lever_ray.gridworld.layout import Layout
from lever_ray.gridworld.objective import Objective
from lever_ray.gridworld.rollout import rollout


@dataclass(frozen=True, eq=False)
class CompositionResult:
    """A composed policy and how it came about.

    Attributes:
        environment: name of the environment.
        objective: the composite objective.
        groups: the sub-objectives, one per member.
        policy_ids: the chosen members, one per group.
        q: float32[S, A], the composed action values (-inf for actions that ``support="mask"`` excludes); None for
            operators that are no Q-table.
        actions: int8[T], the route of such an operator; None for Q-tables.
        predicted_return: what the ranker expects, in reward units.
        coverage: how much of the task and of the composed route was seen in training.
        evaluated: candidates evaluated.
        timings: seconds by stage: ``parse``, ``retrieve``, ``rank``, ``compose``; ``fit`` (of the regressor, done once
            per library) stands outside ``total``.
        warnings: what a careful reader should know.
        strategy, operator, ranker, support: as used.
        regime: ``support-limited`` where the operator propagates no value.
        tier: information used, ``I0`` to ``I4``.
        search: every candidate evaluated, with its score.
    """

    environment: str
    objective: Objective
    groups: tuple[str, ...]
    policy_ids: tuple[str, ...]
    q: np.ndarray | None
    actions: np.ndarray | None
    predicted_return: float
    coverage: Coverage
    evaluated: int
    timings: dict[str, float]
    warnings: tuple[str, ...]
    strategy: str
    operator: str
    ranker: str
    support: str
    regime: str
    tier: str
    search: SearchResult = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; arrays and the list of candidates are left out."""
        plain = (
            "environment",
            "predicted_return",
            "evaluated",
            "strategy",
            "operator",
            "ranker",
            "support",
            "regime",
            "tier",
        )
        return {name: getattr(self, name) for name in plain} | {
            "objective": self.objective.id,
            "groups": list(self.groups),
            "policy_ids": list(self.policy_ids),
            "coverage": {"library": self.coverage.library, "on_policy": self.coverage.on_policy},
            "timings": dict(self.timings),
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True)
class Composer:
    """How candidates are searched, scored and combined; fixed before any reward is seen.

    Attributes:
        strategy: which candidates.
        operator: how members combine.
        ranker: what predicts returns.
        support: ``mask`` or ``ignore``.
        executor: where blocks of candidates are scored; in this process if None.
        batch: candidates per block; results do not depend on it.
    """

    strategy: Strategy
    operator: Operator
    ranker: Ranker
    support: str = "mask"
    executor: Executor | None = None
    batch: int = BATCH

    def compose(
        self,
        groups: Sequence[PolicyGroup],
        *,
        layout: Layout,
        environment: str,
        objective: Objective,
        weights: Sequence[float] | None = None,
    ) -> CompositionResult:
        """Search the product of the groups and compose the best candidate.

        Raises:
            InvalidValue: see :meth:`lever_ray.composition.groups.CandidateSpace.of`.
            UnknownName: the support rule is not known.
        """
        masked = is_masked(self.support)
        begun = perf_counter()
        space = CandidateSpace.of(groups, weights=weights)
        retrieved = perf_counter()
        found = search(self.strategy, space, lambda blocks: self._evaluate(space, masked, blocks), batch=self.batch)
        ranked = perf_counter()
        members = space.mixtures(np.array([found.candidate]))[0]
        q = mixture_table(space.pool.q, space.pool.support, members, self.operator.code, masked)
        composed = perf_counter()
        coverage = _coverage(layout, objective, q, np.bitwise_or.reduce(space.pool.support[members]))
        return CompositionResult(
            environment=environment,
            objective=objective,
            groups=tuple(group.objective for group in groups),
            policy_ids=space.ids(found.candidate),
            q=q,
            actions=None,
            predicted_return=found.predicted_return,
            coverage=coverage,
            evaluated=found.evaluated,
            timings=_timings(retrieve=retrieved - begun, rank=ranked - retrieved, compose=composed - ranked),
            warnings=_warnings(found, coverage),
            strategy=self.strategy.id,
            operator=self.operator.name,
            ranker=self.ranker.name,
            support=self.support,
            regime=self.operator.regime,
            tier=max(self.operator.tier, self.ranker.tier),
            search=found,
        )

    def _evaluate(self, space: CandidateSpace, masked: bool, blocks: Iterable[np.ndarray]) -> list[Scores]:
        shared = (self.ranker, space.pool, self.operator, masked)
        given = list(blocks)
        if self.executor is None or len(given) == 1:
            return [_score(block, *shared) for block in given]
        return in_order(self.executor.map(_score, given, shared=shared))


def _score(block: np.ndarray, ranker: Ranker, pool: Any, operator: Operator, masked: bool) -> Scores:
    return ranker.score(pool, block, operator=operator, masked=masked)


def _coverage(layout: Layout, objective: Objective, q: np.ndarray, support: np.ndarray) -> Coverage:
    """Coverage of the composed policy's route over the layout that the library holds; no environment is touched."""
    route = rollout(layout, objective=objective, q=q)
    return route_coverage(layout, support, route.path, route.actions)


def _timings(**stages: float) -> dict[str, float]:
    return {**stages, "total": sum(stages.values())}


def _warnings(found: SearchResult, coverage: Coverage) -> tuple[str, ...]:
    warnings = []
    if found.left_support:
        warnings.append(
            "no candidate stays on recorded transitions; the predicted return is that of the supported prefix"
        )
    if coverage.leaves_at is not None:
        warnings.append(
            f"the composed route leaves the recorded transitions at cell {coverage.leaves_at}; "
            "what follows is not predicted"
        )
    return tuple(warnings)
