"""A large task in which uniformly random walks do not get far: a slope of mazes with one-way gates between them."""

from __future__ import annotations

import numpy as np

from lever_ray.errors import check_whole
from lever_ray.tasks.finite.ready import MOVE_NAMES, MOVES
from lever_ray.tasks.finite.task import FiniteTask

OBSERVATIONS = 100_000
TERRACES = 8
GOODS = ("food", "wood", "water", "stone", "iron", "herbs")
"""Terms that gates pay."""
TERRACE_TERMS = (*GOODS, "safety", "haste")
HORIZON, DISCOUNT = 3_000, 0.995
"""Of an episode; what comes after the horizon would count for 3e-7 of what comes at once."""
OPEN = 0.5
"""Share of the ways between neighbours that are open beside those of the maze."""
GATE_EVERY = 12
"""Columns for each gate of a terrace."""
LEAST_OBSERVATIONS = 2 * TERRACES * GATE_EVERY
ROUGH, HARM = 0.2, -2.0
"""Share of the places that are rough, and what ``safety`` pays for coming to one."""
LEAST, STEEPEST = 10.0, 100.0
"""What a gate of the first terrace pays, at least and at most."""
_RIGHT, _DOWN, _LEFT, _UP = range(4)


def terraces(seed: int, *, observations: int = OBSERVATIONS) -> FiniteTask:
    """A slope of eight terraces, each a maze with some more ways, twenty times as wide as deep.

    Observations lie row by row. Actions are right, down, left and up; a move into a wall leaves one where one is. From
    the lowest row of a terrace gates lead down to the next one, and none leads back: one for every twelve columns. Each
    pays one of six goods: 10 to 100, and on every further terrace a quarter of that more. The lowest row of all is
    terminal. ``safety`` pays -2 for every move to a rough place, one in five, and ``haste`` -1 a step. The start is in
    the middle of the highest row; an episode has at most 3,000 steps, and the discount is .995.

    Args:
        seed: of the draw.
        observations: S, at most: as many as whole columns make.

    Raises:
        InvalidValue: the seed is negative, or there are too few observations for a gate.
    """
    check_whole("seed", seed, 0, "a seed")
    check_observations(observations)
    rng = np.random.default_rng(seed)
    depth, columns = _size(observations)
    rows = TERRACES * depth
    places = np.arange(rows * columns).reshape(rows, columns)
    beside, below = _ways(rng, places, depth)
    successors = np.repeat(places.reshape(-1, 1), len(MOVES), axis=1)
    for ways, action, back in ((beside, _RIGHT, _LEFT), (below, _DOWN, _UP)):
        successors[ways[:, 0], action], successors[ways[:, 1], back] = ways[:, 1], ways[:, 0]
    rewards = np.zeros((len(TERRACE_TERMS), *successors.shape))
    for terrace in range(TERRACES - 1):
        lowest = places[(terrace + 1) * depth - 1]
        gates = lowest[np.sort(rng.choice(columns, max(1, columns // GATE_EVERY), replace=False))]
        successors[gates, _DOWN] = gates + columns
        pays = np.round(rng.uniform(LEAST, STEEPEST, len(gates)) * (1 + terrace / 4), 1)
        rewards[rng.integers(0, len(GOODS), len(gates)), gates, _DOWN] = pays
    rough = rng.random(places.size) < ROUGH
    rewards[-2] = np.where(rough[successors] & (successors != places.reshape(-1, 1)), HARM, 0.0)
    rewards[-1] = -1.0
    rewards[:, places[-1]] = 0.0
    return FiniteTask(
        successors,
        rewards,
        places[-1],
        terms=TERRACE_TERMS,
        start=int(places[0, columns // 2]),
        horizon=HORIZON,
        discount=DISCOUNT,
        name=f"terraces-{seed}",
        seed=int(seed),
        coordinates=np.stack(np.divmod(places.reshape(-1), columns), axis=1),
        action_names=MOVE_NAMES,
    )


def check_observations(observations: int) -> None:
    """Refuse terraces without a gate each.

    Raises:
        InvalidValue: naming the number that is too small.
    """
    check_whole("observations", observations, LEAST_OBSERVATIONS, "places of eight terraces with a gate each")


def _size(observations: int) -> tuple[int, int]:
    """Rows of a terrace, and columns."""
    depth = max(2, round((observations / (20 * TERRACES)) ** 0.5))
    return depth, observations // (TERRACES * depth)


def _ways(rng: np.random.Generator, places: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
    """Open ways to the right and down, int64[n, 2] each: a spanning tree of every terrace, and some more."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import minimum_spanning_tree

    right = np.stack([places[:, :-1].ravel(), places[:, 1:].ravel()], axis=1)
    inside = np.arange(len(places) - 1) % depth != depth - 1
    down = np.stack([places[:-1][inside].ravel(), places[1:][inside].ravel()], axis=1)
    pairs = np.concatenate([right, down])
    weights = rng.random(len(pairs)) + 1.0
    graph = coo_array((weights, (pairs[:, 0], pairs[:, 1])), shape=(places.size, places.size))
    tree = minimum_spanning_tree(graph).tocoo()
    of_tree = np.isin(pairs[:, 0] * places.size + pairs[:, 1], tree.row.astype(np.int64) * places.size + tree.col)
    kept = of_tree | (rng.random(len(pairs)) < OPEN)
    return right[kept[: len(right)]], down[kept[len(right) :]]
