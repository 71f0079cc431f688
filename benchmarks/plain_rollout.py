"""What :func:`lever_ray.embedding.successor.embed` is measured against: the same sums, written straightforwardly."""

from __future__ import annotations

import numpy as np
from numba import njit

from lever_ray.embedding.offline import greedy
from lever_ray.embedding.successor import EMBEDDING, GAMMA_PSI
from lever_ray.tasks.gridworld.compile import TERMINAL
from lever_ray.tasks.gridworld.features import FEATURES, fill_features
from lever_ray.tasks.gridworld.terrain import ACTIONS, EXIT, GOLD, LEVER


@njit(cache=True, nogil=True)
def plain_psi(embedder, pool, mixtures, operator, masked):
    """float32[K, 73]: psi of each mixture, one rollout per canonical state, cut at S steps; cycles are walked."""
    moves, events, tables, cells, first_golds, first_levers, _ = embedder
    q, support = pool
    states = len(events)
    result, phi, total = np.empty((len(mixtures), EMBEDDING), np.float32), np.empty(FEATURES, np.float32), np.empty(73)
    for index in range(len(mixtures)):
        members = mixtures[index]
        total[:] = 0.0
        for canonical in range(len(cells)):
            state, golds = np.int64(cells[canonical]), first_golds[canonical]
            lever, weight = np.int64(first_levers[canonical]), 1.0
            for _ in range(states + 1):
                fill_features(tables, state, golds, lever, phi)
                for feature in range(FEATURES):
                    total[feature] += weight * phi[feature]
                event = events[state]
                if event & TERMINAL:
                    total[FEATURES + (0 if event & EXIT else 1)] += weight
                    break
                action, supported = greedy(q, support, members, operator, masked, state)
                if not supported:
                    total[FEATURES + 2] += weight
                    break
                state = np.int64(moves[ACTIONS * state + action])
                event = events[state]
                if event & GOLD:
                    golds &= ~(np.uint64(1) << np.uint64(event >> 8))
                if event & LEVER:
                    lever = 1
                weight *= GAMMA_PSI
        for feature in range(EMBEDDING):
            result[index, feature] = total[feature] / len(cells)
    return result
