"""Behavioural embeddings: successor features of offline rollouts, averaged over canonical states.

Psi(pi) = (1/|C|) sum_{sigma in C} sum_{t=0..K} gamma^t phi(sigma_t), gamma = 0.99, with event bookkeeping and cycles
closed exactly, followed by the discounted shares of rollouts that end at the exit, at a hazard, or off the support
(successor features after arXiv 1901.10964; policy embeddings after arXiv 2306.09800).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from lever_ray.embedding.canonical import CanonicalStates
from lever_ray.embedding.offline import SUM, Pool, greedy
from lever_ray.errors import check_known
from lever_ray.gridworld.features import (
    FEATURES,
    FIRST_GOLD_SLOT,
    GOLD_SLOTS,
    GOLDS_LEFT,
    LEVER_ON,
    LEVER_VECTOR,
    NEAREST,
    FeatureTables,
    feature_tables,
    fill_features,
)
from lever_ray.gridworld.layout import Layout
from lever_ray.gridworld.task import TERMINAL, make_task
from lever_ray.gridworld.terrain import ACTIONS, EXIT, GOLD, LEVER

GAMMA_PSI = 0.99
EMBEDDING = FEATURES + 3
"""Length of an embedding: the features, then exit, hazard and off-support indicators."""
KINDS: tuple[str, ...] = ("psi", "psi_static")
_UNKNOWN = -2
_ROWS = 1 << 13
_ROW_HEAD = 4
_HASH_ODD, _HASH_ODD_2 = 0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F
_STATIC_BATCH = 1024


class Embedder(NamedTuple):
    """What the embedding of one environment's policies needs.

    Attributes:
        moves: int32[S * A].
        events: int32[S], see :class:`lever_ray.gridworld.task.Task`.
        tables: see :class:`lever_ray.gridworld.features.FeatureTables`.
        cells: int32[C], see :class:`lever_ray.embedding.canonical.CanonicalStates`, as for the next two.
        golds: uint64[C].
        levers: uint8[C].
        all_golds: uint64.
    """

    moves: np.ndarray
    events: np.ndarray
    tables: FeatureTables
    cells: np.ndarray
    golds: np.ndarray
    levers: np.ndarray
    all_golds: np.uint64


def make_embedder(layout: Layout, states: CanonicalStates) -> Embedder:
    """Collect the arrays that :func:`embed` reads; states are copied, since those of a shared store are read-only."""
    task = make_task(layout, "path")
    cells, golds, levers = states.cells.copy(), states.golds.copy(), states.levers.copy()
    return Embedder(task.moves, task.events, feature_tables(layout), cells, golds, levers, task.rules.all_golds)


def embed(
    embedder: Embedder, pool: Pool, mixtures: np.ndarray, *, operator: int = SUM, masked: bool = True, kind: str = "psi"
) -> np.ndarray:
    """Embeddings of mixtures.

    Args:
        embedder: of the environment.
        pool: its policies.
        mixtures: int32[K, m], rows of the pool.
        operator: ``SUM`` or ``MAX`` of :mod:`lever_ray.embedding.offline`.
        masked: leave out actions that no member ever took.
        kind: ``psi`` (exact) or ``psi_static`` (golds and lever frozen as at the start; cheaper).

    Returns:
        float32[K, 73].

    Raises:
        UnknownName: no embedding has that name.
    """
    check_known("embedding", kind, KINDS)
    if kind == "psi":
        return psi_exact(embedder, pool, mixtures, operator, masked)
    return _psi_static(embedder, pool, mixtures, operator, masked)


@njit(cache=True)
def _successor(moves, q, support, members, operator, masked, state):
    """Cell that the greedy action leads to, or -1 off the support."""
    action, supported = greedy(q, support, members, operator, masked, state)
    return moves[ACTIONS * state + action] if supported else -1


@njit(cache=True)
def _gold_row(nearest, gold_vector, ordered, manhattan, state, golds, row):
    """Write the features that depend on the golds left into ``row``: nearest (3), count, Manhattan distances."""
    row[:] = 0.0
    if golds == 0:
        return
    position = 0
    while not (golds >> np.uint64(nearest[state, position])) & np.uint64(1):
        position += 1
    for axis in range(3):
        row[axis] = gold_vector[state, nearest[state, position], axis]
    count = 0
    for position in range(ordered.shape[1]):
        gold = ordered[state, position]
        if (golds >> np.uint64(gold)) & np.uint64(1):
            if count < GOLD_SLOTS:
                row[_ROW_HEAD + count] = manhattan[state, gold]
            count += 1
    row[3] = count


@njit(cache=True)
def _find_row(keys, owners, state, golds):
    """Slot of (state, golds) in an open-addressing table, and whether it is filled already."""
    spread = (golds * np.uint64(_HASH_ODD)) ^ (np.uint64(state) * np.uint64(_HASH_ODD_2))
    slot = np.int64((spread ^ (spread >> np.uint64(29))) & np.uint64(len(keys) - 1))
    while owners[slot] >= 0:
        if owners[slot] == state and keys[slot] == golds:
            return slot, True
        slot = (slot + 1) & (len(keys) - 1)
    return slot, False


@njit(cache=True)
def _fixed_features(occupancy, lever_off, fixed, total):
    """Write the features that do not depend on the golds, weighted by how long each cell was occupied."""
    total[:] = 0.0
    for state in range(len(occupancy)):
        weight, off = occupancy[state], lever_off[state]
        if weight > 0.0:
            for feature in range(GOLDS_LEFT + 1, LEVER_VECTOR):
                total[feature] += weight * fixed[state, feature]
            for feature in range(LEVER_VECTOR, LEVER_ON):
                total[feature] += off * fixed[state, feature]
            total[0] += weight * fixed[state, 0]
            total[1] += weight * fixed[state, 1]
            total[LEVER_ON] += weight - off
            total[17] += weight * fixed[state, 17]
            total[18] += weight * fixed[state, 18]


@njit(cache=True, nogil=True)
def psi_exact(embedder, pool, mixtures, operator, masked):
    """float32[K, 73]: exact Psi, see :func:`embed`.

    Features of the golds are looked up by (cell, golds left) in a table that is filled on the way; all others follow
    from how long each cell was occupied with the lever off and on.
    """
    moves, events, tables, cells, starting_golds, starting_levers, _ = embedder
    fixed, nearest, gold_vector, ordered, manhattan = tables
    q, support = pool
    states = len(events)
    width = _ROW_HEAD + min(ordered.shape[1], GOLD_SLOTS)
    result = np.empty((len(mixtures), EMBEDDING), np.float32)
    following, visited = np.empty(states, np.int32), np.empty(states, np.int32)
    occupancy, lever_off = np.empty(states), np.empty(states)
    total, gold_total, ends = np.empty(FEATURES), np.empty(width), np.empty(3)
    powers = GAMMA_PSI ** np.arange(2 * states + 2)
    keys, owners = np.empty(_ROWS, np.uint64), np.full(_ROWS, -1, np.int32)
    rows, filled = np.empty((_ROWS, width), np.float32), 0
    for index in range(len(mixtures)):
        members = mixtures[index]
        following[:] = _UNKNOWN
        visited[:] = -1
        occupancy[:] = 0.0
        lever_off[:] = 0.0
        gold_total[:] = 0.0
        ends[:] = 0.0
        if filled > _ROWS // 2:
            owners[:] = -1
            filled = 0
        for canonical in range(len(cells)):
            state, golds, lever = np.int64(cells[canonical]), starting_golds[canonical], starting_levers[canonical]
            base = canonical * states
            time, first, period, scale = 0, 0, 0, 1.0
            while True:
                if period > 0:
                    if time == first + period:
                        break
                elif visited[state] >= base:
                    first = time
                    period = time - (visited[state] - base)
                    scale = 1.0 / (1.0 - powers[period])
                else:
                    visited[state] = base + time
                weight = scale * powers[time]
                occupancy[state] += weight
                if lever == 0:
                    lever_off[state] += weight
                slot, known = _find_row(keys, owners, state, golds)
                if not known:
                    _gold_row(nearest, gold_vector, ordered, manhattan, state, golds, rows[slot])
                    if filled < _ROWS - 1:
                        keys[slot], owners[slot] = golds, state
                        filled += 1
                for column in range(width):
                    gold_total[column] += weight * rows[slot, column]
                if events[state] & TERMINAL:
                    ends[0 if events[state] & EXIT else 1] += powers[time]
                    break
                if following[state] == _UNKNOWN:
                    following[state] = _successor(moves, q, support, members, operator, masked, state)
                target = following[state]
                if target < 0:
                    ends[2] += powers[time]
                    break
                state = np.int64(target)
                time += 1
                if events[state] & GOLD:
                    golds &= ~(np.uint64(1) << np.uint64(events[state] >> 8))
                if events[state] & LEVER:
                    lever = 1
        _fixed_features(occupancy, lever_off, fixed, total)
        for column in range(width):
            total[NEAREST + column if column < _ROW_HEAD else FIRST_GOLD_SLOT + column - _ROW_HEAD] = gold_total[column]
        for feature in range(FEATURES):
            result[index, feature] = total[feature] / len(cells)
        for end in range(3):
            result[index, FEATURES + end] = ends[end] / len(cells)
    return result


@njit(cache=True, nogil=True)
def occupancies(moves, events, pool, cells, mixtures, operator, masked):
    """Discounted occupancy of every cell, averaged over the canonical cells; one pass over each functional graph.

    Cells are met by walking from every canonical cell until a known one; in reverse order of that meeting a cell's
    predecessors come before it, but on cycles, where the mass that came in is spread in closed form.

    Returns:
        ``(float32[K, S], float32[K, 3])``: occupancies, and the discounted shares of the three ends.
    """
    q, support = pool
    states = len(events)
    result, ends = np.zeros((len(mixtures), states), np.float32), np.zeros((len(mixtures), 3), np.float32)
    following, order = np.empty(states, np.int32), np.empty(states, np.int32)
    walk, cycle = np.empty(states, np.int32), np.empty(states, np.int32)
    mass = np.empty(states)
    for index in range(len(mixtures)):
        members = mixtures[index]
        following[:] = _UNKNOWN
        walk[:] = -1
        cycle[:] = 0
        mass[:] = 0.0
        met = 0
        begins = np.empty(len(cells) + 1, np.int32)
        walks = 0
        for canonical in range(len(cells)):
            state = int(cells[canonical])
            mass[state] += 1.0 / len(cells)
            begins[walks] = met
            while state >= 0 and walk[state] < 0:
                walk[state] = canonical
                order[met] = state
                met += 1
                if events[state] & TERMINAL:
                    following[state] = -1
                    state = -1
                else:
                    following[state] = _successor(moves, q, support, members, operator, masked, state)
                    state = following[state]
            if state >= 0 and walk[state] == canonical and met > begins[walks]:
                while cycle[state] == 0:
                    cycle[state] = 1
                    state = following[state]
            walks += 1
        begins[walks] = met
        for current in range(walks - 1, -1, -1):
            for position in range(begins[current], begins[current + 1]):
                state = order[position]
                target = following[state]
                if cycle[state] == 0 and target >= 0:
                    mass[target] += GAMMA_PSI * mass[state]
            last = begins[current + 1] - 1
            if last >= begins[current] and cycle[order[last]] == 1:
                _spread(mass, following, order[last])
        for position in range(met):
            state = order[position]
            result[index, state] = mass[state]
            if following[state] < 0:
                event = events[state]
                ends[index, 0 if event & EXIT else 1 if event & TERMINAL else 2] += mass[state]
    return result, ends


@njit(cache=True)
def _spread(mass, following, start):
    """Solve mass = inflow + gamma * mass of the predecessor around the cycle through ``start``, in place."""
    carried, discount, state = 0.0, 1.0, start
    while True:
        carried = GAMMA_PSI * (carried + mass[state])
        discount *= GAMMA_PSI
        state = following[state]
        if state == start:
            break
    mass[start] += carried / (1.0 - discount)
    state = start
    while following[state] != start:
        target = following[state]
        mass[target] += GAMMA_PSI * mass[state]
        state = target


def _psi_static(embedder: Embedder, pool: Pool, mixtures: np.ndarray, operator: int, masked: bool) -> np.ndarray:
    frozen = _frozen_features(embedder)
    result = np.empty((len(mixtures), EMBEDDING), np.float32)
    for first in range(0, len(mixtures), _STATIC_BATCH):
        batch = slice(first, first + _STATIC_BATCH)
        occupied, ends = occupancies(
            embedder.moves, embedder.events, pool, embedder.cells, mixtures[batch], operator, masked
        )
        np.matmul(occupied, frozen, out=result[batch, :FEATURES])
        result[batch, FEATURES:] = ends
    return result


def _frozen_features(embedder: Embedder) -> np.ndarray:
    """float32[S, 70]: phi of every cell with every gold left and the lever off."""
    frozen = np.empty_like(embedder.tables.fixed)
    for state in range(len(frozen)):
        fill_features(embedder.tables, state, embedder.all_golds, 0, frozen[state])
    return frozen
