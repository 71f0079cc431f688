"""The best return that an environment, or its recorded part, allows: exact where that fits, else by beam search."""

from __future__ import annotations

import numpy as np

from lever_ray.compiling import compiled
from lever_ray.tasks.gridworld.layout import Layout
from lever_ray.tasks.gridworld.terrain import ACTIONS
from lever_ray.tasks.gridworld.waypoints import waypoint_cells
from lever_ray.tasks.kernel import TERMINAL, CompiledTask, nearest_item, step
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.protocol import Optimum
from lever_ray.tasks.rollout import rollout
from lever_ray.tasks.support import read_support

EXACT_LIMIT = 1 << 24
"""Most (full state, time) pairs for which the optimum is computed exactly."""
BEST_KNOWN_WIDTH = 10_000
_OVER, _STUCK = -1, -2
"""Successors in the tables of dynamic programming: the episode ends with this move, or can make no move."""


@compiled(nogil=True)
def _transitions(task, support, states, gold_bits):
    """Successor and reward of every (position, lever, golds) and action; reward -inf where it is not supported."""
    moves, flags, table, near, _, _, rules = task
    masks = 1 << gold_bits
    total = states * 2 * masks
    target, rewards = np.empty((total, ACTIONS), np.int32), np.empty((total, ACTIONS))
    for index in range(total):
        golds = np.uint64(index % masks)
        lever = (index // masks) % 2
        state = index // (2 * masks)
        memory = golds, np.uint64(lever)
        nearest = nearest_item(near, state, memory)
        for action in range(ACTIONS):
            if not (support[state, 0] >> action) & 1:
                stuck = support[state, 0] == 0
                target[index, action], rewards[index, action] = _STUCK if stuck else _OVER, 0.0 if stuck else -np.inf
                continue
            after, (left, on), _, reward, flag = step(moves, flags, table, near, rules, state, memory, nearest, action)
            rewards[index, action] = reward
            target[index, action] = _OVER if flag & TERMINAL else (after * 2 + np.int64(on)) * masks + np.int64(left)
    return target, rewards


@compiled(nogil=True)
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


def best_route(
    layout: Layout, objective: Objective, *, support: np.ndarray | None = None, shaping: float = 1.0
) -> Optimum:
    """J*: the highest return within N^2 steps, exact on grid8, else of a wide beam search; on a support, J*_D.

    In a cell without a supported action the episode is stuck: its return so far counts, and the route ends there.
    Where the start is such a cell, the return is 0 and the route empty. So J*_D is at most J* where every cell has a
    supported action; being stuck may save step costs that nothing else avoids. An inexact value may lie below that
    of another method on the same support, or of this one on less of it: compare with the maximum of all.

    Args:
        layout: the grid.
        objective: what is rewarded.
        support: uint8[S, 1], bit ``a`` says that action ``a`` was recorded there; all actions by default.
        shaping: see :func:`lever_ray.tasks.gridworld.compile.compile_layout`.

    Raises:
        UnknownName, InvalidTask: see :func:`lever_ray.tasks.gridworld.compile.compile_layout`.
        InvalidValue: ``support`` is of another shape.
    """
    task = layout.compile(objective, shaping=shaping)
    allowed = read_support(support, layout.observations, ACTIONS)
    bits = len(layout.golds) if (waypoint_cells(task)[:-3] >= 0).any() else 0
    exact = _fits(layout, bits)
    if exact:
        actions = _by_dynamic_programming(task, allowed, bits)
    else:
        from lever_ray.tasks.gridworld.planner import plan

        found = plan(task, width=BEST_KNOWN_WIDTH, support=allowed).actions
        assert found is not None
        actions = found
    route = rollout(layout, objective=objective, actions=actions, shaping=shaping)
    route.actions.setflags(write=False)
    return Optimum(route.total, exact, route.path, route.actions)


def _by_dynamic_programming(task: CompiledTask, support: np.ndarray, bits: int) -> np.ndarray:
    """Actions of an optimal route; ``bits`` golds matter, all of them or none."""
    target, rewards = _transitions(task, support, len(task.flags), bits)
    start = task.start * 2 * (1 << bits) + (1 << bits) - 1
    return _solve(target, rewards, start, task.rules.horizon)[1]
