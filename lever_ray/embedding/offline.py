"""Offline rollouts of composed policies on recorded transitions, with exact event bookkeeping.

A *pool* holds the Q-tables of P library policies of one environment; a *mixture* names m of them. Its greedy action
is computed only for the cells that a rollout touches. Positions follow a functional graph (the policy sees the
position alone), so a rollout is a tail and a cycle; golds and the lever settle in the first lap, the second lap
repeats for ever. Mixtures that act alike are rolled out once, see :mod:`lever_ray.embedding.classes`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from lever_ray.embedding.blocks import in_blocks, kernel_array
from lever_ray.embedding.classes import CHOICES, EVERY, LEAVE, agreed, choose, make_block, part
from lever_ray.embedding.classes import MAX as MAX
from lever_ray.embedding.classes import SUM as SUM
from lever_ray.tasks.gridworld.compile import TERMINAL, Task, nearest_gold, step
from lever_ray.tasks.gridworld.terrain import ACTIONS, EXIT

ENDED_AT_EXIT, ENDED_AT_HAZARD, TRUNCATED, LEFT_SUPPORT = 0, 1, 2, 3
OFFLINE_ENDS: tuple[str, ...] = ("exit", "hazard", "truncated", "off-support")
"""Names of the ways in which an offline rollout ends, by code."""
_BLOCK = 1 << 14


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
    return Pool(kernel_array(q, np.float32), kernel_array(support, np.uint8))


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
def _return_of_cycle(
    moves, events, tabulated, near, rules, state, golds, lever, nearest, total, taken, begin, depth, lap
):
    """Return at the horizon of a rollout that is back, after ``depth`` moves, where it was after ``begin``.

    The second lap is walked with its own rewards (golds and the lever change the first) and repeats for ever.
    """
    period, time = depth - begin, depth
    lap[0] = total
    while time < rules.horizon and time < depth + period:
        action = taken[begin + time - depth]
        state, golds, lever, nearest, reward, _ = step(
            moves, events, tabulated, near, rules, state, golds, lever, nearest, action
        )
        total += reward
        time += 1
        lap[time - depth] = total
    if time < rules.horizon:
        laps, rest = divmod(rules.horizon - time, period)
        total += laps * (total - lap[0]) + (lap[rest] - lap[0])
    return total


@njit(cache=True, nogil=True)
def _fill_returns(task, pool, block, operator, unmasked, unrecorded, totals, ends):
    """Write the answers of :func:`offline_returns` for one block, see :func:`lever_ray.embedding.classes.choose`."""
    moves, events, tabulated, near, rules = task
    order = block.order
    count, depths = len(order), rules.horizon + 1
    spare, choices = np.empty(count + 1, np.uint32), np.empty(count, np.uint8)
    # along the path from the start to the class at hand, by moves made: full states, moves, and the return so far
    path, golds_left, levers = np.empty(depths, np.int64), np.empty(depths, np.uint64), np.empty(depths, np.int64)
    distances, taken, sums = np.empty(depths, np.int64), np.empty(depths, np.int64), np.empty(depths)
    frames, entered, lap = np.empty((depths * CHOICES, 4), np.int64), np.zeros(depths, np.int64), np.empty(depths + 1)
    frames[0, 0], frames[0, 1], frames[0, 2], frames[0, 3] = -1, 0, 0, count
    top = 1
    while top > 0:
        top -= 1
        depth, choice, first, last = frames[top, 0], frames[top, 1], frames[top, 2], frames[top, 3]
        if depth < 0:
            state, golds, lever, total = np.int64(rules.start), rules.all_golds, 0, 0.0
            nearest = nearest_gold(near, state, golds)
        else:
            state, golds, lever, total = path[depth], golds_left[depth], levers[depth], sums[depth]
            nearest = distances[depth]
        end = TRUNCATED
        while choice >= 0:
            if choice == LEAVE:
                end = LEFT_SUPPORT
                break
            if depth >= 0:
                taken[depth] = choice
                state, golds, lever, nearest, reward, event = step(
                    moves, events, tabulated, near, rules, state, golds, lever, nearest, choice
                )
                total += reward
                if event & TERMINAL:
                    end = ENDED_AT_EXIT if event & EXIT else ENDED_AT_HAZARD
                    break
            depth += 1
            if depth == rules.horizon:
                break
            begin = entered[state]
            if begin < depth and path[begin] == state:
                total = _return_of_cycle(
                    moves, events, tabulated, near, rules, state, golds, lever, nearest, total, taken, begin, depth, lap
                )
                break
            path[depth], golds_left[depth], levers[depth] = state, golds, lever
            distances[depth], sums[depth], entered[state] = nearest, total, depth
            seen = choose(pool, block, state, order, first, last, operator, unmasked, unrecorded, choices)
            choice = agreed(seen)
            if choice < 0:
                top = part(seen, choices, order, spare, first, last, frames, top, depth)
        if choice >= 0:
            for index in range(first, last):
                totals[order[index]], ends[order[index]] = total, end


def offline_returns(
    task: Task, pool: Pool, mixtures: np.ndarray, operator: int, masked: bool, recorded: bool, *, threads: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Undiscounted returns of many mixtures from the start, cut at N^2 steps; cycles are closed exactly.

    Args:
        task: see :class:`lever_ray.tasks.gridworld.compile.Task`.
        pool: see :class:`Pool`.
        mixtures: int32[K, m], rows of the pool.
        operator: :data:`SUM` or :data:`MAX`.
        masked: see :func:`greedy`.
        recorded: stop where a rollout leaves the recorded transitions; False follows the environment's own, which
            makes it the return in the real environment.
        threads: see :func:`lever_ray.embedding.blocks.in_blocks`.

    Returns:
        ``(totals float64[K], ends uint8[K])``: returns in reward units (of the supported prefix where a rollout leaves
        the support), and codes of :data:`OFFLINE_ENDS`.
    """
    rows, unmasked, unrecorded = kernel_array(mixtures, np.int32), 0 if masked else EVERY, 0 if recorded else EVERY
    totals, ends = np.empty(len(rows)), np.empty(len(rows), np.uint8)

    def fill(block: slice) -> None:
        shared = make_block(pool.q, rows[block])
        _fill_returns(task, pool, shared, operator, unmasked, unrecorded, totals[block], ends[block])

    in_blocks(fill, len(rows), size=_BLOCK, threads=threads)
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
