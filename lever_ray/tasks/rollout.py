"""Episodes in the real environment: of given actions, of a Q-table, and of the uniformly random policy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from lever_ray.errors import InvalidValue
from lever_ray.tasks.gridworld.compile import TERMINAL, make_task, nearest_gold, step
from lever_ray.tasks.gridworld.layout import Cell, Layout
from lever_ray.tasks.gridworld.terrain import ACTIONS, EXIT, HAZARD
from lever_ray.tasks.objective import Objective

ENDS: tuple[str, ...] = ("exit", "hazard", "truncated")
"""How an episode can end in the environment."""


@dataclass(frozen=True, eq=False)
class Rollout:
    """One episode.

    Attributes:
        total: undiscounted return, in reward units.
        end: ``exit``, ``hazard`` or ``truncated``.
        path: the cells visited, the start first; ``len(path) == steps + 1``.
        actions: int8[T], the actions taken.
        rewards: float64[T].
        golds_left: golds not collected.
        lever_on: whether the lever was entered.
    """

    total: float
    end: str
    path: tuple[Cell, ...]
    actions: np.ndarray
    rewards: np.ndarray
    golds_left: int
    lever_on: bool

    @property
    def steps(self) -> int:
        """T, the number of moves."""
        return len(self.actions)


@njit(cache=True)
def greedy_actions(q):
    """int8[S]: the action of highest value in float[S, A], ties to the lowest action."""
    actions = np.empty(q.shape[0], np.int8)
    for state in range(q.shape[0]):
        best = 0
        for action in range(1, q.shape[1]):
            if q[state, action] > q[state, best]:
                best = action
        actions[state] = best
    return actions


@njit(cache=True)
def play(task, actions, tabular, states, rewards):
    """Play one episode into the given arrays.

    Args:
        task: see :class:`lever_ray.tasks.gridworld.compile.Task`.
        actions: int8[S] by cell where ``tabular``, else int8[T] by time.
        tabular: how ``actions`` is read.
        states: int32[horizon + 1], filled with the cells visited.
        rewards: float64[horizon], filled with the rewards.

    Returns:
        ``(steps, total, event, golds, lever)`` at the end.
    """
    moves, events, tabulated, near, rules = task
    state, golds, lever = rules.start, rules.all_golds, 0
    nearest = nearest_gold(near, state, golds)
    limit = rules.horizon if tabular else min(rules.horizon, len(actions))
    event = events[state]
    total = 0.0
    time = 0
    states[0] = state
    while time < limit:
        action = np.int64(actions[state] if tabular else actions[time])
        state, golds, lever, nearest, reward, event = step(
            moves, events, tabulated, near, rules, state, golds, lever, nearest, action
        )
        rewards[time] = reward
        total += reward
        time += 1
        states[time] = state
        if event & TERMINAL:
            break
    return time, total, event, golds, lever


@njit(cache=True)
def random_returns(task, rng, episodes):
    """float64[episodes]: returns of the uniformly random policy."""
    moves, events, tabulated, near, rules = task
    returns = np.zeros(episodes)
    for episode in range(episodes):
        state, golds, lever = rules.start, rules.all_golds, 0
        nearest = nearest_gold(near, state, golds)
        for _ in range(rules.horizon):
            action = int(rng.random() * ACTIONS)
            state, golds, lever, nearest, reward, event = step(
                moves, events, tabulated, near, rules, state, golds, lever, nearest, action
            )
            returns[episode] += reward
            if event & TERMINAL:
                break
    return returns


def rollout(
    layout: Layout,
    *,
    objective: Objective | str,
    q: np.ndarray | None = None,
    actions: np.ndarray | None = None,
    shaping: float = 1.0,
) -> Rollout:
    """Play one episode in the real environment.

    Args:
        layout: the grid.
        objective: what is rewarded.
        q: float[S, A]; the greedy policy is followed, ties to the lowest action.
        actions: int[T], a route instead of a Q-table; it is cut at N^2 steps and counts as truncated where it ends
            short of a terminal cell.
        shaping: see :func:`lever_ray.tasks.gridworld.compile.make_task`.

    Raises:
        InvalidValue: neither or both of ``q`` and ``actions`` are given, a shape differs from the layout's, ``q``
            holds NaN, or an action is not 0, 1, 2 or 3.
    """
    if (q is None) == (actions is None):
        raise InvalidValue("rollout needs either q or actions, and not both")
    plan = _read_q(layout, q) if q is not None else _read_actions(actions)
    task = make_task(layout, objective, shaping=shaping)
    states, rewards = np.empty(task.rules.horizon + 1, np.int32), np.empty(task.rules.horizon)
    steps, total, event, golds, lever = play(task, plan, q is not None, states, rewards)
    end = "exit" if event & EXIT else "hazard" if event & HAZARD else "truncated"
    taken = plan[states[:steps]] if q is not None else plan[:steps]
    path = tuple(layout.cell(state) for state in states[: steps + 1])
    return Rollout(float(total), end, path, taken, rewards[:steps].copy(), int(golds).bit_count(), bool(lever))


def _read_q(layout: Layout, q: np.ndarray) -> np.ndarray:
    table = np.require(q, requirements=["C_CONTIGUOUS", "WRITEABLE"])
    if table.shape != (layout.states, ACTIONS):
        raise InvalidValue(f"q has shape {table.shape}; this layout needs ({layout.states}, {ACTIONS})")
    if np.isnan(table).any():
        raise InvalidValue("q holds NaN; its greedy action is undefined")
    return greedy_actions(table)


def _read_actions(actions: np.ndarray | None) -> np.ndarray:
    plan = np.asarray(actions)
    if plan.ndim != 1 or (plan.size and not np.isin(plan, range(ACTIONS)).all()):
        raise InvalidValue(
            f"actions has shape {plan.shape} and values {np.unique(plan)[:6]}; use a list of 0, 1, 2 and 3"
        )
    return plan.astype(np.int8)


def random_return(
    layout: Layout, objective: Objective | str, *, episodes: int = 100, seed: int = 0, shaping: float = 1.0
) -> float:
    """J_rand: mean undiscounted return of ``episodes`` rollouts of the uniformly random policy.

    Raises:
        InvalidValue: ``episodes`` is below 1.
    """
    if episodes < 1:
        raise InvalidValue(f"episodes is {episodes}; at least 1 is needed")
    task = make_task(layout, objective, shaping=shaping)
    return float(random_returns(task, np.random.default_rng(seed), episodes).mean())
