"""Classes of mixtures that act alike: rolled out together, they part only where they choose differently.

All mixtures of a block begin in one state. Those that choose the same action stay together, and the move that they
share is made once; where they part, each class goes on by itself, depth first. The work is that of a tree of distinct
trajectories, and every mixture gets the numbers that it would get alone, in any block and in any order.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from lever_ray.compiling import compiled

SUM, MAX = 0, 1
"""How a mixture combines its members' action values."""
FOUR = 4
"""Actions that are compared at a time, so that no comparison waits for the one before; values are padded to that."""
UNKNOWN, DIFFERENT = -2, -1
"""What stands for a choice where no mixture has come yet, and where mixtures may differ. Choices are the actions 0 to
A - 1; A to *leave*, where the action was never taken and recorded transitions are followed; A + 1 where it is open."""
_ROUNDING = 1e-6


class Block(NamedTuple):
    """Mixtures that are rolled out together, and room for the part of the pool that they read.

    Attributes:
        mixtures: uint32[K, m], members as indices into ``rows``.
        rows: int64[R], the rows of the pool that are members of some mixture.
        used: uint8[m, R], 1 for those that are members of some mixture at that place.
        order: uint32[K], 0 to K - 1, for classes to be permuted in.
        cell_q: float32[S, R, P], their values by observation: many mixtures in one place read neighbouring numbers.
        cell_support: uint8[S, R, B], likewise.
        copied: uint8[S], 1 where these two are filled.
    """

    mixtures: np.ndarray
    rows: np.ndarray
    used: np.ndarray
    order: np.ndarray
    cell_q: np.ndarray
    cell_support: np.ndarray
    copied: np.ndarray


def make_block(q: np.ndarray, support: np.ndarray, mixtures: np.ndarray) -> Block:
    """A block of mixtures int32[K, m] of a pool of float32[P, S, P'] and uint8[P, S, B]."""
    is_used = np.zeros(len(q), bool)
    is_used[mixtures] = True
    rows, states = np.flatnonzero(is_used), q.shape[1]
    members = (np.cumsum(is_used, dtype=np.uint32) - np.uint32(1))[mixtures]
    used = np.zeros((members.shape[1], len(rows)), np.uint8)
    for place in range(len(used)):
        used[place, members[:, place]] = 1
    return Block(
        mixtures=members,
        rows=rows,
        used=used,
        order=np.arange(len(members), dtype=np.uint32),
        cell_q=np.empty((states, len(rows), q.shape[2]), np.float32),
        cell_support=np.empty((states, len(rows), support.shape[2]), np.uint8),
        copied=np.zeros(states, np.uint8),
    )


def choice_type(actions: int) -> DTypeLike:
    """What arrays of choices are made of."""
    return np.uint8 if actions + 1 < 256 else np.uint16


@compiled()
def _copy_cell(q, support, state, rows, cell_q, cell_support, copied):
    """Copy what a pool holds of one observation, see :class:`Block`."""
    for index in range(len(rows)):
        row = rows[index]
        for byte in range(support.shape[2]):
            cell_support[state, index, byte] = support[row, state, byte]
        for action in range(q.shape[2]):
            cell_q[state, index, action] = q[row, state, action]
    copied[state] = 1


@compiled()
def _preferred(cell_q, state, mixtures, mixture, actions):
    """The action that one sum of members prefers, taken or not."""
    best, best_value = 0, -np.inf
    for action in range(actions):
        value = 0.0
        for place in range(mixtures.shape[1]):
            value += cell_q[state, mixtures[mixture, place], action]
        if value > best_value:
            best, best_value = action, value
    return best


@compiled()
def _clear_choice(cell_q, cell_support, state, mixtures, mixture, used, actions):
    """The action that every sum of a block of mixtures prefers in one observation, or :data:`DIFFERENT`.

    It can only be what any one of them prefers. The least lead of action ``a`` over ``b`` is the sum over places of the
    least ``q[i, a] - q[i, b]`` of the rows used there. It has to be out of reach of rounding, and some member of every
    mixture has to have taken ``a``.

    Args:
        cell_q: see :class:`Block`, as for the next.
        cell_support: see there.
        state: the observation, copied.
        mixtures: see :class:`Block`.
        mixture: one of them.
        used: see :class:`Block`.
        actions: A.
    """
    best = _preferred(cell_q, state, mixtures, mixture, actions)
    supported = False
    for place in range(len(used)):
        taken = np.uint8(1)
        for row in range(used.shape[1]):
            if used[place, row]:
                taken &= cell_support[state, row, best >> 3] >> np.uint8(best & 7)
        supported = supported or taken == 1
    if not supported:
        return DIFFERENT
    for other in range(actions):
        if other == best:
            continue
        largest, lead = 0.0, 0.0
        for place in range(len(used)):
            least = np.inf
            for row in range(used.shape[1]):
                if used[place, row]:
                    value = np.float64(cell_q[state, row, best])
                    behind = np.float64(cell_q[state, row, other])
                    least = min(least, value - behind)
                    largest = max(largest, abs(value), abs(behind))
            lead += least
        if not lead > _ROUNDING * len(used) * largest:
            return DIFFERENT
    return best


@compiled(forceinline=True)
def choice_of(cell_q, cell_support, state, mixtures, mixture, operator, unmasked, unrecorded, actions, many):
    """What one mixture does in one observation, as :func:`lever_ray.embedding.offline.greedy` takes it; A to leave.

    Args:
        cell_q: see :class:`Block`, as for the next.
        cell_support: see there.
        state: the observation, copied.
        mixtures: see :class:`Block`.
        mixture: which of them.
        operator: :data:`SUM` or :data:`MAX`.
        unmasked: whether actions are allowed that no member ever took, where some member took one.
        unrecorded: whether actions may be followed that no member ever took.
        actions: A.
        many: see :class:`lever_ray.embedding.offline.Pool`.
    """
    zero, one, two, three, taken = _values_of_four(
        cell_q, cell_support, state, mixtures, mixture, operator, np.int64(0)
    )
    best = best_of_four(zero, one, two, three, allowed_of(taken, unmasked))
    if many is None:
        return best if ((taken | (15 if unrecorded else 0)) >> best) & 1 == 1 else actions
    best_value, best_taken = np.float32(of_four(zero, one, two, three, best)), (taken >> best) & 1 == 1
    for first in range(FOUR, actions, FOUR):
        zero, one, two, three, taken = _values_of_four(cell_q, cell_support, state, mixtures, mixture, operator, first)
        choice = best_of_four(zero, one, two, three, allowed_of(taken, unmasked))
        value, was_taken = np.float32(of_four(zero, one, two, three, choice)), (taken >> choice) & 1 == 1
        if value > best_value if unmasked or was_taken == best_taken else was_taken:
            best, best_value, best_taken = first + choice, value, was_taken
    return best if best_taken or unrecorded else actions


@compiled(forceinline=True)
def _values_of_four(cell_q, cell_support, state, mixtures, mixture, operator, first):
    """What a mixture makes of four actions from ``first`` on, and which of them were taken, as bits."""
    row = mixtures[mixture, 0]
    taken = np.int64(cell_support[state, row, first >> 3])
    zero, one = np.float64(cell_q[state, row, first]), np.float64(cell_q[state, row, first + 1])
    two, three = np.float64(cell_q[state, row, first + 2]), np.float64(cell_q[state, row, first + 3])
    for place in range(1, mixtures.shape[1]):
        row = mixtures[mixture, place]
        taken |= np.int64(cell_support[state, row, first >> 3])
        if operator == SUM:
            zero, one = zero + cell_q[state, row, first], one + cell_q[state, row, first + 1]
            two, three = two + cell_q[state, row, first + 2], three + cell_q[state, row, first + 3]
        else:
            zero = larger(zero, cell_q[state, row, first])
            one = larger(one, cell_q[state, row, first + 1])
            two = larger(two, cell_q[state, row, first + 2])
            three = larger(three, cell_q[state, row, first + 3])
    return zero, one, two, three, (taken >> (first & FOUR)) & 15


@compiled(forceinline=True)
def larger(value, other):
    """The larger of a float64 and a float32; neither is NaN, which ``max`` would look for."""
    return value if value >= other else np.float64(other)


@compiled(forceinline=True)
def allowed_of(taken, unmasked):
    """Which of four actions may be chosen, as bits: those that were taken; all where none was, or ``unmasked``."""
    tried = taken | (15 if unmasked else 0)
    return tried if tried != 0 else 15


@compiled(forceinline=True)
def best_of_four(zero, one, two, three, allowed):
    """The largest of four values whose bits are set, ties to the first.

    They are compared as the composed table holds them, so that the table's greedy policy is the one that was ranked.
    """
    never = np.float32(-np.inf)
    first, second = np.float32(zero) if allowed & 1 else never, np.float32(one) if allowed & 2 else never
    third, fourth = np.float32(two) if allowed & 4 else never, np.float32(three) if allowed & 8 else never
    low, low_value = (0, first) if first >= second else (1, second)
    high, high_value = (2, third) if third >= fourth else (3, fourth)
    return low if low_value >= high_value else high


@compiled(forceinline=True)
def of_four(zero, one, two, three, choice):
    """One of four values."""
    return zero if choice == 0 else one if choice == 1 else two if choice == 2 else three


@compiled()
def choose(pool, block, state, order, first, last, operator, unmasked, unrecorded, choices):
    """Greedy actions of a class in one observation.

    In a large class, members are bounded first: where that leaves no doubt, all mixtures share the action.

    Args:
        pool: see :class:`lever_ray.embedding.offline.Pool`.
        block: see :class:`Block`.
        state: the observation.
        order: uint32[K], the class is ``order[first:last]``.
        first: see there.
        last: see there.
        operator: see :func:`choice_of`, as for the next two.
        unmasked: see there.
        unrecorded: see there.
        choices: uint[K], written from ``first`` to ``last``, but where bounds say that all mixtures agree.

    Returns:
        The choice of all of them, or :data:`DIFFERENT`.
    """
    q, support, actions, many = pool
    mixtures, rows, used, _, cell_q, cell_support, copied = block
    if copied[state] == 0:
        _copy_cell(q, support, state, rows, cell_q, cell_support, copied)
    if operator == SUM and last - first > used.shape[1]:
        clear = _clear_choice(cell_q, cell_support, state, mixtures, order[first], used, actions)
        if clear >= 0:
            return clear
    for index in range(first, last):
        choices[index] = choice_of(
            cell_q, cell_support, state, mixtures, order[index], operator, unmasked, unrecorded, actions, many
        )
    return common_choice(choices, first, last)


@compiled(forceinline=True)
def common_choice(choices, first, last):
    """The choice of a class that agrees, or :data:`DIFFERENT`."""
    for index in range(first + 1, last):
        if choices[index] != choices[first]:
            return DIFFERENT
    return np.int64(choices[first])


@compiled()
def look_up(pool, block, state, operator, known):
    """Prepare one observation for :func:`choice_of`, and find out whether all mixtures of a block agree there.

    Args:
        pool: see :class:`lever_ray.embedding.offline.Pool`.
        block: see :class:`Block`.
        state: the observation.
        operator: see :func:`choice_of`.
        known: ``(common int64[S], choices uint[S, K])``, written at ``state``: what all of them are known to do, or
            :data:`DIFFERENT`; then, A + 1 for each of them. Width 0 where choices are not kept.
    """
    q, support, actions, _ = pool
    mixtures, rows, used, _, cell_q, cell_support, copied = block
    common, choices = known
    _copy_cell(q, support, state, rows, cell_q, cell_support, copied)
    common[state] = DIFFERENT
    if operator == SUM and len(mixtures) > len(rows):
        common[state] = _clear_choice(cell_q, cell_support, state, mixtures, np.uint32(0), used, actions)
    if common[state] == DIFFERENT:
        for index in range(choices.shape[1]):
            choices[state, index] = actions + 1


@compiled()
def part(choices, counts, order, spare, first, last, frames, top, depth):
    """Part a class by its choices, each part in the old order, and put the parts on a stack, lower choices first.

    Args:
        choices: see :func:`choose`, as for the next.
        counts: int64[A + 1], all 0; so they are left.
        order: see :func:`choose`; written between ``first`` and ``last``.
        spare: uint32[K + 1], scratch.
        first: see :func:`choose`.
        last: see there.
        frames: int64[K, 4], the stack; rows ``(depth, choice, first, last)``. Classes are disjoint, so K are enough.
        top: its height.
        depth: moves made so far.

    Returns:
        The stack's new height.
    """
    for index in range(first, last):
        counts[choices[index]] += 1
    begin = first
    for choice in range(len(counts)):
        if counts[choice]:
            end = begin + counts[choice]
            frames[top, 0], frames[top, 1], frames[top, 2], frames[top, 3] = depth, choice, begin, end
            top += 1
            counts[choice] = begin
            begin = end
    for index in range(first, last):
        spare[counts[choices[index]]] = order[index]
        counts[choices[index]] += 1
    for index in range(first, last):
        order[index] = spare[index]
        counts[choices[index]] = 0
    return top
