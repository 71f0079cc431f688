"""Routes through the union of recorded transitions: beam search over full states (position, golds left, lever)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from lever_ray.compiling import compiled
from lever_ray.errors import InvalidValue
from lever_ray.tasks.gridworld.terrain import ACTIONS
from lever_ray.tasks.gridworld.waypoints import Chart, best_order, realise
from lever_ray.tasks.kernel import TERMINAL, CompiledTask, nearest_item, popcount, step
from lever_ray.tasks.protocol import Plan
from lever_ray.tasks.rollout import play
from lever_ray.tasks.support import read_support

WIDTHS: tuple[int, ...] = (10, 100, 1_000, 10_000)
"""Beam widths that :func:`plan_anytime` goes through by default."""
GOLD_IN_HAND, LEVER_IN_HAND = 5.0, 20.0
"""What step-by-step search holds a gold and the lever to be worth beyond their reward, in reward units."""


@compiled()
def _threshold(scores, count, width, spare):
    """The ``width``-th highest of the first ``count`` scores, and how many equal ones are kept (quickselect)."""
    if count <= width:
        return -np.inf, 0
    for index in range(count):
        spare[index] = scores[index]
    low, high, place = 0, count - 1, width - 1
    while low < high:
        pivot = spare[(low + high) // 2]
        left, right = low, high
        while left <= right:
            while spare[left] > pivot:
                left += 1
            while spare[right] < pivot:
                right -= 1
            if left <= right:
                spare[left], spare[right] = spare[right], spare[left]
                left += 1
                right -= 1
        if place <= right:
            high = right
        elif place >= left:
            low = left
        else:
            break
    threshold, above = spare[place], 0
    for index in range(count):
        above += scores[index] > threshold
    return threshold, width - above


@compiled(nogil=True)
def beam_search(task, support, width, gold_value, lever_value):
    """Best route found within the horizon.

    Per step at most ``width`` states are kept: the best score of every (position, golds, lever), where a score is the
    return so far, ``gold_value`` per gold taken and ``lever_value`` for the lever.

    Args:
        task: see :class:`lever_ray.tasks.kernel.CompiledTask`.
        support: uint8[S, 1], bit ``a`` allows action ``a``.
        width: states kept per step.
        gold_value: what a gold in hand is worth beyond its reward, in reward units.
        lever_value: likewise the lever.

    Returns:
        ``(total, actions int8[T])`` of the best route, terminal, truncated, or ending where no action is supported.
    """
    moves, flags, rewards, near, starts, _, rules = task
    horizon, table_size, (all_golds, _) = rules.horizon, 1, rules.memory
    while table_size < 8 * width:
        table_size *= 2
    room = ACTIONS * width
    states, golds, levers = np.empty((2, room), np.int64), np.empty((2, room), np.uint64), np.empty((2, room), np.int64)
    nearest, totals = np.empty((2, room), np.int64), np.empty((2, room))
    parents, taken = np.empty((horizon, width), np.int32), np.empty((horizon, width), np.int8)
    origin, action_of, scores, spare = np.empty(room, np.int32), np.empty(room, np.int8), np.empty(room), np.empty(room)
    owner, stamp = np.empty(table_size, np.int32), np.full(table_size, -1, np.int32)
    states[0, 0], golds[0, 0], levers[0, 0], totals[0, 0] = starts[0], all_golds, 0, 0.0
    nearest[0, 0] = nearest_item(near, np.int64(starts[0]), rules.memory)
    count, best, best_time, best_parent, best_action = 1, -np.inf, 0, 0, 0
    for time in range(horizon):
        grown = 0
        for index in range(count):
            if support[states[0, index], 0] == 0 and totals[0, index] > best:
                best, best_time, best_parent, best_action = totals[0, index], time, index, -1
            for action in range(ACTIONS):
                if not (support[states[0, index], 0] >> action) & 1:
                    continue
                memory = golds[0, index], np.uint64(levers[0, index])
                state, (left, on), close, reward, event = step(
                    moves, flags, rewards, near, rules, states[0, index], memory, nearest[0, index], action
                )
                lever = np.int64(on)
                total = totals[0, index] + reward
                if event & TERMINAL or time == horizon - 1:
                    if total > best:
                        best, best_time, best_parent, best_action = total, time, index, action
                    if event & TERMINAL:
                        continue
                spread = (left * np.uint64(0x9E3779B97F4A7C15)) ^ (
                    np.uint64(2 * state + lever) * np.uint64(0xC2B2AE3D27D4EB4F)
                )
                slot = np.int64((spread ^ (spread >> np.uint64(29))) & np.uint64(table_size - 1))
                place = -1
                while stamp[slot] == time:
                    other = owner[slot]
                    if states[1, other] == state and golds[1, other] == left and levers[1, other] == lever:
                        place = other
                        break
                    slot = (slot + 1) & (table_size - 1)
                if place >= 0 and totals[1, place] >= total:
                    continue
                if place < 0:
                    place = grown
                    grown += 1
                    stamp[slot], owner[slot] = time, place
                states[1, place], golds[1, place], levers[1, place] = state, left, lever
                nearest[1, place], totals[1, place] = close, total
                origin[place], action_of[place] = index, action
                scores[place] = total - gold_value * popcount(left) + lever_value * lever
        if grown == 0:
            break
        threshold, ties = _threshold(scores, np.int64(grown), width, spare)
        count = 0
        for place in range(grown):
            if scores[place] < threshold or (scores[place] == threshold and ties == 0):
                continue
            if scores[place] == threshold:
                ties -= 1
            rank = count
            count += 1
            states[0, rank], golds[0, rank], levers[0, rank] = states[1, place], golds[1, place], levers[1, place]
            nearest[0, rank], totals[0, rank] = nearest[1, place], totals[1, place]
            parents[time, rank], taken[time, rank] = origin[place], action_of[place]
    length = best_time if best_action < 0 else best_time + 1
    route = np.empty(length, np.int8)
    if best_action >= 0:
        route[best_time] = best_action
    rank = best_parent
    for time in range(best_time - 1, -1, -1):
        route[time] = taken[time, rank]
        rank = parents[time, rank]
    return best, route


def plan(task: CompiledTask, *, width: int, support: np.ndarray | None = None) -> Plan:
    """Best route found on supported transitions within N^2 steps.

    The better of two beam searches: over orders of waypoints, see
    :func:`lever_ray.tasks.gridworld.waypoints.best_order`, and step by step with a quarter of the width, see
    :func:`beam_search`; the former is the better one wherever the exit can be reached, as a rule.
    A route that comes to a cell without a supported action ends there and keeps its return so far; where the start is
    such a cell, the route is empty and its total 0.

    Args:
        task: see :class:`lever_ray.tasks.kernel.CompiledTask`.
        width: beam width, at least 1.
        support: uint8[S, 1], bit ``a`` allows action ``a``; all of them by default.

    Raises:
        InvalidValue: ``width`` is below 1, or ``support`` is of another shape.
    """
    return next(plan_anytime(task, widths=(width,), support=support))


def plan_anytime(
    task: CompiledTask, *, widths: Sequence[int] = WIDTHS, support: np.ndarray | None = None
) -> Iterator[Plan]:
    """Ever better routes: the best so far after each beam width; stop asking at any time.

    Args:
        task: see :func:`plan`.
        widths: beam widths, each at least 1, as a rule ascending.
        support: see :func:`plan`.

    Raises:
        InvalidValue: a width is below 1, or ``support`` is of another shape.
    """
    allowed = read_support(support, task.observations, ACTIONS)
    check_widths(widths)
    return _improving(task, widths, allowed)


def _improving(task: CompiledTask, widths: Sequence[int], allowed: np.ndarray) -> Iterator[Plan]:
    chart = Chart.of(task, allowed)
    best = Plan(-np.inf, np.empty(0, np.int8))
    for width in widths:
        order = best_order(chart, width=width)
        routes = [_played(task, realise(chart, order))] if order else []
        routes.append(Plan(*beam_search(task, allowed, (width + 3) // 4, GOLD_IN_HAND, LEVER_IN_HAND)))
        best = max(best, *routes, key=lambda route: route.total)
        yield best


def _played(task: CompiledTask, actions: np.ndarray) -> Plan:
    """A route with its return."""
    horizon = task.rules.horizon
    steps, total, *_ = play(
        task, task.start, actions.astype(np.int16), False, np.empty(horizon + 1, np.int32), np.empty(horizon)
    )
    return Plan(total, actions[:steps].astype(np.int16))


def check_widths(widths: Sequence[int]) -> None:
    """Refuse beam widths below 1.

    Raises:
        InvalidValue: naming the width.
    """
    for width in widths:
        if width < 1:
            raise InvalidValue(f"beam width is {width}; use at least 1")
