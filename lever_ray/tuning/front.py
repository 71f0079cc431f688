"""What tuning found: trials, their Pareto front, the front on held-out environments, and a recommendation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lever_ray.composition.recipe import Recipe
from lever_ray.config import LimitSettings
from lever_ray.errors import InvalidValue
from lever_ray.experiment.statistics import significant
from lever_ray.statistics.intervals import Interval, iqm_interval, mean_interval
from lever_ray.tuning.pareto import Point, dominance_ranks, violations
from lever_ray.tuning.trial import Averages, Measured

Row = dict[str, Any]

COLUMNS: dict[str, str] = {
    "strategy": "strategy",
    "k": "k",
    "budget": "budget",
    "restarts": "restarts",
    "operator": "operator",
    "ranker": "ranker",
    "support": "support",
    "gamma": "gamma",
    "model": "regressor_model",
    "target": "regressor_target",
    "embedding": "embedding",
    "canonical": "canonical",
    "retrieval": "retrieval",
    "threshold": "threshold",
    "width": "width",
    "cut": "cut",
    "cycles": "cycles",
    "merge": "merge",
    "estimate": "estimate",
    "segments": "segments",
}
"""Columns of tables of trials, and the fields of recipes that they hold; studies know parameters by the former."""
COMPLETE, PRUNED = "complete", "pruned"


@dataclass(frozen=True)
class TunedTrial:
    """A trial that was told.

    Attributes:
        number: of the trial.
        choice: what was tried.
        measured: in the tuning environments, in their order; fewer than all where the trial was stopped early.
        state: ``complete`` or ``pruned``.
        point: quality, cost and violation of the limits, on those environments.
    """

    number: int
    choice: Recipe
    measured: tuple[Measured, ...]
    state: str
    point: Point

    @property
    def feasible(self) -> bool:
        """Whether it was tried everywhere and keeps the limits."""
        return self.state == COMPLETE and self.point.violation <= 0


def front_of(trials: Sequence[TunedTrial]) -> list[TunedTrial]:
    """The Pareto front, cheapest first; of choices that are equally good at equal cost the fastest stands for all."""
    usable = [trial for trial in trials if trial.feasible]
    ranks = dominance_ranks([trial.point for trial in usable])
    front = [trial for trial, rank in zip(usable, ranks, strict=True) if rank == 0]
    best: dict[tuple[float, float], TunedTrial] = {}
    for trial in sorted(front, key=lambda trial: (trial.point.cost, Averages.of(trial.measured).seconds, trial.number)):
        best.setdefault((trial.point.cost, trial.point.quality), trial)
    return list(best.values())


def check_feasible(trials: Sequence[TunedTrial], limits: LimitSettings) -> None:
    """Refuse a study in which no trial keeps the limits.

    Raises:
        InvalidValue: naming the limits that were broken, how often, and the trial that came closest.
    """
    complete = [trial for trial in trials if trial.state == COMPLETE]
    if not complete or any(trial.feasible for trial in complete):
        return
    averages = {trial.number: Averages.of(trial.measured) for trial in complete}
    broken = {
        name: sum(violations(averages[trial.number], limits)[name] > 0 for trial in complete)
        for name in violations(next(iter(averages.values())), limits)
    }
    closest = min(complete, key=lambda trial: (trial.point.violation, trial.number))
    reached = averages[closest.number]
    told = ", ".join(
        f"tuning.limits.{name}={getattr(limits, name):g} is broken by {count} of {len(complete)}"
        for name, count in broken.items()
        if count
    )
    raise InvalidValue(
        f"no trial keeps the limits: {told}. Closest is trial {closest.number} ({closest.choice.label}) with quality "
        f"{reached.quality:.3f}, {significant(reached.seconds * 1e3)} ms per query and coverage "
        f"{reached.coverage:.1%}; relax the limit, widen tuning.space, or raise tuning.trials"
    )


def trial_rows(trials: Sequence[TunedTrial]) -> list[Row]:
    """A row per trial: its number, state, parameters and averages, and whether it lies on the front."""
    front = {trial.number for trial in front_of(trials)}
    return [_row(trial) | {"on_front": trial.number in front} for trial in trials]


def _row(trial: TunedTrial) -> Row:
    choice = trial.choice
    return {
        "number": trial.number,
        "state": trial.state,
        "label": trial.choice.label,
        "recipe": trial.choice.id,
        "tier": trial.choice.tier,
        **Averages.of(trial.measured)._asdict(),
        "cost": trial.point.cost,
        "violation": trial.point.violation,
        "environments": len(trial.measured),
        **{column: getattr(choice, field) for column, field in COLUMNS.items()},
    }


CONFIRMED, OPEN, REFUTED, CHEAPEST = "confirmed", "open", "refuted", "cheapest"
"""What held-out environments say of a point's gain in quality over the next cheaper one of the front."""


def held_out_rows(
    front: Sequence[TunedTrial], held_out: Sequence[Sequence[Measured]], *, cost: str, bootstrap: int, seed: int = 0
) -> list[Row]:
    """A row per point of the front, cheapest first, with what it is worth on environments that tuning never saw.

    A point is on the front because its quality beat every cheaper one on the tuning environments; of many points tried
    some do so by luck. ``gain`` is the quality over the next cheaper point, paired over held-out environments:
    ``confirmed`` where its 95% interval lies above 0, ``refuted`` where it lies below, else ``open``. All points are
    resampled with one seed, so that they stay paired; environments that offer nothing over chance are left out.

    Args:
        front: see :func:`front_of`.
        held_out: what each measured there, in one order of environments.
        cost: ``candidates`` or ``seconds``.
        bootstrap: resamples of the environments.
        seed: of the resamples.
    """
    if not front:
        return []
    held = [Averages.of(measured) for measured in held_out]
    ranks = dominance_ranks([Point(each.quality, each.cost(cost), 0.0) for each in held])
    rows, cheaper = [], None
    for trial, measured, averages, rank in zip(front, held_out, held, ranks, strict=True):
        quality = np.array([each.quality for each in measured])
        row = _row(trial) | {f"held_out/{name}": value for name, value in averages._asdict().items()}
        row |= _bounds("held_out/quality", iqm_interval(quality, count=bootstrap, seed=seed))
        row |= {"held_out/environments": len(measured), "held_out/on_front": bool(rank == 0)}
        rows.append(row | _gain(quality, cheaper, count=bootstrap, seed=seed))
        cheaper = quality
    return rows


def _gain(quality: np.ndarray, cheaper: np.ndarray | None, *, count: int, seed: int) -> Row:
    if cheaper is None:
        nothing = Interval(math.nan, math.nan, math.nan)
        return {"held_out/gain": math.nan, **_bounds("held_out/gain", nothing), "verdict": CHEAPEST}
    gain = mean_interval(quality - cheaper, count=count, seed=seed)
    verdict = CONFIRMED if gain.low > 0 else REFUTED if gain.high < 0 else OPEN
    return {"held_out/gain": gain.value, **_bounds("held_out/gain", gain), "verdict": verdict}


def _bounds(name: str, interval: Interval) -> Row:
    return {f"{name}/ci_low": interval.low, f"{name}/ci_high": interval.high}
