"""Recorded returns: mean recorded rewards added up along an offline rollout, without the reward function (tier I2)."""

from __future__ import annotations

import numpy as np

from lever_ray.compiling import compiled
from lever_ray.embedding.offline import ENDED_BADLY, ENDED_WELL, LEFT_SUPPORT, TRUNCATED, greedy
from lever_ray.tasks.kernel import GOAL, TERMINAL


@compiled(nogil=True)
def recorded_returns(dynamics, horizon, discount, pool, mean_rewards, mixtures, operator, masked):
    """Sum of the members' mean recorded rewards along each mixture's rollouts, up to the first observation met twice.

    A member counts where it took the action itself. What is recorded is an average over all the memories that
    training met, so a second pass through an observation says nothing new, and the sum stops there.

    Args:
        dynamics: see :class:`lever_ray.tasks.kernel.Dynamics`.
        horizon: steps after which episodes are cut.
        discount: of evaluation.
        pool: see :class:`lever_ray.embedding.offline.Pool`.
        mean_rewards: float32[P, S, A], in reward units.
        mixtures: int32[K, m], rows of the pool.
        operator: see :func:`lever_ray.embedding.offline.greedy`, as for the next.
        masked: see there.

    Returns:
        ``(totals float64[K], ends uint8[K])``; ends are codes of :mod:`lever_ray.embedding.offline`.
    """
    moves, flags, starts, weights, _ = dynamics
    q, support, _, many = pool
    totals, ends = np.zeros(len(mixtures)), np.full(len(mixtures), ENDED_WELL, np.uint8)
    seen, stamp = np.full(len(flags), -1, np.int64), 0
    for index in range(len(mixtures)):
        members = mixtures[index]
        for place in range(len(starts)):
            state, total, weight, end, time = np.int64(starts[place]), 0.0, 1.0, TRUNCATED, 0
            while seen[state] != stamp and time < horizon:
                seen[state] = stamp
                action, supported = greedy(q, support, many, members, operator, masked, state)
                if not supported:
                    end = LEFT_SUPPORT
                    break
                for member in members:
                    if (support[member, state, action >> 3] >> np.uint8(action & 7)) & 1:
                        total += weight * mean_rewards[member, state, action]
                weight *= discount
                time += 1
                state = np.int64(moves[state, action])
                if flags[state] & TERMINAL:
                    end = ENDED_WELL if flags[state] & GOAL else ENDED_BADLY
                    break
            totals[index] += weights[place] * total
            ends[index] = max(ends[index], np.uint8(end))
            stamp += 1
    return totals, ends
