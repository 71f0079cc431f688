"""What the recorded transitions of an environment allow, whatever policies were trained on them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numba import njit

from lever_ray.learning.sarsa import train
from lever_ray.tasks.gridworld.compile import TERMINAL, make_task
from lever_ray.tasks.gridworld.layout import Layout
from lever_ray.tasks.gridworld.memoryless import best_self_avoiding
from lever_ray.tasks.gridworld.optimum import optimum_on
from lever_ray.tasks.gridworld.planner import plan
from lever_ray.tasks.gridworld.terrain import ACTIONS
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.rollout import rollout

PLAN_WIDTH = 100


@dataclass(frozen=True)
class RecordedModel:
    """Returns that the transitions D of a set of policies allow, in reward units.

    Attributes:
        optimum: J*_D, exact on grid8, else the best that a beam search found.
        memoryless: J^ml_D, the best self-avoiding route found.
        scratch: greedy return of training from scratch inside the recorded model, without an environment step; the
            best of the discounts, averaged over training seeds.
    """

    optimum: float
    memoryless: float
    scratch: float


def recorded_model(
    layout: Layout,
    objective: str,
    support: np.ndarray,
    *,
    episodes: int,
    gammas: tuple[float, ...],
    training_seeds: int,
) -> RecordedModel:
    """Plan and train on recorded transitions; remembered, so that cells with the same transitions share it.

    Args:
        layout: the grid.
        objective: the composite objective.
        support: uint8[S], recorded union.
        episodes: of training in the model.
        gammas: discounts to train at.
        training_seeds: how many.
    """
    return _recorded_model(layout, objective, support.tobytes(), episodes, gammas, training_seeds)


@lru_cache(maxsize=64)
def _recorded_model(
    layout: Layout, objective: str, support: bytes, episodes: int, gammas: tuple[float, ...], training_seeds: int
) -> RecordedModel:
    allowed = np.frombuffer(support, np.uint8).copy()
    trained = [
        np.mean([_train_inside(layout, objective, allowed, episodes, gamma, seed) for seed in range(training_seeds)])
        for gamma in gammas
    ]
    return RecordedModel(
        optimum=optimum_on(layout, objective=objective, support=allowed).total,
        memoryless=best_self_avoiding(layout, objective=objective, support=allowed).total,
        scratch=float(max(trained)),
    )


def _train_inside(layout: Layout, objective: str, support: np.ndarray, episodes: int, gamma: float, seed: int) -> float:
    """Return in the real environment of a policy that was trained on recorded transitions alone."""
    run = train(layout, objective=objective, episodes=episodes, gamma=gamma, seed=seed, support=support)
    taken = (support[:, None] >> np.arange(ACTIONS, dtype=np.uint8)) & 1 == 1
    table = np.where(taken | ~taken.any(axis=1, keepdims=True), run.q, -np.inf).astype(np.float32)
    return rollout(layout, objective=objective, q=table).total


@njit(cache=True)
def _walk(moves, events, start, horizon, rng, steps):
    """uint8[S]: actions taken by random walks from the start, of ``steps`` moves in all."""
    support = np.zeros(len(events), np.uint8)
    state, time = start, 0
    for _ in range(steps):
        action = int(rng.random() * ACTIONS)
        support[state] |= np.uint8(1 << action)
        state = np.int64(moves[ACTIONS * state + action])
        time += 1
        if events[state] & TERMINAL or time == horizon:
            state, time = start, 0
    return support


@lru_cache(maxsize=64)
def walk_plan_return(layout: Layout, objective: Objective, steps: int, seed: int = 0) -> float:
    """Return of planning on the transitions of uniformly random walks: what recorded moves are worth without policies.

    Args:
        layout: the grid.
        objective: the composite objective.
        steps: environment steps of the walks, the same number as a library's training took.
        seed: of the walks.
    """
    task = make_task(layout, objective)
    rng = np.random.default_rng(seed)
    support = _walk(task.moves, task.events, task.rules.start, task.rules.horizon, rng, steps)
    total, _ = plan(task, width=PLAN_WIDTH, support=support)
    return float(total)
