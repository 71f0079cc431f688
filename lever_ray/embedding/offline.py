"""Offline rollouts of composed policies on recorded transitions, with exact event bookkeeping.

A *pool* holds the Q-tables of P library policies of one environment; a *mixture* names m of them. Its greedy action
is computed only for the observations that a rollout touches. These follow a functional graph (the policy sees the
observation alone), so a rollout is a tail and a cycle; the memory settles in the first lap, the second lap repeats
until the horizon. Mixtures that act alike are rolled out once, see :mod:`lever_ray.embedding.classes`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lever_ray.compiling import compiled
from lever_ray.embedding.blocks import in_blocks, kernel_array
from lever_ray.embedding.classes import (
    DIFFERENT,
    FOUR,
    allowed_of,
    best_of_four,
    choice_type,
    choose,
    larger,
    make_block,
    of_four,
    part,
)
from lever_ray.embedding.classes import MAX as MAX
from lever_ray.embedding.classes import SUM as SUM
from lever_ray.tasks.kernel import GOAL, TERMINAL, CompiledTask, nearest_item, step
from lever_ray.tasks.support import is_taken, none_taken

ENDED_WELL, ENDED_BADLY, TRUNCATED, LEFT_SUPPORT = 0, 1, 2, 3
"""How an offline rollout ends, the better the lower: at a goal, in a trap, cut at the horizon, off the support. From
several starts the worst counts."""
_BLOCK = 1 << 14


class Pool(NamedTuple):
    """Policies of one environment, as compiled kernels take them.

    Attributes:
        q: float32[P, S, P'], action values, already multiplied by whatever weight their group has; P' is A rounded up
            to a multiple of 4, and columns from A on are -inf.
        support: uint8[P, S, B], see :mod:`lever_ray.tasks.support`: which actions were taken in training.
        actions: A.
        many: None where there are at most 4 actions, so that kernels are compiled without the loop over the rest.
    """

    q: np.ndarray
    support: np.ndarray
    actions: int
    many: bool | None


def make_pool(q: np.ndarray, support: np.ndarray) -> Pool:
    """A pool of float[P, S, A] and uint8[P, S, B] of any origin; what is read-only or to be padded is copied."""
    actions = q.shape[2]
    if actions % FOUR:
        padding = ((0, 0), (0, 0), (0, -actions % FOUR))
        q = np.pad(np.asarray(q, np.float32), padding, constant_values=-np.inf)
    return Pool(kernel_array(q, np.float32), kernel_array(support, np.uint8), actions, True if actions > FOUR else None)


@compiled(forceinline=True)
def greedy(q, support, many, members, operator, masked, state):
    """Greedy action of a mixture in one observation, ties to the lowest action.

    Args:
        q: float32[P, S, P'], see :class:`Pool`.
        support: uint8[P, S, B].
        many: see :class:`Pool`.
        members: int32[m], rows of the pool.
        operator: :data:`SUM` or :data:`MAX`.
        masked: leave out actions that no member ever took, where some member took one.
        state: the observation.

    Returns:
        ``(action, supported)``; supported is False where no member ever took the action.
    """
    zero, one, two, three, taken = _values_of_four(q, support, members, operator, state, np.int64(0))
    best = best_of_four(zero, one, two, three, allowed_of(taken, not masked))
    best_taken = (taken >> best) & 1 == 1
    if many is None:
        return best, best_taken
    best_value = np.float32(of_four(zero, one, two, three, best))
    for first in range(FOUR, q.shape[2], FOUR):
        zero, one, two, three, taken = _values_of_four(q, support, members, operator, state, first)
        choice = best_of_four(zero, one, two, three, allowed_of(taken, not masked))
        value, was_taken = np.float32(of_four(zero, one, two, three, choice)), (taken >> choice) & 1 == 1
        if value > best_value if not masked or was_taken == best_taken else was_taken:
            best, best_value, best_taken = first + choice, value, was_taken
    return best, best_taken


@compiled(forceinline=True)
def _values_of_four(q, support, members, operator, state, first):
    """What a mixture makes of four actions from ``first`` on, and which of them were taken, as bits."""
    member = members[0]
    taken = np.int64(support[member, state, first >> 3])
    zero, one = np.float64(q[member, state, first]), np.float64(q[member, state, first + 1])
    two, three = np.float64(q[member, state, first + 2]), np.float64(q[member, state, first + 3])
    for position in range(1, len(members)):
        member = members[position]
        taken |= np.int64(support[member, state, first >> 3])
        if operator == SUM:
            zero += q[member, state, first]
            one += q[member, state, first + 1]
            two += q[member, state, first + 2]
            three += q[member, state, first + 3]
        else:
            zero = larger(zero, q[member, state, first])
            one = larger(one, q[member, state, first + 1])
            two = larger(two, q[member, state, first + 2])
            three = larger(three, q[member, state, first + 3])
    return zero, one, two, three, (taken >> (first & FOUR)) & 15


@compiled(forceinline=True)
def laps_to_come(total, lap, period, left, discount):
    """What a rollout that has walked one lap of a cycle, and repeats it, earns until the horizon.

    Args:
        total: return so far, the lap included.
        lap: float64[period + 1], the return before the lap and after each of its steps.
        period: steps of a lap.
        left: steps that are left until the horizon.
        discount: of evaluation; what the lap paid is discounted already.

    Returns:
        What whole laps earn, and what the last part of one does.
    """
    laps = left // period
    rest = left - laps * period
    if discount == 1.0:
        return laps * (total - lap[0]), lap[rest] - lap[0]
    factor = discount ** np.float64(period)
    last = factor ** np.float64(laps + 1)
    return (total - lap[0]) * (factor - last) / (1.0 - factor), last * (lap[rest] - lap[0])


@compiled()
def _return_of_cycle(
    moves, flags, rewards, near, rules, state, memory, nearest, total, weight, taken, begin, depth, lap
):
    """Return at the horizon of a rollout that is back, after ``depth`` moves, where it was after ``begin``.

    The second lap is walked with its own rewards (the memory changes in the first) and repeats until the horizon.
    """
    period, time = depth - begin, depth
    lap[0] = total
    while time < rules.horizon and time < depth + period:
        action = taken[begin + time - depth]
        state, memory, nearest, reward, _ = step(moves, flags, rewards, near, rules, state, memory, nearest, action)
        total += weight * reward
        weight *= rules.discount
        time += 1
        lap[time - depth] = total
    if time < rules.horizon:
        whole, rest = laps_to_come(total, lap, period, rules.horizon - time, rules.discount)
        total += whole + rest
    return total


@compiled(nogil=True)
def _fill_returns(task, pool, block, operator, unmasked, unrecorded, choices, totals, ends):
    """Add the answers of :func:`offline_returns` for one block, see :func:`lever_ray.embedding.classes.choose`."""
    moves, flags, rewards, near, starts, start_weights, rules = task
    order = block.order
    count, states = len(order), len(flags)
    depths = min(rules.horizon, states) + 1
    spare, counts = np.empty(count + 1, np.uint32), np.zeros(pool.actions + 1, np.int64)
    # along the path from the start to the class at hand, by moves made: full states, moves, and the return so far
    path, memories, distances = np.empty(depths, np.int64), np.empty((depths, 2), np.uint64), np.empty(depths, np.int64)
    taken, sums, weights = np.empty(depths, np.int64), np.empty(depths), np.empty(depths)
    frames, entered, lap = np.empty((count + 1, 4), np.int64), np.zeros(states, np.int64), np.empty(depths + 1)
    for place in range(len(starts)):
        frames[0, 0], frames[0, 1], frames[0, 2], frames[0, 3] = -1, 0, 0, count
        top = 1
        while top > 0:
            top -= 1
            depth, choice, first, last = frames[top, 0], frames[top, 1], frames[top, 2], frames[top, 3]
            if depth < 0:
                state, memory, total, weight = np.int64(starts[place]), rules.memory, 0.0, 1.0
                nearest = nearest_item(near, state, memory)
            else:
                state, memory, total = path[depth], (memories[depth, 0], memories[depth, 1]), sums[depth]
                nearest, weight = distances[depth], weights[depth]
            end = TRUNCATED
            while choice >= 0:
                if choice == pool.actions:
                    end = LEFT_SUPPORT
                    break
                if depth >= 0:
                    taken[depth] = choice
                    state, memory, nearest, reward, flag = step(
                        moves, flags, rewards, near, rules, state, memory, nearest, choice
                    )
                    total += weight * reward
                    weight *= rules.discount
                    if flag & TERMINAL:
                        end = ENDED_WELL if flag & GOAL else ENDED_BADLY
                        break
                depth += 1
                if depth == rules.horizon:
                    break
                begin = entered[state]
                if begin < depth and path[begin] == state:
                    total = _return_of_cycle(
                        moves, flags, rewards, near, rules, state, memory, nearest,
                        total, weight, taken, begin, depth, lap,
                    )  # fmt: skip
                    break
                path[depth], memories[depth, 0], memories[depth, 1] = state, memory[0], memory[1]
                distances[depth], sums[depth], weights[depth], entered[state] = nearest, total, weight, depth
                choice = choose(pool, block, state, order, first, last, operator, unmasked, unrecorded, choices)
                if choice == DIFFERENT:
                    top = part(choices, counts, order, spare, first, last, frames, top, depth)
            if choice >= 0:
                for index in range(first, last):
                    totals[order[index]] += start_weights[place] * total
                    ends[order[index]] = max(ends[order[index]], np.uint8(end))


def offline_returns(
    task: CompiledTask,
    pool: Pool,
    mixtures: np.ndarray,
    operator: int,
    masked: bool,
    recorded: bool,
    *,
    threads: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Expected returns of many mixtures over the starts, cut at the horizon; cycles are closed exactly.

    Args:
        task: see :class:`lever_ray.tasks.kernel.CompiledTask`.
        pool: see :class:`Pool`.
        mixtures: int32[K, m], rows of the pool.
        operator: :data:`SUM` or :data:`MAX`.
        masked: see :func:`greedy`.
        recorded: stop where a rollout leaves the recorded transitions; False follows the environment's own, which
            makes it the return in the real environment.
        threads: see :func:`lever_ray.embedding.blocks.in_blocks`.

    Returns:
        ``(totals float64[K], ends uint8[K])``: returns in reward units (of the supported prefix where a rollout leaves
        the support), discounted as the task is evaluated, and the codes of the ends.
    """
    rows = kernel_array(mixtures, np.int32)
    totals, ends = np.zeros(len(rows)), np.zeros(len(rows), np.uint8)

    def fill(block: slice) -> None:
        shared = make_block(pool.q, pool.support, rows[block])
        choices = np.empty(len(shared.order), choice_type(pool.actions))
        _fill_returns(task, pool, shared, operator, not masked, not recorded, choices, totals[block], ends[block])

    in_blocks(fill, len(rows), size=_BLOCK, threads=threads)
    return totals, ends


@compiled()
def mixture_table(q, support, actions, members, operator, masked):
    """float32[S, A]: the composed Q-table; -inf for masked actions."""
    states = q.shape[1]
    table, together = np.empty((states, actions), np.float32), np.empty((1, support.shape[2]), np.uint8)
    for state in range(states):
        for byte in range(support.shape[2]):
            together[0, byte] = 0
            for member in members:
                together[0, byte] |= support[member, state, byte]
        unknown = not masked or none_taken(together, 0)
        for action in range(actions):
            value = np.float64(q[members[0], state, action])
            for member in members[1:]:
                other = np.float64(q[member, state, action])
                value = value + other if operator == SUM else max(value, other)
            table[state, action] = value if unknown or is_taken(together, np.int64(0), action) else -np.inf
    return table
