"""One composition problem in one environment: what is measured of its answers, whatever the controls turn out to be."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import median
from typing import Any

import numpy as np

from lever_ray.composition.groups import CandidateSpace
from lever_ray.composition.operators import Operator, is_masked
from lever_ray.composition.problem import Problem
from lever_ray.composition.rankers.protocol import Ranker, Scorer
from lever_ray.composition.rankers.regressor import FittedRanker
from lever_ray.composition.recipe import Recipe
from lever_ray.composition.recipe_parts import has_strategy
from lever_ray.composition.strategies.protocol import product_blocks
from lever_ray.experiment.controls import SinglePolicies, random_q_return, real_returns, space_of
from lever_ray.experiment.plan import ALL_GAMMAS, ExperimentPlan, Setup, cell_id
from lever_ray.experiment.recorded import walk_plan_return
from lever_ray.experiment.timing import asked_repeatedly
from lever_ray.library.reader import LibraryReader
from lever_ray.policies.group import GroupKey, PolicyGroup
from lever_ray.query.compose import compose
from lever_ray.query.composer import Composer
from lever_ray.query.members import retrieve
from lever_ray.query.ranking import ready
from lever_ray.query.result import CompositionResult
from lever_ray.statistics.contrasts import rank_correlation
from lever_ray.tasks.kernel import CompiledTask
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.protocol import Environment
from lever_ray.tasks.rollout import Rollout, rollout

Row = dict[str, Any]
ROUTES_MEASURED = 1_000
"""Most candidates of a route operator whose returns are measured to find the best one; drawn evenly beyond it."""


def held_groups(library: LibraryReader, environment: str, gamma: float, plan: ExperimentPlan) -> dict[str, PolicyGroup]:
    """Groups at a discount, by objective; those of all discounts are one group where they mix."""
    fits = [key for key in library.keys(environment) if key.episodes == plan.episodes]
    keys = [key for key in fits if gamma in (key.gamma, ALL_GAMMAS) and key.gamma in plan.gammas]
    found: dict[str, list[PolicyGroup]] = {}
    for key, group in zip(keys, library.groups(keys), strict=True):
        found.setdefault(key.objective, []).append(group)
    return {name: PolicyGroup.merge(name, parts) if len(parts) > 1 else parts[0] for name, parts in found.items()}


@dataclass(frozen=True, eq=False)
class OperatorSpace:
    """The candidates of one operator and what the best of them is worth.

    Attributes:
        operator: how members combine.
        problem: the question, with the groups that it combines or pools.
        masked: whether actions that no member took are excluded.
        space: their groups.
        best_candidate: max_c J(c), in the real environment; NaN for ``plan``, which has no candidates.
    """

    operator: Operator
    problem: Problem
    masked: bool
    space: CandidateSpace
    best_candidate: float

    @classmethod
    def of(cls, recipe: Recipe, problem: Problem, compiled: CompiledTask) -> OperatorSpace:
        """Measure every candidate's return; of route operators at most :data:`ROUTES_MEASURED`, evenly spaced."""
        operator, masked = recipe.make_operator(), is_masked(recipe.support)
        space = space_of(problem, operator)
        if not operator.needs_candidates:
            return cls(operator, problem, masked, space, float("nan"))
        every = np.concatenate(list(product_blocks(space.sizes)))
        if operator.is_route and len(every) > ROUTES_MEASURED:
            every = every[np.linspace(0, len(every) - 1, ROUTES_MEASURED).astype(np.int64)]
        returns = real_returns(compiled, space, every, operator=operator, masked=masked)
        return cls(operator, problem, masked, space, float(returns.max()))


class Case:
    """One setup at one gamma in one environment: what its answers share. Nothing is measured before it is needed.

    Args:
        environment: its name.
        task: it.
        library: where queries take their policies from.
        plan: of the experiment.
        setup: the composition problem.
        gamma: discount of the members.
        held: the environment's groups at that gamma, by objective, see :func:`held_groups`.
        lessons: environments that regressors learn from; all others of the library, if empty.
    """

    def __init__(
        self,
        environment: str,
        task: Environment,
        library: LibraryReader,
        plan: ExperimentPlan,
        setup: Setup,
        gamma: float,
        held: dict[str, PolicyGroup],
        lessons: Collection[str] = (),
    ) -> None:
        self.environment, self.task, self.library, self.plan = environment, task, library, plan
        self.setup, self.gamma, self.held, self.lessons = setup, gamma, held, lessons
        self.objective = Objective.of(setup.objective).resolved(task.terms)
        self.gammas = plan.gammas if gamma == ALL_GAMMAS else (gamma,)
        self.keys = [GroupKey(environment, name, each, plan.episodes) for name in setup.groups for each in self.gammas]
        self.recipes = plan.recipes_at(gamma)
        usual = self.recipes[0]
        self.masked = is_masked(usual.support)
        self.groups = retrieve(library, self.keys, usual.make_retrieval(without=setup.name))
        states = library.environment(environment).canonical
        self.problem = Problem(task, self.objective, tuple(self.groups), environment, states)
        self._spaces: dict[Any, OperatorSpace] = {}
        self._answered: dict[Any, Answered] = {}

    @cached_property
    def compiled(self) -> CompiledTask:
        """The environment under the composite objective."""
        return self.task.compile(self.setup.objective)

    @cached_property
    def pool(self) -> tuple[str, ...]:
        """What the mode allows as members of a pool: every objective that the library holds but the question's own."""
        return self.setup.pooled(self.held)

    @cached_property
    def singles(self) -> SinglePolicies:
        """Every policy at the gamma, but those for what is asked."""
        unlike = [
            group for name, group in self.held.items() if not (name and Objective.of(name).is_alike(self.objective))
        ]
        return SinglePolicies.of(unlike, self.compiled, masked=self.masked)

    @cached_property
    def training(self) -> PolicyGroup:
        """All members of the groups, for what training them took."""
        return PolicyGroup.merge("all", self.groups)

    @cached_property
    def walk_plan(self) -> float:
        """Return of planning on the transitions of random walks of as many steps."""
        return walk_plan_return(self.task, self.objective, self.training.environment_steps)

    @property
    def union(self) -> np.ndarray:
        """uint8[S, B]: what the members of the first recipe took, whose recorded model is the case's."""
        return self.space(self.recipes[0]).space.union

    def space(self, recipe: Recipe) -> OperatorSpace:
        """The candidates of a recipe's operator, measured once."""
        if recipe.operator not in self._spaces:
            self._spaces[recipe.operator] = OperatorSpace.of(recipe, self._asked(recipe), self.compiled)
        return self._spaces[recipe.operator]

    def _asked(self, recipe: Recipe) -> Problem:
        """The problem with the groups that an operator combines, or pools."""
        if not recipe.make_operator().pools_members:
            return self.problem
        keys = [key._replace(objective=name) for key in self.keys[: len(self.gammas)] for name in self.pool]
        members = retrieve(self.library, keys, recipe.make_retrieval(without=self.setup.name))
        return replace(self.problem, members=tuple(members))

    def measured(self, recipe: Recipe) -> Row:
        """One answer with everything that is measured of it, in reward units and seconds.

        :func:`~lever_ray.experiment.derived.derived` makes it a row of an experiment.

        Args:
            recipe: how to answer, with gamma and episodes of the members.
        """
        chosen = (recipe.operator, recipe.ranker)
        if chosen not in self._answered:
            ranker = ready(recipe.make_ranker(), self.library, self.objective, self.keys, self.lessons)
            self._answered[chosen] = Answered(self, self.space(recipe), ranker)
        return self._answered[chosen].measured(recipe)


@dataclass(frozen=True, eq=False)
class Answered:
    """One operator and ranker on one case.

    Attributes:
        case: the setup, gamma and environment.
        candidates: the operator and its candidates.
        ranker: what predicts returns, fitted where it learns.
    """

    case: Case
    candidates: OperatorSpace
    ranker: Ranker

    @cached_property
    def scorer(self) -> Scorer:
        """The ranker, bound to the case's problem."""
        return self.ranker.bind(self.candidates.problem)

    @cached_property
    def _single(self) -> float:
        return self.case.singles.chosen_by(self.scorer)

    def measured(self, recipe: Recipe) -> Row:
        """The query, answered and measured; see :meth:`Case.measured`."""
        answer, timings = self._timed(recipe)
        route = rollout(self.case.task, objective=self.case.objective, **answer.played)
        return (
            self._identity(answer, recipe)
            | self._returns(answer, route, recipe)
            | self._costs(answer, timings)
            | {f"ends/{end}": share for end, share in route.ends.items()}
        )

    def _timed(self, recipe: Recipe) -> tuple[CompositionResult, dict[str, float]]:
        """The query, and the median of its stages' seconds over repeats; slow ones are asked less often."""
        ranked = recipe.override(ranker=self.ranker)
        answers = asked_repeatedly(lambda: self._compose(ranked), self.case.plan.repeats)
        stages = {
            stage: median(answer.timings[stage] for answer in answers) for stage in ("retrieve", "rank", "compose")
        }
        return answers[0], stages | {"total": sum(stages.values())}

    def _compose(self, recipe: Recipe) -> CompositionResult:
        """The query as a user asks it: members are retrieved from the library, ranked and composed."""
        case = self.case
        return compose(
            case.library,
            environment=case.environment,
            objective=case.objective,
            groups=case.pool if self.candidates.operator.pools_members else case.setup.groups,
            recipe=recipe,
            without=case.setup.name,
        )

    def _identity(self, answer: CompositionResult, recipe: Recipe) -> Row:
        case, plan, seed = self.case, self.case.plan, self.case.task.seed
        return {
            "cell": cell_id(plan, case.setup, case.gamma, case.environment, seed),
            "family": plan.family,
            "environment": case.environment,
            "layout_seed": seed,
            "trivial_layout": case.task.trivial,
            "gamma": case.gamma,
            "discount": case.task.discount,
            "budget": plan.budget,
            "mode": case.setup.mode,
            "setup": case.setup.objective,
            "groups": " + ".join(case.setup.groups),
            "strategy": answer.strategy,
            "operator": answer.operator,
            "ranker": self.ranker.name,
            "support": answer.support,
            "support_source": answer.support_source,
            "retrieval": answer.retrieval,
            "regime": answer.regime,
            "tier": answer.tier,
            "recipe": recipe.id,
            "policy_ids": " ".join(answer.policy_ids),
        }

    def _returns(self, answer: CompositionResult, route: Rollout, recipe: Recipe) -> Row:
        operator = self.candidates.operator
        return {
            "route": operator.is_route,
            "return/composed": route.total,
            "return/predicted": answer.predicted_return,
            "return/best_candidate": float(np.nanmax([self.candidates.best_candidate, route.total])),
            "return/candidates": self.candidates.best_candidate,
            "return/best_single": self._single,
            "return/best_single_oracle": self.case.singles.oracle,
            "return/random_q": self._random_q(recipe),
            "return/walk_planner": self.case.walk_plan,
            "rank_correlation": self._rank_correlation(answer),
            "coverage/library": answer.coverage.library,
            "coverage/on_policy": answer.coverage.on_policy,
        }

    def _random_q(self, recipe: Recipe) -> float:
        operator = self.candidates.operator
        if not has_strategy(operator):
            return float("nan")
        return random_q_return(Composer(recipe, self.scorer), self.candidates.problem, self.case.compiled)

    def _rank_correlation(self, answer: CompositionResult) -> float:
        """Kendall tau-b between predicted and real returns of what was evaluated; NaN where it is undefined."""
        operator, space = self.candidates.operator, self.candidates.space
        if not operator.needs_candidates:
            return float("nan")
        evaluated, masked = answer.search.candidates, self.candidates.masked
        real = real_returns(self.case.compiled, space, evaluated, operator=operator, masked=masked)
        return rank_correlation(answer.search.scores.comparable(), real)

    def _costs(self, answer: CompositionResult, timings: dict[str, float]) -> Row:
        training = self.case.training
        return {
            "candidates/evaluated": answer.evaluated,
            "candidates/members_scored": answer.search.members_scored,
            "segments/simulated": float("nan") if answer.segments is None else float(answer.segments),
            "seconds/retrieve": timings["retrieve"],
            "seconds/rank": timings["rank"],
            "seconds/compose": timings["compose"],
            "seconds/query": timings["total"],
            "seconds/fit": self.ranker.fitted.seconds if isinstance(self.ranker, FittedRanker) else 0.0,
            "seconds/library": sum(run.seconds for run in training.runs),
            "environment_steps/library": training.environment_steps,
        }
