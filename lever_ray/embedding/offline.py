"""Offline rollouts of composed policies on recorded transitions, with exact event bookkeeping.

A *pool* holds the Q-tables of P library policies of one environment; a *mixture* names m of them. Its greedy action
is computed only for the cells that a rollout touches. Positions follow a functional graph (the policy sees the
position alone), so a rollout is a tail and a cycle; golds and the lever settle in the first lap, the second lap
repeats for ever.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from lever_ray.gridworld.task import TERMINAL, nearest_gold, step
from lever_ray.gridworld.terrain import ACTIONS, EXIT

SUM, MAX = 0, 1
"""How a mixture combines its members' action values."""

ENDED_AT_EXIT, ENDED_AT_HAZARD, TRUNCATED, LEFT_SUPPORT = 0, 1, 2, 3
OFFLINE_ENDS: tuple[str, ...] = ("exit", "hazard", "truncated", "off-support")
"""Names of the ways in which an offline rollout ends, by code."""


class Pool(NamedTuple):
    """Policies of one environment, as compiled kernels take them.

    Attributes:
        q: float32[P, S, A], action values, already multiplied by whatever weight their group has.
        support: uint8[P, S], bit ``a`` says that action ``a`` was taken in that cell in training.
    """

    q: np.ndarray
    support: np.ndarray


def make_pool(q: np.ndarray, support: np.ndarray) -> Pool:
    """A pool of arrays of any origin; read-only ones are copied, since kernels are compiled for writable arrays."""
    return Pool(
        np.require(q, np.float32, ["C_CONTIGUOUS", "WRITEABLE"]),
        np.require(support, np.uint8, ["C_CONTIGUOUS", "WRITEABLE"]),
    )


def support_bits(visits: np.ndarray) -> np.ndarray:
    """uint8[..., S] with bit ``a`` set where ``visits[..., S, a]`` is positive."""
    bits = (visits > 0) << np.arange(ACTIONS, dtype=np.uint8)
    return bits.sum(axis=-1, dtype=np.uint8)


@njit(cache=True)
def greedy(q, support, members, operator, masked, state):
    """Greedy action of a mixture in one cell, ties to the lowest action.

    Args:
        q: float32[P, S, A].
        support: uint8[P, S].
        members: int32[m], rows of the pool.
        operator: :data:`SUM` or :data:`MAX`.
        masked: leave out actions that no member ever took, where some member took one.
        state: the cell.

    Returns:
        ``(action, supported)``; supported is False where no member ever took the action.
    """
    supported = support[members[0], state]
    zero, one, two, three = (
        np.float64(q[members[0], state, 0]),
        np.float64(q[members[0], state, 1]),
        np.float64(q[members[0], state, 2]),
        np.float64(q[members[0], state, 3]),
    )
    for position in range(1, len(members)):
        member = members[position]
        supported |= support[member, state]
        if operator == SUM:
            zero += q[member, state, 0]
            one += q[member, state, 1]
            two += q[member, state, 2]
            three += q[member, state, 3]
        else:
            zero = max(zero, np.float64(q[member, state, 0]))
            one = max(one, np.float64(q[member, state, 1]))
            two = max(two, np.float64(q[member, state, 2]))
            three = max(three, np.float64(q[member, state, 3]))
    if masked and supported != 0:
        never = np.float64(-np.inf)
        zero = zero if supported & 1 else never
        one = one if supported & 2 else never
        two = two if supported & 4 else never
        three = three if supported & 8 else never
    # compared as the composed table holds them, so that the table's greedy policy is the one that was ranked
    first, second, third, fourth = np.float32(zero), np.float32(one), np.float32(two), np.float32(three)
    low, low_value = (0, first) if first >= second else (1, second)
    high, high_value = (2, third) if third >= fourth else (3, fourth)
    action = low if low_value >= high_value else high
    return action, (supported >> action) & 1 == 1


@njit(cache=True)
def offline_return(
    moves, events, tabulated, near, rules, q, support, members, operator, masked, recorded, first_visit, lap
):
    """Undiscounted return of one mixture, cut at N^2 steps; cycles are closed exactly.

    Args:
        moves: see :class:`lever_ray.gridworld.task.Task`, as for the next four.
        events: see there.
        tabulated: see there.
        near: see there.
        rules: see there.
        q: see :func:`greedy`, as for the next four.
        support: see there.
        members: see there.
        operator: see there.
        masked: see there.
        recorded: stop where the rollout leaves the recorded transitions; False follows the environment's own.
        first_visit: int32[S] scratch, all -1 before; written.
        lap: float64[S + 1] scratch.

    Returns:
        ``(total, end, steps)``: the return (of the supported prefix where the rollout leaves the support), one of the
        codes of :data:`OFFLINE_ENDS`, and the number of moves.
    """
    state, golds, lever = rules.start, rules.all_golds, 0
    nearest = nearest_gold(near, state, golds)
    total, time, end = 0.0, 0, TRUNCATED
    cycle_start, period = -1, 0
    while time < rules.horizon:
        if cycle_start < 0:
            if first_visit[state] >= 0:
                cycle_start, period = time, time - first_visit[state]
            else:
                first_visit[state] = time
        if cycle_start >= 0:
            if time == cycle_start + period:
                break
            lap[time - cycle_start] = total
        action, supported = greedy(q, support, members, operator, masked, state)
        if recorded and not supported:
            end = LEFT_SUPPORT
            break
        state, golds, lever, nearest, reward, event = step(
            moves, events, tabulated, near, rules, state, golds, lever, nearest, action
        )
        total += reward
        time += 1
        if event & TERMINAL:
            end = ENDED_AT_EXIT if event & EXIT else ENDED_AT_HAZARD
            break
    if cycle_start >= 0 and time == cycle_start + period and time < rules.horizon:
        laps, rest = divmod(rules.horizon - time, period)
        total += laps * (total - lap[0]) + (lap[rest] - lap[0])
        time = rules.horizon
    return total, end, time


@njit(cache=True, nogil=True)
def offline_returns(task, pool, mixtures, operator, masked, recorded):
    """Offline returns of many mixtures.

    Args:
        task: see :class:`lever_ray.gridworld.task.Task`.
        pool: see :class:`Pool`.
        mixtures: int32[K, m], rows of the pool.
        operator: :data:`SUM` or :data:`MAX`.
        masked: see :func:`greedy`.
        recorded: see :func:`offline_return`; False makes it the return in the real environment.

    Returns:
        ``(totals float64[K], ends uint8[K])``, see :func:`offline_return`.
    """
    moves, events, tabulated, near, rules = task
    q, support = pool
    totals, ends = np.empty(len(mixtures)), np.empty(len(mixtures), np.uint8)
    first_visit, lap = np.full(len(events), -1, np.int32), np.empty(len(events) + 1)
    for index in range(len(mixtures)):
        total, end, _ = offline_return(
            moves,
            events,
            tabulated,
            near,
            rules,
            q,
            support,
            mixtures[index],
            operator,
            masked,
            recorded,
            first_visit,
            lap,
        )
        first_visit[:] = -1
        totals[index], ends[index] = total, end
    return totals, ends


@njit(cache=True)
def mixture_table(q, support, members, operator, masked):
    """float32[S, A]: the composed Q-table; -inf for masked actions."""
    states = q.shape[1]
    table = np.empty((states, ACTIONS), np.float32)
    for state in range(states):
        supported = 0
        for member in members:
            supported |= support[member, state]
        for action in range(ACTIONS):
            value = np.float64(q[members[0], state, action])
            for member in members[1:]:
                other = np.float64(q[member, state, action])
                value = value + other if operator == SUM else max(value, other)
            if masked and supported != 0 and not (supported >> action) & 1:
                value = np.float64(-np.inf)
            table[state, action] = value
    return table
