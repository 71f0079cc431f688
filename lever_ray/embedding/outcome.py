"""Outcome features: what the rollout of a policy from the start came to, told without any reward function (tier I1).

They need recorded transitions and the event rules: where episodes end, and what changes the memory. Where shaping is a
difference of potentials, an undiscounted return is close to a linear function of them, and the same one in every
environment of a family.
"""

from __future__ import annotations

import numpy as np

from lever_ray.compiling import compiled
from lever_ray.embedding.blocks import in_blocks, kernel_array
from lever_ray.embedding.offline import SUM, Pool, greedy
from lever_ray.embedding.successor import KINDS, Embedder, embed
from lever_ray.errors import check_known
from lever_ray.tasks.canonical import CANONICAL_STATES
from lever_ray.tasks.kernel import GOAL, TERMINAL, enter, popcount

OUTCOME_FEATURES: tuple[str, ...] = ("goal", "trap", "off_support", "items_taken", "switch_on")
"""How the rollout ended (0 or 1 each; all 0 where it was cut at the horizon), items taken, and switch on (0 or 1);
means over the starts. On the grid: exit, hazard, off the support, golds taken, lever on.

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
        float32[K, D + 3], or float32[K, 5] for ``outcome``.

    Raises:
        UnknownName: no features have that name.
        InvalidValue: the environment has no feature vectors, and the kind needs them.
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
    result = np.zeros((len(rows), len(OUTCOME_FEATURES)), np.float32)

    def fill(block: slice) -> None:
        _fill_outcomes(embedder.dynamics, embedder.horizon, pool, rows[block], operator, masked, result[block])

    in_blocks(fill, len(rows), size=_BLOCK)
    return result


@compiled(nogil=True)
def _fill_outcomes(dynamics, horizon, pool, mixtures, operator, masked, result):
    """Follow each mixture until it ends, is cut, or meets an observation again: the laps of a cycle add nothing."""
    moves, flags, starts, weights, first_memory = dynamics
    q, support, _, many = pool
    seen, stamp, items = np.full(len(flags), -1, np.int64), 0, popcount(first_memory[0])
    for index in range(len(mixtures)):
        members = mixtures[index]
        for place in range(len(starts)):
            state, memory, end, time = np.int64(starts[place]), first_memory, -1, 0
            while seen[state] != stamp and time < horizon:
                seen[state] = stamp
                action, supported = greedy(q, support, many, members, operator, masked, state)
                if not supported:
                    end = 2
                    break
                time += 1
                state = np.int64(moves[state, action])
                flag = np.int64(flags[state])
                if flag & TERMINAL:
                    end = 0 if flag & GOAL else 1
                    break
                memory = enter(flag, memory)
            stamp += 1
            if end >= 0:
                result[index, end] += weights[place]
            result[index, 3] += weights[place] * (items - popcount(memory[0]))
            result[index, 4] += weights[place] * np.float64(memory[1])
