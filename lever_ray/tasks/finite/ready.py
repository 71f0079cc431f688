"""Tasks to begin with: deep-sea treasure as it was published, other sea floors, and random deterministic tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from lever_ray.errors import InvalidValue
from lever_ray.tasks.finite.task import FiniteTask

DEPTHS = (1, 2, 3, 4, 4, 4, 7, 7, 9, 10)
TREASURES = (1.0, 2.0, 3.0, 5.0, 8.0, 16.0, 24.0, 50.0, 74.0, 124.0)
"""Row and value of the treasure in each column of the published sea, 11 rows deep (Vamplew et al. 2011)."""
MOVES = ((0, 1), (1, 0), (0, -1), (-1, 0))
MOVE_NAMES = ("right", "down", "left", "up")
DEEPEST, RICHEST = 10, 200
NEAREST = 1 / 3
"""Least distance of a terminal place from the start of a random task, as a share of the largest."""

SEA_TERMS = ("treasure", "time")
SEA_DESCRIPTIONS: Mapping[str, str] = {
    "treasure": "Bring up as much treasure as possible.",
    "time": "Be as quick as possible.",
}
SEA_SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "treasure": (
        "treasure", "bring up treasure", "the treasure", "riches", "gold", "loot", "wealth", "fortune", "valuables",
        "the most valuable treasure", "dive for treasure", "chest", "rich", "get rich", "booty", "jewels", "money",
    ),
    "time": (
        "time", "quick", "be quick", "quickly", "fast", "faster", "as fast as possible", "in time", "little time",
        "hurry", "speed", "short", "short dive", "few steps", "fewest moves", "as soon as possible", "at once", "rush",
    ),
}  # fmt: skip

RANDOM_TERMS = ("food", "wood", "safety", "haste")
RANDOM_DESCRIPTIONS: Mapping[str, str] = {
    "food": "Find as much food as possible.",
    "wood": "Gather as much wood as possible.",
    "safety": "Stay safe from harm.",
    "haste": "Hurry to finish in few steps.",
}
RANDOM_SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "food": (
        "food", "find food", "eat", "meal", "hungry", "hunger", "berries", "fruit", "dinner", "feed", "bread",
    ),
    "wood": (
        "wood", "gather wood", "timber", "logs", "firewood", "trees", "lumber", "branches", "planks", "sticks",
    ),
    "safety": (
        "safe", "safely", "safety", "stay safe", "careful", "carefully", "unharmed", "survive", "alive", "protect",
    ),
    "haste": (
        "haste", "hurry", "quick", "quickly", "fast", "speed", "few steps", "finish soon", "in no time", "rush",
    ),
}  # fmt: skip


def deep_sea_treasure(
    *, depths: Sequence[int] = DEPTHS, treasures: Sequence[float] = TREASURES, name: str = "", seed: int | None = None
) -> FiniteTask:
    """Deep-sea treasure: a submarine at the top left, and one treasure on the sea floor of every column.

    Observations are the cells of water and the treasures, row by row; cells of the sea floor are never entered and have
    no number. Actions are right, down, left and up; a move out of the sea or into its floor leaves the submarine where
    it is. Reaching a treasure ends the episode and pays ``treasure``; every step pays ``time`` -1. The discount is .99.

    Args:
        depths: row of the treasure in each column, never less than in the column before.
        treasures: value of each.
        name: what people call it.
        seed: that it was drawn with.

    Raises:
        InvalidValue: there are not as many treasures as depths, or depths are below 1 or decrease.
    """
    if len(depths) != len(treasures) or not len(depths):
        raise InvalidValue(f"{len(depths)} depths and {len(treasures)} treasures; give one of each per column")
    if min(depths) < 1 or any(after < before for before, after in pairwise(depths)):
        raise InvalidValue(f"depths are {list(depths)}; they must be at least 1 and must not decrease")
    cells = sorted((row, column) for column, depth in enumerate(depths) for row in range(depth + 1))
    number = {cell: place for place, cell in enumerate(cells)}
    successors = np.array([[number.get((r + dr, c + dc), number[r, c]) for dr, dc in MOVES] for r, c in cells])
    value = np.zeros(len(cells))
    value[[number[depth, column] for column, depth in enumerate(depths)]] = treasures
    ends = [number[depth, column] for column, depth in enumerate(depths)]
    treasure = value[successors]
    treasure[ends] = 0.0
    return FiniteTask(
        successors,
        {"treasure": treasure, "time": np.full(successors.shape, -1.0)},
        ends,
        discount=0.99,
        name=name,
        seed=seed,
        descriptions=SEA_DESCRIPTIONS,
        synonyms=SEA_SYNONYMS,
        features=_scaled(np.array(cells)),
        coordinates=cells,
        action_names=MOVE_NAMES,
    )


def deep_sea(seed: int) -> FiniteTask:
    """The sea of a seed: 0 is the published one; others have drawn depths and treasures, both growing to the right.

    Raises:
        InvalidValue: the seed is negative or not a whole number.
    """
    rng = _generator(seed)
    drawn: dict[str, Any] = {}
    if seed:
        drawn["depths"] = np.sort(rng.integers(1, DEEPEST + 1, len(DEPTHS))).tolist()
        values = np.sort(rng.choice(np.arange(1, RICHEST + 1), len(DEPTHS), replace=False))
        drawn["treasures"] = values.astype(float).tolist()
    return deep_sea_treasure(**drawn, name=f"deep-sea-{seed}", seed=int(seed))


def random_task(
    seed: int, *, observations: int = 5_000, actions: int = 9, terms: Sequence[str] = RANDOM_TERMS
) -> FiniteTask:
    """A random deterministic task on a map, so that places far apart are many steps apart.

    Observations lie row by row on a map that is as wide as high. Action 0 goes on to the next along a snake through all
    of them; the others lead to a random place at most two cells away. 2% of the observations, at least two of them, are
    terminal, none in the third of the map by the start; coming there pays one of the terms but the last two, 10 to 100,
    more as a rule the farther away. The last term but one pays -10 for one move in ten, the last -1 a step, so that
    nothing is earned by going in circles. The start is observation 0, the discount .99.

    Args:
        seed: of the draw.
        observations: S, at least 4.
        actions: A.
        terms: their names, at least three.

    Raises:
        InvalidValue: the seed is negative or not a whole number, or a size is too small.
        InvalidTask: the task is too large, or a term is no name.
    """
    rng = _generator(seed)
    if observations < 4 or actions < 1 or len(terms) < 3:
        raise InvalidValue(
            f"{observations} observations, {actions} actions and {len(terms)} terms; at least 4, 1 and 3 are needed"
        )
    width = int(np.ceil(np.sqrt(observations)))
    cells = np.stack(np.divmod(np.arange(observations), width), axis=1)
    successors = _nearby(rng, cells, actions, width)
    far = cells.sum(axis=1) / cells.sum(axis=1).max()
    ends = rng.choice(np.flatnonzero(far >= NEAREST), max(2, observations // 50), replace=False)
    rewards = np.zeros((len(terms), observations, actions))
    worth = np.zeros((len(terms), observations))
    worth[rng.integers(0, len(terms) - 2, len(ends)), ends] = np.round(10 + 90 * far[ends] * rng.random(len(ends)), 1)
    rewards += worth[:, successors]
    rewards[-2] = -10.0 * (rng.random(successors.shape) < 0.1)
    rewards[-1] = -1.0
    rewards[:, ends] = 0.0
    return FiniteTask(
        successors,
        rewards,
        ends,
        terms=terms,
        name=f"random-deterministic-{seed}",
        seed=int(seed),
        descriptions={term: RANDOM_DESCRIPTIONS[term] for term in terms if term in RANDOM_DESCRIPTIONS},
        synonyms={term: RANDOM_SYNONYMS[term] for term in terms if term in RANDOM_SYNONYMS},
        features=_scaled(cells),
        coordinates=cells,
    )


def _nearby(rng: np.random.Generator, cells: np.ndarray, actions: int, width: int) -> np.ndarray:
    """int64[S, A]: the snake's next place, then random places at most two cells away."""
    observations = len(cells)
    shifted = cells[:, None] + rng.integers(-2, 3, (observations, actions, 2))
    rows, columns = np.clip(shifted[..., 0], 0, cells[-1, 0]), np.clip(shifted[..., 1], 0, width - 1)
    successors = rows * width + columns
    successors = np.where(successors < observations, successors, np.arange(observations)[:, None])
    back = np.where(cells[:, 0] % 2, -cells[:, 1], cells[:, 1])
    snake = np.lexsort((back, cells[:, 0]))
    successors[snake, 0] = np.roll(snake, -1)
    return successors


def _scaled(cells: np.ndarray) -> np.ndarray:
    """float64[S, 2]: column and row as shares of the map."""
    return cells[:, ::-1] / np.maximum(1, cells.max(axis=0)[::-1] + 1)


def _generator(seed: int) -> np.random.Generator:
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise InvalidValue(f"seed is {seed!r}; use a whole number from 0 on")
    return np.random.default_rng(int(seed))
