"""Recorded returns: mean recorded rewards added up along an offline rollout, without the reward function (tier I2)."""

from __future__ import annotations

import numpy as np
from numba import njit

from lever_ray.embedding.offline import ENDED_AT_EXIT, ENDED_AT_HAZARD, LEFT_SUPPORT, TRUNCATED, greedy
from lever_ray.tasks.gridworld.compile import TERMINAL
from lever_ray.tasks.gridworld.terrain import ACTIONS, EXIT


@njit(cache=True, nogil=True)
def recorded_returns(moves, events, start, pool, mean_rewards, mixtures, operator, masked):
    """Sum of the members' mean recorded rewards along each mixture's rollout, up to the first cell met twice.

    A member counts where it took the action itself. What is recorded is an average over all the golds and levers that
    training met, so a second pass through a cell says nothing new, and the sum stops there.

    Args:
        moves: int32[S * A].
        events: int32[S], see :class:`lever_ray.tasks.gridworld.compile.Task`.
        start: state index.
        pool: see :class:`lever_ray.embedding.offline.Pool`.
        mean_rewards: float32[P, S, A], in reward units.
        mixtures: int32[K, m], rows of the pool.
        operator: see :func:`lever_ray.embedding.offline.greedy`, as for the next.
        masked: see there.

    Returns:
        ``(totals float64[K], ends uint8[K])``; ends are codes of :data:`lever_ray.embedding.offline.OFFLINE_ENDS`.
    """
    q, support = pool
    totals, ends = np.empty(len(mixtures)), np.empty(len(mixtures), np.uint8)
    seen = np.full(len(events), -1, np.int64)
    for index in range(len(mixtures)):
        members = mixtures[index]
        state, total, end = np.int64(start), 0.0, TRUNCATED
        while seen[state] != index:
            seen[state] = index
            action, supported = greedy(q, support, members, operator, masked, state)
            if not supported:
                end = LEFT_SUPPORT
                break
            for member in members:
                if (support[member, state] >> action) & 1:
                    total += mean_rewards[member, state, action]
            state = np.int64(moves[ACTIONS * state + action])
            if events[state] & TERMINAL:
                end = ENDED_AT_EXIT if events[state] & EXIT else ENDED_AT_HAZARD
                break
        totals[index], ends[index] = total, end
    return totals, ends
