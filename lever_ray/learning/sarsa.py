"""Tabular SARSA over observations, compiled; snapshots with visit counts, recorded successors and mean rewards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from time import perf_counter

import numpy as np

from lever_ray.compiling import compiled
from lever_ray.errors import InvalidValue
from lever_ray.learning.budgets import BUDGETS
from lever_ray.tasks.kernel import (
    TERMINAL,
    CompiledTask,
    Dynamics,
    Rules,
    compiled_task,
    draw_start,
    nearest_item,
    restrict_task,
    step,
)
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.protocol import Environment
from lever_ray.tasks.rollout import expected_return, greedy_actions
from lever_ray.tasks.support import read_support, taken_actions

ALPHA = 0.1
EPSILON_START = 1.0
EPSILON_FLOOR = 0.01
SNAPSHOT_EVERY = 1_000
SNAPSHOTS_KEPT = 3
"""Library entries per training run: worst, median, best."""


@dataclass(frozen=True, eq=False)
class Snapshot:
    """What a policy had learnt after some episodes.

    Attributes:
        episode: episodes trained so far.
        q: float32[S, A], action values in reward units.
        visits: uint32[S, A], how often each action was taken.
        successors: int32[S, A], observation that each action led to; -1 where never taken.
        mean_rewards: float32[S, A], mean recorded reward; 0 where never taken.
        total: expected return of its greedy episodes on the policy's own objective.
    """

    episode: int
    q: np.ndarray
    visits: np.ndarray
    successors: np.ndarray
    mean_rewards: np.ndarray
    total: float


@dataclass(frozen=True, eq=False)
class TrainingRun:
    """One trained policy and what its training cost.

    Attributes:
        task, objective, gamma, seed, episodes: what was asked.
        snapshots: one every ``snapshot_every`` episodes and one after the last.
        environment_steps: moves made in training and in the greedy episodes of the snapshots.
        seconds: wall-clock seconds of both, compilation excluded.
    """

    task: Environment
    objective: Objective
    gamma: float
    seed: int
    episodes: int
    snapshots: tuple[Snapshot, ...]
    environment_steps: int
    seconds: float

    @property
    def q(self) -> np.ndarray:
        """float32[S, A]: the final action values."""
        return self.snapshots[-1].q

    @property
    def total(self) -> float:
        """Greedy return of the final snapshot."""
        return self.snapshots[-1].total

    @property
    def best(self) -> Snapshot:
        """The snapshot of highest greedy return, the earliest on a tie."""
        return max(self.snapshots, key=lambda snapshot: (snapshot.total, -snapshot.episode))

    @property
    def steps_per_second(self) -> float:
        """Environment steps per second of wall-clock time."""
        return self.environment_steps / self.seconds

    def labelled(self) -> dict[str, Snapshot]:
        """The snapshots that a library keeps: ``worst``, ``median`` (lower) and ``best`` by greedy return.

        Where snapshots tie, each label takes the earliest that no other label has, so that three or more snapshots
        always give three policies.
        """
        totals = sorted(snapshot.total for snapshot in self.snapshots)
        levels = {"best": totals[-1], "worst": totals[0], "median": totals[(len(totals) - 1) // 2]}
        chosen: dict[str, Snapshot] = {}
        for label, level in levels.items():
            free = [snapshot for snapshot in self.snapshots if snapshot not in chosen.values()]
            chosen[label] = min(
                free or self.snapshots, key=lambda snapshot: (abs(snapshot.total - level), snapshot.episode)
            )
        return chosen


@compiled(forceinline=True)
def _choose(q, state, actions, epsilon, rng):
    """Epsilon-greedy action, ties to the lowest; one draw decides both whether to explore and where to.

    Values are compared four at a time, so that no comparison waits for the one before; ``q`` is padded with -inf.
    """
    draw = rng.random()
    if draw < epsilon:
        return min(actions - 1, int(draw * (actions / epsilon)))
    best = _best_of_four(q, state, np.int64(0))
    for first in range(4, q.shape[1], 4):
        other = _best_of_four(q, state, first)
        best = best if q[state, best] >= q[state, other] else other
    return best


@compiled(forceinline=True)
def _best_of_four(q, state, first):
    one = first if q[state, first] >= q[state, first + 1] else first + 1
    other = first + 2 if q[state, first + 2] >= q[state, first + 3] else first + 3
    return one if q[state, one] >= q[state, other] else other


@compiled(nogil=True)
def sarsa_episodes(task, q, visits, reward_sums, rng, episodes, epsilon, decay, gamma):
    """Train for some episodes in place.

    Args:
        task: see :class:`lever_ray.tasks.kernel.CompiledTask`.
        q: float64[S, P], updated; P is A rounded up to a multiple of 4, and columns from A on are -inf.
        visits: uint32[S, A], updated.
        reward_sums: float64[S, A], updated.
        rng: numpy Generator.
        episodes: how many.
        epsilon: exploration rate of the first episode.
        decay: factor on epsilon after every episode, down to the floor.
        gamma: discount.

    Returns:
        ``(environment steps, epsilon)``.
    """
    moves, flags, rewards, near, starts, weights, rules = task
    steps, actions, several, start = 0, moves.shape[1], len(starts) > 1, np.int64(starts[0])
    for _ in range(episodes):
        if several:  # apart, since a call with arrays costs as much as a step
            start = draw_start(starts, weights, rng)
        state, memory = start, rules.memory
        nearest = nearest_item(near, state, memory)
        action = _choose(q, state, actions, epsilon, rng)
        for _ in range(rules.horizon):
            before, taken = state, action
            state, memory, nearest, reward, flag = step(
                moves, flags, rewards, near, rules, state, memory, nearest, action
            )
            steps += 1
            visits[before, taken] += np.uint32(1)
            reward_sums[before, taken] += reward
            if flag & TERMINAL:
                q[before, taken] += ALPHA * (reward - q[before, taken])
                break
            action = _choose(q, state, actions, epsilon, rng)
            q[before, taken] += ALPHA * (reward + gamma * q[state, action] - q[before, taken])
        epsilon = max(EPSILON_FLOOR, epsilon * decay)
    return steps, epsilon


def train(
    task: Environment,
    *,
    objective: Objective | str,
    episodes: int = 10_000,
    gamma: float = 0.0,
    seed: int = 0,
    epsilon_decay: float | None = None,
    snapshot_every: int = SNAPSHOT_EVERY,
    shaping: float = 1.0,
    support: np.ndarray | None = None,
    watch: Callable[[Snapshot], None] | None = None,
) -> TrainingRun:
    """Train one policy by tabular SARSA; the same arguments give the same bytes.

    Args:
        task: the environment.
        objective: what is rewarded.
        episodes: at least 1.
        gamma: discount in [0, 1]; 0 is the support-limited regime.
        seed: of exploration.
        epsilon_decay: factor on epsilon after every episode; by default that of the budget with as many episodes,
            else the factor that reaches the floor 0.01 with the last episode.
        snapshot_every: episodes between snapshots.
        shaping: see :meth:`lever_ray.tasks.protocol.Environment.compile`.
        support: uint8[S, B] of recorded actions: train inside their model instead of the environment, where an action
            outside it leaves the agent where it is. No environment step is made then, and none is counted.
        watch: called with every snapshot as it is taken.

    Raises:
        InvalidValue: a number is outside its domain, or ``support`` is of another shape.
        UnknownName, InvalidTask: see :meth:`lever_ray.tasks.protocol.Environment.compile`.
    """
    _check(episodes=episodes, gamma=gamma, seed=seed, snapshot_every=snapshot_every, epsilon_decay=epsilon_decay)
    warm_up()
    compiled = task.compile(objective, shaping=shaping)
    if support is not None:
        allowed = read_support(support, task.observations, task.actions)
        compiled = restrict_task(compiled, taken_actions(allowed, task.actions))
    decay = default_decay(episodes) if epsilon_decay is None else epsilon_decay
    rng = np.random.default_rng(seed)
    q, visits, sums = _tables(compiled)
    snapshots, environment_steps, seconds, epsilon = [], 0, 0.0, EPSILON_START
    for done in range(0, episodes, snapshot_every):
        chunk = min(snapshot_every, episodes - done)
        begun = perf_counter()
        steps, epsilon = sarsa_episodes(compiled, q, visits, sums, rng, chunk, epsilon, decay, float(gamma))
        snapshot, greedy_steps = _snapshot(compiled, done + chunk, q, visits, sums)
        seconds += perf_counter() - begun
        environment_steps += steps + greedy_steps if support is None else 0
        snapshots.append(snapshot)
        if watch is not None:
            watch(snapshot)
    wanted = Objective.of(objective).resolved(task.terms)
    return TrainingRun(task, wanted, float(gamma), seed, episodes, tuple(snapshots), environment_steps, seconds)


def _tables(task: CompiledTask) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Action values, visits and summed rewards as :func:`sarsa_episodes` takes them."""
    shape = task.moves.shape
    q = np.full((shape[0], -(-shape[1] // 4) * 4), -np.inf)
    q[:, : shape[1]] = 0.0
    return q, np.zeros(shape, np.uint32), np.zeros(shape)


@cache
def warm_up() -> None:
    """Load or compile the training kernels, so that no clock sees it; free from the second call on."""
    nowhere, rules = np.zeros((1, 1), np.int32), Rules(horizon=1, discount=1.0, memory=(np.uint64(0), np.uint64(0)))
    dynamics = Dynamics(nowhere, np.zeros(1, np.int32), nowhere[0], np.ones(1), rules.memory)
    task = compiled_task(dynamics, np.zeros((1, 1, 1)), rules)
    tables = _tables(task)
    sarsa_episodes(task, *tables, np.random.default_rng(0), 1, EPSILON_START, 1.0, 0.0)
    _snapshot(task, 1, *tables)


def default_decay(episodes: int) -> float:
    """Epsilon decay of the budget with as many episodes, else the one that reaches the floor with the last episode."""
    known = {budget.episodes: budget.epsilon_decay for budget in BUDGETS.values()}
    return known.get(episodes, EPSILON_FLOOR ** (1.0 / episodes))


def _snapshot(
    task: CompiledTask, episode: int, q: np.ndarray, visits: np.ndarray, sums: np.ndarray
) -> tuple[Snapshot, int]:
    table = np.ascontiguousarray(q[:, : task.actions], np.float32)
    total, steps = expected_return(task, greedy_actions(table))
    snapshot = Snapshot(
        episode=episode,
        q=table,
        visits=visits.copy(),
        successors=np.where(visits > 0, task.moves, np.int32(-1)),
        mean_rewards=(sums / np.maximum(visits, 1)).astype(np.float32),
        total=float(total),
    )
    return snapshot, steps


def _check(*, episodes: int, gamma: float, seed: int, snapshot_every: int, epsilon_decay: float | None) -> None:
    for name, number in (("episodes", episodes), ("seed", seed), ("snapshot_every", snapshot_every)):
        if not isinstance(number, int | np.integer):
            raise InvalidValue(f"{name} is {number!r}; it must be a whole number")
    if episodes < 1:
        raise InvalidValue(f"episodes is {episodes}; at least 1 is needed")
    if not 0.0 <= gamma <= 1.0:
        raise InvalidValue(f"gamma is {gamma}; it must lie in [0, 1]")
    if seed < 0:
        raise InvalidValue(f"seed is {seed}; it must be >= 0")
    if snapshot_every < 1:
        raise InvalidValue(f"snapshot_every is {snapshot_every}; at least 1 is needed")
    if epsilon_decay is not None and not 0.0 < epsilon_decay <= 1.0:
        raise InvalidValue(f"epsilon_decay is {epsilon_decay}; it must lie in (0, 1]")
