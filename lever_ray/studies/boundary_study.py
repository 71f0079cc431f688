"""When policies matter more than transitions: options beside planning, as records grow and as they are cut.

Planning over recorded moves is the rival: with the reward (``plan``), with the scores of outcomes that options use
(``moves``), and with the reward on the records of as many uniformly random steps (``walks``). Grids have a memory; the
terraces are a large Markov task, where events are told by the terms that pay, and planning is value iteration.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lever_ray.composition.outcome_task import OutcomeWorth
from lever_ray.errors import InvalidValue, check_known, check_whole
from lever_ray.executor import Executor, gathered
from lever_ray.experiment.plan import Setup
from lever_ray.experiment.recorded import walk_support
from lever_ray.experiment.statistics import Row
from lever_ray.learning.sarsa import train
from lever_ray.policies.group import PolicyGroup
from lever_ray.query.warm import warm_up_for, warm_up_options
from lever_ray.studies.boundary_ways import measured
from lever_ray.studies.groups import group_of_snapshots
from lever_ray.studies.option_study import LAYOUTS, LESSONS, OptionStudy, learnt_worth, lesson
from lever_ray.studies.partial_records import DROPS, check_coverage, thin_groups
from lever_ray.tasks.finite.terraces import GOODS, OBSERVATIONS, TERRACE_TERMS, check_observations, terraces
from lever_ray.tasks.gridworld.layout import FAMILIES, Layout, LayoutFamily, layout_family
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.protocol import Environment
from lever_ray.tasks.registry import source
from lever_ray.tasks.rollout import random_return
from lever_ray.watching import Watch

OBJECTIVE = "path-gold-hazard-lever"
LARGE = LayoutFamily("grid64", 64, 64, 60, 60)
"""As dense as grid32, but for its golds: 64 are what one word of a memory holds."""
TERRACES = "terraces"
TERRACE_POLICIES = tuple(f"{term}-haste" for term in (*GOODS, "safety"))
"""What policies on terraces are trained for: a term alone gives no reason to end an episode."""
BEST_WIDTH = 300


@dataclass(frozen=True)
class BoundaryStudy:
    """What is trained, and how much of it is recorded.

    Attributes:
        family: layout family, or ``grid64``, see :data:`LARGE`, or ``terraces``, a Markov task.
        layouts: how many.
        first_layout: first layout seed.
        lessons: layouts of the family, grid32 for ``grid64``, that coefficients of outcomes are fitted on; none on
            terraces, whose ends are all alike.
        first_lesson: first seed of these.
        episodes: of training each policy; the records grow with them.
        coverages: shares of the recorded pairs that are kept of each policy, at the most episodes.
        drops: whether pairs are dropped ``independent`` for each policy, or ``shared`` by all.
        gammas: discounts of the members.
        training_seeds: per policy.
        observations: of terraces; 0 for 100,000, and for grids.

    Raises:
        InvalidValue: a number is below 1, nothing is asked, a coverage lies outside (0, 1] or a discount outside
            [0, 1], or observations are too few or given for a grid.
        UnknownName: the family or a way to drop is not known.
    """

    family: str = "grid16"
    layouts: int = 20
    first_layout: int = 50_000
    lessons: int = 10
    first_lesson: int = 60_000
    episodes: tuple[int, ...] = (1, 10, 100, 1_000, 10_000)
    coverages: tuple[float, ...] = (0.7, 0.5, 0.3)
    drops: tuple[str, ...] = DROPS[::-1]
    gammas: tuple[float, ...] = (0.0, 0.99)
    training_seeds: int = 3
    observations: int = 0

    def __post_init__(self) -> None:
        check_known("family", self.family, (*FAMILIES, LARGE.name, TERRACES))
        for name, what in (("layouts", "layouts"), ("lessons", "layouts"), ("training_seeds", "seeds per policy")):
            check_whole(name, getattr(self, name), 1, what)
        for name in ("first_layout", "first_lesson"):
            check_whole(name, getattr(self, name), 0, "a seed")
        if not self.episodes or not self.gammas:
            raise InvalidValue("episodes and gammas of the boundary study must not be empty; give at least one of each")
        for episodes in self.episodes:
            check_whole("episodes", episodes, 1, "of training each policy")
        for gamma in self.gammas:
            if not 0.0 <= gamma <= 1.0:
                raise InvalidValue(f"gammas hold {gamma}; a discount must lie in [0, 1]")
        for coverage in self.coverages:
            check_coverage(coverage)
        for drop in self.drops:
            check_known("drop rule", drop, DROPS)
        if self.family == TERRACES:
            check_observations(self.size)
        elif self.observations:
            raise InvalidValue(f"observations is {self.observations}, and {self.family} has its own; leave it out")

    @property
    def size(self) -> int:
        """Observations of terraces, at most."""
        return self.observations or OBSERVATIONS

    @property
    def objective(self) -> str:
        """What is asked: all terms."""
        return "-".join(TERRACE_TERMS) if self.family == TERRACES else OBJECTIVE

    @property
    def policies(self) -> tuple[str, ...]:
        """Objectives that policies are trained for."""
        return TERRACE_POLICIES if self.family == TERRACES else Layout.terms

    def task(self, seed: int) -> Environment:
        """The environment of a seed."""
        if self.family == TERRACES:
            return terraces(seed, observations=self.size)
        return Layout.sample(LARGE if self.family == LARGE.name else layout_family(self.family), seed=seed)


def run_boundary_study(study: BoundaryStudy, *, executor: Executor, watch: Watch | None = None) -> list[Row]:
    """One row per layout and size of the records: quality, milliseconds and memory of options and of planning.

    Rows are the same whenever they are asked for, but for milliseconds and peaks of memory, which are measured.
    """
    worth = None if study.family == TERRACES else _learnt(study, executor, watch)
    asked = list(range(study.first_layout, study.first_layout + study.layouts))
    found = gathered(executor, _layout_rows, asked, shared=(study, worth), watch=watch, stage=LAYOUTS)
    return [row for rows in found for row in rows]


def _learnt(study: BoundaryStudy, executor: Executor, watch: Watch | None) -> OutcomeWorth:
    """What outcomes are worth, learnt on other layouts."""
    learnt = OptionStudy(family="grid32" if study.family == LARGE.name else study.family)
    setup = Setup.of("trivial", OBJECTIVE, source(learnt.family))
    seeds = list(range(study.first_lesson, study.first_lesson + study.lessons))
    shared = (learnt, setup.pool)
    return learnt_worth(setup, gathered(executor, lesson, seeds, shared=shared, watch=watch, stage=LESSONS))


def _layout_rows(seed: int, study: BoundaryStudy, worth: OutcomeWorth | None) -> list[Row]:
    task = study.task(seed)
    warm_up_for(task)
    warm_up_options()
    wanted = Objective.of(study.objective).resolved(task.terms)
    plan = task.hooks.plan
    assert plan is not None
    whole = plan(task, wanted, width=BEST_WIDTH).total
    found = []
    for episodes in sorted(study.episodes):
        groups, steps = _trained(task, study, episodes)
        walked = walk_support(task, steps)
        size = {"episodes": episodes, "steps": steps, "coverage": 1.0, "drop": "nothing"}
        found.append((size, measured(task, wanted, groups, walked=walked, worth=worth)))
    for coverage in study.coverages:
        for drop in study.drops:
            thinned = thin_groups(groups, coverage=coverage, drop=drop, seed=seed)
            cut = {"coverage": coverage, "drop": drop}
            found.append((size | cut, measured(task, wanted, thinned, walked=walked, worth=worth)))
    returns = [total for _, each in found for total in each["return"].values()]
    best = max(whole, *(total for total in returns if total == total))
    chance = random_return(task, wanted)
    common = {"layout_seed": seed, "trivial_layout": task.trivial, "family": study.family}
    common |= {"observations": task.observations, "members": sum(map(len, groups))}
    return [common | size | _row(each, best, chance) for size, each in found]


def _row(found: dict[str, Any], best: float, chance: float) -> Row:
    row = {f"quality/{name}": (value - chance) / (best - chance) for name, value in found["return"].items()}
    for kind in ("milliseconds", "megabytes", "peak"):
        row |= {f"{kind}/{name}": value for name, value in found[kind].items()}
    return row | {name: found[name] for name in ("pairs", "segments")}


def _trained(task: Environment, study: BoundaryStudy, episodes: int) -> tuple[list[PolicyGroup], int]:
    """Groups of final policies by objective, and the environment steps that training all of them took."""
    groups, steps = [], 0
    for objective in study.policies:
        runs = [
            train(task, objective=objective, episodes=episodes, gamma=gamma, seed=seed, snapshot_every=episodes)
            for gamma in study.gammas
            for seed in range(study.training_seeds)
        ]
        groups.append(group_of_snapshots(objective, [run.snapshots[-1] for run in runs]))
        steps += sum(run.environment_steps for run in runs)
    return groups, steps
