"""Segments: one member followed from a full state until something happens, on recorded transitions.

A segment ends at an *event* (the memory changed, or an event term paid for the first time in the episode), after a
number of steps (the *cut*), where the member comes back to an observation of its own segment (a *cycle*), or for good:
at a terminal observation, at the horizon, or where the member has no recorded action. Within a segment the memory
and the set of paid terms are constant, so that a cycle repeats its very rewards and is closed exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lever_ray.compiling import compiled
from lever_ray.embedding.offline import ENDED_BADLY, ENDED_WELL, LEFT_SUPPORT, TRUNCATED, laps_to_come
from lever_ray.errors import InvalidValue, check_known
from lever_ray.tasks.kernel import GOAL, TERMINAL, step
from lever_ray.tasks.support import taken_actions

EVENT, CUT, CYCLE, END, HORIZON, LOOP, OFF_SUPPORT = 0, 1, 2, 3, 4, 5, 6
SEGMENT_ENDS: tuple[str, ...] = ("event", "cut", "cycle", "end", "horizon", "loop", "off-support")
"""Why a segment ended, by code. After the first three the search chooses again; ``end`` is a terminal observation,
``loop`` a cycle that is followed to the horizon."""
MOST_EVENT_TERMS = 64
EVENT_SHARE = 0.1
"""Event terms are by default those that are non-zero on at most this share of the recorded pairs."""
NO_EVENTS = np.empty((0, 0), np.uint64)


class EventTerms(NamedTuple):
    """What counts as an event in a task whose memory never changes.

    Attributes:
        terms: names of the event terms, in the order of their bits.
        bits: uint64[S, A], which of them pay for each observation and action.
    """

    terms: tuple[str, ...]
    bits: np.ndarray


def event_terms(
    terms: Sequence[str], rewards: np.ndarray, support: np.ndarray, *, named: Sequence[str] | None = None
) -> EventTerms:
    """Event terms of a task, and where they pay.

    Args:
        terms: K names.
        rewards: float[K, S, A], what each term pays, in reward units.
        support: uint8[S, B], the recorded pairs, see :mod:`lever_ray.tasks.support`.
        named: the event terms; by default those that are non-zero somewhere, and on at most :data:`EVENT_SHARE` of the
            recorded pairs.

    Raises:
        UnknownName: ``named`` holds a term that is not among ``terms``.
        InvalidValue: there are more than :data:`MOST_EVENT_TERMS` event terms.
    """
    recorded = taken_actions(support, rewards.shape[2])
    pays = (rewards != 0) & recorded
    if named is None:
        shares = pays.sum(axis=(1, 2)) / max(1, int(recorded.sum()))
        chosen = [term for term, share in zip(terms, shares, strict=True) if 0 < share <= EVENT_SHARE]
    else:
        for term in named:
            check_known("event term", term, terms)
        chosen = [term for term in terms if term in set(named)]
    if len(chosen) > MOST_EVENT_TERMS:
        raise InvalidValue(
            f"{len(chosen)} event terms; the set of paid ones holds {MOST_EVENT_TERMS}: name those that matter"
        )
    bits = np.zeros(recorded.shape, np.uint64)
    for place, term in enumerate(chosen):
        bits |= pays[list(terms).index(term)].astype(np.uint64) << np.uint64(place)
    return EventTerms(tuple(chosen), bits)


@compiled()
def segment(
    moves, flags, rewards, near, rules, events, actions, member, state, memory, nearest, paid, time, total, weight,
    horizon, cut, choose, through, laps, seen, stamp, sums,
):  # fmt: skip
    """Follow one member from a full state.

    Args:
        moves: see :class:`lever_ray.tasks.kernel.CompiledTask`, as for the next four.
        flags: see there.
        rewards: see there.
        near: see there.
        rules: see there.
        events: uint64[S, A], see :class:`EventTerms`; without rows where the memory alone tells.
        actions: int16[P, S], see :func:`lever_ray.composition.routes.member_actions`.
        member: the row that is followed.
        state: the observation that it begins in; not terminal.
        memory: with which it begins.
        nearest: see :func:`lever_ray.tasks.kernel.step`.
        paid: uint64, the event terms that were paid so far.
        time: steps made so far, fewer than ``horizon``.
        total: return so far.
        weight: the discount of the next step's reward.
        horizon: steps after which the episode is cut.
        cut: steps after which a segment ends; 0 for none.
        choose: whether a cycle ends the segment; else it is followed to the horizon.
        through: follow the member to its end, whatever happens on the way; ``cut`` and ``choose`` are not heeded.
        laps: whether laps to come count, of a cycle that is followed to the horizon.
        seen: int64[S], the stamps at which observations were met.
        stamp: greater than all of them.
        sums: float64[min(S, horizon) + 2], overwritten.

    Returns:
        ``(why, end, state, memory, nearest, paid, time, total, weight, stamp)``: one of :data:`SEGMENT_ENDS` and, where
        the route ended with it, a code of :mod:`lever_ray.embedding.offline`, else -1. The stamp has grown by the steps
        that were followed, and 1.
    """
    steps = 0
    sums[0] = total
    while True:
        action = np.int64(actions[member, state])
        if action < 0:
            return OFF_SUPPORT, LEFT_SUPPORT, state, memory, nearest, paid, time, total, weight, stamp + steps + 1
        seen[state] = stamp + steps
        pays = events[state, action] & ~paid if len(events) else np.uint64(0)
        items, switch = memory
        state, memory, nearest, reward, flag = step(moves, flags, rewards, near, rules, state, memory, nearest, action)
        total += weight * reward
        weight *= rules.discount
        time += 1
        steps += 1
        sums[steps] = total
        if flag & TERMINAL:
            end = ENDED_WELL if flag & GOAL else ENDED_BADLY
            return END, end, state, memory, nearest, paid, time, total, weight, stamp + steps + 1
        if time == horizon:
            return HORIZON, TRUNCATED, state, memory, nearest, paid, time, total, weight, stamp + steps + 1
        if pays or memory[0] != items or memory[1] != switch:
            paid |= pays
            stamp += steps
            if not through:
                return EVENT, -1, state, memory, nearest, paid, time, total, weight, stamp + 1
            steps = 0
            sums[0] = total
            continue
        if steps == cut and not through:
            return CUT, -1, state, memory, nearest, paid, time, total, weight, stamp + steps + 1
        if seen[state] >= stamp:
            if choose and not through:
                return CYCLE, -1, state, memory, nearest, paid, time, total, weight, stamp + steps + 1
            first = seen[state] - stamp
            if laps:
                whole, rest = laps_to_come(total, sums[first:], steps - first, horizon - time, rules.discount)
                total += whole + rest
            return LOOP, TRUNCATED, state, memory, nearest, paid, horizon, total, weight, stamp + steps + 1


@compiled()
def route_of_segments(moves, actions, state, members, begins, steps):
    """int16[steps]: the actions of following ``members`` int64[n], each from step ``begins`` int64[n] on."""
    route = np.empty(steps, np.int16)
    for place in range(len(members)):
        until = begins[place + 1] if place + 1 < len(members) else steps
        for time in range(begins[place], until):
            action = actions[members[place], state]
            route[time] = action
            state = moves[state, action]
    return route
