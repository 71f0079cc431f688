"""Pareto dominance between quality (more is better) and cost (less is better), under constraints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from lever_ray.composition.recipe import Recipe
from lever_ray.config import LimitSettings
from lever_ray.tuning.trial import Averages, Measured

REDUCTION = 2
"""A rung has this many times the environments of the one below; about one in so many goes on from it."""
FEWEST = 2
"""Environments of the lowest rung, at least."""
PEERS = 8
"""Trials that must have reached a rung before anything is stopped there."""

Evaluate = Callable[[Sequence[Recipe], Sequence[str]], list[list[Measured]]]
"""Measures choices in environments: a list for each choice, in the order of the environments."""


class Point(NamedTuple):
    """Where a trial stands.

    Attributes:
        quality: normalised.
        cost: candidates or seconds per query.
        violation: how far it is from keeping the limits, summed; 0 where it keeps them.
    """

    quality: float
    cost: float
    violation: float

    @classmethod
    def of(cls, measured: Sequence[Measured], *, cost: str, limits: LimitSettings) -> Point:
        """From what was measured in some environments."""
        averages = Averages.of(measured)
        exceeded = sum(max(0.0, value) for value in violations(averages, limits).values())
        return cls(averages.quality, averages.cost(cost), exceeded)


def violations(averages: Averages, limits: LimitSettings) -> dict[str, float]:
    """By limit that is set, how far it is from being kept: positive where it is broken, in the limit's own unit."""
    found = {}
    if limits.seconds is not None:
        found["seconds"] = averages.seconds - limits.seconds
    if limits.quality is not None:
        found["quality"] = limits.quality - averages.quality
    if limits.coverage is not None:
        found["coverage"] = limits.coverage - averages.coverage
    return found


def dominance_ranks(points: Sequence[Point]) -> np.ndarray:
    """int64[K]: 0 for what nothing dominates, 1 for what only rank 0 dominates, and so on.

    One point dominates another that is nowhere better and somewhere worse; what keeps the limits comes before what
    breaks them, and of those the less they are broken the better (constrained domination, Deb et al. 2002).
    """
    table = np.array(points, np.float64).reshape(-1, 3)  # also of no points
    losses = np.column_stack([-table[:, 0], table[:, 1]])
    no_worse = (losses[:, None] <= losses[None]).all(axis=2)
    better = (losses[:, None] < losses[None]).any(axis=2)
    keeps = table[:, 2] <= 0
    less_broken = table[:, None, 2] < table[None, :, 2]
    dominates = np.where((keeps[:, None] & keeps[None]), no_worse & better, less_broken)
    ranks = np.full(len(table), -1)
    rank = 0
    while (ranks < 0).any():
        open_ = ranks < 0
        front = open_ & ~(dominates & open_[:, None]).any(axis=0)
        ranks[front] = rank
        rank += 1
    return ranks


def hypervolume(points: Sequence[Point], *, cheapest: float, dearest: float) -> float:
    """Best quality that a cost buys, averaged over costs on a logarithmic scale; 0 where nothing is affordable.

    This is the area that the points dominate down to quality 0 and up to cost ``dearest``, over the logarithm of cost,
    divided by its width. Points that break a limit do not count.

    Args:
        points: any number.
        cheapest: lower end of the scale, in the cost's unit; positive.
        dearest: upper end.
    """
    width = np.log(dearest / cheapest)
    area, best, reached = 0.0, 0.0, 0.0
    for quality, cost, violation in sorted(points, key=lambda point: point.cost):
        if violation > 0 or cost > dearest or quality <= best:
            continue
        place = float(np.clip(np.log(max(cost, cheapest) / cheapest), 0.0, width))
        area += best * (place - reached)
        best, reached = quality, place
    return float((area + best * (width - reached)) / width)


def rungs(count: int) -> tuple[int, ...]:
    """How many environments a trial has been tried in when it may be stopped; the last is all of them."""
    sizes = [count]
    while sizes[0] // REDUCTION >= FEWEST:
        sizes.insert(0, sizes[0] // REDUCTION)
    return tuple(sizes[-3:])


def goes_on(points: Sequence[Point], peers: Sequence[Point]) -> list[bool]:
    """Which points are worth further environments: the better half by rank of all that reached this rung.

    What nothing dominates always goes on, and nothing is stopped before :data:`PEERS` points have reached the rung
    (successive halving over a Pareto ranking, as in asynchronous multi-objective halving, Schmucker et al. 2021).

    Args:
        points: of the trials in question.
        peers: of other trials on the same environments.
    """
    everyone = [*points, *peers]
    if len(everyone) < PEERS:
        return [True] * len(points)
    ranks = dominance_ranks(everyone)
    last = np.sort(ranks)[(len(ranks) - 1) // REDUCTION]
    return [bool(rank == 0 or rank <= last) for rank in ranks[: len(points)]]


def run_batch(
    choices: Sequence[Recipe],
    environments: Sequence[str],
    evaluate: Evaluate,
    *,
    earlier: Sequence[Sequence[Measured]],
    place: Callable[[Sequence[Measured]], Point],
    halving: bool,
) -> list[list[Measured]]:
    """Try choices side by side, rung by rung; the result of one that was stopped is shorter than ``environments``.

    Args:
        choices: to try.
        environments: in the order in which they are visited.
        evaluate: measures choices.
        earlier: what trials before these measured, in the same order of environments.
        place: where a trial stands after some environments.
        halving: False tries every choice everywhere.
    """
    found: list[list[Measured]] = [[] for _ in choices]
    going = list(range(len(choices)))
    begun = 0
    for size in rungs(len(environments)) if halving else (len(environments),):
        measured = evaluate([choices[index] for index in going], environments[begun:size])
        for index, part in zip(going, measured, strict=True):
            found[index] += part
        begun = size
        if size < len(environments):
            peers = [place(results[:size]) for results in earlier if len(results) >= size]
            kept = goes_on([place(found[index]) for index in going], peers)
            going = [index for index, keep in zip(going, kept, strict=True) if keep]
    return found
