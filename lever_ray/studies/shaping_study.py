"""What composition is worth without distance shaping: the same study with shaping on and off."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lever_ray.composition.groups import CandidateSpace
from lever_ray.composition.operators import table_operator
from lever_ray.composition.strategies.protocol import product_blocks
from lever_ray.composition.table_operators import kernel_form
from lever_ray.embedding.offline import offline_returns
from lever_ray.executor import Executor, gathered
from lever_ray.experiment.plan import Setup
from lever_ray.experiment.statistics import Row
from lever_ray.learning.budgets import training_budget
from lever_ray.learning.sarsa import TrainingRun, train
from lever_ray.policies.group import PolicyGroup
from lever_ray.query.warm import warm_up
from lever_ray.studies.groups import group_of_snapshots
from lever_ray.tasks.gridworld.layout import Layout, layout_family
from lever_ray.tasks.kernel import CompiledTask
from lever_ray.tasks.optimum import optimum
from lever_ray.tasks.registry import source
from lever_ray.tasks.rollout import random_return
from lever_ray.watching import Watch


@dataclass(frozen=True)
class ShapingStudy:
    """What is trained and composed, with and without distance shaping.

    Attributes:
        family: layout family.
        layouts: how many; layout seeds from 0.
        gammas: discounts.
        shapings: factors of all distance-shaping terms; 1 is the published reward, 0 none.
        setups: (mode, composite objective).
        operators: operators over tables.
        training_seeds: per policy; three snapshots of each are candidates.
        budget: training budget.
    """

    family: str = "grid8"
    layouts: int = 100
    gammas: tuple[float, ...] = (0.0, 0.99)
    shapings: tuple[float, ...] = (1.0, 0.0)
    setups: tuple[tuple[str, str], ...] = (("trivial", "path-gold"), ("double", "path-gold-hazard-lever"))
    operators: tuple[str, ...] = ("sum", "max")
    training_seeds: int = 3
    budget: str = "X1"

    def __post_init__(self) -> None:
        layout_family(self.family)
        for operator in self.operators:
            table_operator(operator)


def run_shaping_study(study: ShapingStudy, *, executor: Executor, watch: Watch | None = None) -> list[Row]:
    """One row per layout, gamma, shaping, setup and operator: quality of the best composition beside its controls."""
    seeds = list(range(study.layouts))
    found = gathered(executor, _layout_rows, seeds, shared=(study,), watch=watch, stage="layouts")
    return [row for rows in found for row in rows]


def _layout_rows(seed: int, study: ShapingStudy) -> list[Row]:
    warm_up()
    layout = Layout.sample(study.family, seed=seed)
    rows = []
    for shaping in study.shapings:
        for gamma in study.gammas:
            for mode, objective in study.setups:
                rows += _setup_rows(layout, study, Setup.of(mode, objective, source(study.family)), gamma, shaping)
    return [{"layout_seed": seed, "trivial_layout": layout.trivial, "family": study.family} | row for row in rows]


def _setup_rows(layout: Layout, study: ShapingStudy, setup: Setup, gamma: float, shaping: float) -> list[Row]:
    groups = [_group(layout, study, name, gamma, shaping) for name in setup.groups]
    task = layout.compile(setup.objective, shaping=shaping)
    best = optimum(layout, objective=setup.objective, shaping=shaping).total
    union = CandidateSpace.of(groups).union
    planned = optimum(layout, objective=setup.objective, support=union, shaping=shaping).total
    chance = random_return(layout, setup.objective, shaping=shaping)
    scratch = float(np.mean([run.total for run in _runs(layout, study, setup.objective, gamma, shaping)]))
    single = max(_returns(task, CandidateSpace.of([group]), "sum").max() for group in groups)
    rows = []
    for operator in study.operators:
        returns = _returns(task, CandidateSpace.of(groups), operator)
        reached = {"best_candidate": returns.max(), "mean_candidate": returns.mean(), "best_single": single}
        reached |= {"scratch": scratch, "plan": planned}
        top = max(best, *reached.values())
        rows.append(
            {"gamma": gamma, "shaping": shaping, "mode": setup.mode, "setup": setup.objective, "operator": operator}
            | {f"quality/{name}": float((value - chance) / (top - chance)) for name, value in reached.items()}
        )
    return rows


def _runs(layout: Layout, study: ShapingStudy, objective: str, gamma: float, shaping: float) -> list[TrainingRun]:
    episodes = training_budget(study.budget).episodes
    return [
        train(layout, objective=objective, episodes=episodes, gamma=gamma, seed=seed, shaping=shaping)
        for seed in range(study.training_seeds)
    ]


def _group(layout: Layout, study: ShapingStudy, objective: str, gamma: float, shaping: float) -> PolicyGroup:
    runs = _runs(layout, study, objective, gamma, shaping)
    return group_of_snapshots(objective, (snapshot for run in runs for snapshot in run.labelled().values()))


def _returns(task: CompiledTask, space: CandidateSpace, operator: str) -> np.ndarray:
    every = space.mixtures(np.concatenate(list(product_blocks(space.sizes))))
    pool, mixtures, code = kernel_form(table_operator(operator), space, every)
    totals, _ = offline_returns(task, pool, mixtures, code, True, False)
    return np.asarray(totals)
