"""Behavioural embeddings: successor features of offline rollouts, averaged over canonical states.

Psi(pi) = (1/|C|) sum_{sigma in C} sum_{t=0..K} gamma^t phi(sigma_t), gamma = 0.99, with event bookkeeping and cycles
closed exactly, followed by the discounted shares of rollouts that end at the exit, at a hazard, or off the support
(successor features after arXiv 1901.10964; policy embeddings after arXiv 2306.09800).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from lever_ray.embedding.blocks import in_blocks, kernel_array
from lever_ray.embedding.canonical import CanonicalStates
from lever_ray.embedding.classes import (
    CHOICES,
    DIFFERENT,
    EVERY,
    LEAVE,
    OPEN,
    SUM,
    UNKNOWN,
    agreed,
    choice_of,
    look_up,
    make_block,
    part,
)
from lever_ray.embedding.offline import Pool
from lever_ray.embedding.static import add_static_features
from lever_ray.errors import check_known
from lever_ray.tasks.gridworld.compile import TERMINAL, make_task
from lever_ray.tasks.gridworld.features import (
    FEATURES,
    FIRST_GOLD_SLOT,
    GOLD_SLOTS,
    FeatureTables,
    feature_tables,
    fill_features,
    initial_features,
)
from lever_ray.tasks.gridworld.layout import Layout
from lever_ray.tasks.gridworld.terrain import ACTIONS, EXIT, GOLD, LEVER

GAMMA_PSI = 0.99
EMBEDDING = FEATURES + 3
"""Length of an embedding: the features, then exit, hazard and off-support indicators."""
KINDS: tuple[str, ...] = ("psi", "psi_static")
_ROWS = 1 << 13
_HASH_ODD, _HASH_ODD_2 = 0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F
_BLOCK = 1 << 11


class Embedder(NamedTuple):
    """What the embedding of one environment's policies needs.

    Attributes:
        moves: int32[S * A].
        events: int32[S], see :class:`lever_ray.tasks.gridworld.compile.Task`.
        tables: see :class:`lever_ray.tasks.gridworld.features.FeatureTables`.
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
    embedder: Embedder,
    pool: Pool,
    mixtures: np.ndarray,
    *,
    operator: int = SUM,
    masked: bool = True,
    kind: str = "psi",
    threads: int = 0,
) -> np.ndarray:
    """Embeddings of mixtures.

    Args:
        embedder: of the environment.
        pool: its policies.
        mixtures: int32[K, m], rows of the pool.
        operator: ``SUM`` or ``MAX`` of :mod:`lever_ray.embedding.offline`.
        masked: leave out actions that no member ever took.
        kind: ``psi`` (exact) or ``psi_static`` (golds and lever frozen as at the start).
        threads: see :func:`lever_ray.embedding.blocks.in_blocks`.

    Returns:
        float32[K, 73].

    Raises:
        UnknownName: no embedding has that name.
    """
    check_known("embedding", kind, KINDS)
    embedding = psi_exact if kind == "psi" else psi_static
    return embedding(embedder, pool, mixtures, operator, masked, threads=threads)


def psi_exact(
    embedder: Embedder, pool: Pool, mixtures: np.ndarray, operator: int, masked: bool, *, threads: int = 0
) -> np.ndarray:
    """float32[K, 73]: exact Psi, see :func:`embed`."""
    states, cells, golds = len(embedder.events), len(embedder.cells), embedder.tables.ordered.shape[1]
    width = FIRST_GOLD_SLOT + min(golds, GOLD_SLOTS)
    powers = GAMMA_PSI ** np.arange(states + 2)
    rows, result = kernel_array(mixtures, np.int32), np.zeros((len(mixtures), EMBEDDING), np.float32)
    unmasked = 0 if masked else EVERY

    def fill(part_of: slice) -> None:
        block = make_block(pool.q, rows[part_of])
        totals = np.zeros((len(block.mixtures), width + 3))
        lookup = np.full(_ROWS, -1, np.int32), np.empty(_ROWS, np.uint64), np.empty((_ROWS, width), np.float32)
        known = np.full(states, UNKNOWN, np.int64), np.empty((states, len(totals)), np.uint8)
        _add_psi(embedder, pool, block, operator, unmasked, powers, lookup, known, totals)
        result[part_of, :width] = totals[:, :width] / cells
        result[part_of, FEATURES:] = totals[:, width:] / cells

    in_blocks(fill, len(rows), size=_BLOCK, threads=threads)
    return result


@njit(cache=True)
def _find_row(owners, keys, owner, golds):
    """Slot of (owner, golds) in an open-addressing table, and whether it is filled already."""
    spread = (golds * np.uint64(_HASH_ODD)) ^ (np.uint64(owner) * np.uint64(_HASH_ODD_2))
    slot = np.int64((spread ^ (spread >> np.uint64(29))) & np.uint64(len(keys) - 1))
    while owners[slot] >= 0:
        if owners[slot] == owner and keys[slot] == golds:
            return slot, True
        slot = (slot + 1) & (len(keys) - 1)
    return slot, False


@njit(cache=True, nogil=True)
def _add_psi(embedder, pool, block, operator, unmasked, powers, lookup, known, totals):
    """Add up the discounted features and ends of a block's rollouts from all canonical states.

    From each of them the mixtures walk together until they part, see :mod:`lever_ray.embedding.classes`.

    Args:
        embedder: see :class:`Embedder`.
        pool: see :class:`lever_ray.embedding.offline.Pool`.
        block: see :class:`lever_ray.embedding.classes.Block`.
        operator: see :func:`lever_ray.embedding.classes.choice_of`, as for the next.
        unmasked: see there.
        powers: float64[S + 2], of gamma.
        lookup: feature vectors met so far, an open-addressing table: int32[R] cell and lever, or -1; uint64[R] golds
            left; float32[R, W]. It is emptied when half full.
        known: see :func:`lever_ray.embedding.classes.look_up`.
        totals: float64[K, W + 3], added to.
    """
    moves, events, tables, cells, first_golds, first_levers, _ = embedder
    mixtures, _, _, order, cell_q, cell_support, _ = block
    unrecorded = np.int64(0)  # typed: for a literal, numba would compile choice_of anew
    owners, keys, rows = lookup
    common, choices = known
    count, states, width, filled = len(order), len(events), rows.shape[1], 0
    depths = states + 1
    spare, of_class, phi = np.empty(count + 1, np.uint32), np.empty(count, np.uint8), np.empty(FEATURES, np.float32)
    # along the path to the class at hand, by moves made: full states; sums[d] adds up the first d of them
    path, golds_left, levers = np.empty(depths, np.int64), np.empty(depths, np.uint64), np.empty(depths, np.int64)
    sums, entered = np.zeros((depths + 1, width)), np.zeros(states, np.int64)
    frames = np.empty((depths * CHOICES, 4), np.int64)
    for canonical in range(len(cells)):
        frames[0, 0], frames[0, 1], frames[0, 2], frames[0, 3] = -1, 0, 0, count
        top, path[0] = 1, -1
        while top > 0:
            top -= 1
            depth, choice, first, last = frames[top, 0], frames[top, 1], frames[top, 2], frames[top, 3]
            if depth < 0:
                state, golds = np.int64(cells[canonical]), first_golds[canonical]
                lever = np.int64(first_levers[canonical])
            else:
                state, golds, lever = path[depth], golds_left[depth], levers[depth]
            end = -1
            while choice >= 0:
                if choice == LEAVE:
                    end = 2
                    break
                if depth >= 0:
                    state = np.int64(moves[ACTIONS * state + choice])
                    if events[state] & GOLD:
                        golds &= ~(np.uint64(1) << np.uint64(events[state] >> 8))
                    if events[state] & LEVER:
                        lever = np.int64(1)
                depth += 1
                begin = entered[state]
                closes = begin < depth and path[begin] == state
                weight = powers[depth] / (1.0 - powers[depth - begin]) if closes else powers[depth]
                for column in range(width):
                    sums[depth + 1, column] = sums[depth, column]
                # a cycle adds its second lap, any other state itself
                for position in range(begin if closes else depth - 1, depth):
                    if closes:
                        state = path[position]
                    slot, met = _find_row(owners, keys, 2 * state + lever, golds)
                    if not met:
                        if 2 * filled > len(keys):
                            for other in range(len(keys)):
                                owners[other] = -1
                            filled = 0
                        fill_features(tables, state, golds, lever, phi)
                        for column in range(width):
                            rows[slot, column] = phi[column]
                        owners[slot], keys[slot] = 2 * state + lever, golds
                        filled += 1
                    for column in range(width):
                        sums[depth + 1, column] += weight * rows[slot, column]
                    weight *= GAMMA_PSI
                if closes:
                    break
                if events[state] & TERMINAL:
                    end = 0 if events[state] & EXIT else 1
                    break
                path[depth], golds_left[depth], levers[depth], entered[state] = state, golds, lever, depth
                if common[state] == UNKNOWN:
                    look_up(pool, block, state, operator, known)
                choice = common[state]
                if choice == DIFFERENT:
                    seen = np.int64(0)
                    for index in range(first, last):
                        mixture = order[index]
                        if choices[state, mixture] == OPEN:
                            choices[state, mixture] = choice_of(
                                cell_q, cell_support, state, mixtures, mixture, operator, unmasked, unrecorded
                            )
                        of_class[index] = choices[state, mixture]
                        seen |= np.int64(1) << np.int64(of_class[index])
                    choice = agreed(seen)
                    if choice < 0:
                        top = part(seen, of_class, order, spare, first, last, frames, top, depth)
            if choice >= 0:
                for index in range(first, last):
                    mixture = order[index]
                    for column in range(width):
                        totals[mixture, column] += sums[depth + 1, column]
                    if end >= 0:
                        totals[mixture, width + end] += powers[depth]


def psi_static(
    embedder: Embedder, pool: Pool, mixtures: np.ndarray, operator: int, masked: bool, *, threads: int = 0
) -> np.ndarray:
    """float32[K, 73]: Psi with golds and lever frozen as at the start, see :func:`embed`."""
    frozen, states = _frozen_features(embedder.tables), len(embedder.events)
    width = frozen.shape[1]
    weights = np.bincount(embedder.cells, minlength=states) / len(embedder.cells)
    roots = np.flatnonzero(weights)
    rows, result = kernel_array(mixtures, np.int32), np.zeros((len(mixtures), EMBEDDING), np.float32)
    unmasked = 0 if masked else EVERY

    def fill(part_of: slice) -> None:
        block = make_block(pool.q, rows[part_of])
        totals = np.zeros((len(block.mixtures), width + 3))
        known = np.full(states, UNKNOWN, np.int64), np.empty((states, 0), np.uint8)
        task = embedder.moves, embedder.events
        add_static_features(task, pool, block, operator, unmasked, GAMMA_PSI, roots, weights, frozen, known, totals)
        result[part_of, :width] = totals[:, :width]
        result[part_of, FEATURES:] = totals[:, width:]

    in_blocks(fill, len(rows), size=_BLOCK, threads=threads)
    return result


def _frozen_features(tables: FeatureTables) -> np.ndarray:
    """float32[S + 1, W]: phi of every cell with every gold left and the lever off; the last row is 0."""
    frozen = initial_features(tables)
    used = FIRST_GOLD_SLOT + min(tables.ordered.shape[1], GOLD_SLOTS)
    return np.vstack([frozen[:, :used], np.zeros((1, used), np.float32)])
