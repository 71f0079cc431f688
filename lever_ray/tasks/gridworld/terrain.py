"""The arrays of a layout that do not depend on an objective: moves, events and breadth-first distances."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lever_ray.compiling import compiled
from lever_ray.tasks.kernel import GOAL, ITEM, SWITCH, TRAP, WALL

if TYPE_CHECKING:
    from lever_ray.tasks.gridworld.layout import Layout

TERMS: tuple[str, ...] = ("path", "gold", "hazard", "lever")
"""The reward terms, in the order in which an objective's name lists them."""

ACTIONS = 4
ACTION_NAMES: tuple[str, ...] = ("right", "down", "left", "up")
MOVES: tuple[tuple[int, int], ...] = ((0, 1), (1, 0), (0, -1), (-1, 0))
"""Row and column change of actions 0 right, 1 down, 2 left, 3 up."""

EXIT, HAZARD, LEVER, GOLD, BLOCK = GOAL, TRAP, SWITCH, ITEM, WALL
"""Bits of ``Terrain.event``: what lies on a cell."""


class Terrain(NamedTuple):
    """Arrays of one layout, not to be written to, in the form that compiled kernels take.

    Attributes:
        size: N.
        start: state index of the start.
        moves: int32[S, 4], the cell a move leads to; the cell itself for a bump. From terminal cells, too.
        event: uint8[S], bits :data:`EXIT`, :data:`HAZARD`, :data:`LEVER`, :data:`GOLD`, :data:`BLOCK`.
        gold_bit: uint64[S], the gold's bit on a gold cell, else 0.
        all_golds: uint64 mask with every gold's bit.
        exit_distance: int32[S], steps to the exit around blocks and hazards; S where unreachable.
        lever_distance: int32[S], likewise to the lever; S everywhere without a lever.
        gold_distance: int32[S, G], likewise to each gold; -1 where unreachable.
        gold_order: int32[S, G], golds by (distance, index), unreachable ones last.
        neighbour_hazards: int32[S], hazards among the four neighbours.
    """

    size: int
    start: int
    moves: np.ndarray
    event: np.ndarray
    gold_bit: np.ndarray
    all_golds: np.uint64
    exit_distance: np.ndarray
    lever_distance: np.ndarray
    gold_distance: np.ndarray
    gold_order: np.ndarray
    neighbour_hazards: np.ndarray


@compiled()
def _distances(size, event, target):
    """Breadth-first steps int32[S] from every cell to ``target``; -1 where unreachable or on a block or hazard."""
    states = size * size
    distance = np.full(states, -1, np.int32)
    queue = np.empty(states, np.int32)
    queue[0] = target
    distance[target] = 0
    head, tail = 0, 1
    while head < tail:
        state = queue[head]
        head += 1
        row, col = state // size, state % size
        for delta_row, delta_col in ((0, 1), (1, 0), (0, -1), (-1, 0)):
            r, c = row + delta_row, col + delta_col
            if r < 0 or r >= size or c < 0 or c >= size:
                continue
            other = r * size + c
            if distance[other] >= 0 or event[other] & (HAZARD | BLOCK):
                continue
            distance[other] = distance[state] + 1
            queue[tail] = other
            tail += 1
    return distance


def build_terrain(layout: Layout) -> Terrain:
    """Compute the arrays of ``layout``; see :class:`Terrain` for their shapes."""
    size, states = layout.size, layout.states
    event = np.zeros(states, np.uint8)
    for bit, cells in ((HAZARD, layout.hazards), (BLOCK, layout.blocks), (GOLD, layout.golds), (EXIT, (layout.exit,))):
        event[[layout.index(cell) for cell in cells]] |= bit
    if layout.lever is not None:
        event[layout.index(layout.lever)] |= LEVER
    gold_states = np.array([layout.index(cell) for cell in layout.golds], np.int64)
    gold_bit = np.zeros(states, np.uint64)
    gold_bit[gold_states] = np.uint64(1) << np.arange(len(gold_states), dtype=np.uint64)
    gold_distance = np.empty((states, len(gold_states)), np.int32)
    for column, gold in enumerate(gold_states):
        gold_distance[:, column] = _distances(size, event, gold)
    return Terrain(
        size=size,
        start=layout.index(layout.start),
        moves=_moves(size, event),
        event=event,
        gold_bit=gold_bit,
        all_golds=np.bitwise_or.reduce(gold_bit),
        exit_distance=_target_distance(layout.index(layout.exit), size, event),
        lever_distance=_target_distance(None if layout.lever is None else layout.index(layout.lever), size, event),
        gold_distance=gold_distance,
        gold_order=np.argsort(np.where(gold_distance < 0, states, gold_distance), axis=1, kind="stable").astype(
            np.int32
        ),
        neighbour_hazards=_neighbour_hazards(size, event),
    )


def _target_distance(target: int | None, size: int, event: np.ndarray) -> np.ndarray:
    if target is None:
        return np.full(size * size, size * size, np.int32)
    distance = _distances(size, event, target)
    return np.where(distance < 0, np.int32(size * size), distance).astype(np.int32)


def _moves(size: int, event: np.ndarray) -> np.ndarray:
    row, col = np.divmod(np.arange(size * size), size)
    moves = np.empty((size * size, ACTIONS), np.int32)
    for action, (delta_row, delta_col) in enumerate(MOVES):
        r, c = row + delta_row, col + delta_col
        inside = (r >= 0) & (r < size) & (c >= 0) & (c < size)
        target = np.where(inside, r * size + c, row * size + col)
        moves[:, action] = np.where(event[target] & BLOCK, row * size + col, target)
    return moves


def _neighbour_hazards(size: int, event: np.ndarray) -> np.ndarray:
    hazard = np.pad(((event & HAZARD) > 0).reshape(size, size).astype(np.int32), 1)
    total = hazard[:-2, 1:-1] + hazard[2:, 1:-1] + hazard[1:-1, :-2] + hazard[1:-1, 2:]
    return total.ravel().astype(np.int32)
