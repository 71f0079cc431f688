"""Classes of mixtures that act alike: rolled out together, they part only where they choose differently.

All mixtures of a block begin in one state. Those that choose the same action stay together, and the move that they
share is made once; where they part, each class goes on by itself, depth first. The work is that of a tree of distinct
trajectories, and every mixture gets the numbers that it would get alone, in any block and in any order.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from lever_ray.tasks.gridworld.terrain import ACTIONS

SUM, MAX = 0, 1
"""How a mixture combines its members' action values."""
LEAVE = ACTIONS
"""What a mixture does, instead of an action, where its action was never taken and recorded transitions are followed."""
CHOICES, EVERY = ACTIONS + 1, (1 << ACTIONS) - 1
"""How many choices there are: the actions, and :data:`LEAVE`; all actions as bits."""
UNKNOWN, DIFFERENT = -2, -1
"""What stands for a choice in a cell that no mixture has met yet, and where mixtures may differ."""
OPEN = 255
"""What stands for a choice that is not computed yet."""
_ROUNDING = 1e-6


class Block(NamedTuple):
    """Mixtures that are rolled out together, and room for the cells of the pool that they read.

    Attributes:
        mixtures: uint32[K, m], members as indices into ``rows``.
        rows: int64[R], the rows of the pool that are members of some mixture.
        used: uint8[m, R], 1 for those that are members of some mixture at that place.
        order: uint32[K], 0 to K - 1, for classes to be permuted in.
        cell_q: float32[S, R, A], their values by cell: many mixtures in one cell read neighbouring numbers.
        cell_support: uint8[S, R], likewise.
        copied: uint8[S], 1 where these two are filled.
    """

    mixtures: np.ndarray
    rows: np.ndarray
    used: np.ndarray
    order: np.ndarray
    cell_q: np.ndarray
    cell_support: np.ndarray
    copied: np.ndarray


def make_block(q: np.ndarray, mixtures: np.ndarray) -> Block:
    """A block of mixtures int32[K, m] of a pool float32[P, S, A]."""
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
        cell_q=np.empty((states, len(rows), ACTIONS), np.float32),
        cell_support=np.empty((states, len(rows)), np.uint8),
        copied=np.zeros(states, np.uint8),
    )


@njit(cache=True)
def _copy_cell(q, support, state, rows, cell_q, cell_support, copied):
    """Copy one cell of a pool, see :class:`Block`."""
    for index in range(len(rows)):
        row = rows[index]
        cell_support[state, index] = support[row, state]
        for action in range(ACTIONS):
            cell_q[state, index, action] = q[row, state, action]
    copied[state] = 1


@njit(cache=True)
def _clear_choice(cell_q, cell_support, state, used):
    """The action that every sum of a block of mixtures prefers in one cell, or :data:`DIFFERENT`.

    The least lead of action ``a`` over ``b`` is the sum over places of the least ``q[i, a] - q[i, b]`` of the rows used
    there. It has to be out of reach of rounding, and some member of every mixture has to have taken ``a``.

    Args:
        cell_q: see :class:`Block`, as for the next.
        cell_support: see there.
        state: the cell, copied.
        used: see :class:`Block`.
    """
    for action in range(ACTIONS):
        largest, supported, clear = 0.0, np.int64(0), True
        for other in range(ACTIONS):
            lead = 0.0
            for place in range(len(used)):
                least, taken = np.inf, np.int64(1)
                for row in range(used.shape[1]):
                    if used[place, row]:
                        value = np.float64(cell_q[state, row, action])
                        behind = np.float64(cell_q[state, row, other])
                        least = min(least, value - behind)
                        largest = max(largest, abs(value), abs(behind))
                        taken &= np.int64(cell_support[state, row]) >> action
                lead += least
                supported |= taken
            clear = clear and (other == action or lead > _ROUNDING * len(used) * largest)
        if clear and supported == 1:
            return action
    return DIFFERENT


@njit(cache=True)
def choice_of(cell_q, cell_support, state, mixtures, mixture, operator, unmasked, unrecorded):
    """What one mixture does in one cell, as :func:`lever_ray.embedding.offline.greedy` takes it, or :data:`LEAVE`.

    Args:
        cell_q: see :class:`Block`, as for the next.
        cell_support: see there.
        state: the cell, copied.
        mixtures: see :class:`Block`.
        mixture: which of them.
        operator: :data:`SUM` or :data:`MAX`.
        unmasked: actions that are allowed though no member ever took them, as bits.
        unrecorded: actions that may be followed though no member ever took them, as bits.
    """
    row = mixtures[mixture, 0]
    taken = np.int64(cell_support[state, row])
    zero, one = np.float64(cell_q[state, row, 0]), np.float64(cell_q[state, row, 1])
    two, three = np.float64(cell_q[state, row, 2]), np.float64(cell_q[state, row, 3])
    for place in range(1, mixtures.shape[1]):
        row = mixtures[mixture, place]
        taken |= np.int64(cell_support[state, row])
        if operator == SUM:
            zero, one = zero + cell_q[state, row, 0], one + cell_q[state, row, 1]
            two, three = two + cell_q[state, row, 2], three + cell_q[state, row, 3]
        else:
            zero, one = max(zero, np.float64(cell_q[state, row, 0])), max(one, np.float64(cell_q[state, row, 1]))
            two, three = max(two, np.float64(cell_q[state, row, 2])), max(three, np.float64(cell_q[state, row, 3]))
    tried, never = taken | unmasked, np.float32(-np.inf)
    allowed = tried if tried != 0 else EVERY
    # compared as the composed table holds them, so that the table's greedy policy is the one that was ranked
    first, second = np.float32(zero) if allowed & 1 else never, np.float32(one) if allowed & 2 else never
    third, fourth = np.float32(two) if allowed & 4 else never, np.float32(three) if allowed & 8 else never
    low, low_value = (0, first) if first >= second else (1, second)
    high, high_value = (2, third) if third >= fourth else (3, fourth)
    choice = low if low_value >= high_value else high
    return choice if ((taken | unrecorded) >> choice) & 1 == 1 else LEAVE


@njit(cache=True)
def choose(pool, block, state, order, first, last, operator, unmasked, unrecorded, choices):
    """Greedy actions of a class in one cell.

    In a large class, members are bounded first: where that leaves no doubt, all mixtures share the action.

    Args:
        pool: see :class:`lever_ray.embedding.offline.Pool`.
        block: see :class:`Block`.
        state: the cell.
        order: uint32[K], the class is ``order[first:last]``.
        first: see there.
        last: see there.
        operator: see :func:`choice_of`, as for the next two.
        unmasked: see there.
        unrecorded: see there.
        choices: uint8[K], written from ``first`` to ``last``, but where bounds say that all mixtures agree.

    Returns:
        Bit ``c`` set where some mixture of the class has choice ``c``.
    """
    q, support = pool
    mixtures, rows, used, _, cell_q, cell_support, copied = block
    if copied[state] == 0:
        _copy_cell(q, support, state, rows, cell_q, cell_support, copied)
    if operator == SUM and last - first > used.shape[1]:
        clear = _clear_choice(cell_q, cell_support, state, used)
        if clear >= 0:
            return 1 << clear
    seen = 0
    for index in range(first, last):
        choice = choice_of(cell_q, cell_support, state, mixtures, order[index], operator, unmasked, unrecorded)
        choices[index] = choice
        seen |= 1 << choice
    return seen


@njit(cache=True)
def agreed(seen):
    """The choice of a class that agrees, or -1; ``seen`` as :func:`choose` returns it."""
    if seen & (seen - 1):
        return -1
    choice = 0
    while seen > 1:
        seen >>= 1
        choice += 1
    return choice


@njit(cache=True)
def look_up(pool, block, state, operator, known):
    """Prepare one cell for :func:`choice_of`, and find out whether all mixtures of a block agree there.

    Args:
        pool: see :class:`lever_ray.embedding.offline.Pool`.
        block: see :class:`Block`.
        state: the cell.
        operator: see :func:`choice_of`.
        known: ``(common int64[S], choices uint8[S, K])``, written at ``state``: what all of them are known to do, or
            :data:`DIFFERENT`; then, :data:`OPEN` for each of them. Width 0 where choices are not kept.
    """
    q, support = pool
    mixtures, rows, used, _, cell_q, cell_support, copied = block
    common, choices = known
    _copy_cell(q, support, state, rows, cell_q, cell_support, copied)
    common[state] = DIFFERENT
    if operator == SUM and len(mixtures) > len(rows):
        common[state] = _clear_choice(cell_q, cell_support, state, used)
    if common[state] == DIFFERENT:
        for index in range(choices.shape[1]):
            choices[state, index] = OPEN


@njit(cache=True)
def part(seen, choices, order, spare, first, last, frames, top, depth):
    """Part a class by its choices, each part in the old order, and put the parts on a stack.

    Args:
        seen: see :func:`choose`, as for the next two.
        choices: see there.
        order: see there; written between ``first`` and ``last``.
        spare: int32[K + 1], scratch.
        first: see :func:`choose`.
        last: see there.
        frames: int64[F, 4], the stack; rows ``(depth, choice, first, last)``.
        top: its height.
        depth: moves made so far.

    Returns:
        The stack's new height.
    """
    begin = first
    for choice in range(CHOICES):
        if (seen >> choice) & 1:
            end = begin
            for index in range(first, last):
                spare[end] = order[index]
                end += choices[index] == choice
            frames[top, 0], frames[top, 1], frames[top, 2], frames[top, 3] = depth, choice, begin, end
            top += 1
            begin = end
    for index in range(first, last):
        order[index] = spare[index]
    return top
