"""A task: one layout under one objective, compiled to arrays, and the step kernel that every rollout uses.

The reward of a move depends on the cell, the golds left and the lever. All of it but the gold terms depends on
the golds and the lever only through two bits (lever on? golds all taken?), so it is tabulated for the four cases;
the kernel adds the gold terms.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba import njit

from lever_ray.errors import InvalidLayout, InvalidValue
from lever_ray.tasks.gridworld.layout import Layout
from lever_ray.tasks.gridworld.terrain import ACTIONS, EXIT, GOLD, HAZARD, LEVER
from lever_ray.tasks.objective import TERMS, Objective

BUMP_REWARD = -0.1
HAZARD_REWARD = -100.0
LEVER_REWARD = 20.0
GOLD_REWARD = 5.0
STEP_COST = {"path": 0.1, "gold": 0.01, "hazard": 0.1, "lever": 0.1}
TERMINAL = EXIT | HAZARD


class Rules(NamedTuple):
    """The scalars of a task.

    Attributes:
        horizon: steps after which an episode is truncated, N^2.
        start: state index of the start.
        all_golds: uint64 mask with every gold's bit.
        gold_shaping: weight of the nearest-gold progress, 0 without it.
        gold_reward: reward of taking one gold, 0 without the gold term.
        gold_left_cost: reward at the exit per gold left, a negative number; 0 without the gold term.
        lever_reward: reward of the first entry of the lever, 0 without the lever term.
    """

    horizon: int
    start: int
    all_golds: np.uint64
    gold_shaping: float
    gold_reward: float
    gold_left_cost: float
    lever_reward: float


class Task(NamedTuple):
    """One layout under one objective, as compiled kernels take it.

    Kernels unpack it once, ``moves, events, tabulated, near, rules = task``, and hand the parts to :func:`step`:
    an array that is read through a tuple in a loop costs an atomic reference count each time (6 times slower).

    Attributes:
        moves: int32[S * 4], cell that action ``a`` in state ``s`` leads to, at ``4 * s + a``.
        events: int32[S], what lies on a cell: bits of :mod:`~lever_ray.tasks.gridworld.terrain`; gold index from bit 8.
        tabulated: float64[4, S * 4], reward without the gold terms; row ``lever_on + 2 * (no golds left)``.
        near: int32[S, G + 1], ``distance << 8 | gold`` by (distance, index), then -1; only -1 where no term needs it.
        rules: the scalars.
    """

    moves: np.ndarray
    events: np.ndarray
    tabulated: np.ndarray
    near: np.ndarray
    rules: Rules


def admits(layout: Layout, objective: Objective) -> bool:
    """Whether the layout has what the objective is about: golds for gold, a lever for lever."""
    return ("gold" not in objective or bool(layout.golds)) and ("lever" not in objective or layout.lever is not None)


def make_task(layout: Layout, objective: Objective | str, *, shaping: float = 1.0) -> Task:
    """Compile ``layout`` under ``objective``; cached, so asking again costs nothing.

    Args:
        layout: the grid.
        objective: a name such as ``"path-gold"`` or an :class:`Objective` with weights.
        shaping: factor of every distance-shaping term and of hazard proximity; 1 is the published reward, 0 none.

    Raises:
        UnknownName: an objective term does not exist.
        InvalidLayout: the objective asks for gold or the lever, and the layout has none.
        InvalidValue: shaping is negative or not finite.
    """
    if not (np.isfinite(shaping) and shaping >= 0):
        raise InvalidValue(f"shaping is {shaping}; use 1 for the published reward or 0 for none")
    return _make_task(layout, Objective.of(objective), float(shaping))


def restrict_task(task: Task, support: np.ndarray) -> Task:
    """The task as recorded transitions know it: an action outside ``support`` leaves the agent where it is.

    Args:
        task: the task in the environment.
        support: uint8[S], bit ``a`` says that action ``a`` was recorded.
    """
    unknown = ((support[:, None] >> np.arange(ACTIONS, dtype=np.uint8)) & 1 == 0).ravel()
    stay = np.repeat(np.arange(len(task.events), dtype=np.int32), ACTIONS)
    tabulated = np.where(unknown, BUMP_REWARD, task.tabulated)
    return task._replace(moves=np.where(unknown, stay, task.moves), tabulated=tabulated)


@lru_cache(maxsize=512)
def _make_task(layout: Layout, objective: Objective, shaping: float) -> Task:
    if "gold" in objective and not layout.golds:
        raise InvalidLayout(
            f"objective {objective.name!r} asks for gold, but the layout has none; drop the term or add golds"
        )
    if "lever" in objective and layout.lever is None:
        raise InvalidLayout(
            f"objective {objective.name!r} asks for the lever, but the layout has none; drop the term or add a lever"
        )
    weight = objective.weight("gold")
    return Task(
        moves=layout.terrain.moves.ravel(),
        events=_events(layout),
        tabulated=_tabulate(layout, objective, shaping),
        near=_near(layout) if weight * shaping else np.full((layout.states, 1), -1, np.int32),
        rules=Rules(
            horizon=layout.states,
            start=layout.terrain.start,
            all_golds=layout.terrain.all_golds,
            gold_shaping=weight * shaping,
            gold_reward=weight * GOLD_REWARD,
            gold_left_cost=-weight * 10.0 / max(1, len(layout.golds)),
            lever_reward=objective.weight("lever") * LEVER_REWARD,
        ),
    )


def _events(layout: Layout) -> np.ndarray:
    events = layout.terrain.event.astype(np.int32)
    for gold, cell in enumerate(layout.golds):
        events[layout.index(cell)] |= gold << 8
    return events


def _near(layout: Layout) -> np.ndarray:
    order = layout.terrain.gold_order
    distance = np.take_along_axis(layout.terrain.gold_distance, order, axis=1)
    entries = np.where(distance < 0, -1, distance << 8 | order)
    return np.pad(entries, ((0, 0), (0, 1)), constant_values=-1).astype(np.int32)


def _tabulate(layout: Layout, objective: Objective, shaping: float) -> np.ndarray:
    terrain = layout.terrain
    previous = np.repeat(np.arange(layout.states), ACTIONS)
    current = terrain.moves.ravel()
    table = np.empty((4, layout.states * ACTIONS))
    for case in range(4):
        lever_on, golds_gone = bool(case & 1), bool(case & 2)
        reward = shaping * _shaping(layout, objective, previous, current, lever_on, golds_gone)
        reward += _exit_bonus(objective, lever_on, golds_gone) * ((terrain.event[current] & EXIT) > 0)
        reward -= sum(objective.weight(term) * STEP_COST[term] for term in TERMS)
        table[case] = np.where(terrain.event[current] & HAZARD, HAZARD_REWARD, reward)
        table[case][current == previous] = BUMP_REWARD
    return table


def _shaping(
    layout: Layout, objective: Objective, previous: np.ndarray, current: np.ndarray, lever_on: bool, golds_gone: bool
) -> np.ndarray:
    """Progress towards exit and lever and away from hazards, float64[S * 4]; the nearest gold is left to the kernel."""
    terrain, has = layout.terrain, objective.__contains__
    exit_progress = (terrain.exit_distance[previous] - terrain.exit_distance[current]).astype(np.float64)
    lever_progress = (terrain.lever_distance[previous] - terrain.lever_distance[current]).astype(np.float64)
    lever_done = not has("lever") or lever_on
    gold_done = not has("gold") or golds_gone
    reward = objective.weight("path") * exit_progress
    if not has("path"):
        to_exit = objective.weight("gold") * (golds_gone and lever_done)
        to_exit += objective.weight("lever") * lever_on
        to_exit += objective.weight("hazard") * (gold_done and lever_done)
        reward += to_exit * exit_progress
    if not lever_on:
        reward += objective.weight("lever") * lever_progress
    hazards_left_behind = terrain.neighbour_hazards[previous] - terrain.neighbour_hazards[current]
    return reward + objective.weight("hazard") * 2.0 * hazards_left_behind


def _exit_bonus(objective: Objective, lever_on: bool, golds_gone: bool) -> float:
    bonus = 100.0 * (objective.weight("path") + objective.weight("hazard"))
    bonus += objective.weight("gold") * (100.0 if golds_gone else 0.0)
    return bonus + objective.weight("lever") * (80.0 if lever_on else 20.0)


@njit(cache=True)
def nearest_gold(near, state, golds):
    """Steps from ``state`` to the nearest gold in the mask ``golds``; -1 where none is reachable."""
    position = 0
    entry = near[state, position]
    while entry >= 0 and not (golds >> np.uint64(entry & 255)) & np.uint64(1):
        position += 1
        entry = near[state, position]
    return np.int64(entry) >> 8


@njit(cache=True)
def step(moves, events, tabulated, near, rules, state, golds, lever, nearest, action):
    """Make one move.

    Args:
        moves: see :class:`Task`, as for the next four.
        events: see :class:`Task`.
        tabulated: see :class:`Task`.
        near: see :class:`Task`.
        rules: see :class:`Rules`.
        state: cell before the move.
        golds: uint64 mask of the golds left.
        lever: 1 where the lever is on, else 0.
        nearest: ``nearest_gold(near, state, golds)``, carried along so that it is looked up once per move.
        action: 0 right, 1 down, 2 left, 3 up.

    Returns:
        ``(state, golds, lever, nearest, reward, event)`` after the move; ``event & TERMINAL`` says that it ended.
    """
    move = ACTIONS * state + action
    current = np.int64(moves[move])
    event = np.int64(events[current])
    reward = 0.0
    if event & LEVER and lever == 0:
        lever = 1
        reward = rules.lever_reward
    reward += tabulated[lever + (2 if golds == 0 else 0), move]
    if event & HAZARD or current == state:
        return current, golds, lever, nearest, reward, event
    if rules.gold_shaping > 0.0:
        reached = nearest_gold(near, current, golds)
        if nearest >= 0 and reached >= 0:
            reward += rules.gold_shaping * (nearest - reached)
        nearest = reached
    if event & GOLD:
        bit = np.uint64(1) << np.uint64(event >> 8)
        if golds & bit:
            golds ^= bit
            reward += rules.gold_reward
            nearest = nearest_gold(near, current, golds)
    if event & EXIT and golds != 0:
        reward += rules.gold_left_cost * popcount(golds)
    return current, golds, lever, nearest, reward, event


@njit(cache=True)
def popcount(mask):
    """Number of bits set in a uint64."""
    count = 0
    while mask:
        mask &= mask - np.uint64(1)
        count += 1
    return count
