"""All cells of one environment, from its policies to rows with every control beside the result."""

from __future__ import annotations

from statistics import median
from typing import Any

import numpy as np

from lever_ray.composition.groups import CandidateSpace, PolicyGroup
from lever_ray.composition.operators import composition_operator, is_masked
from lever_ray.composition.rankers import Ranker
from lever_ray.composition.search import Strategy, product_blocks
from lever_ray.embedding.regressor import FittedRegressor
from lever_ray.experiment.controls import Controls, SinglePolicies, measure_controls, random_q_return
from lever_ray.experiment.plan import ExperimentPlan, Setup, cell_id
from lever_ray.gridworld.layout import Layout
from lever_ray.gridworld.objective import Objective
from lever_ray.gridworld.rollout import ENDS, Rollout, rollout
from lever_ray.library.reader import LibraryReader
from lever_ray.library.shard import GroupKey
from lever_ray.query.compose import compose, fit, make_ranker
from lever_ray.query.result import Composer, CompositionResult
from lever_ray.query.warm import warm_up

Row = dict[str, Any]
REPEATS = 5
"""Times that a query is asked; the median of its stages is reported."""
SLOW = 0.05
"""Seconds from which a query is asked once."""


def run_environment(environment: str, library: LibraryReader, plan: ExperimentPlan) -> list[Row]:
    """Run every cell of one environment.

    Controls are measured once per composite objective and shared by the cells that need them. Quality is measured in
    the real environment after composition has finished, apart from its clock.
    """
    warm_up()
    layout = library.environment(environment).layout
    controls = {
        name: measure_controls(layout, name, plan) for name in dict.fromkeys(setup.objective for setup in plan.setups)
    }
    rows = []
    for gamma in plan.gammas:
        held = _groups(library, environment, gamma, plan)
        for setup in plan.setups:
            cell = Cell(environment, layout, library, plan, setup, gamma, held, controls[setup.objective])
            rows += cell.rows()
    return rows


def _groups(library: LibraryReader, environment: str, gamma: float, plan: ExperimentPlan) -> dict[str, PolicyGroup]:
    keys = [key for key in library.keys(environment) if key.gamma == gamma and key.episodes == plan.episodes]
    return {key.objective: group for key, group in zip(keys, library.groups(keys), strict=True)}


class Cell:
    """One setup at one gamma in one environment: all strategies and rankers.

    Args:
        environment: its name.
        layout: its grid.
        library: where queries take their policies from.
        plan: of the experiment.
        setup: the composition problem.
        gamma: discount of the members.
        held: the environment's groups at that gamma, by objective.
        controls: of the layout and composite objective.
    """

    def __init__(
        self,
        environment: str,
        layout: Layout,
        library: LibraryReader,
        plan: ExperimentPlan,
        setup: Setup,
        gamma: float,
        held: dict[str, PolicyGroup],
        controls: Controls,
    ) -> None:
        self.environment, self.layout, self.library, self.plan = environment, layout, library, plan
        self.setup, self.gamma, self.controls = setup, gamma, controls
        self.objective = Objective.of(setup.objective)
        self.groups = [held[name] for name in setup.groups]
        self.space = CandidateSpace.of(self.groups)
        self.operator, self.masked = composition_operator(plan.operator), is_masked(plan.support)
        self.singles = SinglePolicies.of(
            [group for name, group in held.items() if name != setup.objective], controls, masked=self.masked
        )
        every = np.concatenate(list(product_blocks(self.space.sizes)))
        self.best_candidate = float(self._real_returns(every).max())
        self.best_known = controls.best_known(self.singles.oracle, self.best_candidate)
        self.scale = self.best_known - controls.random

    def rows(self) -> list[Row]:
        """One row per ranker and strategy."""
        return [row for name in self.plan.rankers for row in self._rows_of(name)]

    def _rows_of(self, name: str) -> list[Row]:
        key = GroupKey(self.environment, self.setup.groups[0], self.gamma, self.plan.episodes)
        learns = name == "regressor"
        fitted = fit(self.library, self.environment, self.objective, key, self.plan.regressor) if learns else None
        ranker = make_ranker(self.library.environment(self.environment), self.objective, fitted)
        return [self._row(strategy, ranker, fitted) for strategy in self.plan.strategies]

    def _row(self, strategy: Strategy, ranker: Ranker, fitted: FittedRegressor | None) -> Row:
        answer, timings = self._timed(strategy, ranker, fitted)
        route = rollout(self.layout, objective=self.objective, q=answer.q)
        composer = Composer(strategy, self.operator, ranker, self.plan.support)
        random_q = random_q_return(
            composer, self.groups, self.layout, self.controls, objective=self.setup.objective, seed=self._seed
        )
        return (
            self._identity(strategy, ranker, answer)
            | self._returns(answer, route, ranker, random_q)
            | self._quality(answer, route)
            | self._costs(answer, timings, 0.0 if fitted is None else fitted.seconds)
        )

    def _timed(
        self, strategy: Strategy, ranker: Ranker, fitted: FittedRegressor | None
    ) -> tuple[CompositionResult, dict[str, float]]:
        """The query, and the median of its stages' seconds over repeats; slow ones run once."""
        answers = [self._compose(strategy, ranker, fitted)]
        while len(answers) < REPEATS and answers[0].timings["total"] < SLOW:
            answers.append(self._compose(strategy, ranker, fitted))
        stages = {
            stage: median(answer.timings[stage] for answer in answers) for stage in ("retrieve", "rank", "compose")
        }
        return answers[0], stages | {"total": sum(stages.values())}

    def _compose(self, strategy: Strategy, ranker: Ranker, fitted: FittedRegressor | None) -> CompositionResult:
        """The query as a user asks it: members are retrieved from the library, ranked and composed."""
        return compose(
            self.library,
            environment=self.environment,
            objective=self.objective,
            groups=self.setup.groups,
            strategy=strategy,
            operator=self.plan.operator,
            ranker=ranker.name,
            regressor=fitted or self.plan.regressor,
            support=self.plan.support,
            gamma=self.gamma,
            episodes=self.plan.episodes,
        )

    @property
    def _seed(self) -> int:
        return int(self.environment.rsplit("-", 1)[1])

    def _real_returns(self, candidates: np.ndarray) -> np.ndarray:
        return self.controls.real_returns(self.space, candidates, operator=self.operator, masked=self.masked)

    def _identity(self, strategy: Strategy, ranker: Ranker, answer: CompositionResult) -> Row:
        return {
            "cell": cell_id(self.plan, self.setup, self.gamma, self.environment),
            "family": self.plan.family,
            "environment": self.environment,
            "layout_seed": self._seed,
            "trivial_layout": self.layout.trivial,
            "gamma": self.gamma,
            "budget": self.plan.budget,
            "mode": self.setup.mode,
            "setup": self.setup.objective,
            "groups": " + ".join(self.setup.groups),
            "strategy": strategy.id,
            "operator": answer.operator,
            "ranker": ranker.name,
            "support": answer.support,
            "regime": answer.regime,
            "tier": answer.tier,
            "policy_ids": " ".join(answer.policy_ids),
        }

    def _returns(self, answer: CompositionResult, route: Rollout, ranker: Ranker, random_q: float) -> Row:
        controls, scratch = self.controls, self.controls.scratch[self.gamma]
        return {
            "return/composed": route.total,
            "return/predicted": answer.predicted_return,
            "return/best_candidate": self.best_candidate,
            "return/scratch": scratch.final,
            "return/scratch_best_snapshot": scratch.best_snapshot,
            "return/scratch_best_gamma": controls.best_scratch.final,
            "return/best_single": self.singles.chosen_by(ranker),
            "return/best_single_oracle": self.singles.oracle,
            "return/random_q": random_q,
            "return/random": controls.random,
            "return/optimum": self.best_known,
            "optimum_exact": controls.optimum.exact,
        }

    def _quality(self, answer: CompositionResult, route: Rollout) -> Row:
        controls, scale = self.controls, self.scale
        chosen = float(self._real_returns(np.array([answer.search.candidate]))[0])
        strongest = max(self.singles.oracle, controls.best_scratch.final, controls.best_scratch_snapshot)
        return {
            "quality/ratio": _ratio(route.total, controls.scratch[self.gamma].final),
            "quality/normalised": (route.total - controls.random) / scale,
            "quality/over_controls": (route.total - strongest) / scale,
            "regret": (self.best_candidate - chosen) / scale,
            "rank_correlation": self._rank_correlation(answer),
            "coverage/library": answer.coverage.library,
            "coverage/on_policy": answer.coverage.on_policy,
            **{f"ends/{end}": float(route.end == end) for end in ENDS},
        }

    def _rank_correlation(self, answer: CompositionResult) -> float:
        """Kendall tau-b between predicted and real returns of what was evaluated; NaN where it is undefined."""
        from scipy.stats import kendalltau

        real = self._real_returns(answer.search.candidates)
        predicted = answer.search.scores.comparable()
        if len(real) < 2 or np.ptp(real) == 0.0 or np.ptp(predicted) == 0.0:
            return float("nan")
        return float(kendalltau(predicted, real).statistic)

    def _costs(self, answer: CompositionResult, timings: dict[str, float], fit_seconds: float) -> Row:
        scratch = self.controls.scratch[self.gamma]
        return {
            "candidates/evaluated": answer.evaluated,
            "candidates/members_scored": answer.search.members_scored,
            "seconds/retrieve": timings["retrieve"],
            "seconds/rank": timings["rank"],
            "seconds/compose": timings["compose"],
            "seconds/query": timings["total"],
            "seconds/fit": fit_seconds,
            "seconds/scratch": scratch.seconds,
            "speedup/seconds": scratch.seconds / timings["total"],
            "environment_steps/saved": scratch.environment_steps,
        }


def _ratio(value: float, reference: float) -> float:
    """Ratio of returns; NaN where the reference is not positive and a ratio would mislead."""
    return value / reference if reference > 0 else float("nan")
