"""From groups of policies to a composed policy: search, rank, combine, and say what was covered."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from lever_ray.composition.coverage import Coverage, over_starts, route_coverage, value_coverage
from lever_ray.composition.groups import CandidateSpace
from lever_ray.composition.operators import Operator, check_answers, check_composable, composed_table, is_masked
from lever_ray.composition.problem import Problem
from lever_ray.composition.rankers import Ranker, Scores, check_ranker
from lever_ray.composition.routes import route_of
from lever_ray.composition.search import BATCH, SearchResult, Strategy, search
from lever_ray.executor import Executor, in_order
from lever_ray.query.result import CompositionResult
from lever_ray.tasks.rollout import rollout

PLAN_WIDTH = 100
"""Beam width of the operator ``plan``, unless told otherwise."""


@dataclass(frozen=True, eq=False)
class _Composed:
    """A composed policy: a Q-table or a route, the members that it is made of, and how it was found."""

    members: np.ndarray
    q: np.ndarray | None
    actions: np.ndarray | None
    found: SearchResult


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
        width: beam width of the operator ``plan``.
    """

    strategy: Strategy
    operator: Operator
    ranker: Ranker
    support: str = "mask"
    executor: Executor | None = None
    batch: int = BATCH
    width: int = PLAN_WIDTH

    def compose(
        self,
        problem: Problem,
        *,
        weights: Sequence[float] | None = None,
    ) -> CompositionResult:
        """Search the product of a problem's groups and compose the best candidate.

        Args:
            problem: the task, the objective and the groups.
            weights: factor on the action values of each group.

        Raises:
            InvalidValue: the operator cannot answer this task; see
                :meth:`lever_ray.composition.groups.CandidateSpace.of`,
                :func:`~lever_ray.composition.operators.check_composable` and
                :func:`~lever_ray.composition.rankers.check_ranker`.
            UnknownName: the support rule is not known.
        """
        check_composable(self.operator, support=self.support, weighted=weights is not None)
        check_ranker(self.ranker.name, self.operator)
        check_answers(self.operator, problem.task)
        begun = perf_counter()
        space = CandidateSpace.of(problem.members, weights=weights, normalised=self.operator.normalised)
        retrieved = perf_counter()
        found = self._search(space) if self.operator.needs_candidates else None
        ranked = perf_counter()
        made = self._combine(space, found, problem)
        composed = perf_counter()
        coverage = _coverage(problem, space, made)
        sources = _sources(space, found)
        stages = {"retrieve": retrieved - begun, "rank": ranked - retrieved, "compose": composed - ranked}
        return CompositionResult(
            environment=problem.environment,
            objective=problem.objective,
            groups=tuple(group.objective for group in problem.members),
            policy_ids=_ids(space, found),
            q=made.q,
            actions=made.actions,
            predicted_return=made.found.predicted_return,
            coverage=coverage,
            evaluated=made.found.evaluated,
            timings=stages | {"total": composed - begun, "coverage": perf_counter() - composed},
            warnings=(
                *_source_warnings(sources),
                *_warnings(made.found, coverage, self.operator, problem.task.ends),
                *problem.task.warnings,
            ),
            strategy=self.strategy.id if self.operator.needs_candidates else UNION,
            operator=self.operator.name,
            ranker=self.ranker.name,
            support=self.support,
            regime=self.operator.regime,
            support_source=max(sources.values(), key=SOURCES.index),
            tier=max(self.operator.tier, self.ranker.tier, _tier_of(space)),
            search=made.found,
        )

    def _search(self, space: CandidateSpace) -> SearchResult:
        masked = is_masked(self.support)

        def evaluate(blocks: Iterable[np.ndarray]) -> Iterable[Scores]:
            return self._evaluate(space, masked, blocks)

        members = self.ranker.member_scores(space) if self.strategy.scores_members else None
        return search(self.strategy, space, evaluate, batch=self.batch, member_scores=members)

    def _evaluate(self, space: CandidateSpace, masked: bool, blocks: Iterable[np.ndarray]) -> Iterable[Scores]:
        if self.executor is None:
            return (_score(block, self.ranker, space, self.operator, masked) for block in blocks)
        shared = (self.ranker, space, self.operator, masked)
        return in_order(self.executor.map(_score, list(blocks), shared=shared))

    def _combine(self, space: CandidateSpace, found: SearchResult | None, problem: Problem) -> _Composed:
        if found is None:
            search_plan = problem.task.hooks.plan
            assert search_plan is not None  # check_answers has seen to that
            made = search_plan(problem.task, problem.objective, width=self.width, support=space.union)
            return _Composed(
                np.arange(len(space.pool.q)), made.q, made.actions, planned(made.total, left_support=made.left_support)
            )
        members = space.mixtures(np.array([found.candidate]))[0]
        if self.operator.is_route:
            return _Composed(
                members, None, route_of(problem.compiled, space.pool, members, operator=self.operator.name), found
            )
        table = composed_table(self.operator, space, members, masked=is_masked(self.support))
        return _Composed(members, table, None, found)


UNION = "union"
"""What stands for the strategy where an operator takes the transitions of every member."""


def planned(total: float, *, left_support: bool = False) -> SearchResult:
    """The search of an operator that has no candidates: one route, found on the union of all transitions."""
    nothing = Scores(np.array([total]), np.array([left_support]))
    return SearchResult((), total, left_support, 1, 0, np.zeros((1, 0), np.int64), nothing)


def _score(block: np.ndarray, ranker: Ranker, space: CandidateSpace, operator: Operator, masked: bool) -> Scores:
    return ranker.score(space, block, operator=operator, masked=masked)


def _ids(space: CandidateSpace, found: SearchResult | None) -> tuple[str, ...]:
    if found is not None:
        return space.ids(found.candidate)
    return tuple(identity for group in space.groups for identity in group.ids)


SOURCES: tuple[str, ...] = ("visits", "transitions", "unknown")
"""What a policy's support was derived from, the best known first."""
_SHOWN = 6
"""Policies that a warning names."""


def _sources(space: CandidateSpace, found: SearchResult | None) -> dict[str, str]:
    """What each chosen member's support was derived from, by id."""
    known = {
        identity: source
        for group in space.groups
        for identity, source in zip(group.ids, group.all_sources, strict=True)
    }
    return {identity: known[identity] for identity in _ids(space, found)}


def _tier_of(space: CandidateSpace) -> str:
    """Least information that the members need: unknown support is read from the task's moves."""
    return "I3" if any("unknown" in group.sources for group in space.groups) else "I0"


def _source_warnings(sources: Mapping[str, str]) -> Iterator[str]:
    for source, told in (
        ("transitions", "was derived from given transitions"),
        (
            "unknown",
            "is unknown: every action counts as taken, rollouts follow the task's moves, coverage says nothing",
        ),
    ):
        ids = [identity for identity, known in sources.items() if known == source]
        more = f" and {len(ids) - _SHOWN} more" if len(ids) > _SHOWN else ""
        if ids:
            yield f"support of policies [{', '.join(ids[:_SHOWN])}]{more} {told}"


def _coverage(problem: Problem, space: CandidateSpace, made: _Composed) -> Coverage:
    """Coverage of the composed policy's route in the task that the library holds; no environment is touched."""
    task, objective = problem.task, problem.objective
    taken = np.bitwise_or.reduce(space.pool.support[made.members])
    value = value_coverage(task, objective, space.union)
    found = []
    for start in task.dynamics.starts.tolist():
        route = rollout(task, objective=objective, q=made.q, actions=made.actions, start=start)
        found.append(route_coverage(task, taken, route.observations, route.actions, value=value))
    return over_starts(found, task.dynamics.weights)


def _warnings(found: SearchResult, coverage: Coverage, operator: Operator, ends: Sequence[str]) -> tuple[str, ...]:
    warnings = []
    if operator.combine is not None:
        warnings.append(
            f"operator {operator.name!r} is a user's function: every candidate is composed in full before it is "
            "ranked, which is slower than the built-in operators"
        )
    if found.left_support:
        warnings.append(
            "no candidate stays on recorded transitions; the predicted return is that of the supported prefix"
        )
    if coverage.leaves_at is not None:
        warnings.append(
            f"the composed route leaves the recorded transitions at {_place(coverage.leaves_at)}; "
            "what follows is not predicted"
        )
    if coverage.circles:
        warnings.append(f"the composed route circles until the episode is cut; it reaches {_nothing(ends)}")
    return tuple(warnings)


def _place(label: Hashable) -> str:
    return f"cell {label}" if isinstance(label, tuple) else f"observation {label}"


def _nothing(ends: Sequence[str]) -> str:
    return f"neither {' nor '.join(ends)}" if len(ends) > 1 else f"no {ends[0]} state"
