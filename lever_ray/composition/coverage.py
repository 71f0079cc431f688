"""Coverage: how much of what a task can reach was ever tried, and where a composed route leaves it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numba import njit

from lever_ray.tasks.gridworld.compile import TERMINAL, make_task
from lever_ray.tasks.gridworld.layout import Cell, Layout
from lever_ray.tasks.gridworld.optimum import is_exact, optimum_on
from lever_ray.tasks.gridworld.planner import FULL_SUPPORT, plan
from lever_ray.tasks.gridworld.terrain import ACTIONS
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.rollout import random_return

_VALUE_WIDTH = 100


@dataclass(frozen=True)
class Coverage:
    """Shares in [0, 1].

    Attributes:
        library: share of the task's reachable state-action pairs that some member took in training.
        on_policy: share of the composed route's steps that some member took in training.
        value: how much of the value that the environment offers over chance can be had on the transitions that the
            groups recorded, (J*_D - J_rand) / (J* - J_rand); see :func:`value_coverage`.
        leaves_at: first cell where the route takes an action that no member took, or None.
        circles: whether the route is cut after N^2 steps.
    """

    library: float
    on_policy: float
    value: float
    leaves_at: Cell | None
    circles: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self) | {"leaves_at": None if self.leaves_at is None else list(self.leaves_at)}


@njit(cache=True)
def _reachable(moves, events, start):
    """bool[S]: non-terminal cells that can be reached from the start."""
    reached = np.zeros(len(events), np.bool_)
    queue = np.empty(len(events), np.int32)
    queue[0] = start
    reached[start] = True
    head, tail = 0, 1
    while head < tail:
        state = queue[head]
        head += 1
        for action in range(ACTIONS):
            target = moves[state, action]
            if not reached[target] and not events[target] & TERMINAL:
                reached[target] = True
                queue[tail] = target
                tail += 1
    return reached


def library_coverage(layout: Layout, support: np.ndarray) -> float:
    """Share of the reachable (cell, action) pairs whose bit is set in ``support``, uint8[S]."""
    reached = _reachable(layout.terrain.moves, layout.terrain.event, layout.terrain.start)
    taken = (support[reached, None] >> np.arange(ACTIONS, dtype=np.uint8)) & 1
    return float(taken.mean())


def value_coverage(layout: Layout, objective: Objective, support: np.ndarray) -> float:
    """(J*_D - J_rand) / (J* - J_rand); NaN where the environment offers nothing over chance.

    Exact on grid8; elsewhere both optima are found by the same beam search of width 100, so the share is an estimate.
    Remembered for each layout, objective and support.

    Args:
        layout: the grid.
        objective: the composite objective.
        support: uint8[S], recorded union.
    """
    return _value_coverage(layout, objective, support.tobytes())


@lru_cache(maxsize=4096)
def _value_coverage(layout: Layout, objective: Objective, support: bytes) -> float:
    everywhere = np.full(layout.states, FULL_SUPPORT)
    reachable, best = (
        _best_return(layout, objective, allowed) for allowed in (np.frombuffer(support, np.uint8), everywhere)
    )
    chance = random_return(layout, objective)
    return (reachable - chance) / (best - chance) if best > chance else math.nan


def _best_return(layout: Layout, objective: Objective, support: np.ndarray) -> float:
    if is_exact(layout):
        return optimum_on(layout, objective=objective, support=support).total
    total, _ = plan(make_task(layout, objective), width=_VALUE_WIDTH, support=support.copy())
    return total


def route_coverage(
    layout: Layout, support: np.ndarray, cells: tuple[Cell, ...], actions: np.ndarray, *, value: float = math.nan
) -> Coverage:
    """Coverage of a route.

    Args:
        layout: the grid.
        support: uint8[S], union of the members' support bits.
        cells: T + 1 cells, the start first.
        actions: int[T].
        value: of all that the groups recorded, see :func:`value_coverage`.
    """
    states = np.array([layout.index(cell) for cell in cells[: len(actions)]], np.int64)
    inside = (support[states] >> actions.astype(np.uint8)) & 1 == 1
    outside = np.flatnonzero(~inside)
    return Coverage(
        library=library_coverage(layout, support),
        on_policy=float(inside.mean()) if len(inside) else 1.0,
        value=value,
        leaves_at=cells[outside[0]] if len(outside) else None,
        circles=len(actions) >= layout.states and not layout.terrain.event[layout.index(cells[-1])] & TERMINAL,
    )
