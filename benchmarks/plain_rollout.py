"""What :func:`lever_ray.embedding.successor.embed` is measured against: the same sums, written straightforwardly."""

from __future__ import annotations

import numpy as np
from numba import njit

from lever_ray.embedding.offline import greedy
from lever_ray.embedding.successor import ENDS, GAMMA_PSI
from lever_ray.tasks.features import fill_features
from lever_ray.tasks.kernel import GOAL, TERMINAL, enter


@njit(cache=True, nogil=True)
def plain_psi(embedder, pool, mixtures, operator, masked):
    """float32[K, D + 3]: psi of each mixture, one rollout per canonical state, cut at S steps; cycles are walked."""
    (moves, flags, _, _, _), _, tables, observations, memories = embedder
    q, support, _, many = pool
    states, width = len(flags), tables.fixed.shape[1]
    result, total = np.empty((len(mixtures), width + ENDS), np.float32), np.empty(width + ENDS)
    phi = np.empty(width, np.float32)
    for index in range(len(mixtures)):
        members = mixtures[index]
        total[:] = 0.0
        for canonical in range(len(observations)):
            state, weight = np.int64(observations[canonical]), 1.0
            memory = memories[canonical, 0], memories[canonical, 1]
            for _ in range(states + 1):
                fill_features(tables, state, memory, phi)
                for feature in range(width):
                    total[feature] += weight * phi[feature]
                if flags[state] & TERMINAL:
                    total[width + (0 if flags[state] & GOAL else 1)] += weight
                    break
                action, supported = greedy(q, support, many, members, operator, masked, state)
                if not supported:
                    total[width + 2] += weight
                    break
                state = np.int64(moves[state, action])
                memory = enter(np.int64(flags[state]), memory)
                weight *= GAMMA_PSI
        for feature in range(width + ENDS):
            result[index, feature] = total[feature] / len(observations)
    return result
