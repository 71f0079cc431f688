"""Outcome features: what the rollout of a policy from the start came to, told without any reward function (tier I1).

They need recorded transitions and which cells hold the exit, hazards, golds and the lever. Since distance shaping is a
difference of potentials, an undiscounted return is close to a linear function of them, and the same one in every
layout and family.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from lever_ray.embedding.blocks import in_blocks, kernel_array
from lever_ray.embedding.canonical import CANONICAL_STATES
from lever_ray.embedding.offline import SUM, Pool, greedy
from lever_ray.embedding.successor import KINDS, Embedder, embed
from lever_ray.errors import check_known
from lever_ray.tasks.gridworld.compile import TERMINAL
from lever_ray.tasks.gridworld.terrain import ACTIONS, EXIT, GOLD, LEVER

OUTCOME_FEATURES: tuple[str, ...] = ("exit", "hazard", "off_support", "golds_taken", "lever_on")
"""How the rollout ended (0 or 1 each; all 0 where it was cut at N^2 steps), golds taken, and lever on (0 or 1).

Its length and its progress towards exit, lever and golds were tried, and lower no regret."""
OFF_SUPPORT = OUTCOME_FEATURES.index("off_support")
OUTCOME_BLOCKS: dict[str, slice] = {"ends": slice(0, 3), "events": slice(3, 5)}
"""Groups of outcome features, for ablations."""
BEHAVIOUR_KINDS: tuple[str, ...] = (*KINDS, "outcome")
"""What return regressors can read."""
_BLOCK = 1 << 13


def states_that_matter(kind: str, canonical: int) -> int:
    """How many canonical states features depend on: ``canonical`` for ``psi`` and ``psi_static``.

    ``outcome`` starts from the start alone; the usual number stands for it, so that nothing is computed twice.
    """
    return canonical if kind in KINDS else CANONICAL_STATES


def behaviour_features(
    embedder: Embedder, pool: Pool, mixtures: np.ndarray, *, operator: int = SUM, masked: bool = True, kind: str = "psi"
) -> np.ndarray:
    """Features of one of :data:`BEHAVIOUR_KINDS`, for return regressors.

    Args:
        embedder: of the environment.
        pool: its policies.
        mixtures: int32[K, m], rows of the pool.
        operator: ``SUM`` or ``MAX`` of :mod:`lever_ray.embedding.offline`.
        masked: leave out actions that no member ever took.
        kind: ``psi``, ``psi_static`` (see :func:`~lever_ray.embedding.successor.embed`) or ``outcome``.

    Returns:
        float32[K, 73], or float32[K, 5] for ``outcome``.

    Raises:
        UnknownName: no features have that name.
    """
    check_known("embedding", kind, BEHAVIOUR_KINDS)
    if kind == "outcome":
        return outcomes(embedder, pool, mixtures, operator=operator, masked=masked)
    return embed(embedder, pool, mixtures, operator=operator, masked=masked, kind=kind)


def outcomes(
    embedder: Embedder, pool: Pool, mixtures: np.ndarray, *, operator: int = SUM, masked: bool = True
) -> np.ndarray:
    """float32[K, 5]: outcome features of mixtures int32[K, m], in the order of :data:`OUTCOME_FEATURES`."""
    rows = kernel_array(mixtures, np.int32)
    result = np.empty((len(rows), len(OUTCOME_FEATURES)), np.float32)
    start, golds = np.int64(embedder.cells[0]), embedder.golds[0]

    def fill(block: slice) -> None:
        _fill_outcomes(
            embedder.moves, embedder.events, start, golds, pool, rows[block], operator, masked, result[block]
        )

    in_blocks(fill, len(rows), size=_BLOCK)
    return result


@njit(cache=True, nogil=True)
def _fill_outcomes(moves, events, start, all_golds, pool, mixtures, operator, masked, result):
    """Follow each mixture until it ends, or meets a cell again: nothing new happens in the laps of a cycle."""
    q, support = pool
    seen = np.full(len(events), -1, np.int64)
    for index in range(len(mixtures)):
        members = mixtures[index]
        state, golds, taken, lever, end = start, all_golds, 0, 0, -1
        while seen[state] != index:
            seen[state] = index
            action, supported = greedy(q, support, members, operator, masked, state)
            if not supported:
                end = 2
                break
            state = np.int64(moves[ACTIONS * state + action])
            event = np.int64(events[state])
            if event & TERMINAL:
                end = 0 if event & EXIT else 1
                break
            if event & LEVER:
                lever = 1
            if event & GOLD and (golds >> np.uint64(event >> 8)) & np.uint64(1):
                golds ^= np.uint64(1) << np.uint64(event >> 8)
                taken += 1
        for other in range(3):
            result[index, other] = 1.0 if end == other else 0.0
        result[index, 3], result[index, 4] = taken, lever
