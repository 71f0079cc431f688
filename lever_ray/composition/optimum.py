"""The best return that an environment allows: exact by dynamic programming where that fits, else by beam search."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numba import njit

from lever_ray.composition.planner import plan
from lever_ray.gridworld.layout import Cell, Layout
from lever_ray.gridworld.objective import Objective
from lever_ray.gridworld.rollout import rollout
from lever_ray.gridworld.task import TERMINAL, Task, make_task, nearest_gold, step
from lever_ray.gridworld.terrain import ACTIONS

EXACT_LIMIT = 1 << 24
"""Most (full state, time) pairs for which the optimum is computed exactly."""
BEST_KNOWN_WIDTH = 10_000


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
def _transitions(task, states, gold_bits):
    """Successor and reward of every (position, lever, golds) and action; successor -1 where the episode ends."""
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
            after, left, on, _, reward, event = step(
                moves, events, tabulated, near, rules, state, golds, lever, nearest, action
            )
            rewards[index, action] = reward
            target[index, action] = -1 if event & TERMINAL else (after * 2 + on) * masks + np.int64(left)
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
    while index >= 0 and time < horizon:
        actions[time] = best[time, index]
        index = target[index, actions[time]]
        time += 1
    return value[start], actions[:time]


def optimum(layout: Layout, *, objective: Objective | str, shaping: float = 1.0) -> Optimum:
    """The highest return possible within N^2 steps; exact on grid8, else the best route of a wide beam search.

    Raises:
        UnknownName, InvalidLayout: see :func:`lever_ray.gridworld.task.make_task`.
    """
    return _optimum(layout, Objective.of(objective), float(shaping))


@lru_cache(maxsize=1024)
def _optimum(layout: Layout, objective: Objective, shaping: float) -> Optimum:
    task = make_task(layout, objective, shaping=shaping)
    exact = layout.states * 2 * 2 ** len(layout.golds) * task.rules.horizon <= EXACT_LIMIT
    _, actions = _by_dynamic_programming(layout, task) if exact else plan(task, width=BEST_KNOWN_WIDTH)
    route = rollout(layout, objective=objective, actions=actions, shaping=shaping)
    route.actions.setflags(write=False)
    return Optimum(route.total, exact, route.path, route.actions)


def _by_dynamic_programming(layout: Layout, task: Task) -> tuple[float, np.ndarray]:
    bits = len(layout.golds)
    target, rewards = _transitions(task, layout.states, bits)
    start = task.rules.start * 2 * (1 << bits) + int(task.rules.all_golds)
    return _solve(target, rewards, start, task.rules.horizon)
