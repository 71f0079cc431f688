"""Operators that look ahead: generalised policy improvement and switching, by exact rollouts of the members.

Members act greedily within their own recorded actions; every rollout closes its cycles exactly and is cut where the
episode is. GPI after SF&GPI (arXiv 1901.10964), with rollouts of the deterministic recorded dynamics in place of
successor features: argmax_a max_i [r(sigma, a) + G_i(sigma')].
"""

from __future__ import annotations

import numpy as np
from numba import njit

from lever_ray.embedding.offline import (
    ENDED_AT_EXIT,
    ENDED_AT_HAZARD,
    LEFT_SUPPORT,
    SUM,
    TRUNCATED,
    Pool,
    greedy,
)
from lever_ray.tasks.gridworld.compile import TERMINAL, Task, nearest_gold, step
from lever_ray.tasks.gridworld.terrain import ACTIONS, EXIT

GPI, SWITCH = 0, 1
ROUTE_CODES: dict[str, int] = {"gpi": GPI, "switch": SWITCH}
"""Operators of this module, as its kernels take them."""
NOWHERE = -1


@njit(cache=True, nogil=True)
def member_actions(q, support):
    """int8[P, S]: each policy's greedy action among those it took itself; -1 where it took none."""
    policies, states = support.shape
    actions = np.empty((policies, states), np.int8)
    alone = np.empty(1, np.int32)
    for policy in range(policies):
        alone[0] = policy
        for state in range(states):
            action, supported = greedy(q, support, alone, SUM, True, state)
            actions[policy, state] = action if supported else NOWHERE
    return actions


@njit(cache=True)
def _follow(moves, events, tabulated, near, rules, actions, policy, full, time, seen, stamp, lap):
    """Return of following one policy from a full state until the episode ends: ``(total, end)``."""
    state, golds, lever, nearest = full
    begun, total, cycle_start, period = time, 0.0, -1, 0
    while time < rules.horizon:
        if cycle_start < 0:
            if seen[state] >= stamp:
                cycle_start, period = time, time - begun - (seen[state] - stamp)
            else:
                seen[state] = stamp + time - begun
        if cycle_start >= 0:
            if time == cycle_start + period:
                laps, rest = divmod(rules.horizon - time, period)
                return total + laps * (total - lap[0]) + (lap[rest] - lap[0]), TRUNCATED
            lap[time - cycle_start] = total
        action = np.int64(actions[policy, state])
        if action < 0:
            return total, LEFT_SUPPORT
        state, golds, lever, nearest, reward, event = step(
            moves, events, tabulated, near, rules, state, golds, lever, nearest, action
        )
        total += reward
        time += 1
        if event & TERMINAL:
            return total, ENDED_AT_EXIT if event & EXIT else ENDED_AT_HAZARD
    return total, TRUNCATED


@njit(cache=True)
def _gpi(moves, events, tabulated, near, rules, actions, union, members, route, seen, stamp, lap):
    """Write the GPI route: ``(total, end, steps, stamp)``."""
    state, golds, lever, time, total = rules.start, rules.all_golds, 0, 0, 0.0
    nearest = nearest_gold(near, state, golds)
    while time < rules.horizon:
        best, best_stays, choice, event = -np.inf, False, NOWHERE, 0
        chosen = (state, golds, lever, nearest)
        gained, chosen_event = 0.0, event
        for action in range(ACTIONS):
            if not (union[state] >> action) & 1:
                continue
            after, left, on, close, reward, event = step(
                moves, events, tabulated, near, rules, state, golds, lever, nearest, action
            )
            full = (after, left, on, close)
            value, stays = reward, True
            if not event & TERMINAL and time + 1 < rules.horizon:
                future, stays = -np.inf, False
                for member in members:
                    rest, end = _follow(
                        moves, events, tabulated, near, rules, actions, member, full, time + 1, seen, stamp, lap
                    )
                    stamp += rules.horizon + 1
                    inside = end != LEFT_SUPPORT
                    if (inside and not stays) or (inside == stays and rest > future):
                        future, stays = rest, inside
                value = reward + future
            if choice < 0 or (stays and not best_stays) or (stays == best_stays and value > best):
                best, best_stays, choice = value, stays, action
                chosen, gained, chosen_event = full, reward, event
        if choice < 0:
            return total, LEFT_SUPPORT, time, stamp
        state, golds, lever, nearest = chosen
        route[time] = choice
        total += gained
        time += 1
        if chosen_event & TERMINAL:
            return total, ENDED_AT_EXIT if chosen_event & EXIT else ENDED_AT_HAZARD, time, stamp
    return total, TRUNCATED, time, stamp


@njit(cache=True)
def _best_switch(moves, events, tabulated, near, rules, actions, members, seen, stamp, lap, laps):
    """The best pair of members and time to switch: ``(total, end, first, time, second, stamp)``.

    The first policy is followed until the third time that it would enter a cell: later switches meet no new state.
    """
    best, best_end = -np.inf, LEFT_SUPPORT
    first_best, time_best, second_best = members[0], 0, members[0]
    for first in members:
        state, golds, lever, time, total = rules.start, rules.all_golds, 0, 0, 0.0
        nearest = nearest_gold(near, state, golds)
        for index in range(len(laps)):
            laps[index] = 0
        while time < rules.horizon and laps[state] < 3:
            laps[state] += 1
            for second in members:
                if second == first and time > 0:
                    continue
                rest, end = _follow(
                    moves, events, tabulated, near, rules, actions, second, (state, golds, lever, nearest), time,
                    seen, stamp, lap,
                )  # fmt: skip
                stamp += rules.horizon + 1
                inside, was_inside = end != LEFT_SUPPORT, best_end != LEFT_SUPPORT
                if (inside and not was_inside) or (inside == was_inside and total + rest > best):
                    best, best_end = total + rest, end
                    first_best, time_best, second_best = first, time, second
            action = np.int64(actions[first, state])
            if action < 0:
                break
            state, golds, lever, nearest, reward, event = step(
                moves, events, tabulated, near, rules, state, golds, lever, nearest, action
            )
            total += reward
            time += 1
            if event & TERMINAL:
                break
    return best, best_end, first_best, time_best, second_best, stamp


@njit(cache=True)
def _replay(moves, events, actions, start, horizon, first, switch_at, second, route):
    """Write the actions of one policy followed by another; returns how many."""
    state, time = start, 0
    while time < horizon:
        action = np.int64(actions[first if time < switch_at else second, state])
        if action < 0:
            break
        route[time] = action
        state = np.int64(moves[ACTIONS * state + action])
        time += 1
        if events[state] & TERMINAL:
            break
    return time


@njit(cache=True, nogil=True)
def route_returns(task, pool, actions, mixtures, code, routes):
    """Returns of mixtures under a route operator, with exact lookahead on recorded transitions.

    Args:
        task: see :class:`lever_ray.tasks.gridworld.compile.Task`.
        pool: see :class:`lever_ray.embedding.offline.Pool`.
        actions: int8[P, S], see :func:`member_actions`.
        mixtures: int32[K, m], rows of the pool.
        code: :data:`GPI` or :data:`SWITCH`.
        routes: int8[K or 0, horizon]; filled with the actions where it has rows.

    Returns:
        ``(totals float64[K], ends uint8[K], steps int64[K])``, in reward units; ends are the codes of
        :data:`lever_ray.embedding.offline.OFFLINE_ENDS`.
    """
    moves, events, tabulated, near, rules = task
    _, support = pool
    states = len(events)
    totals, ends = np.empty(len(mixtures)), np.empty(len(mixtures), np.uint8)
    lengths = np.zeros(len(mixtures), np.int64)
    seen, lap, stamp = np.full(states, -1, np.int64), np.empty(states + 1), 0
    spare, laps, union = np.empty(rules.horizon, np.int8), np.empty(states, np.int64), np.empty(states, np.uint8)
    for index in range(len(mixtures)):
        members = mixtures[index]
        route = routes[index] if len(routes) else spare
        if code == GPI:
            for state in range(states):
                union[state] = 0
                for member in members:
                    union[state] |= support[member, state]
            total, end, length, stamp = _gpi(
                moves, events, tabulated, near, rules, actions, union, members, route, seen, stamp, lap
            )
        else:
            total, end, first, switch_at, second, stamp = _best_switch(
                moves, events, tabulated, near, rules, actions, members, seen, stamp, lap, laps
            )
            length = 0
            if len(routes):
                length = _replay(moves, events, actions, rules.start, rules.horizon, first, switch_at, second, route)
        totals[index], ends[index], lengths[index] = total, end, length
    return totals, ends, lengths


def route_of(task: Task, pool: Pool, mixture: np.ndarray, *, operator: str) -> np.ndarray:
    """int8[T]: the actions that ``gpi`` or ``switch`` takes with one mixture int32[m]."""
    routes = np.empty((1, task.rules.horizon), np.int8)
    actions = member_actions(pool.q, pool.support)
    _, _, lengths = route_returns(task, pool, actions, mixture[None], ROUTE_CODES[operator], routes)
    return routes[0, : lengths[0]].copy()
