"""State features phi(x, M, l): 70 numbers of a position, the golds left and the lever.

Order (x is the column, y the row; vectors point from the agent, x first): 0-1 position / N; 2-3 vector to the
nearest gold / N, 4 its length / (sqrt(2) N); 5 golds left; 6-7 vector to the exit / N, 8 its length; 9-12 block or
edge above, below, left, right; 13-14 vector to the lever / N, 15 its length; 16 lever on; 17 hazards / N^2 and 18
distance to the nearest one, both without a hazard under the agent; 19 always 0 (hazard visits: an episode ends at
the first); 20-69 Manhattan distances to the golds left / (2 N), ascending. Entries about an absent thing are 0.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba import njit

from lever_ray.tasks.gridworld.compile import popcount
from lever_ray.tasks.gridworld.layout import Cell, Layout

FEATURES = 70
GOLD_SLOTS = 50
FIRST_GOLD_SLOT = FEATURES - GOLD_SLOTS
NEAREST, GOLDS_LEFT, LEVER_VECTOR, LEVER_ON = 2, 5, 13, 16


class FeatureTables(NamedTuple):
    """Arrays of one layout from which a feature vector is put together.

    Attributes:
        fixed: float32[S, 70], every feature with no gold left and the lever off.
        nearest: int32[S, G], golds by (Euclidean distance, row-major cell).
        gold_vector: float32[S, G, 3], scaled vector to each gold and its scaled length.
        ordered: int32[S, G], golds by Manhattan distance.
        manhattan: float32[S, G], Manhattan distances / (2 N).
    """

    fixed: np.ndarray
    nearest: np.ndarray
    gold_vector: np.ndarray
    ordered: np.ndarray
    manhattan: np.ndarray


@lru_cache(maxsize=256)
def feature_tables(layout: Layout) -> FeatureTables:
    """The feature tables of ``layout``; cached."""
    golds = np.array(layout.golds, np.int64).reshape(-1, 2)
    difference = golds[None] - _cells(layout)[:, None]
    euclidean = np.hypot(difference[..., 0], difference[..., 1])
    manhattan = np.abs(difference).sum(axis=2)
    row_major = np.broadcast_to(golds[:, 0] * layout.size + golds[:, 1], euclidean.shape)
    return FeatureTables(
        fixed=_fixed(layout),
        nearest=np.lexsort((row_major, euclidean), axis=1).astype(np.int32),
        gold_vector=_scaled(difference, layout.size),
        ordered=np.argsort(manhattan, axis=1, kind="stable").astype(np.int32),
        manhattan=(manhattan / (2 * layout.size)).astype(np.float32),
    )


def initial_features(tables: FeatureTables) -> np.ndarray:
    """float32[S, 70]: phi of every cell with every gold left and the lever off."""
    states, golds = tables.ordered.shape
    initial = tables.fixed.copy()
    if golds:
        slots = np.take_along_axis(tables.manhattan, tables.ordered, axis=1)[:, :GOLD_SLOTS]
        initial[:, NEAREST : NEAREST + 3] = tables.gold_vector[np.arange(states), tables.nearest[:, 0]]
        initial[:, GOLDS_LEFT] = golds
        initial[:, FIRST_GOLD_SLOT : FIRST_GOLD_SLOT + slots.shape[1]] = slots
    return initial


def _cells(layout: Layout) -> np.ndarray:
    """int64[S, 2]: row and column of every state."""
    return np.stack(np.divmod(np.arange(layout.states), layout.size), axis=1)


def _scaled(difference: np.ndarray, size: int) -> np.ndarray:
    """float32[..., 3]: (x, y) / N and length / (sqrt(2) N) of row-column differences [..., 2]."""
    length = np.hypot(difference[..., 0], difference[..., 1]) / (np.sqrt(2) * size)
    return np.stack([difference[..., 1] / size, difference[..., 0] / size, length], axis=-1).astype(np.float32)


def _fixed(layout: Layout) -> np.ndarray:
    cells, size = _cells(layout), layout.size
    table = np.zeros((layout.states, FEATURES), np.float32)
    table[:, 0:2] = cells[:, ::-1] / size
    table[:, 6:9] = _vectors_to(cells, layout.exit, size)
    table[:, 9:13] = _walls(layout)
    if layout.lever is not None:
        table[:, LEVER_VECTOR : LEVER_VECTOR + 3] = _vectors_to(cells, layout.lever, size)
    table[:, 17:19] = _hazards(cells, layout)
    return table


def _vectors_to(cells: np.ndarray, target: Cell, size: int) -> np.ndarray:
    return _scaled(np.array(target) - cells, size)


def _walls(layout: Layout) -> np.ndarray:
    """float32[S, 4]: block or edge above, below, left, right."""
    closed = np.ones((layout.size + 2, layout.size + 2), np.float32)
    closed[1:-1, 1:-1] = 0
    for row, col in layout.blocks:
        closed[row + 1, col + 1] = 1
    sides = (closed[:-2, 1:-1], closed[2:, 1:-1], closed[1:-1, :-2], closed[1:-1, 2:])
    return np.stack([side.ravel() for side in sides], axis=1)


def _hazards(cells: np.ndarray, layout: Layout) -> np.ndarray:
    """float32[S, 2]: number of hazards / N^2 and scaled distance to the nearest, the agent's own cell left out."""
    result = np.zeros((layout.states, 2), np.float32)
    if not layout.hazards:
        return result
    difference = np.array(layout.hazards)[None] - cells[:, None]
    distance = np.hypot(difference[..., 0], difference[..., 1])
    distance[distance == 0] = np.inf
    counted = np.isfinite(distance).sum(axis=1)
    nearest = distance.min(axis=1)
    result[:, 0] = counted / layout.states
    result[:, 1] = np.where(counted > 0, nearest, 0) / (np.sqrt(2) * layout.size)
    return result


@njit(cache=True)
def fill_features(tables, state, golds, lever, out):
    """Write phi(state, golds, lever) into ``out``, float[70]."""
    for feature in range(FEATURES):
        out[feature] = tables.fixed[state, feature]
    if lever:
        for axis in range(3):
            out[LEVER_VECTOR + axis] = 0.0
        out[LEVER_ON] = 1.0
    if golds == 0:
        return
    out[GOLDS_LEFT] = popcount(golds)
    for gold in tables.nearest[state]:
        if (golds >> np.uint64(gold)) & np.uint64(1):
            for axis in range(3):
                out[NEAREST + axis] = tables.gold_vector[state, gold, axis]
            break
    slot = FIRST_GOLD_SLOT
    for gold in tables.ordered[state]:
        if (golds >> np.uint64(gold)) & np.uint64(1) and slot < FEATURES:
            out[slot] = tables.manhattan[state, gold]
            slot += 1


def features(layout: Layout, *, state: int, golds: int, lever: bool) -> np.ndarray:
    """float32[70]: phi of a cell, a mask of the golds left (bit i is ``layout.golds[i]``) and the lever."""
    out = np.empty(FEATURES, np.float32)
    fill_features(feature_tables(layout), state, np.uint64(golds), int(lever), out)
    return out
