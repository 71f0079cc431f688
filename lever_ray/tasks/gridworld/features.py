"""State features phi(x, M, l): 70 numbers of a position, the golds left and the lever.

Order (x is the column, y the row; vectors point from the agent, x first): 0-1 position / N; 2-3 vector to the
nearest gold / N, 4 its length / (sqrt(2) N); 5 golds left; 6-7 vector to the exit / N, 8 its length; 9-12 block or
edge above, below, left, right; 13-14 vector to the lever / N, 15 its length; 16 lever on; 17 hazards / N^2 and 18
distance to the nearest one, both without a hazard under the agent; 19 always 0 (hazard visits: an episode ends at
the first); 20-69 Manhattan distances to the golds left / (2 N), ascending. Entries about an absent thing are 0.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from lever_ray.tasks.protocol import FeatureTables, Slots

if TYPE_CHECKING:
    from lever_ray.tasks.gridworld.layout import Cell, Layout

FEATURES = 70
SLOTS = Slots(nearest=2, items_left=5, switch_vector=13, switch_on=16, first_item=20)


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
        item_vector=_scaled(difference, layout.size),
        ordered=np.argsort(manhattan, axis=1, kind="stable").astype(np.int32),
        distances=(manhattan / (2 * layout.size)).astype(np.float32),
        slots=SLOTS,
    )


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
        table[:, SLOTS.switch_vector : SLOTS.switch_vector + 3] = _vectors_to(cells, layout.lever, size)
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
