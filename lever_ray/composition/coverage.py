"""Coverage: how much of what a task can reach was ever tried, and where a composed route leaves it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from lever_ray.gridworld.layout import Cell, Layout
from lever_ray.gridworld.task import TERMINAL
from lever_ray.gridworld.terrain import ACTIONS


@dataclass(frozen=True)
class Coverage:
    """Shares in [0, 1].

    Attributes:
        library: share of the task's reachable state-action pairs that some member took in training.
        on_policy: share of the composed route's steps that some member took in training.
        leaves_at: first cell where the route takes an action that no member took, or None.
    """

    library: float
    on_policy: float
    leaves_at: Cell | None


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


def route_coverage(layout: Layout, support: np.ndarray, cells: tuple[Cell, ...], actions: np.ndarray) -> Coverage:
    """Coverage of a route.

    Args:
        layout: the grid.
        support: uint8[S], union of the members' support bits.
        cells: T + 1 cells, the start first.
        actions: int[T].
    """
    states = np.array([layout.index(cell) for cell in cells[: len(actions)]], np.int64)
    inside = (support[states] >> actions.astype(np.uint8)) & 1 == 1
    outside = np.flatnonzero(~inside)
    return Coverage(
        library=library_coverage(layout, support),
        on_policy=float(inside.mean()) if len(inside) else 1.0,
        leaves_at=cells[outside[0]] if len(outside) else None,
    )
