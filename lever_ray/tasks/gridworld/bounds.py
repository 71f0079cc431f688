"""An upper bound on the return of every behaviour in an environment, however it was found."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from lever_ray.tasks.gridworld.compile import GOLD_REWARD, LEVER_REWARD, STEP_COST
from lever_ray.tasks.gridworld.layout import Layout
from lever_ray.tasks.gridworld.terrain import TERMS
from lever_ray.tasks.objective import Objective

EXACT_PACKING = 32
"""Most points whose largest separated subset is found exactly; for more, a clique cover bounds it."""


class _Facts(NamedTuple):
    """What can be reached from the start, and how far away it is.

    Attributes:
        exit_distance: steps from the start, 0 where the exit cannot be reached.
        golds: indices of golds that can be reached.
        lever_distance: steps from the start, 0 where the lever cannot be reached.
        step_cost: of a move that is no bump, in reward units.
        shaping: factor of all shaping.
    """

    has_exit: bool
    exit_distance: int
    golds: np.ndarray
    has_lever: bool
    lever_distance: int
    step_cost: float
    shaping: float


def upper_bound(layout: Layout, *, objective: Objective | str, shaping: float = 1.0) -> float:
    """No behaviour earns more than this within N^2 steps, in reward units; loose, above all with few golds.

    Each shaping term telescopes, so it earns at most its distance where it begins. Nearest-gold shaping begins anew
    after every pick-up: where it begins at distance d or more, every gold left, and thus every later beginning, is at
    least d away, so the beginnings at d or more and the last gold are pairwise d apart. Their number is bounded by the
    largest subset of start and golds that is pairwise d apart, and the sum over d bounds the shaping of all phases.
    Every unit of it takes a step, whose cost is subtracted. To this come all bonuses that can be reached.

    Args:
        layout: the grid.
        objective: what is rewarded.
        shaping: see :func:`lever_ray.tasks.gridworld.compile.compile_layout`.

    Raises:
        UnknownName, InvalidTask, InvalidValue: see :func:`lever_ray.tasks.gridworld.compile.compile_layout`.
    """
    layout.compile(objective, shaping=shaping)
    wanted = Objective.of(objective).resolved(TERMS)
    facts = _facts(layout, wanted, shaping)
    hazards_near = int(layout.terrain.neighbour_hazards[layout.terrain.start])
    fixed = wanted.weight("path") * shaping * facts.exit_distance + wanted.weight("hazard") * shaping * 2 * hazards_near
    levers = (False, True) if facts.has_lever else (False,)
    return float(fixed + _gold_part(layout, wanted, facts) + max(_rest(layout, wanted, facts, on) for on in levers))


def _facts(layout: Layout, objective: Objective, shaping: float) -> _Facts:
    terrain, start = layout.terrain, layout.terrain.start
    to_exit, to_lever = int(terrain.exit_distance[start]), int(terrain.lever_distance[start])
    has_exit, has_lever = to_exit < layout.states, to_lever < layout.states
    return _Facts(
        has_exit=has_exit,
        exit_distance=to_exit if has_exit else 0,
        golds=np.flatnonzero(terrain.gold_distance[start] >= 0),
        has_lever=has_lever,
        lever_distance=to_lever if has_lever else 0,
        step_cost=sum(objective.weight(term) * STEP_COST[term] for term in TERMS),
        shaping=shaping,
    )


def _gold_part(layout: Layout, objective: Objective, facts: _Facts) -> float:
    """Most that pick-ups and nearest-gold shaping earn, less the cost of the steps that they take."""
    weight = objective.weight("gold")
    if not weight or not len(facts.golds):
        return 0.0
    start, steps = layout.terrain.start, layout.terrain.gold_distance[:, facts.golds]
    apart = np.zeros((len(facts.golds) + 1, len(facts.golds) + 1), np.int64)
    apart[:-1, :-1] = steps[[layout.index(layout.golds[gold]) for gold in facts.golds]]
    apart[-1, :-1] = apart[:-1, -1] = steps[start]
    margin = weight * facts.shaping - facts.step_cost
    if margin >= 0:
        phases = sum(packing(apart, least) - 1 for least in range(1, int(apart.max()) + 1))
        return weight * GOLD_REWARD * len(facts.golds) + margin * phases
    nearest = np.where(np.eye(len(apart), dtype=bool), apart.max() + 1, apart).min(axis=0)[:-1]
    return float(np.maximum(0.0, weight * GOLD_REWARD + margin * nearest).sum())


def _rest(layout: Layout, objective: Objective, facts: _Facts, lever_on: bool) -> float:
    """Most that lever, exit and exit shaping outside the path term earn, with or without the lever being entered."""
    earned = objective.weight("lever") * facts.shaping * facts.lever_distance
    steps = 0
    if lever_on:
        earned += objective.weight("lever") * LEVER_REWARD
        steps = facts.lever_distance
    if not facts.has_exit:
        return earned
    earned += facts.shaping * _exit_shaping(layout, objective, facts, lever_on)
    steps += (
        int(layout.terrain.exit_distance[layout.index(layout.lever)])
        if lever_on and layout.lever
        else facts.exit_distance
    )
    cost = 0.0 if objective.weight("gold") else facts.step_cost * steps
    return earned + max(0.0, _exit_bonus(layout, objective, facts, lever_on) - cost)


def _exit_shaping(layout: Layout, objective: Objective, facts: _Facts, lever_on: bool) -> float:
    """Exit shaping that begins with an event, in reward units: at most the exit's distance from where it may begin."""
    if "path" in objective:
        return 0.0
    terrain = layout.terrain
    at_lever = int(terrain.exit_distance[layout.index(layout.lever)]) + 1 if lever_on and layout.lever else 0
    at_golds = max((int(terrain.exit_distance[layout.index(cell)]) for cell in layout.golds), default=0)
    lever_done, gold_done = "lever" not in objective or lever_on, len(facts.golds) == len(layout.golds)
    begin = max(at_lever if "lever" in objective else 0, at_golds if "gold" in objective else 0)
    earned = objective.weight("lever") * at_lever
    if lever_done and ("gold" not in objective or gold_done):
        earned += objective.weight("gold") * begin
        alone = "gold" not in objective and "lever" not in objective
        earned += objective.weight("hazard") * (facts.exit_distance if alone else begin)
    return earned


def _exit_bonus(layout: Layout, objective: Objective, facts: _Facts, lever_on: bool) -> float:
    bonus = 100.0 * (objective.weight("path") + objective.weight("hazard"))
    left = len(layout.golds) - len(facts.golds)
    bonus += objective.weight("gold") * (-10.0 * left / len(layout.golds) if left else 100.0)
    return bonus + objective.weight("lever") * (80.0 if lever_on else 20.0)


def packing(apart: np.ndarray, least: int) -> int:
    """At most how many of n points are pairwise ``least`` or more apart; exact for up to 32 points.

    Args:
        apart: int[n, n], symmetric distances.
        least: distance, at least 1.
    """
    close = (apart < least) & ~np.eye(len(apart), dtype=bool)
    masks = [sum(1 << int(other) for other in np.flatnonzero(row)) for row in close]
    return _independent(masks) if len(masks) <= EXACT_PACKING else _clique_cover(masks)


def _independent(close: list[int]) -> int:
    """Size of the largest set of vertices no two of which are close; ``close`` are neighbours as bits."""

    @cache
    def most(left: int) -> int:
        if not left:
            return 0
        vertices = [vertex for vertex in range(len(close)) if left >> vertex & 1]
        degrees = [(close[vertex] & left).bit_count() for vertex in vertices]
        if min(degrees) <= 1:
            vertex = vertices[degrees.index(min(degrees))]
            return 1 + most(left & ~(close[vertex] | 1 << vertex))
        vertex = vertices[degrees.index(max(degrees))]
        return max(most(left & ~(1 << vertex)), 1 + most(left & ~(close[vertex] | 1 << vertex)))

    return most((1 << len(close)) - 1)


def _clique_cover(close: list[int]) -> int:
    """Number of cliques of close vertices that a greedy cover needs: no independent set has more vertices."""
    left, cliques = (1 << len(close)) - 1, 0
    while left:
        clique = left
        while clique:
            vertex = (clique & -clique).bit_length() - 1
            left &= ~(1 << vertex)
            clique &= close[vertex]
        cliques += 1
    return cliques
