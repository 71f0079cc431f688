"""How quality grows with training: rows of a task's snapshots, and the figure's findings about them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from lever_ray.experiment.controls import best_known
from lever_ray.experiment.statistics import Row, offered
from lever_ray.learning.sarsa import train
from lever_ray.reproduction.report.data import Sample
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.protocol import Environment
from lever_ray.tasks.rollout import random_return


def learning_curve_rows(
    task: Environment,
    *,
    family: str,
    objective: str,
    gammas: Sequence[float] = (0.0, 0.99),
    training_seeds: int = 3,
    episodes: int = 10_000,
    snapshot_every: int = 250,
    best: float | None = None,
) -> list[Row]:
    """Quality of policies trained from scratch, by episodes; a row a discount and snapshot, means over seeds.

    Args:
        task: the environment.
        family: of which it is, a value of the rows.
        objective: what is rewarded.
        gammas: discounts of training.
        training_seeds: how many seeds, from 0.
        episodes: of one training.
        snapshot_every: episodes between snapshots.
        best: J*, in reward units; what the family finds, or the best snapshot if that is higher, if None.

    Returns:
        Rows with ``layout_seed``, ``family``, ``setup``, ``gamma``, ``episodes``, ``quality``; NaN where the task
        offers nothing over chance.

    Raises:
        InvalidValue, UnknownName, InvalidTask: see :func:`lever_ray.learning.sarsa.train`.
    """
    name = Objective.of(objective).resolved(task.terms).id
    totals = {gamma: _totals(task, name, gamma, training_seeds, episodes, snapshot_every) for gamma in gammas}
    reached = max(float(found.max()) for _, found in totals.values())
    top = best if best is not None else max(reached, best_known(task, name).total)
    chance = random_return(task, name)
    scale = offered(top, chance)
    return [
        {"layout_seed": task.seed, "family": family, "setup": name, "gamma": gamma, "episodes": at, "quality": quality}
        for gamma, (ends, found) in totals.items()
        for at, quality in zip(ends, ((found.mean(axis=0) - chance) / scale).tolist(), strict=True)
    ]


def _totals(
    task: Environment, objective: str, gamma: float, seeds: int, episodes: int, every: int
) -> tuple[list[int], np.ndarray]:
    """Episodes of the snapshots, and float64[seeds, n]: their greedy returns."""
    runs = [
        train(task, objective=objective, episodes=episodes, gamma=gamma, seed=seed, snapshot_every=every)
        for seed in range(seeds)
    ]
    ends = [snapshot.episode for snapshot in runs[0].snapshots]
    return ends, np.array([[snapshot.total for snapshot in run.snapshots] for run in runs])


def caught_up(curve: Sample, gamma: float, level: float) -> float:
    """Episodes after which scratch's mean quality reaches a level for the first time; infinity if it never does."""
    means = {at: curve.mean(rows, "quality").value for at, rows in episodes_of(curve, gamma).items()}
    return next((at for at, mean in means.items() if mean >= level), math.inf)


def episodes_of(curve: Sample, gamma: float) -> dict[int, list[Row]]:
    """Rows of a discount by episodes, fewest first."""
    found: dict[int, list[Row]] = {}
    for row in sorted(curve.rows, key=lambda row: row["episodes"]):
        if row["gamma"] == gamma:
            found.setdefault(int(row["episodes"]), []).append(row)
    return found
