"""One environment of a benchmark, measured: its policies, and what every candidate of every question is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lever_ray.building.records import records_of
from lever_ray.composition.groups import CandidateSpace
from lever_ray.composition.operators import OPERATORS as OPERATORS_BY_NAME
from lever_ray.composition.problem import Problem
from lever_ray.composition.strategies.protocol import product_blocks
from lever_ray.experiment.controls import best_known, space_of
from lever_ray.experiment.plan import Setup
from lever_ray.experiment.statistics import Row
from lever_ray.learning.budgets import training_budget
from lever_ray.learning.sarsa import train
from lever_ray.library.record import PolicyRecord
from lever_ray.policies.group import PolicyGroup
from lever_ray.scoring.settings import OPERATORS, BenchmarkSettings
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.protocol import Environment
from lever_ray.tasks.registry import source
from lever_ray.tasks.rollout import random_return


@dataclass(frozen=True)
class Draw:
    """Which environment.

    Attributes:
        name: as the benchmark calls it.
        split: public or private.
        family: its source.
        seed: that it is sampled with; of private ones only the keeper knows it.
    """

    name: str
    split: str
    family: str
    seed: int


@dataclass(frozen=True, eq=False)
class Asked:
    """One question and its answers.

    Attributes:
        name: of the question.
        setup: the composition problem.
        gamma: discount of the members.
        returns: float64[K] by operator: what every candidate earns in the environment.
        yardsticks: what returns are measured against, see :data:`lever_ray.scoring.tables.YARDSTICKS`.
    """

    name: str
    setup: Setup
    gamma: float
    returns: dict[str, np.ndarray]
    yardsticks: Row


@dataclass(frozen=True, eq=False)
class World:
    """An environment, its policies and its questions."""

    draw: Draw
    task: Environment
    records: list[PolicyRecord]
    questions: list[Asked]


def question_name(environment: str, gamma: float, setup: Setup) -> str:
    """E.g. ``grid8-0/g0.99/double/path-gold-hazard``."""
    return f"{environment}/g{gamma:g}/{setup.mode}/{setup.objective}"


def every_candidate(sizes: Sequence[int]) -> np.ndarray:
    """int64[K, m]: all index tuples, in lexicographic order; a candidate's number is its place."""
    return np.concatenate(list(product_blocks(sizes)))


def group_of(objective: str, records: Sequence[PolicyRecord]) -> PolicyGroup:
    """Policies for one objective in the order given."""
    rewards = [record.mean_rewards for record in records if record.mean_rewards is not None]
    return PolicyGroup(
        objective=objective,
        ids=tuple(f"{objective}-{place}" for place in range(len(records))),
        q=np.stack([record.q for record in records]),
        support=np.stack([record.support for record in records]),
        totals=np.array([record.total for record in records]),
        mean_rewards=np.stack(rewards) if len(rewards) == len(records) else None,
    )


def measure_world(draw: Draw, settings: BenchmarkSettings) -> World:
    """Train the policies of one environment, and measure every candidate of every question."""
    task = source(draw.family).sample(draw.seed)
    runs = _train_all(draw, task, settings)
    groups = {key: group_of(key[1], records) for key, records in runs.items()}
    problems = settings.problems(source(draw.family))
    scratch = {name: _scratch(task, name, settings) for name in dict.fromkeys(each.objective for each in problems)}
    asked = [
        _ask(draw, task, setup, gamma, groups, scratch[setup.objective], settings)
        for gamma in settings.gammas
        for setup in problems
    ]
    return World(draw, task, [record for records in runs.values() for record in records], _with_best_known(task, asked))


def _train_all(
    draw: Draw, task: Environment, settings: BenchmarkSettings
) -> dict[tuple[float, str], list[PolicyRecord]]:
    """Policies by discount and objective, by training seed within."""
    family, episodes = source(draw.family), training_budget(settings.budget).episodes
    found: dict[tuple[float, str], list[PolicyRecord]] = {}
    for gamma in settings.gammas:
        for objective in settings.trained(family):
            described = family.words.describe(objective)
            for seed in range(settings.training_seeds):
                run = train(task, objective=objective, episodes=episodes, gamma=gamma, seed=seed)
                records = records_of(run, environment=draw.name, description=described)
                found.setdefault((gamma, objective), []).extend(records)
    return found


def _scratch(task: Environment, objective: str, settings: BenchmarkSettings) -> Row:
    """Training on the composite objective itself, at the discount that is best here; means over training seeds."""
    episodes = training_budget(settings.budget).episodes
    found = []
    for gamma in settings.gammas:
        seeds = range(settings.training_seeds)
        runs = [train(task, objective=objective, episodes=episodes, gamma=gamma, seed=seed) for seed in seeds]
        final = float(np.mean([run.total for run in runs]))
        snapshot = float(np.mean([run.best.total for run in runs]))
        found.append({"scratch": final, "scratch_best_snapshot": snapshot, "_best": max(r.best.total for r in runs)})
    return {name: max(each[name] for each in found) for name in found[0]}


def _ask(
    draw: Draw,
    task: Environment,
    setup: Setup,
    gamma: float,
    groups: dict[tuple[float, str], PolicyGroup],
    scratch: Row,
    settings: BenchmarkSettings,
) -> Asked:
    objective = Objective.of(setup.objective).resolved(task.terms)
    problem = Problem(task, objective, tuple(groups[gamma, name] for name in setup.groups), draw.name)
    returns = {name: real_returns(problem, name) for name in OPERATORS}
    pool = PolicyGroup.merge("any", [groups[gamma, name] for name in setup.pool])
    alone = CandidateSpace.of([pool])
    rows = np.arange(len(pool), dtype=np.int32)[:, None]
    singles = OPERATORS_BY_NAME["sum"].returns(problem.compiled, alone, rows, masked=True, recorded=False)[0]
    yardsticks = {
        "random": random_return(task, objective, episodes=settings.random_rollouts),
        "best_single": float(singles.max()),
        **scratch,
        "trivial_layout": task.trivial,
    }
    return Asked(question_name(draw.name, gamma, setup), setup, gamma, returns, yardsticks)


def real_returns(problem: Problem, operator: str) -> np.ndarray:
    """float64[K]: what every candidate earns in the real environment, masked to actions that its members took."""
    combine = OPERATORS_BY_NAME[operator]
    space = space_of(problem, combine)
    mixtures = space.mixtures(every_candidate(space.sizes))
    return combine.returns(problem.compiled, space, mixtures, masked=True, recorded=False)[0]


def _with_best_known(task: Environment, asked: Sequence[Asked]) -> list[Asked]:
    """The questions with J*: exact where the family has it so, else the highest return that anything here reached."""
    done = []
    for each in asked:
        found, yard = best_known(task, each.setup.objective), dict(each.yardsticks)
        same = [other for other in asked if other.setup.objective == each.setup.objective]
        reached = [max(other.yardsticks["best_single"], *map(np.max, other.returns.values())) for other in same]
        highest = found.total if found.exact else max(found.total, yard["_best"], *reached)
        del yard["_best"]
        yard |= {"optimum": float(highest), "optimum_exact": found.exact}
        done.append(Asked(each.name, each.setup, each.gamma, each.returns, yard))
    return done
