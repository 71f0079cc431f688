"""The best return that an environment, or its recorded part, allows: exact where that fits, else by beam search."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numba import njit

from lever_ray.tasks.gridworld.compile import TERMINAL, Task, make_task, nearest_gold, step
from lever_ray.tasks.gridworld.layout import Cell, Layout
from lever_ray.tasks.gridworld.planner import FULL_SUPPORT, plan, read_support
from lever_ray.tasks.gridworld.terrain import ACTIONS
from lever_ray.tasks.gridworld.waypoints import waypoint_cells
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.rollout import rollout

EXACT_LIMIT = 1 << 24
"""Most (full state, time) pairs for which the optimum is computed exactly."""
BEST_KNOWN_WIDTH = 10_000
_OVER, _STUCK = -1, -2
"""Successors in the tables of dynamic programming: the episode ends with this move, or can make no move."""


@dataclass(frozen=True, eq=False)
class Optimum:
    """The best known return of a layout under an objective.

    Attributes:
        total: undiscounted return, in reward units.
        exact: True where it is the proven optimum over all behaviour within N^2 steps.
        path: cells of a route that earns it.
        actions: int8[T], its actions.
    """

    total: float
    exact: bool
    path: tuple[Cell, ...]
    actions: np.ndarray


@njit(cache=True, nogil=True)
def _transitions(task, support, states, gold_bits):
    """Successor and reward of every (position, lever, golds) and action; reward -inf where it is not supported."""
    moves, events, tabulated, near, rules = task
    masks = 1 << gold_bits
    total = states * 2 * masks
    target, rewards = np.empty((total, ACTIONS), np.int32), np.empty((total, ACTIONS))
    for index in range(total):
        golds = np.uint64(index % masks)
        lever = (index // masks) % 2
        state = index // (2 * masks)
        nearest = nearest_gold(near, state, golds)
        for action in range(ACTIONS):
            if not (support[state] >> action) & 1:
                stuck = support[state] == 0
                target[index, action], rewards[index, action] = _STUCK if stuck else _OVER, 0.0 if stuck else -np.inf
                continue
            after, left, on, _, reward, event = step(
                moves, events, tabulated, near, rules, state, golds, lever, nearest, action
            )
            rewards[index, action] = reward
            target[index, action] = _OVER if event & TERMINAL else (after * 2 + on) * masks + np.int64(left)
    return target, rewards


@njit(cache=True, nogil=True)
def _solve(target, rewards, start, horizon):
    """Finite-horizon dynamic programming: ``(value of the start, actions int8[T])``."""
    total = len(target)
    value, before = np.zeros(total), np.zeros(total)
    best = np.empty((horizon, total), np.int8)
    for time in range(horizon - 1, -1, -1):
        for index in range(total):
            highest, choice = -np.inf, 0
            for action in range(ACTIONS):
                after = target[index, action]
                outcome = rewards[index, action] + (0.0 if after < 0 else value[after])
                if outcome > highest:
                    highest, choice = outcome, action
            before[index] = highest
            best[time, index] = choice
        value, before = before, value
    actions, index, time = np.empty(horizon, np.int8), start, 0
    while index >= 0 and time < horizon and target[index, best[time, index]] != _STUCK:
        actions[time] = best[time, index]
        index = target[index, actions[time]]
        time += 1
    return value[start], actions[:time]


def is_exact(layout: Layout) -> bool:
    """Whether optima of a layout are computed exactly whatever the objective; without golds larger ones are, too."""
    return _fits(layout, len(layout.golds))


def _fits(layout: Layout, gold_bits: int) -> bool:
    return layout.states * 2 * 2**gold_bits * layout.states <= EXACT_LIMIT


def optimum(layout: Layout, *, objective: Objective | str, shaping: float = 1.0) -> Optimum:
    """J*: the highest return possible within N^2 steps; exact on grid8, else the best route of a wide beam search.

    Raises:
        UnknownName, InvalidLayout: see :func:`lever_ray.tasks.gridworld.compile.make_task`.
    """
    return _optimum(layout, Objective.of(objective), float(shaping))


@lru_cache(maxsize=1024)
def _optimum(layout: Layout, objective: Objective, shaping: float) -> Optimum:
    support = np.full(layout.states, FULL_SUPPORT)
    return optimum_on(layout, objective=objective, support=support, shaping=shaping)


def optimum_on(layout: Layout, *, objective: Objective | str, support: np.ndarray, shaping: float = 1.0) -> Optimum:
    """J*_D: the highest return within N^2 steps of recorded transitions alone; exact or not as :func:`optimum` is.

    In a cell without a supported action the episode is stuck: its return so far counts, and the route ends there.
    Where the start is such a cell, the return is 0 and the route empty. So J*_D is at most J* where every cell has a
    supported action; being stuck may save step costs that nothing else avoids. An inexact value may lie below that
    of another method on the same support, or of this one on less of it: compare with the maximum of all.

    Args:
        layout: the grid.
        objective: what is rewarded.
        support: uint8[S], bit ``a`` says that action ``a`` was recorded there.
        shaping: see :func:`lever_ray.tasks.gridworld.compile.make_task`.

    Raises:
        UnknownName, InvalidLayout: see :func:`lever_ray.tasks.gridworld.compile.make_task`.
        InvalidValue: ``support`` is of another shape.
    """
    task = make_task(layout, objective, shaping=shaping)
    allowed = read_support(task, support)
    bits = len(layout.golds) if (waypoint_cells(task)[:-3] >= 0).any() else 0
    exact = _fits(layout, bits)
    if exact:
        actions = _by_dynamic_programming(task, allowed, bits)
    else:
        actions = plan(task, width=BEST_KNOWN_WIDTH, support=allowed).actions
    route = rollout(layout, objective=objective, actions=actions, shaping=shaping)
    route.actions.setflags(write=False)
    return Optimum(route.total, exact, route.path, route.actions)


def _by_dynamic_programming(task: Task, support: np.ndarray, bits: int) -> np.ndarray:
    """Actions of an optimal route; ``bits`` golds matter, all of them or none."""
    target, rewards = _transitions(task, support, len(task.events), bits)
    start = task.rules.start * 2 * (1 << bits) + (1 << bits) - 1
    return _solve(target, rewards, start, task.rules.horizon)[1]
