"""Behavioural embeddings: successor features of offline rollouts, averaged over canonical states.

Psi(pi) = (1/|C|) sum_{sigma in C} sum_{t=0..K} gamma^t phi(sigma_t), gamma = 0.99, with event bookkeeping and cycles
closed exactly, followed by the discounted shares of rollouts that end at a goal, in a trap, or off the support
(successor features after arXiv 1901.10964; policy embeddings after arXiv 2306.09800).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lever_ray.compiling import compiled
from lever_ray.embedding.blocks import in_blocks, kernel_array
from lever_ray.embedding.classes import (
    DIFFERENT,
    UNKNOWN,
    choice_of,
    choice_type,
    common_choice,
    look_up,
    make_block,
    part,
)
from lever_ray.embedding.offline import SUM, Pool
from lever_ray.embedding.static import add_static_features
from lever_ray.errors import InvalidValue, check_known
from lever_ray.tasks.canonical import CanonicalStates
from lever_ray.tasks.features import fill_features, initial_features, used_features
from lever_ray.tasks.kernel import GOAL, TERMINAL, Dynamics, enter
from lever_ray.tasks.protocol import Environment, FeatureTables

GAMMA_PSI = 0.99
ENDS = 3
"""Entries that follow the features of an embedding: goal, trap and off-support indicators."""
KINDS: tuple[str, ...] = ("psi", "psi_static")
_ROWS = 1 << 13
_HASH_ODD, _HASH_ODD_2 = 0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F
_BLOCK = 1 << 11


class Embedder(NamedTuple):
    """What the embedding of one environment's policies needs.

    Attributes:
        dynamics: of the environment.
        horizon: steps after which its episodes are cut.
        tables: of its features; None where it has none.
        observations: int32[C], see :class:`lever_ray.tasks.canonical.CanonicalStates`, as for the next.
        memories: uint64[C, 2].
    """

    dynamics: Dynamics
    horizon: int
    tables: FeatureTables | None
    observations: np.ndarray
    memories: np.ndarray


def make_embedder(task: Environment, states: CanonicalStates) -> Embedder:
    """Collect the arrays that :func:`embed` reads; states are copied, since those of a shared store are read-only."""
    observations, memories = states.observations.copy(), states.memories.copy()
    return Embedder(task.dynamics, task.horizon, task.features(), observations, memories)


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
        kind: ``psi`` (exact) or ``psi_static`` (the memory frozen as at the start).
        threads: see :func:`lever_ray.embedding.blocks.in_blocks`.

    Returns:
        float32[K, D + 3].

    Raises:
        UnknownName: no embedding has that name.
        InvalidValue: the environment has no features.
    """
    check_known("embedding", kind, KINDS)
    if embedder.tables is None:
        raise InvalidValue(f"embedding {kind!r} sums feature vectors, and this task has none; use embedding 'outcome'")
    embedding = psi_exact if kind == "psi" else psi_static
    return embedding(embedder, embedder.tables, pool, mixtures, operator, masked, threads=threads)


def psi_exact(
    embedder: Embedder,
    tables: FeatureTables,
    pool: Pool,
    mixtures: np.ndarray,
    operator: int,
    masked: bool,
    *,
    threads: int = 0,
) -> np.ndarray:
    """float32[K, D + 3]: exact Psi, see :func:`embed`."""
    states, canonical, width = len(embedder.dynamics.flags), len(embedder.observations), used_features(tables)
    powers = GAMMA_PSI ** np.arange(states + 2)
    rows, result = kernel_array(mixtures, np.int32), np.zeros((len(mixtures), tables.dimension + ENDS), np.float32)
    where = embedder.dynamics, tables, embedder.observations, embedder.memories

    def fill(part_of: slice) -> None:
        block = make_block(pool.q, pool.support, rows[part_of])
        count = len(block.mixtures)
        totals, of_class = np.zeros((count, width + ENDS)), np.empty(count, choice_type(pool.actions))
        lookup = np.full(_ROWS, -1, np.int32), np.empty(_ROWS, np.uint64), np.empty((_ROWS, width), np.float32)
        known = np.full(states, UNKNOWN, np.int64), np.empty((states, count), of_class.dtype)
        _add_psi(where, pool, block, operator, not masked, powers, lookup, known, of_class, totals)
        result[part_of, :width] = totals[:, :width] / canonical
        result[part_of, tables.dimension :] = totals[:, width:] / canonical

    in_blocks(fill, len(rows), size=_BLOCK, threads=threads)
    return result


@compiled()
def _find_row(owners, keys, owner, items):
    """Slot of (owner, items) in an open-addressing table, and whether it is filled already."""
    spread = (items * np.uint64(_HASH_ODD)) ^ (np.uint64(owner) * np.uint64(_HASH_ODD_2))
    slot = np.int64((spread ^ (spread >> np.uint64(29))) & np.uint64(len(keys) - 1))
    while owners[slot] >= 0:
        if owners[slot] == owner and keys[slot] == items:
            return slot, True
        slot = (slot + 1) & (len(keys) - 1)
    return slot, False


@compiled(nogil=True)
def _add_psi(where, pool, block, operator, unmasked, powers, lookup, known, of_class, totals):
    """Add up the discounted features and ends of a block's rollouts from all canonical states.

    From each of them the mixtures walk together until they part, see :mod:`lever_ray.embedding.classes`.

    Args:
        where: dynamics, feature tables, canonical observations and memories, see :class:`Embedder`.
        pool: see :class:`lever_ray.embedding.offline.Pool`.
        block: see :class:`lever_ray.embedding.classes.Block`.
        operator: see :func:`lever_ray.embedding.classes.choice_of`, as for the next.
        unmasked: see there.
        powers: float64[S + 2], of gamma.
        lookup: feature vectors met so far, an open-addressing table: int32[R] observation and switch, or -1;
            uint64[R] items left; float32[R, W]. It is emptied when half full.
        known: see :func:`lever_ray.embedding.classes.look_up`.
        of_class: uint[K], scratch for choices.
        totals: float64[K, W + 3], added to.
    """
    (moves, flags, _, _, _), tables, observations, memories = where
    mixtures, _, _, order, cell_q, cell_support, _ = block
    owners, keys, rows = lookup
    common, choices = known
    actions, dimension = pool.actions, tables.fixed.shape[1]
    count, states, width, filled = len(order), len(flags), rows.shape[1], 0
    depths = states + 1
    spare, counts = np.empty(count + 1, np.uint32), np.zeros(actions + 1, np.int64)
    phi = np.empty(dimension, np.float32)
    # along the path to the class at hand, by moves made: full states; sums[d] adds up the first d of them
    path, held = np.empty(depths, np.int64), np.empty((depths, 2), np.uint64)
    sums, entered = np.zeros((depths + 1, width)), np.zeros(states, np.int64)
    frames = np.empty((count + 1, 4), np.int64)
    for canonical in range(len(observations)):
        frames[0, 0], frames[0, 1], frames[0, 2], frames[0, 3] = -1, 0, 0, count
        top, path[0] = 1, -1
        while top > 0:
            top -= 1
            depth, choice, first, last = frames[top, 0], frames[top, 1], frames[top, 2], frames[top, 3]
            if depth < 0:
                state = np.int64(observations[canonical])
                memory = memories[canonical, 0], memories[canonical, 1]
            else:
                state, memory = path[depth], (held[depth, 0], held[depth, 1])
            end = -1
            while choice >= 0:
                if choice == actions:
                    end = 2
                    break
                if depth >= 0:
                    state = np.int64(moves[state, choice])
                    memory = enter(np.int64(flags[state]), memory)
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
                    owner = 2 * state + np.int64(memory[1])
                    slot, met = _find_row(owners, keys, owner, memory[0])
                    if not met:
                        if 2 * filled > len(keys):
                            for other in range(len(keys)):
                                owners[other] = -1
                            filled = 0
                        fill_features(tables, state, memory, phi)
                        for column in range(width):
                            rows[slot, column] = phi[column]
                        owners[slot], keys[slot] = owner, memory[0]
                        filled += 1
                    for column in range(width):
                        sums[depth + 1, column] += weight * rows[slot, column]
                    weight *= GAMMA_PSI
                if closes:
                    break
                if flags[state] & TERMINAL:
                    end = 0 if flags[state] & GOAL else 1
                    break
                path[depth], held[depth, 0], held[depth, 1], entered[state] = state, memory[0], memory[1], depth
                if common[state] == UNKNOWN:
                    look_up(pool, block, state, operator, known)
                choice = common[state]
                if choice == DIFFERENT:
                    for index in range(first, last):
                        mixture = order[index]
                        if choices[state, mixture] == actions + 1:
                            choices[state, mixture] = choice_of(
                                cell_q,
                                cell_support,
                                state,
                                mixtures,
                                mixture,
                                operator,
                                unmasked,
                                np.bool_(False),
                                actions,
                                pool.many,
                            )
                        of_class[index] = choices[state, mixture]
                    choice = common_choice(of_class, first, last)
                    if choice == DIFFERENT:
                        top = part(of_class, counts, order, spare, first, last, frames, top, depth)
            if choice >= 0:
                for index in range(first, last):
                    mixture = order[index]
                    for column in range(width):
                        totals[mixture, column] += sums[depth + 1, column]
                    if end >= 0:
                        totals[mixture, width + end] += powers[depth]


def psi_static(
    embedder: Embedder,
    tables: FeatureTables,
    pool: Pool,
    mixtures: np.ndarray,
    operator: int,
    masked: bool,
    *,
    threads: int = 0,
) -> np.ndarray:
    """float32[K, D + 3]: Psi with the memory frozen as at the start, see :func:`embed`."""
    frozen, states = _frozen_features(tables), len(embedder.dynamics.flags)
    width = frozen.shape[1]
    weights = np.bincount(embedder.observations, minlength=states) / len(embedder.observations)
    roots = np.flatnonzero(weights)
    rows, result = kernel_array(mixtures, np.int32), np.zeros((len(mixtures), tables.dimension + ENDS), np.float32)
    nothing = np.empty((states, 0), choice_type(pool.actions))

    def fill(part_of: slice) -> None:
        block = make_block(pool.q, pool.support, rows[part_of])
        totals, known = np.zeros((len(block.mixtures), width + ENDS)), (np.full(states, UNKNOWN, np.int64), nothing)
        add_static_features(
            embedder.dynamics, pool, block, operator, not masked, GAMMA_PSI, roots, weights, frozen, known, totals
        )
        result[part_of, :width] = totals[:, :width]
        result[part_of, tables.dimension :] = totals[:, width:]

    in_blocks(fill, len(rows), size=_BLOCK, threads=threads)
    return result


def _frozen_features(tables: FeatureTables) -> np.ndarray:
    """float32[S + 1, W]: phi of every observation with every item left and the switch off; the last row is 0."""
    frozen, used = initial_features(tables), used_features(tables)
    return np.vstack([frozen[:, :used], np.zeros((1, used), np.float32)])
