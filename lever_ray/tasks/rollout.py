"""Episodes in the real environment: of given actions, of a Q-table, and of the uniformly random policy."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lever_ray.compiling import compiled
from lever_ray.errors import InvalidValue
from lever_ray.tasks.kernel import GOAL, TERMINAL, TRAP, CompiledTask, draw_start, nearest_item, step
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.protocol import Environment

TRUNCATED = "truncated"
"""How an episode ends that comes to no terminal observation within the horizon."""


@dataclass(frozen=True, eq=False)
class Rollout:
    """What a policy earns, and one of its episodes.

    Attributes:
        total: expected return over the starts, discounted as the environment is evaluated, in reward units.
        ends: share of every end over the starts, by name.
        end: how the episode from the likeliest start ends: one of the environment's ends, or ``truncated``.
        path: the labels of its observations, the start first; ``len(path) == steps + 1``.
        observations: int32[T + 1], the same as numbers.
        actions: int16[T], the actions taken.
        rewards: float64[T].
        memory: what is left of its memory: items as bits, and 1 where the switch is on.
    """

    total: float
    ends: Mapping[str, float]
    end: str
    path: tuple[Hashable, ...]
    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    memory: tuple[int, int]

    @property
    def steps(self) -> int:
        """T, the number of moves."""
        return len(self.actions)


@compiled()
def greedy_actions(q):
    """int16[S]: the action of highest value in float[S, A], ties to the lowest action."""
    actions = np.empty(q.shape[0], np.int16)
    for state in range(q.shape[0]):
        best = 0
        for action in range(1, q.shape[1]):
            if q[state, action] > q[state, best]:
                best = action
        actions[state] = best
    return actions


@compiled()
def play(task, start, actions, tabular, states, rewards):
    """Play one episode into the given arrays.

    Args:
        task: see :class:`lever_ray.tasks.kernel.CompiledTask`.
        start: the observation that it begins with, an int64.
        actions: int16[S] by observation where ``tabular``, else int16[T] by time.
        tabular: how ``actions`` is read.
        states: int32[horizon + 1], filled with the observations visited.
        rewards: float64[horizon], filled with the rewards.

    Returns:
        ``(steps, total, flag, memory)`` at the end.
    """
    moves, flags, table, near, _, _, rules = task
    state, memory = start, rules.memory
    nearest = nearest_item(near, state, memory)
    limit = rules.horizon if tabular else min(rules.horizon, len(actions))
    flag, total, weight, time = np.int64(flags[state]), 0.0, 1.0, 0
    states[0] = state
    while time < limit:
        action = np.int64(actions[state] if tabular else actions[time])
        state, memory, nearest, reward, flag = step(moves, flags, table, near, rules, state, memory, nearest, action)
        rewards[time] = reward
        total += weight * reward
        weight *= rules.discount
        time += 1
        states[time] = state
        if flag & TERMINAL:
            break
    return time, total, flag, memory


@compiled()
def expected_return(task, actions):
    """Expected return over the starts of following int16[S], and the steps of all these episodes."""
    starts, weights, horizon = task.starts, task.weights, task.rules.horizon
    states, rewards = np.empty(horizon + 1, np.int32), np.empty(horizon)
    total, steps = 0.0, 0
    for place in range(len(starts)):
        made, earned, _, _ = play(task, np.int64(starts[place]), actions, np.bool_(True), states, rewards)
        total += weights[place] * earned
        steps += made
    return total, steps


@compiled()
def random_returns(task, rng, episodes):
    """float64[episodes]: returns of the uniformly random policy."""
    moves, flags, table, near, starts, weights, rules = task
    actions, returns = moves.shape[1], np.zeros(episodes)
    for episode in range(episodes):
        state, memory, weight = draw_start(starts, weights, rng), rules.memory, 1.0
        nearest = nearest_item(near, state, memory)
        for _ in range(rules.horizon):
            action = int(rng.random() * actions)
            state, memory, nearest, reward, flag = step(
                moves, flags, table, near, rules, state, memory, nearest, action
            )
            returns[episode] += weight * reward
            weight *= rules.discount
            if flag & TERMINAL:
                break
    return returns


def rollout(
    task: Environment,
    *,
    objective: Objective | str,
    q: np.ndarray | None = None,
    actions: np.ndarray | None = None,
    routes: Sequence[np.ndarray] | None = None,
    shaping: float = 1.0,
    start: int | None = None,
) -> Rollout:
    """Play in the real environment, from every start.

    Args:
        task: the environment.
        objective: what is rewarded.
        q: float[S, A]; the greedy policy is followed, ties to the lowest action.
        actions: int[T], a route instead of a Q-table, where there is one start; it is cut at the horizon and counts as
            truncated where it ends short of a terminal observation.
        routes: a route for each start.
        shaping: see :meth:`lever_ray.tasks.protocol.Environment.compile`.
        start: play from this observation alone.

    Raises:
        InvalidValue: not exactly one of ``q``, ``actions`` and ``routes`` is given, there is not a route per start, a
            shape differs from the task's, ``q`` holds NaN, an action does not exist, or one route is given for several
            starts.
    """
    if sum(each is not None for each in (q, actions, routes)) != 1:
        raise InvalidValue("rollout needs either q, actions or routes, and not two of them")
    compiled = task.compile(objective, shaping=shaping)
    if start is not None:
        compiled = compiled._replace(starts=np.array([start], np.int32), weights=np.ones(1))
    horizon, tabular = compiled.rules.horizon, q is not None
    followed = _followed(task, len(compiled.starts), q, actions, routes, alone=start is not None)
    states, rewards = np.empty(horizon + 1, np.int32), np.empty(horizon)
    total, ends = 0.0, dict.fromkeys((*task.ends, TRUNCATED), 0.0)
    likeliest = int(np.argmax(compiled.weights))
    for place in (*range(likeliest), *range(likeliest + 1, len(compiled.starts)), likeliest):
        steps, earned, flag, memory = play(
            compiled, int(compiled.starts[place]), followed[place], tabular, states, rewards
        )
        total += compiled.weights[place] * earned
        ends[end_of(task, flag)] += float(compiled.weights[place])
    taken = followed[likeliest][states[:steps]] if tabular else followed[likeliest][:steps]
    visited, left = states[: steps + 1].copy(), (int(memory[0]), int(memory[1]))
    path = tuple(task.label(state) for state in visited.tolist())
    return Rollout(float(total), ends, end_of(task, flag), path, visited, taken, rewards[:steps].copy(), left)


def _followed(
    task: Environment,
    starts: int,
    q: np.ndarray | None,
    actions: np.ndarray | None,
    routes: Sequence[np.ndarray] | None,
    *,
    alone: bool,
) -> list[np.ndarray]:
    """What is followed from each start: int16[S] of a table, or a route."""
    if q is not None:
        return [_read_q(task, q)] * starts
    if routes is None:
        if not alone:
            check_one_start(task, "a route of actions")
        return [_read_actions(task, actions)]
    if len(routes) != starts:
        raise InvalidValue(f"{len(routes)} routes for {starts} starts; give one for each")
    return [_read_actions(task, route) for route in routes]


def end_of(task: Environment, flag: int) -> str:
    """What an episode's end is called, from the flags of its last observation."""
    return task.ends[0] if flag & GOAL else task.ends[1] if flag & TRAP else TRUNCATED


def _read_q(task: Environment, q: np.ndarray) -> np.ndarray:
    table, shape = np.require(q, requirements=["C_CONTIGUOUS", "WRITEABLE"]), (task.observations, task.actions)
    if table.shape != shape:
        raise InvalidValue(f"q has shape {table.shape}; this task needs {shape}")
    if np.isnan(table).any():
        raise InvalidValue("q holds NaN; its greedy action is undefined")
    return greedy_actions(table)


def _read_actions(task: Environment, actions: np.ndarray | None) -> np.ndarray:
    route = np.asarray(actions)
    if route.ndim != 1 or (route.size and not np.isin(route, range(task.actions)).all()):
        raise InvalidValue(
            f"actions has shape {route.shape} and values {np.unique(route)[:6]}; use a list of 0 to {task.actions - 1}"
        )
    return route.astype(np.int16)


def check_one_start(task: Environment, what: str) -> None:
    """Refuse what answers with one sequence of actions where episodes begin in several observations.

    Raises:
        InvalidValue: naming ``what`` and the number of starts.
    """
    starts = len(task.dynamics.starts)
    if starts > 1:
        raise InvalidValue(
            f"{what} answers one start, and this task has {starts}; use a Q-table, e.g. of operator 'sum'"
        )


def random_return(
    task: Environment, objective: Objective | str, *, episodes: int = 100, seed: int = 0, shaping: float = 1.0
) -> float:
    """J_rand: mean return of ``episodes`` rollouts of the uniformly random policy.

    Raises:
        InvalidValue: ``episodes`` is below 1.
    """
    if episodes < 1:
        raise InvalidValue(f"episodes is {episodes}; at least 1 is needed")
    compiled: CompiledTask = task.compile(objective, shaping=shaping)
    return float(random_returns(compiled, np.random.default_rng(seed), episodes).mean())
