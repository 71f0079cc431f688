"""What the recorded transitions of an environment allow, whatever policies were trained on them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from lever_ray.compiling import compiled
from lever_ray.learning.sarsa import train
from lever_ray.tasks.kernel import TERMINAL, draw_start
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.optimum import optimum
from lever_ray.tasks.protocol import Environment
from lever_ray.tasks.rollout import rollout
from lever_ray.tasks.support import taken_actions

PLAN_WIDTH = 100


@dataclass(frozen=True)
class RecordedModel:
    """Returns that the transitions D of a set of policies allow, in reward units.

    Attributes:
        optimum: J*_D, as exact as the family finds it; NaN where it has no way to.
        memoryless: J^ml_D, the best return found of a policy over observations alone; likewise.
        scratch: greedy return of training from scratch inside the recorded model, without an environment step; the
            best of the discounts, averaged over training seeds.
    """

    optimum: float
    memoryless: float
    scratch: float


def recorded_model(
    task: Environment,
    objective: Objective | str,
    support: np.ndarray,
    *,
    episodes: int,
    gammas: tuple[float, ...],
    training_seeds: int,
) -> RecordedModel:
    """Plan and train on recorded transitions; remembered, so that cells with the same transitions share it.

    Args:
        task: the environment.
        objective: the composite objective.
        support: uint8[S, B], recorded union.
        episodes: of training in the model.
        gammas: discounts to train at.
        training_seeds: how many.
    """
    wanted = Objective.of(objective).resolved(task.terms)
    return _recorded_model(task, wanted, support.tobytes(), episodes, gammas, training_seeds)


@lru_cache(maxsize=64)
def _recorded_model(
    task: Environment,
    objective: Objective,
    support: bytes,
    episodes: int,
    gammas: tuple[float, ...],
    training_seeds: int,
) -> RecordedModel:
    allowed = np.frombuffer(support, np.uint8).reshape(task.observations, -1).copy()
    trained = [
        np.mean([return_inside(task, objective, allowed, episodes, gamma, seed) for seed in range(training_seeds)])
        for gamma in gammas
    ]
    return RecordedModel(*recorded_optima(task, objective, allowed), scratch=float(max(trained)))


def recorded_optima(task: Environment, objective: Objective, support: np.ndarray) -> tuple[float, float]:
    """J*_D and J^ml_D, see :class:`RecordedModel`; the support is uint8[S, B]."""
    best, memoryless = task.hooks.optimum, task.hooks.memoryless
    return (
        math.nan if best is None else optimum(task, objective=objective, support=support).total,
        math.nan if memoryless is None else memoryless(task, objective, support=support),
    )


def return_inside(
    task: Environment, objective: Objective, support: np.ndarray, episodes: int, gamma: float, seed: int
) -> float:
    """Return in the real environment of a policy that was trained on recorded transitions alone."""
    run = train(task, objective=objective, episodes=episodes, gamma=gamma, seed=seed, support=support)
    taken = taken_actions(support, task.actions)
    table = np.where(taken | ~taken.any(axis=1, keepdims=True), run.q, -np.inf).astype(np.float32)
    return rollout(task, objective=objective, q=table).total


@compiled()
def _walk(moves, flags, starts, weights, horizon, rng, steps):
    """uint8[S, B]: actions taken by random walks from the starts, of ``steps`` moves in all."""
    actions = moves.shape[1]
    support = np.zeros((len(flags), (actions + 7) // 8), np.uint8)
    state, time = draw_start(starts, weights, rng), 0
    for _ in range(steps):
        action = int(rng.random() * actions)
        support[state, action >> 3] |= np.uint8(1 << (action & 7))
        state = np.int64(moves[state, action])
        time += 1
        if flags[state] & TERMINAL or time == horizon:
            state, time = draw_start(starts, weights, rng), 0
    return support


def walk_support(task: Environment, steps: int, *, seed: int = 0) -> np.ndarray:
    """uint8[S, B]: actions that uniformly random walks of so many steps in all took."""
    known, rng = task.dynamics, np.random.default_rng(seed)
    walked: np.ndarray = _walk(known.moves, known.flags, known.starts, known.weights, task.horizon, rng, steps)
    return walked


@lru_cache(maxsize=64)
def walk_plan_return(task: Environment, objective: Objective, steps: int, seed: int = 0) -> float:
    """Return of planning on the transitions of uniformly random walks: what recorded moves are worth without policies.

    Args:
        task: the environment.
        objective: the composite objective, resolved.
        steps: environment steps of the walks, the same number as a library's training took.
        seed: of the walks.

    Returns:
        It, in reward units; NaN where the family has no planner.
    """
    plan = task.hooks.plan
    if plan is None:
        return math.nan
    return float(plan(task, objective, width=PLAN_WIDTH, support=walk_support(task, steps, seed=seed)).total)
