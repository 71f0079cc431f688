"""Operators that look ahead: generalised policy improvement and switching, by exact rollouts of the members.

Members act greedily within their own recorded actions; every rollout closes its cycles exactly and is cut where the
episode is. GPI after SF&GPI (arXiv 1901.10964), with rollouts of the deterministic recorded dynamics in place of
successor features: argmax_a max_i [r(sigma, a) + G_i(sigma')].
"""

from __future__ import annotations

import numpy as np

from lever_ray.compiling import compiled
from lever_ray.embedding.offline import (
    ENDED_BADLY,
    ENDED_WELL,
    LEFT_SUPPORT,
    SUM,
    TRUNCATED,
    Pool,
    greedy,
    laps_to_come,
)
from lever_ray.tasks.kernel import GOAL, TERMINAL, CompiledTask, nearest_item, step
from lever_ray.tasks.support import is_taken

GPI, SWITCH = 0, 1
ROUTE_CODES: dict[str, int] = {"gpi": GPI, "switch": SWITCH}
"""Operators of this module, as its kernels take them."""
NOWHERE = -1


@compiled(nogil=True)
def member_actions(pool):
    """int16[P, S]: each policy's greedy action among those it took itself; -1 where it took none."""
    q, support, _, many = pool
    policies, states = support.shape[0], support.shape[1]
    actions = np.empty((policies, states), np.int16)
    alone, operator, masked = np.empty(1, np.int32), np.int64(SUM), np.bool_(True)
    for policy in range(policies):
        alone[0] = policy
        for state in range(states):
            action, supported = greedy(q, support, many, alone, operator, masked, state)
            actions[policy, state] = action if supported else NOWHERE
    return actions


@compiled()
def _follow(moves, flags, rewards, near, rules, actions, policy, full, time, seen, stamp, lap):
    """Return of following one policy from a full state until the episode ends: ``(total, end)``."""
    state, memory, nearest = full
    begun, total, weight, cycle_start, period = time, 0.0, 1.0, -1, 0
    while time < rules.horizon:
        if cycle_start < 0:
            if seen[state] >= stamp:
                cycle_start, period = time, time - begun - (seen[state] - stamp)
            else:
                seen[state] = stamp + time - begun
        if cycle_start >= 0:
            lap[time - cycle_start] = total
            if time == cycle_start + period:
                whole, part = laps_to_come(total, lap, period, rules.horizon - time, rules.discount)
                return total + whole + part, TRUNCATED
        action = np.int64(actions[policy, state])
        if action < 0:
            return total, LEFT_SUPPORT
        state, memory, nearest, reward, flag = step(moves, flags, rewards, near, rules, state, memory, nearest, action)
        total += weight * reward
        weight *= rules.discount
        time += 1
        if flag & TERMINAL:
            return total, ENDED_WELL if flag & GOAL else ENDED_BADLY
    return total, TRUNCATED


@compiled()
def _gpi(moves, flags, rewards, near, start, rules, actions, union, members, route, seen, stamp, lap):
    """Write the GPI route: ``(total, end, steps, stamp)``."""
    state, memory, time, total, weight = np.int64(start), rules.memory, np.int64(0), 0.0, 1.0
    nearest = nearest_item(near, state, memory)
    while time < rules.horizon:
        best, best_stays, choice, flag = -np.inf, False, NOWHERE, 0
        chosen = (state, memory, nearest)
        gained, chosen_flag = 0.0, flag
        for action in range(moves.shape[1]):
            if not is_taken(union, state, action):
                continue
            after, kept, close, reward, flag = step(moves, flags, rewards, near, rules, state, memory, nearest, action)
            full = (after, kept, close)
            value, stays = reward, True
            if not flag & TERMINAL and time + 1 < rules.horizon:
                future, stays = -np.inf, False
                for member in members:
                    rest, end = _follow(
                        moves, flags, rewards, near, rules, actions, member, full, time + 1, seen, stamp, lap
                    )
                    stamp += rules.horizon + 1
                    inside = end != LEFT_SUPPORT
                    if (inside and not stays) or (inside == stays and rest > future):
                        future, stays = rest, inside
                value = reward + rules.discount * future
            if choice < 0 or (stays and not best_stays) or (stays == best_stays and value > best):
                best, best_stays, choice = value, stays, action
                chosen, gained, chosen_flag = full, reward, flag
        if choice < 0:
            return total, LEFT_SUPPORT, time, stamp
        state, memory, nearest = chosen
        route[time] = choice
        total += weight * gained
        weight *= rules.discount
        time += 1
        if chosen_flag & TERMINAL:
            return total, ENDED_WELL if chosen_flag & GOAL else ENDED_BADLY, time, stamp
    return total, TRUNCATED, time, stamp


@compiled()
def _best_switch(moves, flags, rewards, near, start, rules, actions, members, seen, stamp, lap, laps):
    """The best pair of members and time to switch: ``(total, end, first, time, second, stamp)``.

    The first policy is followed until the third time that it would come to an observation: later switches meet no new
    state.
    """
    best, best_end = -np.inf, LEFT_SUPPORT
    first_best, time_best, second_best = members[0], np.int64(0), members[0]
    for first in members:
        state, memory, time, total, weight = np.int64(start), rules.memory, np.int64(0), 0.0, 1.0
        nearest = nearest_item(near, state, memory)
        for index in range(len(laps)):
            laps[index] = 0
        while time < rules.horizon and laps[state] < 3:
            laps[state] += 1
            for second in members:
                if second == first and time > 0:
                    continue
                rest, end = _follow(
                    moves,
                    flags,
                    rewards,
                    near,
                    rules,
                    actions,
                    second,
                    (state, memory, nearest),
                    time,
                    seen,
                    stamp,
                    lap,
                )
                stamp += rules.horizon + 1
                inside, was_inside = end != LEFT_SUPPORT, best_end != LEFT_SUPPORT
                whole = total + weight * rest
                if (inside and not was_inside) or (inside == was_inside and whole > best):
                    best, best_end = whole, end
                    first_best, time_best, second_best = first, time, second
            action = np.int64(actions[first, state])
            if action < 0:
                break
            state, memory, nearest, reward, flag = step(
                moves, flags, rewards, near, rules, state, memory, nearest, action
            )
            total += weight * reward
            weight *= rules.discount
            time += 1
            if flag & TERMINAL:
                break
    return best, best_end, first_best, time_best, second_best, stamp


@compiled()
def _replay(moves, flags, actions, start, horizon, first, switch_at, second, route):
    """Write the actions of one policy followed by another; returns how many."""
    state, time = np.int64(start), 0
    while time < horizon:
        action = np.int64(actions[first if time < switch_at else second, state])
        if action < 0:
            break
        route[time] = action
        state = np.int64(moves[state, action])
        time += 1
        if flags[state] & TERMINAL:
            break
    return time


@compiled(nogil=True)
def route_returns(task, pool, actions, mixtures, code, routes):
    """Returns of mixtures under a route operator from the one start, with exact lookahead on recorded transitions.

    Args:
        task: see :class:`lever_ray.tasks.kernel.CompiledTask`.
        pool: see :class:`lever_ray.embedding.offline.Pool`.
        actions: int16[P, S], see :func:`member_actions`.
        mixtures: int32[K, m], rows of the pool.
        code: :data:`GPI` or :data:`SWITCH`.
        routes: int16[K or 0, horizon]; filled with the actions where it has rows.

    Returns:
        ``(totals float64[K], ends uint8[K], steps int64[K])``, in reward units; ends are the codes of
        :mod:`lever_ray.embedding.offline`.
    """
    moves, flags, rewards, near, starts, _, rules = task
    support, states = pool.support, len(flags)
    totals, ends = np.empty(len(mixtures)), np.empty(len(mixtures), np.uint8)
    lengths = np.zeros(len(mixtures), np.int64)
    seen, lap, stamp = np.full(states, -1, np.int64), np.empty(states + 1), np.int64(0)
    spare, laps = np.empty(rules.horizon, np.int16), np.empty(states, np.int64)
    union = np.empty((states, support.shape[2]), np.uint8)
    for index in range(len(mixtures)):
        members = mixtures[index]
        route = routes[index] if len(routes) else spare
        if code == GPI:
            for state in range(states):
                for byte in range(support.shape[2]):
                    union[state, byte] = 0
                    for member in members:
                        union[state, byte] |= support[member, state, byte]
            total, end, length, stamp = _gpi(
                moves, flags, rewards, near, starts[0], rules, actions, union, members, route, seen, stamp, lap
            )
        else:
            total, end, first, switch_at, second, stamp = _best_switch(
                moves, flags, rewards, near, starts[0], rules, actions, members, seen, stamp, lap, laps
            )
            length = 0
            if len(routes):
                length = _replay(moves, flags, actions, starts[0], rules.horizon, first, switch_at, second, route)
        totals[index], ends[index], lengths[index] = total, end, length
    return totals, ends, lengths


def route_of(task: CompiledTask, pool: Pool, mixture: np.ndarray, *, operator: str) -> np.ndarray:
    """int16[T]: the actions that ``gpi`` or ``switch`` takes with one mixture int32[m]."""
    routes = np.empty((1, task.rules.horizon), np.int16)
    actions = member_actions(pool)
    _, _, lengths = route_returns(task, pool, actions, mixture[None], ROUTE_CODES[operator], routes)
    return routes[0, : lengths[0]].copy()
