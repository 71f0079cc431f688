"""Coverage: how much of what a task can reach was ever tried, and where a composed route leaves it."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from lever_ray.compiling import compiled
from lever_ray.tasks.kernel import TERMINAL
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.optimum import optimum
from lever_ray.tasks.protocol import Environment
from lever_ray.tasks.rollout import random_return
from lever_ray.tasks.support import full_support, taken_actions

_VALUE_WIDTH = 100


@dataclass(frozen=True)
class Coverage:
    """Shares in [0, 1].

    Attributes:
        library: share of the task's reachable state-action pairs that some member took in training.
        on_policy: share of the composed route's steps that some member took in training; the mean over the starts.
        value: how much of the value that the environment offers over chance can be had on the transitions that the
            groups recorded, (J*_D - J_rand) / (J* - J_rand); see :func:`value_coverage`.
        leaves_at: label of the first observation where the route takes an action that no member took, or None.
        circles: whether the route comes back to an observation and is cut at the horizon.
    """

    library: float
    on_policy: float
    value: float
    leaves_at: Hashable
    circles: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        place = self.leaves_at
        return asdict(self) | {"leaves_at": list(place) if isinstance(place, tuple) else place}


@compiled()
def _reachable(moves, flags, starts):
    """bool[S]: non-terminal observations that can be reached from the starts."""
    reached = np.zeros(len(flags), np.bool_)
    queue, tail = np.empty(len(flags), np.int32), 0
    for start in starts:
        if not reached[start]:
            reached[start], queue[tail] = True, start
            tail += 1
    head = 0
    while head < tail:
        state = queue[head]
        head += 1
        for action in range(moves.shape[1]):
            target = moves[state, action]
            if not reached[target] and not flags[target] & TERMINAL:
                reached[target] = True
                queue[tail] = target
                tail += 1
    return reached


def library_coverage(task: Environment, support: np.ndarray) -> float:
    """Share of the reachable pairs of observation and action whose bit is set in ``support``, uint8[S, B]."""
    dynamics = task.dynamics
    reached = _reachable(dynamics.moves, dynamics.flags, dynamics.starts)
    return float(taken_actions(support[reached], task.actions).mean())


def value_coverage(task: Environment, objective: Objective, support: np.ndarray) -> float:
    """(J*_D - J_rand) / (J* - J_rand); NaN where the environment offers nothing over chance, or J* is not known.

    Exact where optima are; elsewhere both are found by the same planner of width 100, so the share is an estimate.
    Remembered for each task, objective and support.

    Args:
        task: the environment.
        objective: the composite objective, resolved.
        support: uint8[S, B], recorded union.
    """
    return _value_coverage(task, objective, support.tobytes())


@lru_cache(maxsize=4096)
def _value_coverage(task: Environment, objective: Objective, support: bytes) -> float:
    everywhere = full_support(task.observations, task.actions)
    recorded = np.frombuffer(support, np.uint8).reshape(everywhere.shape)
    reachable, best = (_best_return(task, objective, allowed) for allowed in (recorded, everywhere))
    chance = random_return(task, objective)
    return (reachable - chance) / (best - chance) if best > chance else math.nan


def _best_return(task: Environment, objective: Objective, support: np.ndarray) -> float:
    hooks = task.hooks
    if hooks.exact is not None and hooks.exact(task):
        return optimum(task, objective=objective, support=support).total
    if hooks.plan is None:
        return math.nan
    return hooks.plan(task, objective, width=_VALUE_WIDTH, support=support.copy()).total


def route_coverage(
    task: Environment, support: np.ndarray, states: np.ndarray, actions: np.ndarray, *, value: float = math.nan
) -> Coverage:
    """Coverage of a route.

    Args:
        task: the environment.
        support: uint8[S, B], union of the members' support.
        states: int[T + 1], the observations, the start first.
        actions: int[T].
        value: of all that the groups recorded, see :func:`value_coverage`.
    """
    inside = taken_actions(support, task.actions)[states[:-1], actions]
    outside = np.flatnonzero(~inside)
    return Coverage(
        library=library_coverage(task, support),
        on_policy=float(inside.mean()) if len(inside) else 1.0,
        value=value,
        leaves_at=task.label(int(states[outside[0]])) if len(outside) else None,
        circles=bool(
            len(actions) >= task.horizon
            and not task.dynamics.flags[states[-1]] & TERMINAL
            and len(np.unique(states)) < len(states)
        ),
    )


def over_starts(found: Sequence[Coverage], weights: np.ndarray) -> Coverage:
    """Coverage of the routes from all starts, float64[n] likely: the mean share, and what any of them shows."""
    if len(found) == 1:
        return found[0]
    shares = float(weights @ [each.on_policy for each in found])
    leaves_at = next((each.leaves_at for each in found if each.leaves_at is not None), None)
    return replace(found[0], on_policy=shares, leaves_at=leaves_at, circles=any(each.circles for each in found))
