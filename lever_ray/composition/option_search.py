"""The beam over sequences of segments: levels go by number of segments, equal full states merge.

A node of the search tree is a choice point: the full state after some segments. Among nodes and routes of equal score
the one of fewer steps comes first, then the one of fewer segments, then the lexicographically lower members.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from lever_ray.composition.segments import END, segment
from lever_ray.embedding.offline import LEFT_SUPPORT
from lever_ray.tasks.kernel import nearest_item

UNFINISHED = 4
"""How a route ends of which no more than a beginning was found: the budget was spent before any route had ended. It
continues the codes of :mod:`lever_ray.embedding.offline`."""
_PARENT, _MEMBER, _WHY, _STATE, _NEAREST, _TIME, _LEX, _COLUMNS = 0, 1, 2, 3, 4, 5, 6, 7
_WHOLE, _BEGUN, _LEFT = 0, 1, 2
"""Kinds of routes: with an end, without one yet, and off the support. The first that exists is the answer."""
_R_TIME, _R_LEVEL, _R_LEX, _R_PARENT, _R_MEMBER, _R_WHY, _R_END, _R_COLUMNS = 0, 1, 2, 3, 4, 5, 6, 7
_ROOM = 64


@njit(cache=True)
def _doubled(array):
    """The same rows, and room for as many more."""
    return np.concatenate((array, np.empty_like(array)))


@njit(cache=True)
def _is_better(score, time, level, lex, other, other_time, other_level, other_lex):
    """The order of nodes and routes; equal ones are not better."""
    if score != other:
        return score > other
    if time != other_time:
        return time < other_time
    if level != other_level:
        return level < other_level
    return lex < other_lex


@njit(cache=True)
def _offer(totals, facts, kind, total, time, level, lex, parent, member, why, end):
    """Remember a route where it is the best of its kind."""
    if _is_better(
        total, time, level, lex, totals[kind], facts[kind, _R_TIME], facts[kind, _R_LEVEL], facts[kind, _R_LEX]
    ):
        totals[kind] = total
        facts[kind, _R_TIME], facts[kind, _R_LEVEL], facts[kind, _R_LEX] = time, level, lex
        facts[kind, _R_PARENT], facts[kind, _R_MEMBER], facts[kind, _R_WHY] = parent, member, why
        facts[kind, _R_END] = end


@njit(cache=True)
def _spread(state, items, switch, paid, time):
    """A hash of a full state."""
    mixed = np.uint64(state) * np.uint64(0x9E3779B97F4A7C15) ^ items * np.uint64(0xC2B2AE3D27D4EB4F)
    mixed = (mixed ^ (mixed >> np.uint64(32))) * np.uint64(0xD6E8FEB86659FD93)
    mixed ^= switch * np.uint64(0xA0761D6478BD642F) ^ paid * np.uint64(0xE7037ED1A0B428DB)
    mixed = (mixed ^ (mixed >> np.uint64(29)) ^ np.uint64(time)) * np.uint64(0x8EBC6AF09C88C6E3)
    return np.int64((mixed ^ (mixed >> np.uint64(32))) & np.uint64(0x7FFFFFFFFFFFFFFF))


@njit(cache=True)
def _rehashed(keys, count, size):
    """int64[size]: an open-addressing table of the first ``count`` keys uint64[n, 5]."""
    table = np.full(size, -1, np.int64)
    for entry in range(count):
        slot = _spread(keys[entry, 0], keys[entry, 1], keys[entry, 2], keys[entry, 3], keys[entry, 4]) & (size - 1)
        while table[slot] >= 0:
            slot = (slot + 1) & (size - 1)
        table[slot] = entry
    return table


@njit(cache=True)
def _sift(heap, size, place, facts, totals):
    """Let a place of a heap of nodes of one level sink to where it belongs; the best node is on top."""
    while True:
        below = 2 * place + 1
        if below >= size:
            return
        one = heap[below]
        if below + 1 < size:
            two = heap[below + 1]
            if _is_better(
                totals[two, 0], facts[two, _TIME], 0, facts[two, _LEX],
                totals[one, 0], facts[one, _TIME], 0, facts[one, _LEX],
            ):  # fmt: skip
                below, one = below + 1, two
        top = heap[place]
        if not _is_better(
            totals[one, 0], facts[one, _TIME], 0, facts[one, _LEX],
            totals[top, 0], facts[top, _TIME], 0, facts[top, _LEX],
        ):  # fmt: skip
            return
        heap[place], heap[below] = one, top
        place = below


@njit(cache=True)
def _best_nodes(facts, totals, count, width):
    """int64[n]: at most ``width`` of the first ``count`` nodes of one level, the best first; all where it is 0."""
    heap = np.arange(count)
    for place in range(count // 2 - 1, -1, -1):
        _sift(heap, count, place, facts, totals)
    kept = min(width, count) if width > 0 else count
    chosen = np.empty(kept, np.int64)
    for rank in range(kept):
        chosen[rank] = heap[0]
        count -= 1
        heap[0] = heap[count]
        _sift(heap, count, 0, facts, totals)
    return chosen


@njit(cache=True)
def _sequence(nodes, parent, member, why):
    """``(members int32[n], begins int64[n], whys int64[n])`` of a route; nothing where ``member`` is -1."""
    count, node = np.int64(member >= 0), parent
    while node > 0:
        count, node = count + 1, nodes[node, _PARENT]
    members, begins, whys = np.empty(count, np.int32), np.empty(count, np.int64), np.empty(count, np.int64)
    for place in range(count - 1, -1, -1):
        members[place], begins[place], whys[place] = member, nodes[parent, _TIME], why
        member, why, parent = nodes[parent, _MEMBER], nodes[parent, _WHY], nodes[parent, _PARENT]
    return members, begins, whys


@njit(cache=True, nogil=True)
def option_search(task, events, actions, start, horizon, width, budget, cut, choose, timed, laps):
    """The best route of segments that is found.

    Args:
        task: see :class:`lever_ray.tasks.kernel.CompiledTask`; its starts and horizon are not heeded.
        events: see :func:`lever_ray.composition.segments.segment`, as for ``cut`` and ``choose``.
        actions: int16[P, S], what each member does in each observation; -1 where it has no recorded action.
        start: ``(observation, memory, paid)``, not terminal.
        horizon: steps that are left, at least 1.
        width: choice points kept per level; 0 for all.
        budget: segments simulated at most; 0 for no limit.
        cut: see there.
        choose: see there.
        timed: whether states of different steps are different.
        laps: see there.

    Returns:
        ``(total, end, steps, members int32[n], begins int64[n], whys int64[n], segments, spent)``: the return from the
        start on, how and after how many steps the route ends, its segments, how many were simulated, and whether the
        budget left some undone.
    """
    moves, flags, rewards, near, _, _, rules = task
    seen, stamp, sums = np.full(len(flags), -1, np.int64), np.int64(0), np.empty(min(horizon, len(flags)) + 2)
    # the tree, and the level that grows: whole numbers, words of the memory and paid terms, return and discount so far
    nodes, words = np.empty((_ROOM, _COLUMNS), np.int64), np.empty((_ROOM, 3), np.uint64)
    sofar = np.empty((_ROOM, 2))
    fresh, fresh_words = np.empty((_ROOM, _COLUMNS), np.int64), np.empty((_ROOM, 3), np.uint64)
    fresh_sofar = np.empty((_ROOM, 2))
    # every full state that was reached: key, the best return, and the steps, level, order and place that it came with
    keys, reached = np.empty((_ROOM, 5), np.uint64), np.empty(_ROOM)
    came, table = np.empty((_ROOM, 4), np.int64), np.full(2 * _ROOM, -1, np.int64)
    totals, facts = np.full(3, -np.inf), np.full((3, _R_COLUMNS), -1, np.int64)
    facts[_BEGUN, _R_TIME], facts[_BEGUN, _R_END] = 0, UNFINISHED
    observation, memory, paid = start
    nearest = nearest_item(near, observation, memory)
    nodes[0, _PARENT], nodes[0, _MEMBER], nodes[0, _WHY], nodes[0, _STATE] = -1, -1, -1, observation
    nodes[0, _NEAREST], nodes[0, _TIME], nodes[0, _LEX] = nearest, 0, 0
    words[0, 0], words[0, 1], words[0, 2], sofar[0, 0], sofar[0, 1] = memory[0], memory[1], paid, 0.0, 1.0
    keys[0, 0], keys[0, 1], keys[0, 2] = np.uint64(observation), memory[0], memory[1]
    keys[0, 3], keys[0, 4], reached[0] = paid, np.uint64(0), 0.0
    came[0, 0], came[0, 1], came[0, 2], came[0, 3] = 0, 0, 0, 0
    table = _rehashed(keys, 1, len(table))
    entries, first, count, level = 1, 0, 1, 0
    simulated, spent = np.int64(0), False
    while first < count and not spent:
        level += 1
        grown = 0
        for node in range(first, count):
            acted = False
            for member in range(len(actions)):
                if actions[member, nodes[node, _STATE]] < 0:
                    continue
                acted = True
                if simulated == budget > 0:
                    spent = True
                    break
                simulated += 1
                why, end, state, memory, nearest, paid, time, total, weight, stamp = segment(
                    moves, flags, rewards, near, rules, events, actions, member, nodes[node, _STATE],
                    (words[node, 0], words[node, 1]), nodes[node, _NEAREST], words[node, 2], nodes[node, _TIME],
                    sofar[node, 0], sofar[node, 1], horizon, cut, choose, False, laps, seen, stamp, sums,
                )  # fmt: skip
                lex = nodes[node, _LEX] * len(actions) + member
                if why >= END:
                    kind = _LEFT if end == LEFT_SUPPORT else _WHOLE
                    _offer(totals, facts, kind, total, time, level, lex, node, member, why, end)
                    continue
                if grown == len(fresh):
                    fresh, fresh_words, fresh_sofar = _doubled(fresh), _doubled(fresh_words), _doubled(fresh_sofar)
                if entries == len(keys):
                    keys, reached, came = _doubled(keys), _doubled(reached), _doubled(came)
                    table = _rehashed(keys, entries, 2 * len(table))
                moment = np.uint64(time if timed else 0)
                slot = _spread(state, memory[0], memory[1], paid, moment) & (len(table) - 1)
                entry = table[slot]
                while entry >= 0 and not (
                    keys[entry, 0] == np.uint64(state) and keys[entry, 1] == memory[0] and keys[entry, 2] == memory[1]
                    and keys[entry, 3] == paid and keys[entry, 4] == moment
                ):  # fmt: skip
                    slot = (slot + 1) & (len(table) - 1)
                    entry = table[slot]
                place = grown
                if entry < 0:
                    entry = entries
                    entries += 1
                    table[slot] = entry
                    keys[entry, 0], keys[entry, 1], keys[entry, 2] = np.uint64(state), memory[0], memory[1]
                    keys[entry, 3], keys[entry, 4] = paid, moment
                elif not _is_better(
                    total, time, level, lex, reached[entry], came[entry, 0], came[entry, 1], came[entry, 2]
                ):
                    continue
                elif came[entry, 1] == level:
                    place = came[entry, 3]
                grown += place == grown
                reached[entry], came[entry, 0], came[entry, 1], came[entry, 2] = total, time, level, lex
                came[entry, 3] = place
                fresh[place, _PARENT], fresh[place, _MEMBER], fresh[place, _WHY] = node, member, why
                fresh[place, _STATE], fresh[place, _NEAREST], fresh[place, _TIME] = state, nearest, time
                fresh[place, _LEX] = lex
                fresh_words[place, 0], fresh_words[place, 1], fresh_words[place, 2] = memory[0], memory[1], paid
                fresh_sofar[place, 0], fresh_sofar[place, 1] = total, weight
                _offer(totals, facts, _BEGUN, total, time, level, lex, node, member, why, UNFINISHED)
            if not acted:
                _offer(
                    totals, facts, _LEFT, sofar[node, 0], nodes[node, _TIME], level - 1, nodes[node, _LEX],
                    nodes[node, _PARENT], nodes[node, _MEMBER], nodes[node, _WHY], LEFT_SUPPORT,
                )  # fmt: skip
            if spent:
                break
        chosen = _best_nodes(fresh, fresh_sofar, grown, width)
        first = count
        while count + len(chosen) > len(nodes):
            nodes, words, sofar = _doubled(nodes), _doubled(words), _doubled(sofar)
        for place in chosen:
            nodes[count], words[count], sofar[count] = fresh[place], fresh_words[place], fresh_sofar[place]
            count += 1
        order = np.argsort(nodes[first:count, _LEX])
        for rank in range(len(order)):
            nodes[first + order[rank], _LEX] = rank
    # no route ended (with a cut or choices at cycles, all may come back to where they were): follow members for good
    if totals[_WHOLE] == -np.inf and not spent:
        for node in np.argsort(-sofar[:count, 0], kind="mergesort"):
            for member in range(len(actions)):
                if actions[member, nodes[node, _STATE]] < 0:
                    continue
                if simulated == budget > 0:
                    spent = True
                    break
                simulated += 1
                why, end, state, memory, nearest, paid, time, total, weight, stamp = segment(
                    moves, flags, rewards, near, rules, events, actions, member, nodes[node, _STATE],
                    (words[node, 0], words[node, 1]), nodes[node, _NEAREST], words[node, 2], nodes[node, _TIME],
                    sofar[node, 0], sofar[node, 1], horizon, cut, choose, True, laps, seen, stamp, sums,
                )  # fmt: skip
                kind = _LEFT if end == LEFT_SUPPORT else _WHOLE
                _offer(totals, facts, kind, total, time, level, member, node, member, why, end)
            if spent or totals[_WHOLE] > -np.inf:
                break
    kind = _WHOLE if totals[_WHOLE] > -np.inf else _BEGUN if spent else _LEFT
    found = facts[kind]
    members, begins, whys = _sequence(nodes, found[_R_PARENT], found[_R_MEMBER], found[_R_WHY])
    total = totals[kind] if len(members) else 0.0
    return total, found[_R_END], found[_R_TIME], members, begins, whys, simulated, spent
