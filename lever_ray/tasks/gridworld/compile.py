"""A layout under an objective as compiled kernels take it: the published reward, tabulated."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from lever_ray.errors import InvalidTask, InvalidValue
from lever_ray.tasks.gridworld.terrain import ACTIONS, EXIT, HAZARD, TERMS
from lever_ray.tasks.kernel import CompiledTask, Dynamics, Rules, compiled_task
from lever_ray.tasks.objective import Objective, check_weights

if TYPE_CHECKING:
    from lever_ray.tasks.gridworld.layout import Layout

BUMP_REWARD = -0.1
HAZARD_REWARD = -100.0
LEVER_REWARD = 20.0
GOLD_REWARD = 5.0
STEP_COST = {"path": 0.1, "gold": 0.01, "hazard": 0.1, "lever": 0.1}


def has_what_it_takes(layout: Layout, objective: Objective) -> bool:
    """Whether a layout has what an objective is about: golds for gold, a lever for lever."""
    return ("gold" not in objective or bool(layout.golds)) and ("lever" not in objective or layout.lever is not None)


def compile_layout(layout: Layout, objective: Objective | str, *, shaping: float = 1.0) -> CompiledTask:
    """Compile a layout under an objective; cached, so asking again costs nothing.

    Args:
        layout: the grid.
        objective: a name such as ``"path-gold"`` or an :class:`Objective` with weights.
        shaping: factor of every distance-shaping term and of hazard proximity; 1 is the published reward, 0 none.

    Raises:
        UnknownName: an objective term does not exist.
        InvalidTask: the objective asks for gold or the lever, and the layout has none.
        InvalidValue: a weight is negative, or shaping is negative or not finite.
    """
    if not (np.isfinite(shaping) and shaping >= 0):
        raise InvalidValue(f"shaping is {shaping}; use 1 for the published reward or 0 for none")
    return _compile(layout, Objective.of(objective).resolved(TERMS), float(shaping))


@lru_cache(maxsize=512)
def _compile(layout: Layout, objective: Objective, shaping: float) -> CompiledTask:
    check_weights(objective.weights, what=f"weights of objective {objective.name!r}")
    for term, thing in (("gold", "gold"), ("lever", "a lever")):
        if term in objective and not has_what_it_takes(layout, Objective.of(term)):
            asked = "gold" if term == "gold" else "the lever"
            raise InvalidTask(
                f"objective {objective.name!r} asks for {asked}, but the layout has none; drop the term or add "
                f"{'golds' if term == 'gold' else thing}"
            )
    weight = objective.weight("gold")
    rules = Rules(
        horizon=layout.horizon,
        discount=layout.discount,
        memory=layout.dynamics.memory,
        item_shaping=weight * shaping,
        item_reward=weight * GOLD_REWARD,
        item_left_cost=-weight * 10.0 / max(1, len(layout.golds)),
        switch_reward=objective.weight("lever") * LEVER_REWARD,
        switch_rows=1,
        item_rows=2,
        stay_reward=BUMP_REWARD,
    )
    near = _near(layout) if weight * shaping else None
    rewards = _tabulate(layout, objective, shaping).reshape(4, layout.observations, ACTIONS)
    return compiled_task(layout.dynamics, rewards, rules, near=near)


def dynamics_of(layout: Layout) -> Dynamics:
    """What a layout does, whatever is rewarded; the memory is the mask of its golds, and a lever that is off."""
    terrain = layout.terrain
    starts, weights = np.array([terrain.start], np.int32), np.ones(1)
    return Dynamics(terrain.moves, _events(layout), starts, weights, (terrain.all_golds, np.uint64(0)))


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
