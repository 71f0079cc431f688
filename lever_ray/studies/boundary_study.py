"""When policies matter more than transitions: options beside planning, as records grow and as they are cut.

Planning over recorded moves is the rival: with the reward (``plan``), with the scores of outcomes that options use
(``moves``), and with the reward on the records of as many uniformly random steps (``walks``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

from lever_ray.composition.groups import PolicyGroup
from lever_ray.composition.option_operator import Options
from lever_ray.composition.options import search_options
from lever_ray.composition.outcome_task import OutcomeWorth, outcome_task
from lever_ray.composition.routes import member_actions
from lever_ray.embedding.offline import make_pool
from lever_ray.errors import InvalidValue
from lever_ray.executor import Executor, in_order
from lever_ray.experiment.plan import Setup
from lever_ray.experiment.recorded import walk_support
from lever_ray.experiment.statistics import Row
from lever_ray.learning.sarsa import train
from lever_ray.query.warm import warm_up, warm_up_options
from lever_ray.studies.groups import group_of_snapshots
from lever_ray.studies.option_study import OptionStudy, constant_actions, learnt_worth, lesson
from lever_ray.studies.partial_records import check_coverage, thin_groups
from lever_ray.tasks.gridworld.layout import Layout, LayoutFamily, layout_family
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.registry import source
from lever_ray.tasks.rollout import random_return, rollout

OBJECTIVE = "path-gold-hazard-lever"
LARGE = LayoutFamily("grid64", 64, 64, 60, 60)
"""As dense as grid32, but for its golds: 64 are what one word of a memory holds."""
PLAN_WIDTH = 100


@dataclass(frozen=True)
class BoundaryStudy:
    """What is trained, and how much of it is recorded.

    Attributes:
        family: layout family, or ``grid64``, see :data:`LARGE`.
        layouts: how many.
        first_layout: first layout seed.
        lessons: layouts of the family, grid32 for ``grid64``, that coefficients of outcomes are fitted on.
        first_lesson: first seed of these.
        episodes: of training each policy; the records grow with them.
        coverages: shares of the recorded pairs that are kept of each policy, at the most episodes.
        gammas: discounts of the members.
        training_seeds: per policy.

    Raises:
        InvalidValue: a number is below 1, nothing is asked, or a coverage lies outside (0, 1].
        UnknownName: the family is not known.
    """

    family: str = "grid16"
    layouts: int = 20
    first_layout: int = 50_000
    lessons: int = 10
    first_lesson: int = 60_000
    episodes: tuple[int, ...] = (1, 10, 100, 1_000, 10_000)
    coverages: tuple[float, ...] = (0.7, 0.5, 0.3)
    gammas: tuple[float, ...] = (0.0, 0.99)
    training_seeds: int = 3

    def __post_init__(self) -> None:
        if min(self.layouts, self.lessons, self.training_seeds, *self.episodes) < 1 or not self.episodes:
            raise InvalidValue("layouts, lessons, training_seeds and episodes of the boundary study must be at least 1")
        for coverage in self.coverages:
            check_coverage(coverage)
        assert self.world  # a known family

    @property
    def world(self) -> LayoutFamily:
        """The family of its layouts."""
        return LARGE if self.family == LARGE.name else layout_family(self.family)


def run_boundary_study(study: BoundaryStudy, *, executor: Executor) -> list[Row]:
    """One row per layout and size of the records: quality and milliseconds of options and of planning."""
    learnt = OptionStudy(family="grid32" if study.family == LARGE.name else study.family)
    setup = Setup.of("trivial", OBJECTIVE, source(learnt.family))
    seeds = list(range(study.first_lesson, study.first_lesson + study.lessons))
    worth = learnt_worth(setup, in_order(executor.map(lesson, seeds, shared=(learnt, setup.pool))))
    asked = list(range(study.first_layout, study.first_layout + study.layouts))
    return [row for rows in in_order(executor.map(_layout_rows, asked, shared=(study, worth))) for row in rows]


def _layout_rows(seed: int, study: BoundaryStudy, worth: OutcomeWorth) -> list[Row]:
    warm_up()
    warm_up_options()
    layout = Layout.sample(study.world, seed=seed)
    plan = layout.hooks.plan
    assert plan is not None
    whole = plan(layout, Objective.of(OBJECTIVE).resolved(Layout.terms), width=300).total
    measured = []
    for episodes in study.episodes:
        groups, steps = _trained(layout, study, episodes)
        measured.append(({"episodes": episodes, "coverage": 1.0}, _measured(layout, groups, steps, worth)))
    for coverage in study.coverages:
        thinned = thin_groups(groups, coverage=coverage, drop="independent", seed=seed)
        measured.append(({"episodes": episodes, "coverage": coverage}, _measured(layout, thinned, steps, worth)))
    best = max(whole, *(found["return"][name] for _, found in measured for name in found["return"]))
    chance = random_return(layout, OBJECTIVE)
    common = {"layout_seed": seed, "trivial_layout": layout.trivial, "family": study.family}
    return [common | size | _row(found, best, chance) for size, found in measured]


def _row(found: dict[str, Any], best: float, chance: float) -> Row:
    row = {f"quality/{name}": (value - chance) / (best - chance) for name, value in found["return"].items()}
    row |= {f"milliseconds/{name}": value for name, value in found["milliseconds"].items()}
    return row | {name: found[name] for name in ("steps", "pairs", "segments")}


def _trained(layout: Layout, study: BoundaryStudy, episodes: int) -> tuple[list[PolicyGroup], int]:
    """Groups of final policies by term, and the environment steps that training all of them took."""
    groups, steps = [], 0
    for term in Layout.terms:
        runs = [
            train(layout, objective=term, episodes=episodes, gamma=gamma, seed=seed)
            for gamma in study.gammas
            for seed in range(study.training_seeds)
        ]
        groups.append(group_of_snapshots(term, [run.snapshots[-1] for run in runs]))
        steps += sum(run.environment_steps for run in runs)
    return groups, steps


def _measured(layout: Layout, groups: list[PolicyGroup], steps: int, worth: OutcomeWorth) -> dict[str, Any]:
    """Returns in the environment, and milliseconds, of every way of answering from these records."""
    support = np.concatenate([group.support for group in groups])
    pool, union = make_pool(np.concatenate([group.q for group in groups]), support), np.bitwise_or.reduce(support)
    wanted = Objective.of(OBJECTIVE).resolved(Layout.terms)
    rewarded, scored = layout.compile(wanted), outcome_task(layout.dynamics, layout.horizon, worth)
    actions, moves = member_actions(pool), constant_actions(pool)
    walked = walk_support(layout, steps)
    plan = layout.hooks.plan
    assert plan is not None
    ways: dict[str, Callable[[], Any]] = {
        "options_I1": lambda: search_options(scored, actions, rules=Options().rules),
        "options_I3": lambda: search_options(rewarded, actions, rules=Options().rules),
        "moves_I1": lambda: search_options(scored, moves, rules=Options(cut=1, width=PLAN_WIDTH).rules),
        "plan_I3": lambda: plan(layout, wanted, width=PLAN_WIDTH, support=union),
        "walks_I3": lambda: plan(layout, wanted, width=PLAN_WIDTH, support=walked),
    }
    found: dict[str, Any] = {"return": {}, "milliseconds": {}, "steps": steps, "segments": 0}
    for name, way in ways.items():
        way()
        begun = perf_counter()
        route = way()
        found["milliseconds"][name] = 1e3 * (perf_counter() - begun)
        found["return"][name] = rollout(layout, objective=wanted, actions=route.actions).total
        found["segments"] = route.simulated if name == "options_I3" else found["segments"]
    return found | {"pairs": int(np.unpackbits(union).sum())}
