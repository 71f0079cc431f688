"""What a budget of candidate evaluations buys: strategies against random draws and against the exhaustive best."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from lever_ray.composition.groups import CandidateSpace, objective_weights
from lever_ray.composition.operators import is_masked, table_operator
from lever_ray.composition.rankers.offline_return import OfflineReturnScorer
from lever_ray.composition.scores import Scores
from lever_ray.composition.search import KEPT, search
from lever_ray.composition.strategies.budgeted import check_budget
from lever_ray.composition.strategies.protocol import BATCH
from lever_ray.composition.strategies.registry import STRATEGIES, named_strategy
from lever_ray.errors import InvalidValue, look_up
from lever_ray.executor import Executor, gathered
from lever_ray.experiment.statistics import Row
from lever_ray.learning.budgets import training_budget
from lever_ray.learning.sarsa import SNAPSHOT_EVERY, train
from lever_ray.policies.group import PolicyGroup
from lever_ray.query.warm import warm_up
from lever_ray.studies.groups import group_of_snapshots
from lever_ray.tasks.gridworld.layout import Layout, layout_family
from lever_ray.tasks.kernel import CompiledTask
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.rollout import random_return
from lever_ray.watching import Watch

NO_GAP = 1e-3
"""Where random draws are nearer to the best than this share of (best - J_rand), the gap closed is undefined."""


@dataclass(frozen=True)
class SearchStudy:
    """What is trained and searched. Members are the last snapshots of every training run, one group per term.

    Attributes:
        family: layout family.
        layouts: how many; layout seeds from ``first_layout``.
        first_layout: layout seed of the first.
        gammas: discounts of the members.
        objective: the composite objective.
        training_seeds: per term.
        snapshots: of each run, the last ones.
        training: name of the training budget.
        operator: over tables.
        support: ``mask`` or ``ignore``.
        strategies: names of strategies that have a budget.
        budgets: candidates evaluated at most.
        sample: candidates, drawn without replacement, whose best counts as the exhaustive best.
        repeats: search seeds, over which returns are averaged.

    Raises:
        UnknownName: family, training budget, objective, operator, support rule or strategy is not known.
        InvalidValue: a number is outside its domain.
    """

    family: str = "grid16"
    layouts: int = 20
    first_layout: int = 0
    gammas: tuple[float, ...] = (0.0, 0.99)
    objective: str = "path-gold-hazard-lever"
    training_seeds: int = 4
    snapshots: int = 8
    training: str = "X1"
    operator: str = "sum"
    support: str = "mask"
    strategies: tuple[str, ...] = ("budgeted", "random", "best-first")
    budgets: tuple[int, ...] = (10, 100, 1_000, 10_000)
    sample: int = 1_000_000
    repeats: int = 20

    def __post_init__(self) -> None:
        layout_family(self.family)
        Objective.of(self.objective).resolved(Layout.terms)
        table_operator(self.operator)
        is_masked(self.support)
        for name in ("layouts", "training_seeds", "snapshots", "sample", "repeats"):
            if getattr(self, name) < 1:
                raise InvalidValue(f"{name} is {getattr(self, name)}; at least 1 is needed")
        taken = -(-training_budget(self.training).episodes // SNAPSHOT_EVERY)
        if self.snapshots > taken:
            raise InvalidValue(f"snapshots is {self.snapshots}; a run of budget {self.training} takes {taken}")
        if not self.budgets or max(self.budgets) > KEPT:
            raise InvalidValue(f"budgets is {self.budgets}; name at least one, none above {KEPT}")
        for name in self.strategies:
            if "budget" not in getattr(look_up("strategy", name, STRATEGIES), "parameters", ()):
                raise InvalidValue(f"strategies holds {name!r}, which has no budget; see SearchStudy")
        for budget in self.budgets:
            check_budget(budget)


def run_search_study(study: SearchStudy, *, executor: Executor, watch: Watch | None = None) -> list[Row]:
    """One row per layout, gamma, strategy and budget.

    Columns: ``return``, the mean return of the choice over search seeds; ``random``, the exact expectation of the best
    of as many independent draws from the sample; ``best`` of the sample; ``j_rand``, of the uniformly random policy;
    ``share``, (return - j_rand) / (best - j_rand); ``share_random``, the same of ``random``; ``gap_closed``,
    (return - random) / (best - random), NaN where random draws find the best.
    """
    seeds = list(range(study.first_layout, study.first_layout + study.layouts))
    found = gathered(executor, _layout_rows, seeds, shared=(study,), watch=watch, stage="layouts")
    return [row for rows in found for row in rows]


def summarise(rows: Sequence[Row]) -> list[Row]:
    """Ratios of sums over layouts, per gamma, strategy and budget.

    Columns: ``share_of_return``, sum of returns / sum of bests, and ``random_share_of_return``; ``share``,
    ``share_random`` and ``gap_closed`` as in :func:`run_search_study`, every layout scaled to (best - j_rand) first.
    """

    def way(row: Row) -> tuple[float, str, int]:
        return row["gamma"], row["strategy"], row["budget"]

    return [
        dict(zip(("gamma", "strategy", "budget"), name, strict=True)) | _summary(list(part))
        for name, part in groupby(sorted(rows, key=way), key=way)
    ]


def _summary(rows: Sequence[Row]) -> dict[str, float]:
    def mean(name: str) -> float:
        return float(np.nanmean([row[name] for row in rows]))

    share, chance = mean("share"), mean("share_random")
    return {
        "share_of_return": mean("return") / mean("best"),
        "random_share_of_return": mean("random") / mean("best"),
        "share": share,
        "share_random": chance,
        "gap_closed": _ratio(share - chance, 1.0 - chance),
    }


def _layout_rows(seed: int, study: SearchStudy) -> list[Row]:
    warm_up()
    layout = Layout.sample(study.family, seed=seed)
    task, chance = layout.compile(study.objective), random_return(layout, study.objective)
    rows = []
    for gamma in study.gammas:
        space = _space(layout, study, gamma)
        sampled = _sample(space, task, study)
        best = float(sampled.max())
        fixed = {"family": study.family, "layout_seed": seed, "gamma": gamma, "best": best, "j_rand": chance}
        for name in study.strategies:
            for budget, found in zip(study.budgets, _returns(name, space, task, study), strict=True):
                expected = expected_maximum(sampled, budget)
                reached = {"return": found, "random": expected}
                rows.append(fixed | {"strategy": name, "budget": budget} | reached | _shares(reached, best, chance))
    return rows


def _shares(reached: dict[str, float], best: float, chance: float) -> dict[str, float]:
    found, expected, scale = reached["return"], reached["random"], best - chance
    gap = best - expected
    return {
        "share": _ratio(found - chance, scale),
        "share_random": _ratio(expected - chance, scale),
        "gap_closed": (found - expected) / gap if gap > NO_GAP * abs(scale) else math.nan,
    }


def _ratio(above: float, below: float) -> float:
    return above / below if below > 0 else math.nan


def _space(layout: Layout, study: SearchStudy, gamma: float) -> CandidateSpace:
    wanted = Objective.of(study.objective).resolved(Layout.terms)
    return CandidateSpace.of(
        [_group(layout, study, term, gamma) for term in Objective.of(study.objective).resolved(layout.terms).terms],
        weights=objective_weights(wanted, wanted.terms),
        normalised=table_operator(study.operator).normalised,
    )


def _group(layout: Layout, study: SearchStudy, term: str, gamma: float) -> PolicyGroup:
    episodes = training_budget(study.training).episodes
    runs = [
        train(layout, objective=term, episodes=episodes, gamma=gamma, seed=seed) for seed in range(study.training_seeds)
    ]
    last = (snapshot for run in runs for snapshot in run.snapshots[-study.snapshots :])
    return group_of_snapshots(term, last)


def _scores(
    space: CandidateSpace, task: CompiledTask, study: SearchStudy, blocks: Iterable[np.ndarray]
) -> Iterable[Scores]:
    ranker, operator = OfflineReturnScorer(task), table_operator(study.operator)
    return (ranker.score(space, block, operator=operator, masked=is_masked(study.support)) for block in blocks)


def _sample(space: CandidateSpace, task: CompiledTask, study: SearchStudy) -> np.ndarray:
    """float64[K]: returns of a seeded sample of the product, ascending."""
    count = min(study.sample, space.candidates)
    flat = np.random.default_rng(0).choice(space.candidates, count, replace=False)
    blocks = (
        space.mixtures(np.stack(np.unravel_index(flat[first : first + BATCH], space.sizes), axis=1))
        for first in range(0, count, BATCH)
    )
    return np.sort(np.concatenate([part.values for part in _scores(space, task, study, blocks)]))


def expected_maximum(ascending: np.ndarray, draws: int) -> float:
    """Expectation of the largest of independent draws from values float64[K] in ascending order."""
    below = (np.arange(len(ascending) + 1) / len(ascending)) ** draws
    return float(ascending @ np.diff(below))


def _returns(name: str, space: CandidateSpace, task: CompiledTask, study: SearchStudy) -> np.ndarray:
    """float64[budgets]: returns after each budget, means over search seeds; one search gives all budgets."""
    own = np.concatenate([group.totals for group in space.groups])
    drawn = "seed" in getattr(STRATEGIES[name], "parameters", ())
    repeats = study.repeats if drawn else 1
    found = np.empty((repeats, len(study.budgets)))
    for seed in range(repeats):
        result = search(
            named_strategy(name, budget=max(study.budgets), **({"seed": seed} if drawn else {})),
            space,
            lambda blocks: _scores(space, task, study, blocks),
            member_scores=own if STRATEGIES[name].needs_member_scores else None,
        )
        reached = np.minimum(study.budgets, result.evaluated) - 1
        found[seed] = result.scores.values[result.best_after()[reached]]
    return found.mean(axis=0)
