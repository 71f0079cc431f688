"""Canonical states: where the successor features of an environment's policies are averaged."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numba import njit

from lever_ray.errors import InvalidValue
from lever_ray.tasks.gridworld.compile import TERMINAL
from lever_ray.tasks.gridworld.layout import Layout
from lever_ray.tasks.gridworld.terrain import ACTIONS, GOLD, LEVER

CANONICAL_STATES = 64
"""How many are stored with an environment, where its recorded transitions lead to as many."""
_WALKS = 64


@dataclass(frozen=True, eq=False)
class CanonicalStates:
    """Full states sigma = (x, M, l) of one environment; the first is the start.

    Attributes:
        cells: int32[C], state indices.
        golds: uint64[C], masks of the golds left.
        levers: uint8[C], 1 where the lever is on.
    """

    cells: np.ndarray
    golds: np.ndarray
    levers: np.ndarray

    def __len__(self) -> int:
        return len(self.cells)

    def thinned(self, count: int) -> CanonicalStates:
        """The start and ``count - 1`` of the others, evenly spaced; all of them where there are no more.

        States are stored in the order of their cells, so the first few would lie in one corner of the grid.

        Raises:
            InvalidValue: ``count`` is below 1.
        """
        check_canonical(count)
        if count >= len(self):
            return self
        others = np.linspace(1, len(self), count - 1, endpoint=False).astype(np.int64)
        kept = np.concatenate([[0], others]).astype(np.int64)
        return CanonicalStates(self.cells[kept], self.golds[kept], self.levers[kept])


def check_canonical(count: int) -> None:
    """Refuse a number of canonical states below 1 with InvalidValue."""
    if count < 1:
        raise InvalidValue(f"count of canonical states is {count}; at least 1 is needed")


@njit(cache=True)
def _walk(events, all_golds, start, successors, rng, walks, cells, golds, levers):
    """Uniformly random walks over recorded transitions; returns how many states were written."""
    filled = 0
    for _ in range(walks):
        state, left, lever = start, all_golds, 0
        for _ in range(len(events)):
            known = 0
            for action in range(ACTIONS):
                known += successors[state, action] >= 0
            if known == 0:
                break
            choice = int(rng.random() * known)
            for action in range(ACTIONS):
                if successors[state, action] >= 0:
                    if choice == 0:
                        state = successors[state, action]
                        break
                    choice -= 1
            event = events[state]
            if event & TERMINAL:
                break
            if event & GOLD:
                left &= ~(np.uint64(1) << np.uint64(event >> 8))
            if event & LEVER:
                lever = 1
            cells[filled], golds[filled], levers[filled] = state, left, lever
            filled += 1
    return filled


def canonical_states(
    layout: Layout, successors: np.ndarray, events: np.ndarray, *, count: int = CANONICAL_STATES
) -> CanonicalStates:
    """Draw the start and ``count - 1`` distinct non-terminal states from random walks over recorded transitions.

    The draw is seeded by the layout, so the same layout and transitions give the same states. Fewer come back where
    the walks met fewer.

    Args:
        layout: the grid.
        successors: int32[S, A], recorded cells; -1 where never seen.
        events: int32[S], see :class:`lever_ray.tasks.gridworld.compile.Task`.
        count: how many states, at least 1.

    Raises:
        InvalidValue: ``count`` is below 1.
    """
    check_canonical(count)
    terrain = layout.terrain
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(layout.digest.encode()).digest()[:8], "little"))
    room = _WALKS * layout.states
    cells, golds, levers = np.empty(room, np.int32), np.empty(room, np.uint64), np.empty(room, np.uint8)
    filled = _walk(events, terrain.all_golds, terrain.start, successors, rng, _WALKS, cells, golds, levers)
    met = np.unique(np.rec.fromarrays([cells[:filled], golds[:filled], levers[:filled]]))
    start = np.rec.fromarrays(
        [np.array([terrain.start], np.int32), np.array([terrain.all_golds], np.uint64), np.zeros(1, np.uint8)]
    )
    others = met[met != start[0]] if filled else met
    drawn = rng.choice(len(others), size=min(count - 1, len(others)), replace=False)
    chosen = np.concatenate([start, others[np.sort(drawn)]])
    return CanonicalStates(*(np.ascontiguousarray(chosen[name]) for name in ("f0", "f1", "f2")))
