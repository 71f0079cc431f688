"""What an answer has to stand beside: the best single member, the optimum, training from scratch, and other recipes.

Everything here is measured in the environment that the library holds, after the answer and apart from its clock.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lever_ray.composition.groups import CandidateSpace
from lever_ray.composition.problem import Problem
from lever_ray.composition.route_operators import Plan
from lever_ray.embedding.offline import SUM, offline_returns
from lever_ray.tasks.optimum import optimum
from lever_ray.tasks.rollout import Rollout, rollout

if TYPE_CHECKING:
    from lever_ray.query.result import CompositionResult

MOST_SINGLES = 10_000
"""Members that are rolled out to find the best one."""
MOST_PAIRS = 50_000
"""Observations times actions up to which the optimum, or a plan, is looked for with every answer."""
PLAN_WIDTH = Plan.width
_SAME = 1e-9


class Highest(NamedTuple):
    """The best return known.

    Attributes:
        total: in reward units.
        how: ``optimum`` where it is exact; else what found it.
    """

    total: float
    how: str


@dataclass(frozen=True)
class Rivals:
    """What an answer stands beside.

    Attributes:
        route: what it earns in the environment, and how.
        best_single: return of the best single member.
        best_single_id: its id.
        highest: the best return known.
        scratch_steps: environment steps that training a policy took, the mean over the members' runs; NaN where no
            member says.
        scratch_seconds: seconds of the same; NaN likewise.
        scratch: return of a policy trained from scratch for this objective; NaN where none was trained.
        better: recipes that do better, with their returns, the best first.
    """

    route: Rollout
    best_single: float
    best_single_id: str
    highest: Highest
    scratch_steps: float
    scratch_seconds: float
    scratch: float
    better: tuple[tuple[str, float], ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; None for what nothing tells."""
        numbers = {
            "return": self.route.total,
            "best_single": self.best_single,
            "highest": self.highest.total,
            "scratch": self.scratch,
            "scratch_steps": self.scratch_steps,
            "scratch_seconds": self.scratch_seconds,
        }
        plain: dict[str, Any] = {name: None if np.isnan(value) else value for name, value in numbers.items()}
        return plain | {
            "best_single_id": self.best_single_id,
            "highest_by": self.highest.how,
            "better": dict(self.better),
        }

    def __str__(self) -> str:
        better = self.told_better()
        return self.told() + (f"; better: {better}" if better else "")

    def told(self) -> str:
        """In one line: best single policy, the best return known, and what training from scratch takes."""
        parts = [f"best single policy {self.best_single:.1f}", f"{self.highest.how} {self.highest.total:.1f}"]
        if not np.isnan(self.scratch):
            parts.append(f"trained from scratch {self.scratch:.1f}")
        if not np.isnan(self.scratch_steps):
            took = "" if np.isnan(self.scratch_seconds) else f", {1e3 * self.scratch_seconds:.1f} ms"
            parts.append(f"training one takes {self.scratch_steps:,.0f} steps{took}")
        return "; ".join(parts)

    def told_better(self) -> str:
        """Recipes that do better on the same records; empty where none does."""
        return ", ".join(f"{recipe} returns {total:.1f}" for recipe, total in self.better)


def rivals(result: CompositionResult, *, compare: bool = False) -> Rivals:
    """Measure what an answer stands beside.

    Args:
        result: the answer.
        compare: also train from scratch, and look for the best known return where the optimum is not exact: up to some
            seconds.
    """
    problem = result.problem
    route = rollout(problem.task, objective=problem.objective, **result.played)
    total, identity = _best_single(problem)
    others = dict(_other_recipes(result, route.total))
    steps, seconds = _mean_run(problem)
    return Rivals(
        route=route,
        best_single=total,
        best_single_id=identity,
        highest=_highest(problem, [route.total, total, *others.values()], compare=compare),
        scratch_steps=steps,
        scratch_seconds=seconds,
        scratch=_scratch(problem, result) if compare else np.nan,
        better=tuple(sorted(others.items(), key=lambda pair: -pair[1])),
    )


def _best_single(problem: Problem) -> tuple[float, str]:
    space = CandidateSpace.of(problem.members)
    alone = space.rows[:MOST_SINGLES, None]
    totals, _ = offline_returns(problem.compiled, space.pool, alone, SUM, True, False)
    ids = [identity for group in problem.members for identity in group.ids]
    best = int(np.argmax(totals))
    return float(totals[best]), ids[best]


def _highest(problem: Problem, reached: list[float], *, compare: bool) -> Highest:
    """The optimum where it is exact and cheap; else the best of what a plan over every move and the rest reached."""
    task, hooks = problem.task, problem.task.hooks
    if not compare and task.observations * task.actions > MOST_PAIRS:
        return Highest(max(reached), "best seen")
    if hooks.optimum is not None and hooks.exact is not None and hooks.exact(task):
        return Highest(optimum(task, objective=problem.objective).total, "optimum")
    if compare and hooks.optimum is not None:
        found = optimum(task, objective=problem.objective)
        if found.exact:
            return Highest(found.total, "optimum")
        return Highest(max(found.total, *reached), "best known")
    if hooks.plan is None:
        return Highest(max(reached), "best seen")
    plan = hooks.plan(task, problem.objective, width=PLAN_WIDTH).total
    return Highest(max(plan, *reached), f"plan over every move, width {PLAN_WIDTH}")


def _mean_run(problem: Problem) -> tuple[float, float]:
    runs = [run for group in problem.members for run in group.runs if run.steps > 0]
    if not runs:
        return np.nan, np.nan
    return float(np.mean([run.steps for run in runs])), float(np.mean([run.seconds for run in runs]))


def _scratch(problem: Problem, result: CompositionResult) -> float:
    from lever_ray.learning.sarsa import train

    gamma = result.recipe.gamma
    return max(
        train(problem.task, objective=problem.objective, gamma=each).total
        for each in ((0.0, 0.99) if gamma is None else (gamma,))
    )


def _other_recipes(result: CompositionResult, reached: float) -> Iterator[tuple[str, float]]:
    """Recipes on the same records that earn more: planning, where it was not what answered."""
    problem = result.problem
    plan = problem.task.hooks.plan
    if plan is None or result.operator == Plan.name:
        return
    if problem.task.observations * problem.task.actions > MOST_PAIRS:
        return
    support = np.bitwise_or.reduce(np.concatenate([group.support for group in problem.members]))
    found = plan(problem.task, problem.objective, width=PLAN_WIDTH, support=support).total
    if found > reached + _SAME:
        yield "operator=plan", found
