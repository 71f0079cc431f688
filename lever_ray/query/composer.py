"""From groups of policies to a composed policy: search, rank, combine, and say what was covered."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from lever_ray.composition.composed import Composed
from lever_ray.composition.coverage import Coverage, over_starts, route_coverage, value_coverage
from lever_ray.composition.groups import CandidateSpace, disproportionate, objective_weights
from lever_ray.composition.operators import OPERATORS, Operator, check_factors, is_masked
from lever_ray.composition.problem import Problem
from lever_ray.composition.rankers.protocol import Scorer
from lever_ray.composition.recipe import Recipe
from lever_ray.composition.scores import Scores
from lever_ray.composition.search import SearchResult, search
from lever_ray.composition.strategies.protocol import BATCH, Shortlists
from lever_ray.composition.table_operators import FunctionOperator
from lever_ray.errors import InvalidValue
from lever_ray.executor import Executor, in_order
from lever_ray.query.result import CompositionResult, Option
from lever_ray.query.route_words import ignored
from lever_ray.tasks.rollout import rollout


@dataclass(frozen=True)
class Composer:
    """Candidates of one problem are searched, scored and combined as a recipe says.

    Attributes:
        recipe: how to answer; fixed before any reward is seen.
        scorer: what its ranker predicts returns of the problem's candidates with.
        executor: where blocks of candidates are scored; in this process if None.
        batch: candidates per block; results do not depend on it.
    """

    recipe: Recipe
    scorer: Scorer
    executor: Executor | None = None
    batch: int = BATCH

    def compose(self, problem: Problem, *, factors: Sequence[float] | None = None) -> CompositionResult:
        """Search the product of a problem's groups and compose the best candidate.

        Args:
            problem: the task, the objective and the groups.
            factors: on the action values of each group, beside the objective's weights.

        Raises:
            InvalidValue: the operator cannot answer this task, or gives no meaning to factors; see
                :meth:`lever_ray.composition.groups.CandidateSpace.of`.
        """
        operator = self.recipe.make_operator()
        if factors is not None:
            check_factors(operator)
        operator.check_task(problem.task)
        begun = perf_counter()
        names = [group.objective for group in problem.members]
        weights = objective_weights(problem.objective, names)
        normalised = operator.normalised
        space = CandidateSpace.of(problem.members, weights=weights, factors=factors, normalised=normalised)
        retrieved = perf_counter()
        found = self._search(space, operator) if operator.needs_candidates else None
        ranked = perf_counter()
        members, scored = self._members(space, found, operator)
        masked = is_masked(self.recipe.support)
        made = operator.compose(problem, space, members, masked=masked, scorer=self.scorer)
        if not isinstance(made, Composed):
            raise InvalidValue(
                f"compose of operator {operator.name!r} gave {type(made).__name__}; it must give a Composed, see "
                "lever_ray.composition.composed"
            )
        found = found or _searched(made, scored)
        composed = perf_counter()
        coverage, observations = _coverage(problem, space, members, made)
        ids, sources, every = _ids(space, members), _sources(space, members), _ids(space, space.rows)
        stages = {"retrieve": retrieved - begun, "rank": ranked - retrieved, "compose": composed - ranked}
        return CompositionResult(
            environment=problem.environment,
            objective=problem.objective,
            groups=tuple(names) if operator.needs_candidates else tuple(dict.fromkeys(names)),
            policy_ids=ids,
            q=made.q,
            actions=made.actions,
            predicted_return=found.predicted_return,
            coverage=coverage,
            evaluated=found.evaluated,
            timings=stages | {"total": composed - begun, "coverage": perf_counter() - composed},
            warnings=(
                *_source_warnings(sources),
                *([] if operator.is_route else _weight_warnings(problem, names)),
                *made.warnings,
                *_warnings(found, coverage, operator, problem.task.ends),
                *ignored(problem, observations),
                *problem.task.warnings,
            ),
            recipe=self.recipe,
            support_source=max(sources.values(), key=SOURCES.index),
            tier=max(self.recipe.tier, _tier_of(space)),
            search=found,
            routes=made.routes,
            segments=made.segments,
            options=tuple(Option(every[part.member], part.begins, part.ends) for part in made.followed),
            player=made.player,
            problem=problem,
        )

    def _search(self, space: CandidateSpace, operator: Operator) -> SearchResult:
        strategy, masked = self.recipe.make_strategy(), is_masked(self.recipe.support)

        def evaluate(blocks: Iterable[np.ndarray]) -> Iterable[Scores]:
            if self.executor is None:
                return (_score(block, self.scorer, space, operator, masked) for block in blocks)
            shared = (self.scorer, space, operator, masked)
            return in_order(self.executor.map(_score, list(blocks), shared=shared))

        members = self.scorer.member_scores(space) if strategy.needs_member_scores else None
        return search(strategy, space, evaluate, batch=self.batch, member_scores=members)

    def _members(self, space: CandidateSpace, found: SearchResult | None, operator: Operator) -> tuple[np.ndarray, int]:
        """Rows of the pool that the answer is made of, int32[m], and how many single members were scored for it."""
        if found is not None:
            return space.mixtures(found.candidate_row)[0], 0
        strategy = self.recipe.make_strategy()
        if not operator.pools_members or not strategy.needs_member_scores:
            return space.rows, 0
        assert isinstance(strategy, Shortlists)  # the recipe has seen to that
        alone = space.rows[:, None]
        scores = _score(alone, self.scorer, space, OPERATORS["sum"], True).comparable()
        chosen = strategy.shortlist(space, np.split(scores, space.offsets[1:]))
        rows = np.concatenate([first + rows for first, rows in zip(space.offsets, chosen, strict=True)])
        return np.sort(rows).astype(np.int32), len(alone)


def _searched(made: Composed, members_scored: int) -> SearchResult:
    """The search of an operator that has no candidates: one answer, found among all members."""
    if made.total is None:
        raise InvalidValue("an operator without candidates has to say the total of what it composed; it gave None")
    scores = Scores(np.array([made.total]), np.array([made.left_support]))
    return SearchResult((), made.total, made.left_support, 1, members_scored, np.zeros((1, 0), np.int64), scores)


def _score(block: np.ndarray, scorer: Scorer, space: CandidateSpace, operator: Operator, masked: bool) -> Scores:
    scores = scorer.score(space, block, operator=operator, masked=masked)
    if not isinstance(scores, Scores) or np.shape(scores.values) != (len(block),) or np.isnan(scores.values).any():
        told = np.shape(scores.values) if isinstance(scores, Scores) else type(scores).__name__
        raise InvalidValue(
            f"{type(scorer).__name__} scored {len(block)} candidates by {told}; it must give Scores with as many "
            "numbers, none NaN"
        )
    return scores


SOURCES: tuple[str, ...] = ("visits", "transitions", "unknown")
"""What a policy's support was derived from, the best known first."""
_SHOWN = 6
"""Policies that a warning names."""


def _ids(space: CandidateSpace, members: np.ndarray) -> tuple[str, ...]:
    every = [identity for group in space.groups for identity in group.ids]
    return tuple(every[row] for row in members)


def _sources(space: CandidateSpace, members: np.ndarray) -> dict[str, str]:
    """What each chosen member's support was derived from, by id."""
    sources = [source for group in space.groups for source in group.all_sources]
    return {identity: sources[row] for identity, row in zip(_ids(space, members), members, strict=True)}


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


def _weight_warnings(problem: Problem, names: Sequence[str]) -> Iterator[str]:
    for name in disproportionate(problem.objective, names):
        yield (
            f"policies for {name!r} were trained to weigh its terms alike, and {problem.objective.id!r} does not: "
            "their values count as they are; groups of single terms are weighed"
        )


def _coverage(
    problem: Problem, space: CandidateSpace, members: np.ndarray, made: Composed
) -> tuple[Coverage, np.ndarray]:
    """Coverage of the composed policy's routes in the task that the library holds, and their observations.

    No environment is touched.
    """
    task, objective = problem.task, problem.objective
    taken = np.bitwise_or.reduce(space.pool.support[members])
    value = value_coverage(task, objective, space.union)
    found, met = [], []
    for place, start in enumerate(task.dynamics.starts.tolist()):
        actions = made.routes[place] if made.routes else made.actions
        route = rollout(task, objective=objective, q=made.q, actions=actions, start=start)
        found.append(route_coverage(task, taken, route.observations, route.actions, value=value))
        met.append(route.observations)
    return over_starts(found, task.dynamics.weights), np.concatenate(met)


def _warnings(found: SearchResult, coverage: Coverage, operator: Operator, ends: Sequence[str]) -> tuple[str, ...]:
    warnings = []
    if isinstance(operator, FunctionOperator):
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
