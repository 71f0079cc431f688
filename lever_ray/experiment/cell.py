"""All cells of one environment, from its policies to rows with every control beside the result."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from statistics import median
from typing import Any

import numpy as np

from lever_ray.composition.groups import CandidateSpace, PolicyGroup
from lever_ray.composition.operators import Operator, is_masked
from lever_ray.composition.problem import Problem
from lever_ray.composition.rankers.protocol import Ranker, Scorer
from lever_ray.composition.rankers.regressor import FittedRanker
from lever_ray.composition.recipe import Recipe
from lever_ray.composition.recipe_parts import has_strategy
from lever_ray.composition.strategies.protocol import product_blocks
from lever_ray.experiment.controls import Controls, Scratch, SinglePolicies, measure_controls, random_q_return, space_of
from lever_ray.experiment.gap import decompose_gap
from lever_ray.experiment.plan import ALL_GAMMAS, ExperimentPlan, Setup, cell_id
from lever_ray.experiment.recorded import RecordedModel, recorded_model, walk_plan_return
from lever_ray.experiment.statistics import offered
from lever_ray.experiment.timing import asked_repeatedly
from lever_ray.library.reader import LibraryReader
from lever_ray.library.stored import GroupKey
from lever_ray.query.compose import compose
from lever_ray.query.composer import Composer
from lever_ray.query.members import retrieve
from lever_ray.query.ranking import ready
from lever_ray.query.result import CompositionResult
from lever_ray.query.warm import warm_up_for
from lever_ray.statistics.contrasts import rank_correlation
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.protocol import Environment
from lever_ray.tasks.rollout import Rollout, rollout

Row = dict[str, Any]
ROUTES_MEASURED = 1_000
"""Most candidates of a route operator whose returns are measured to find the best one; drawn evenly beyond it."""


def run_environment(environment: str, library: LibraryReader, plan: ExperimentPlan) -> list[Row]:
    """Run every cell of one environment.

    Controls are measured once per composite objective and shared by the cells that need them. Quality is measured in
    the real environment after composition has finished, apart from its clock. Where the optimum is not known exactly,
    every cell of an objective is measured against the highest return that any of them reached.
    """
    task = library.environment(environment).task
    warm_up_for(task)
    controls = {
        name: measure_controls(task, name, plan) for name in dict.fromkeys(setup.objective for setup in plan.setups)
    }
    cases: list[Case] = []
    for gamma in plan.member_gammas:
        held = _groups(library, environment, gamma, plan)
        cases += [
            Case(environment, task, library, plan, setup, gamma, held, controls[setup.objective])
            for setup in plan.setups
        ]
    rows = []
    for case in cases:
        same = [other for other in cases if other.setup.objective == case.setup.objective]
        rows += case.rows(best_known=max(other.highest for other in same))
    return rows


def _groups(library: LibraryReader, environment: str, gamma: float, plan: ExperimentPlan) -> dict[str, PolicyGroup]:
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
    def of(cls, recipe: Recipe, problem: Problem, controls: Controls) -> OperatorSpace:
        """Measure every candidate's return; of route operators at most :data:`ROUTES_MEASURED`, evenly spaced."""
        operator, masked = recipe.make_operator(), is_masked(recipe.support)
        space = space_of(problem, operator)
        if not operator.needs_candidates:
            return cls(operator, problem, masked, space, float("nan"))
        every = np.concatenate(list(product_blocks(space.sizes)))
        if operator.is_route and len(every) > ROUTES_MEASURED:
            every = every[np.linspace(0, len(every) - 1, ROUTES_MEASURED).astype(np.int64)]
        returns = controls.real_returns(space, every, operator=operator, masked=masked)
        return cls(operator, problem, masked, space, float(returns.max()))


class Case:
    """One setup at one gamma in one environment: all operators, strategies and rankers.

    Args:
        environment: its name.
        task: it.
        library: where queries take their policies from.
        plan: of the experiment.
        setup: the composition problem.
        gamma: discount of the members.
        held: the environment's groups at that gamma, by objective.
        controls: of the environment and composite objective.
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
        controls: Controls,
    ) -> None:
        self.environment, self.task, self.library, self.plan = environment, task, library, plan
        self.setup, self.gamma, self.controls = setup, gamma, controls
        self.objective = Objective.of(setup.objective).resolved(task.terms)
        self.gammas = plan.gammas if gamma == ALL_GAMMAS else (gamma,)
        self.keys = [GroupKey(environment, name, each, plan.episodes) for name in setup.groups for each in self.gammas]
        self.recipes = plan.recipes_at(gamma)
        usual = self.recipes[0]
        self.groups = retrieve(library, self.keys, usual.make_retrieval(without=setup.name))
        singles = [group for name, group in held.items() if not (name and Objective.of(name).is_alike(self.objective))]
        self.singles = SinglePolicies.of(singles, controls, masked=is_masked(usual.support))
        states = library.environment(environment).canonical
        self.problem = Problem(task, self.objective, tuple(self.groups), environment, states)
        by_operator = [list(same) for _, same in groupby(self.recipes, lambda recipe: recipe.operator)]
        self.pool = self._pooled(held) if any(each.make_operator().pools_members for each in self.recipes) else ()
        self.spaces = [(OperatorSpace.of(same[0], self._asked(same[0]), controls), same) for same in by_operator]
        self.library_steps = PolicyGroup.merge("all", self.groups).environment_steps
        self.walk_plan = walk_plan_return(task, self.objective, self.library_steps)
        self.model = recorded_model(
            task,
            self.objective,
            self.spaces[0][0].space.union,
            episodes=plan.episodes,
            gammas=plan.gammas,
            training_seeds=plan.training_seeds,
        )

    def _pooled(self, held: dict[str, PolicyGroup]) -> tuple[str, ...]:
        """What the mode allows as members of a pool: every objective that the library holds but the question's own."""
        return self.setup.pooled(held)

    def _asked(self, recipe: Recipe) -> Problem:
        """The problem with the groups that an operator combines, or pools."""
        if not recipe.make_operator().pools_members:
            return self.problem
        keys = [key._replace(objective=name) for key in self.keys[: len(self.gammas)] for name in self.pool]
        members = retrieve(self.library, keys, recipe.make_retrieval(without=self.setup.name))
        return replace(self.problem, members=tuple(members))

    @property
    def highest(self) -> float:
        """The highest return that any method reached here; the optimum where it is exact."""
        if self.controls.optimum.exact:
            return self.controls.optimum.total
        reached = [space.best_candidate for space, _ in self.spaces if space.operator.needs_candidates]
        found = (self.model.optimum, self.model.memoryless, self.model.scratch, self.walk_plan)
        return float(np.nanmax([self.controls.highest, self.singles.oracle, *found, *reached]))

    def rows(self, *, best_known: float) -> list[Row]:
        """One row per operator, ranker and strategy.

        Args:
            best_known: J*, what all rows of the environment and objective are measured against.
        """
        rows = []
        for space, recipes in self.spaces:
            for _, same in groupby(recipes, lambda recipe: recipe.ranker):
                of_ranker = list(same)
                cell = Cell(self, space, self._ranker(of_ranker[0]), best_known)
                rows += [cell.row(recipe) for recipe in of_ranker]
        return rows

    def _ranker(self, recipe: Recipe) -> Ranker:
        return ready(recipe.make_ranker(), self.library, self.objective, self.keys)

    @property
    def scratch(self) -> Scratch:
        """Training from scratch at the members' discount; at the best one where they mix."""
        return self.controls.best_scratch if self.gamma == ALL_GAMMAS else self.controls.scratch[self.gamma]


@dataclass(frozen=True, eq=False)
class Cell:
    """One operator and ranker on one case.

    Attributes:
        case: the setup, gamma and environment.
        candidates: the operator and its candidates.
        ranker: what predicts returns, fitted where it learns.
        best_known: J*.
    """

    case: Case
    candidates: OperatorSpace
    ranker: Ranker
    best_known: float

    @cached_property
    def scorer(self) -> Scorer:
        """The ranker, bound to the case's problem."""
        return self.ranker.bind(self.candidates.problem)

    @property
    def scale(self) -> float:
        """J* - J_rand; NaN where the environment offers nothing over chance."""
        return offered(self.best_known, self.case.controls.random)

    def row(self, recipe: Recipe) -> Row:
        """The query, answered and measured, with its controls."""
        answer, timings = self._timed(recipe)
        route = rollout(self.case.task, objective=self.case.objective, **answer.played)
        return (
            self._identity(answer, recipe)
            | self._returns(answer, route, recipe)
            | self._quality(answer, route)
            | self._costs(answer, timings)
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

    def _real_returns(self, candidates: np.ndarray) -> np.ndarray:
        operator, space = self.candidates.operator, self.candidates.space
        return self.case.controls.real_returns(space, candidates, operator=operator, masked=self.candidates.masked)

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
        case, controls, model = self.case, self.case.controls, self.case.model
        longer = controls.best_longer(len(case.setup.groups))
        return {
            "return/composed": route.total,
            "return/predicted": answer.predicted_return,
            "return/best_candidate": self._best_candidate(route),
            "return/scratch": case.scratch.final,
            "return/scratch_best_snapshot": case.scratch.best_snapshot,
            "return/scratch_best_gamma": controls.best_scratch.final,
            "return/scratch_best_gamma_best_snapshot": controls.best_scratch_snapshot,
            "return/scratch_longer": longer.final,
            "return/scratch_longer_best_snapshot": longer.best_snapshot,
            "return/scratch_recorded_model": model.scratch,
            "return/best_single": case.singles.chosen_by(self.scorer),
            "return/best_single_oracle": case.singles.oracle,
            "return/random_q": self._random_q(recipe),
            "return/random": controls.random,
            "return/walk_planner": case.walk_plan,
            "return/recorded_optimum": model.optimum,
            "return/memoryless": model.memoryless,
            "return/optimum": self.best_known,
            "optimum_exact": controls.optimum.exact,
        }

    def _best_candidate(self, route: Rollout) -> float:
        """max_c J(c); the route itself where an operator has no candidates."""
        return float(np.nanmax([self.candidates.best_candidate, route.total]))

    def _random_q(self, recipe: Recipe) -> float:
        operator = self.candidates.operator
        if not has_strategy(operator):
            return float("nan")
        return random_q_return(Composer(recipe, self.scorer), self.candidates.problem, self.case.controls)

    def _quality(self, answer: CompositionResult, route: Rollout) -> Row:
        controls, singles = self.case.controls, self.case.singles
        strongest = max(singles.oracle, controls.best_scratch.final, controls.best_scratch_snapshot)
        return {
            "quality/ratio": _ratio(route.total, self.case.scratch.final),
            "quality/normalised": (route.total - controls.random) / self.scale,
            "quality/over_controls": (route.total - strongest) / self.scale,
            "regret": (self._best_candidate(route) - route.total) / self.scale,
            "rank_correlation": self._rank_correlation(answer),
            "coverage/library": answer.coverage.library,
            "coverage/on_policy": answer.coverage.on_policy,
            "coverage/value": (self.case.model.optimum - controls.random) / self.scale,
            **self._gap(route),
            **{f"ends/{end}": share for end, share in route.ends.items()},
        }

    def _gap(self, route: Rollout) -> Row:
        model: RecordedModel = self.case.model
        tables = not self.candidates.operator.is_route and not math.isnan(model.memoryless)
        gap = decompose_gap(
            self.best_known,
            recorded_optimum=model.optimum,
            memoryless=model.memoryless if tables else None,
            best_candidate=self._best_candidate(route),
            chosen=route.total,
        )
        return gap.to_row()

    def _rank_correlation(self, answer: CompositionResult) -> float:
        """Kendall tau-b between predicted and real returns of what was evaluated; NaN where it is undefined."""
        if not self.candidates.operator.needs_candidates:
            return float("nan")
        real = self._real_returns(answer.search.candidates)
        return rank_correlation(answer.search.scores.comparable(), real)

    def _costs(self, answer: CompositionResult, timings: dict[str, float]) -> Row:
        scratch = self.case.scratch
        return {
            "candidates/evaluated": answer.evaluated,
            "candidates/members_scored": answer.search.members_scored,
            "segments/simulated": math.nan if answer.segments is None else float(answer.segments),
            "seconds/retrieve": timings["retrieve"],
            "seconds/rank": timings["rank"],
            "seconds/compose": timings["compose"],
            "seconds/query": timings["total"],
            "seconds/fit": self.ranker.fitted.seconds if isinstance(self.ranker, FittedRanker) else 0.0,
            "seconds/scratch": scratch.seconds,
            "speedup/seconds": scratch.seconds / timings["total"],
            "environment_steps/saved": scratch.environment_steps,
            "environment_steps/library": self.case.library_steps,
            "break_even_queries": self.case.library_steps / scratch.environment_steps,
        }


def _ratio(value: float, reference: float) -> float:
    """Ratio of returns; NaN where the reference is not positive and a ratio would mislead."""
    return value / reference if reference > 0 else float("nan")
