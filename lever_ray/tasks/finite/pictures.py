"""Finite tasks and routes as text and on matplotlib axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lever_ray.tasks.finite.task import FiniteTask

LEGEND = "S start  T terminal  . other  * route"
MOST_CELLS = 10_000
"""Cells that a map in characters may have."""


def arrival_rewards(task: FiniteTask) -> np.ndarray:
    """float64[S]: the largest reward of any term for coming to an observation from another; NaN where none leads."""
    largest = np.full(task.observations, -np.inf)
    moving = (task.successors != np.arange(task.observations)[:, None]) & ~task.terminal[:, None]
    np.maximum.at(largest, task.successors[moving], task.rewards.max(axis=0)[moving])
    return np.where(np.isfinite(largest), largest, np.nan)


def as_text(task: FiniteTask, path: Sequence[int] = ()) -> str:
    """A map with one character a cell and a legend; empty without coordinates, or where these are too far apart.

    Args:
        task: it.
        path: observations to mark as a route.
    """
    if task.coordinates is None:
        return ""
    cells = task.coordinates.astype(np.int64) - task.coordinates.min(axis=0)
    rows, columns = (cells.max(axis=0) + 1).tolist()
    if rows * columns > MOST_CELLS:
        return ""
    canvas = np.full((rows, columns), " ")
    for places, symbol in (
        (np.arange(task.observations), "."),
        (np.array(path, np.int64), "*"),
        (np.flatnonzero(task.terminal), "T"),
        (np.flatnonzero(task.start), "S"),
    ):
        canvas[tuple(cells[places].T)] = symbol
    return "\n".join([*(" ".join(row).rstrip() for row in canvas), LEGEND])


def draw(axes: Any, task: FiniteTask, path: Sequence[int] = (), *, label: str = "") -> None:
    """Draw a route over the largest rewards by place; without coordinates, the observations visited by step.

    Args:
        axes: matplotlib's.
        task: it.
        path: observations of the route, the first one first.
        label: what the route is called.
    """
    if task.coordinates is None:
        axes.step(range(len(path)), path, where="post", color="#d55e00", label=label or None)
        axes.set(xlabel="step", ylabel="observation", ylim=(-0.5, task.observations - 0.5))
        return
    rows, columns = task.coordinates.T
    worth = arrival_rewards(task)
    axes.scatter(columns, rows, c="#f4f6f8", marker="s", edgecolors="#d5dae0")
    axes.scatter(columns, rows, c=worth, marker="s", cmap="YlGnBu", plotnonfinite=False)
    ends = task.terminal
    axes.scatter(columns[ends], rows[ends], marker="s", facecolors="none", edgecolors="#1f2933")
    starts = task.start > 0
    axes.scatter(columns[starts], rows[starts], marker="o", color="#0072b2", s=16)
    axes.plot(columns[list(path)], rows[list(path)], color="#d55e00", linewidth=2, label=label or None)
    axes.set(xlabel="column", ylabel="row", aspect="equal")
    if not axes.yaxis_inverted():
        axes.invert_yaxis()
