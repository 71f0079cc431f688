"""The beam over sequences of segments: levels go by number of segments, equal full states merge.

A node of the search tree is a choice point: the full state after some segments. Among nodes and routes of equal score
the one of fewer steps comes first, then the one of fewer segments, then the lexicographically lower members.
"""

from __future__ import annotations

import numpy as np

from lever_ray.compiling import compiled
from lever_ray.composition.segments import END, segment
from lever_ray.embedding.offline import LEFT_SUPPORT
from lever_ray.tasks.kernel import nearest_item

UNFINISHED = 4
"""How a route ends of which no more than a beginning was found: the budget was spent before any route had ended. It
continues the codes of :mod:`lever_ray.embedding.offline`."""
_PARENT, _MEMBER, _WHY, _STATE, _ITEMS, _SWITCH, _PAID, _NEAREST, _TIME, _LEX, _COLUMNS = (
    0,
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    8,
    9,
    10,
)
"""Columns of nodes; the words of the memory and the set of paid terms are kept by their bits."""
_K_STATE, _K_ITEMS, _K_SWITCH, _K_PAID, _K_MOMENT, _K_TIME, _K_LEVEL, _K_LEX, _K_PLACE, _K_COLUMNS = range(10)
"""Columns of the full states that were reached: the first five tell them apart, the others say what was best there."""
_WHOLE, _BEGUN, _LEFT = 0, 1, 2
"""Kinds of routes: with an end, without one yet, and off the support. The first that exists is the answer."""
_R_TIME, _R_LEVEL, _R_LEX, _R_PARENT, _R_MEMBER, _R_WHY, _R_END, _R_COLUMNS = range(8)
_ROOM = 64


def search_scratch(observations: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What a search writes to, made here since kernels that fill arrays take long to compile."""
    return np.full(observations, -1, np.int64), np.full(3, -np.inf), np.full((3, _R_COLUMNS), -1, np.int64)


@compiled()
def _doubled(array):
    """The same rows, and room for as many more."""
    rows, columns = array.shape
    wider = np.empty((2 * rows, columns), array.dtype)
    for row in range(rows):
        for column in range(columns):
            wider[row, column] = array[row, column]
    return wider


@compiled()
def _copy_row(source, row, target, place):
    for column in range(source.shape[1]):
        target[place, column] = source[row, column]


@compiled()
def _is_better(score, time, level, lex, other, other_time, other_level, other_lex):
    """The order of nodes and routes; equal ones are not better."""
    if score != other:
        return score > other
    if time != other_time:
        return time < other_time
    if level != other_level:
        return level < other_level
    return lex < other_lex


@compiled()
def _offer(totals, facts, kind, total, time, level, lex, parent, member, why, end):
    """Remember a route where it is the best of its kind."""
    if _is_better(
        total, time, level, lex, totals[kind], facts[kind, _R_TIME], facts[kind, _R_LEVEL], facts[kind, _R_LEX]
    ):
        totals[kind] = total
        facts[kind, _R_TIME], facts[kind, _R_LEVEL], facts[kind, _R_LEX] = time, level, lex
        facts[kind, _R_PARENT], facts[kind, _R_MEMBER], facts[kind, _R_WHY] = parent, member, why
        facts[kind, _R_END] = end


@compiled()
def _spread(state, items, switch, paid, moment):
    """A hash of a full state."""
    mixed = np.uint64(state) * np.uint64(0x9E3779B97F4A7C15) ^ np.uint64(items) * np.uint64(0xC2B2AE3D27D4EB4F)
    mixed = (mixed ^ (mixed >> np.uint64(32))) * np.uint64(0xD6E8FEB86659FD93)
    mixed ^= np.uint64(switch) * np.uint64(0xA0761D6478BD642F) ^ np.uint64(paid) * np.uint64(0xE7037ED1A0B428DB)
    mixed = (mixed ^ (mixed >> np.uint64(29)) ^ np.uint64(moment)) * np.uint64(0x8EBC6AF09C88C6E3)
    return np.int64((mixed ^ (mixed >> np.uint64(32))) & np.uint64(0x7FFFFFFFFFFFFFFF))


@compiled()
def _rehashed(keys, count, size):
    """int64[size]: an open-addressing table of the first ``count`` full states."""
    table = np.empty(size, np.int64)
    for slot in range(size):
        table[slot] = -1
    for entry in range(count):
        slot = (size - 1) & _spread(
            keys[entry, _K_STATE], keys[entry, _K_ITEMS], keys[entry, _K_SWITCH], keys[entry, _K_PAID],
            keys[entry, _K_MOMENT],
        )  # fmt: skip
        while table[slot] >= 0:
            slot = (slot + 1) & (size - 1)
        table[slot] = entry
    return table


@compiled()
def _span(first, count):
    """int64: the whole numbers from ``first`` to below ``count``."""
    places = np.empty(count - first, np.int64)
    for place in range(first, count):
        places[place - first] = place
    return places


@compiled()
def _comes_first(scores, ties, one, two):
    return scores[one] > scores[two] or (scores[one] == scores[two] and ties[one] < ties[two])


@compiled()
def _sift(heap, size, place, scores, ties):
    """Let a place of a heap sink to where it belongs; what comes first is on top."""
    while True:
        below = 2 * place + 1
        if below >= size:
            return
        if below + 1 < size and _comes_first(scores, ties, heap[below + 1], heap[below]):
            below += 1
        if not _comes_first(scores, ties, heap[below], heap[place]):
            return
        heap[place], heap[below] = heap[below], heap[place]
        place = below


@compiled()
def _ordered(scores, ties, kept):
    """int64[kept]: the first places by score float64[n], the highest first, then by ties int64[n], the lowest first.

    A heap of our own: every sort of numpy's takes a CPU-second to compile.
    """
    size, top = np.int64(len(scores)), np.int64(0)
    heap = np.empty(size, np.int64)
    for place in range(size):
        heap[place] = place
    for place in range(size // 2 - 1, -1, -1):
        _sift(heap, size, place, scores, ties)
    chosen = np.empty(kept, np.int64)
    for rank in range(kept):
        chosen[rank] = heap[0]
        size -= 1
        heap[0] = heap[size]
        _sift(heap, size, top, scores, ties)
    return chosen


@compiled()
def _best_nodes(facts, scores, count, kept, room):
    """int64[kept]: the best of the first ``count`` nodes of one level, whose order is below ``room``."""
    ties = np.empty(count, np.int64)
    for node in range(count):
        ties[node] = facts[node, _TIME] * room + facts[node, _LEX]
    return _ordered(scores, ties, kept)


@compiled()
def _promises(moves, flags, rewards, near, rules, events, toward, nodes, sofar, count, horizon, seen, stamp, sums):
    """``(float64[count], stamp)``: what the first nodes would score by leaving now; without ``toward``, so far."""
    scores, first, never, ever = np.empty(count), np.int64(0), bool(count < 0), bool(count >= 0)
    for node in range(count):
        scores[node], state = sofar[node, 0], nodes[node, _STATE]
        if len(toward) and toward[0, state] >= 0:
            memory = np.uint64(nodes[node, _ITEMS]), np.uint64(nodes[node, _SWITCH])
            _, _, _, _, _, _, _, total, _, stamp = segment(
                moves, flags, rewards, near, rules, events, toward, first, state, memory, nodes[node, _NEAREST],
                np.uint64(nodes[node, _PAID]), nodes[node, _TIME], sofar[node, 0], sofar[node, 1], horizon, first,
                never, ever, ever, seen, stamp, sums,
            )  # fmt: skip
            scores[node] = total
    return scores, stamp


@compiled()
def _renumber(nodes, first, count):
    """Replace the order of the nodes of a level by their ranks in it."""
    size = count - first
    scores, ties = np.empty(size), np.empty(size, np.int64)
    for node in range(size):
        scores[node], ties[node] = 0.0, nodes[first + node, _LEX]
    order = _ordered(scores, ties, size)
    for rank in range(size):
        nodes[first + order[rank], _LEX] = rank


@compiled()
def _by_return(sofar, count):
    """int64[count]: all nodes, the highest return so far first, then the earliest."""
    scores, ties = np.empty(count), np.empty(count, np.int64)
    for node in range(count):
        scores[node], ties[node] = sofar[node, 0], node
    return _ordered(scores, ties, count)


@compiled(nogil=True)
def option_search(task, events, actions, toward, start, horizon, width, budget, cut, choose, timed, laps, scratch):
    """The best route of segments that is found.

    Args:
        task: see :class:`lever_ray.tasks.kernel.CompiledTask`; its starts and horizon are not heeded.
        events: see :func:`lever_ray.composition.segments.segment`, as for ``cut`` and ``choose``.
        actions: int16[P, S], what each member does in each observation; -1 where it has no recorded action.
        toward: int16[1, S], what leads to an end; choice points are kept by what following it would score, and by their
            score so far where it has no row.
        start: ``(observation, memory, paid)``, not terminal.
        horizon: steps that are left, at least 1.
        width: choice points kept per level; 0 for all.
        budget: segments simulated at most; 0 for no limit.
        cut: see there.
        choose: see there.
        timed: whether states of different steps are different.
        laps: see there.
        scratch: see :func:`search_scratch`; overwritten.

    Returns:
        ``(total, facts, nodes, segments, followed, spent)``: the return from the start on, what :func:`route_found`
        reads, how many segments were simulated, with how many steps in all (without those toward an end), and whether
        the budget left some undone.
    """
    moves, flags, rewards, near, _, _, rules = task
    stamp, sums = np.int64(0), np.empty(min(horizon, len(flags)) + 2)
    seen, totals, facts = scratch
    # the tree, and the level that grows: whole numbers, and return and discount so far
    nodes, sofar = np.empty((_ROOM, _COLUMNS), np.int64), np.empty((_ROOM, 2))
    fresh, fresh_sofar = np.empty((_ROOM, _COLUMNS), np.int64), np.empty((_ROOM, 2))
    # every full state that was reached, and the best return with which
    keys, reached = np.empty((_ROOM, _K_COLUMNS), np.int64), np.empty((_ROOM, 1))
    facts[_BEGUN, _R_TIME], facts[_BEGUN, _R_END] = 0, UNFINISHED
    observation, memory, paid = start
    nodes[0, _PARENT], nodes[0, _MEMBER], nodes[0, _WHY], nodes[0, _STATE] = -1, -1, -1, observation
    nodes[0, _ITEMS], nodes[0, _SWITCH], nodes[0, _PAID] = memory[0], memory[1], paid
    nodes[0, _NEAREST], nodes[0, _TIME], nodes[0, _LEX] = nearest_item(near, observation, memory), 0, 0
    sofar[0, 0], sofar[0, 1] = 0.0, 1.0
    keys[0, _K_STATE], keys[0, _K_ITEMS], keys[0, _K_SWITCH] = observation, memory[0], memory[1]
    keys[0, _K_PAID], keys[0, _K_MOMENT], reached[0, 0] = paid, 0, 0.0
    keys[0, _K_TIME], keys[0, _K_LEVEL], keys[0, _K_LEX], keys[0, _K_PLACE] = 0, 0, 0, 0
    # counters are int64 from the start: numba compiles what they are passed to once more for a literal
    entries, first, count, level, simulated = np.int64(1), np.int64(0), np.int64(1), np.int64(0), np.int64(0)
    grown, walked, spent, through = np.int64(0), np.int64(0), False, bool(count < 0)
    # so are codes
    begun_kind, left_kind, unfinished, left = (
        np.int64(_BEGUN), np.int64(_LEFT), np.int64(UNFINISHED), np.int64(LEFT_SUPPORT),
    )  # fmt: skip
    table, frontier = _rehashed(keys, entries, 2 * len(keys)), _span(first, count)
    while len(frontier) and not spent:
        level, grown = level + (not through), np.int64(0)
        for node in frontier:
            acted, begun, begin = False, nodes[node, _STATE], nodes[node, _TIME]
            earned, factor, close = sofar[node, 0], sofar[node, 1], nodes[node, _NEAREST]
            before = np.uint64(nodes[node, _ITEMS]), np.uint64(nodes[node, _SWITCH])
            owed = np.uint64(nodes[node, _PAID])
            rank = 0 if through else nodes[node, _LEX] * len(actions)
            for member in range(len(actions)):
                if actions[member, begun] < 0:
                    continue
                acted = True
                if simulated == budget > 0:
                    spent = True
                    break
                simulated += 1
                why, end, state, memory, nearest, paid, time, total, weight, stamp = segment(
                    moves, flags, rewards, near, rules, events, actions, member, begun, before, close, owed, begin,
                    earned, factor, horizon, cut, choose, through, laps, seen, stamp, sums,
                )  # fmt: skip
                lex = rank + member
                if why >= END:
                    kind = _LEFT if end == LEFT_SUPPORT else _WHOLE
                    _offer(totals, facts, kind, total, time, level, lex, node, member, why, end)
                    continue
                if grown == len(fresh):
                    fresh, fresh_sofar = _doubled(fresh), _doubled(fresh_sofar)
                if entries == len(keys):
                    keys, reached = _doubled(keys), _doubled(reached)
                    table = _rehashed(keys, entries, 2 * len(keys))
                items, switch, met = np.int64(memory[0]), np.int64(memory[1]), np.int64(paid)
                moment = time if timed else np.int64(0)
                slot = _spread(state, items, switch, met, moment) & (len(table) - 1)
                entry = table[slot]
                while entry >= 0 and not (
                    keys[entry, _K_STATE] == state and keys[entry, _K_ITEMS] == items
                    and keys[entry, _K_SWITCH] == switch and keys[entry, _K_PAID] == met
                    and keys[entry, _K_MOMENT] == moment
                ):  # fmt: skip
                    slot = (slot + 1) & (len(table) - 1)
                    entry = table[slot]
                place = grown
                if entry < 0:
                    entry = entries
                    entries += 1
                    table[slot] = entry
                    keys[entry, _K_STATE], keys[entry, _K_ITEMS], keys[entry, _K_SWITCH] = state, items, switch
                    keys[entry, _K_PAID], keys[entry, _K_MOMENT] = met, moment
                elif not _is_better(
                    total, time, level, lex,
                    reached[entry, 0], keys[entry, _K_TIME], keys[entry, _K_LEVEL], keys[entry, _K_LEX],
                ):  # fmt: skip
                    continue
                elif keys[entry, _K_LEVEL] == level:
                    place = keys[entry, _K_PLACE]
                grown += place == grown
                reached[entry, 0], keys[entry, _K_TIME], keys[entry, _K_LEVEL] = total, time, level
                keys[entry, _K_LEX], keys[entry, _K_PLACE] = lex, place
                fresh[place, _PARENT], fresh[place, _MEMBER], fresh[place, _WHY] = node, member, why
                fresh[place, _STATE], fresh[place, _ITEMS], fresh[place, _SWITCH] = state, items, switch
                fresh[place, _PAID], fresh[place, _NEAREST], fresh[place, _TIME] = met, nearest, time
                fresh[place, _LEX], fresh_sofar[place, 0], fresh_sofar[place, 1] = lex, total, weight
                _offer(totals, facts, begun_kind, total, time, level, lex, node, member, why, unfinished)
            if not acted:
                _offer(
                    totals, facts, left_kind, sofar[node, 0], nodes[node, _TIME], level - 1, nodes[node, _LEX],
                    nodes[node, _PARENT], nodes[node, _MEMBER], nodes[node, _WHY], left,
                )  # fmt: skip
            if spent or (through and totals[_WHOLE] > -np.inf):
                break
        kept = min(width, grown) if width > 0 else grown
        steps = stamp
        scores, stamp = _promises(
            moves, flags, rewards, near, rules, events, toward if kept < grown else toward[:0], fresh, fresh_sofar,
            grown, horizon, seen, stamp, sums,
        )  # fmt: skip
        walked += stamp - steps
        chosen = _best_nodes(fresh, scores, grown, kept, len(frontier) * len(actions))
        while count + kept > len(nodes):
            nodes, sofar = _doubled(nodes), _doubled(sofar)
        first = count
        for place in chosen:
            _copy_row(fresh, place, nodes, count)
            _copy_row(fresh_sofar, place, sofar, count)
            count += 1
        _renumber(nodes, first, count)
        frontier = _span(first, count)
        # no route ended (with a cut or choices at cycles, all may come back to where they were): members for good
        if len(frontier) == 0 and not through and totals[_WHOLE] == -np.inf:
            through = bool(count > 0)
            frontier = _by_return(sofar, count)
    kind = _WHOLE if totals[_WHOLE] > -np.inf else _BEGUN if spent else _LEFT
    # every segment adds its steps, and 1
    return totals[kind], facts[kind], nodes, simulated, stamp - walked - simulated, spent


def route_found(facts: np.ndarray, nodes: np.ndarray) -> tuple[int, int, list[tuple[int, int, int]]]:
    """How a route ends, after how many steps, and ``(member, step from which on, why it ends)`` of its segments.

    Args:
        facts: of the route.
        nodes: choice points, each with its parent.
    """
    end, steps = int(facts[_R_END]), int(facts[_R_TIME])
    parent, member, why = (int(facts[column]) for column in (_R_PARENT, _R_MEMBER, _R_WHY))
    parts = []
    while member >= 0:
        parts.append((member, int(nodes[parent, _TIME]), why))
        member, why, parent = (int(nodes[parent, column]) for column in (_MEMBER, _WHY, _PARENT))
    return end, steps, parts[::-1]
