"""The best self-avoiding route: what a policy over positions alone can do, which never comes to a cell twice.

A deterministic policy over positions repeats itself from the first cell that it comes back to, so its episode is a
route through distinct cells that ends at the exit, at a hazard, in a cell without a supported action, or in a loop
(a bump or a cycle) until it is cut after N^2 steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np

from lever_ray.compiling import compiled
from lever_ray.tasks.gridworld.layout import Cell, Layout
from lever_ray.tasks.gridworld.planner import check_widths
from lever_ray.tasks.gridworld.terrain import ACTIONS, EXIT, GOLD, HAZARD, LEVER
from lever_ray.tasks.gridworld.waypoints import flood, walk, waypoint_cells
from lever_ray.tasks.kernel import CompiledTask, nearest_item, popcount, step
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.rollout import play
from lever_ray.tasks.support import read_support

WIDTH = 100
BRANCHING = 6
"""Golds that a state may go to next: the nearest ones."""
TWINS = 2
"""States kept of every (cell, golds left)."""
SPREAD_SHARE = 0.5
"""Part of the distances between the golds left that a state is held to earn; measured on the conformance layouts."""


@dataclass(frozen=True, eq=False)
class SelfAvoidingRoute:
    """A route that a policy over positions can follow.

    Attributes:
        total: return of its whole episode, in reward units.
        end: ``exit``, ``hazard``, ``bump`` or ``cycle`` (repeated until the episode is cut), or ``stuck`` (in a cell
            without a supported action).
        path: the distinct cells, the start first.
        actions: int16[T], the whole episode with its repetitions, at most N^2 moves.
        policy: int16[S], the action in every cell of the route; -1 elsewhere and where the episode ends.
    """

    total: float
    end: str
    path: tuple[Cell, ...]
    actions: np.ndarray
    policy: np.ndarray


class _States(NamedTuple):
    """Beam states: cell, golds left, lever, steps and return so far, score, where from, cells visited, their key."""

    at: np.ndarray
    golds: np.ndarray
    on: np.ndarray
    steps: np.ndarray
    totals: np.ndarray
    scores: np.ndarray
    parents: np.ndarray
    seen: np.ndarray
    keys: np.ndarray


@cache
def _cell_keys(states: int) -> np.ndarray:
    """uint64[S]: a fixed random number per cell; sets of cells are told apart by the exclusive or of theirs."""
    return np.random.default_rng(0).integers(0, 2**64, states, np.uint64)


@compiled()
def _unseen(moves, events, support, seen, start, stops, golds, backwards, serial, met, via, queue):
    """How many cells, listed in ``queue`` by closeness, unvisited ways reach; none leads on from a stop."""
    met[start], queue[0], head, tail = serial, start, 0, 1
    while head < tail:
        here = queue[head]
        head += 1
        event = np.int64(events[here])
        taken = event & GOLD and not (golds >> np.uint64(event >> 8)) & np.uint64(1)
        if head > 1 and (event ^ GOLD if taken else event) & stops:
            continue
        for turn in range(ACTIONS):
            action = ACTIONS - 1 - turn if backwards else turn
            target = np.int64(moves[here, action])
            if not (support[here, 0] >> action) & 1 or met[target] == serial or events[target] & HAZARD:
                continue
            if not (seen[target >> 6] >> np.uint64(target & 63)) & np.uint64(1):
                met[target], via[target], queue[tail] = serial, ACTIONS * here + action, target
                tail += 1
    return tail


@compiled(nogil=True)
def _expand(task, support, gold_cells, cell_keys, exit_bonus, wanted, branching, states):  # noqa: C901
    """One waypoint further from every state: its successors, how many, and the actions that led to each.

    Returns:
        ``(states, how many, log int8, begin int64)``: actions of successor i are ``log[begin[i] : begin[i + 1]]``.
        Successors at the exit have score -inf.
    """
    moves, events, rewards, near, _, _, rules = task
    at, masks, on, ages, totals, _, _, seen, keys = states
    cells, room = len(events), 2 * len(at) * (branching + 2)
    next_at, next_golds, next_on = np.empty(room, np.int64), np.empty(room, np.uint64), np.empty(room, np.int64)
    next_ages, next_totals, scores = np.empty(room, np.int64), np.empty(room), np.empty(room)
    parents, next_seen, next_keys = (
        np.empty(room, np.int64),
        np.empty((room, seen.shape[1]), np.uint64),
        np.empty(room, np.uint64),
    )
    log, begin, grown = np.empty(room * cells, np.int8), np.zeros(room + 1, np.int64), 0
    met, serial, exit_only = np.zeros(cells, np.int64), 0, np.int64(EXIT)
    via, queue, spare, found = (
        np.empty(cells, np.int64),
        np.empty(cells, np.int64),
        np.empty(cells, np.int64),
        np.empty(branching + 2, np.int64),
    )
    for turn in range(2 * len(at)):
        rank, backwards = turn // 2, turn % 2 == 1
        mask = masks[rank]
        stops = wanted & (~LEVER if on[rank] else -1)
        serial += 1
        count = _unseen(moves, events, support, seen[rank], at[rank], stops, mask, backwards, serial, met, via, queue)
        targets, golds_found = 0, 0
        for index in range(1, count):
            event = np.int64(events[queue[index]])
            is_gold = event & stops & GOLD and (mask >> np.uint64(event >> 8)) & np.uint64(1)
            golds_found += 1 if is_gold else 0
            if (is_gold and golds_found <= branching) or event & stops & (EXIT | LEVER):
                found[targets] = queue[index]
                targets += 1
        for index in range(targets):
            place, steps, cell = grown, 0, found[index]
            grown += 1
            for word in range(seen.shape[1]):
                next_seen[place, word] = seen[rank, word]
            while cell != at[rank]:
                next_seen[place, cell >> 6] |= np.uint64(1) << np.uint64(cell & 63)
                cell = via[cell] // ACTIONS
                steps += 1
            end, cell = begin[place] + steps, found[index]
            for back in range(1, steps + 1):
                log[end - back] = via[cell] % ACTIONS
                cell = via[cell] // ACTIONS
            left, lever, close, total, key = (
                mask,
                on[rank],
                nearest_item(near, cell, (mask, np.uint64(on[rank]))),
                totals[rank],
                keys[rank],
            )
            for move in range(begin[place], end):
                cell, (left, switch), close, reward, _ = step(
                    moves, events, rewards, near, rules, cell, (left, np.uint64(lever)), close, np.int64(log[move])
                )
                lever = np.int64(switch)
                total += reward
                key ^= cell_keys[cell]
            begin[grown], parents[place], next_at[place], next_golds[place] = end, rank, cell, left
            next_on[place], next_ages[place], next_totals[place], next_keys[place] = (
                lever,
                ages[rank] + steps,
                total,
                key,
            )
            scores[place] = -np.inf
            if events[cell] & EXIT:
                continue
            serial += 1
            count = _unseen(
                moves, events, support, next_seen[place], cell, exit_only, left, grown < 0, serial, met, spare, queue
            )
            near_golds, ahead = np.uint64(0), np.int64(0)
            for other in range(1, count):
                event = np.int64(events[queue[other]])
                ahead |= event & (EXIT | LEVER)
                if event & wanted & GOLD:
                    near_golds |= (np.uint64(1) << np.uint64(event >> 8)) & left
            lost, can_lever = popcount(left) - popcount(near_golds), lever == 1 or ahead & wanted & LEVER != 0
            score = total + rules.item_shaping * max(0, close) + rules.item_reward * popcount(near_golds)
            for gold in range(len(gold_cells)):
                if (near_golds >> np.uint64(gold)) & np.uint64(1):
                    others = near_golds ^ (np.uint64(1) << np.uint64(gold))
                    score += (
                        SPREAD_SHARE
                        * rules.item_shaping
                        * max(0, nearest_item(near, gold_cells[gold], (others, np.uint64(0))))
                    )
            if can_lever and not lever:
                score += rules.switch_reward
            if ahead & EXIT:
                score += exit_bonus[(1 if can_lever else 0) + (2 if lost == 0 else 0)] + lost * rules.item_left_cost
            scores[place] = score
    return (
        (next_at, next_golds, next_on, next_ages, next_totals, scores, parents, next_seen, next_keys),
        grown,
        log,
        begin,
    )


def best_self_avoiding(
    layout: Layout,
    *,
    objective: Objective | str,
    support: np.ndarray | None = None,
    width: int = WIDTH,
    shaping: float = 1.0,
) -> SelfAvoidingRoute:
    """J^ml_D: the best self-avoiding route found on supported transitions.

    A beam search from waypoint to waypoint (golds, lever, exit) by shortest ways through unvisited cells. States are
    compared after equal numbers of waypoints, by the return so far and an estimate of what can still be reached
    without crossing the own track. Beside routes to the exit, the state of highest return after every number of
    waypoints is closed in every way that ends an episode otherwise. The value found is a lower bound of J^ml_D.

    Args:
        layout: the grid.
        objective: what is rewarded.
        support: uint8[S, 1], bit ``a`` allows action ``a``; all of them by default.
        width: states kept per decision, at least 1.
        shaping: see :func:`lever_ray.tasks.gridworld.compile.compile_layout`.

    Raises:
        UnknownName, InvalidTask: see :func:`lever_ray.tasks.gridworld.compile.compile_layout`.
        InvalidValue: ``width`` is below 1, or ``support`` is of another shape.
    """
    check_widths((width,))
    task = layout.compile(objective, shaping=shaping)
    allowed = read_support(support, layout.observations, ACTIONS)
    found = list(_routes(task, allowed, width))
    if not any(task.flags[_cells(task, actions)[-1]] & EXIT for actions in found):
        found += _all_ways(task, allowed)
    candidates = [closed for actions in found for closed in _closings(task, allowed, actions)]
    total, policy, end = max(candidates, key=lambda candidate: candidate[0])
    return _read(layout, task, total, policy, end)


def _routes(task: CompiledTask, support: np.ndarray, width: int) -> Iterator[list[int]]:
    """Self-avoiding routes from the start: to the exit, and to the best state after every number of waypoints."""
    waypoints = waypoint_cells(task)
    wanted = EXIT | (GOLD if (waypoints[:-3] >= 0).any() else 0) | (LEVER if waypoints[-3] >= 0 else 0)
    keys, bonus = _cell_keys(len(task.flags)), _exit_bonus(task)
    states, best = _start(task), -np.inf
    routes: list[list[int]] = [[]]
    while len(states.at):
        yield routes[int(states.totals.argmax())]
        arrays, grown, log, begin = _expand(task, support, waypoints[:-3], keys, bonus, wanted, BRANCHING, states)
        after = _States(*(array[:grown] for array in arrays))
        at_exit = np.where(task.flags[after.at] & EXIT, after.totals, -np.inf)
        if grown and at_exit.max() > best:
            best = at_exit.max()
            yield _longer(routes, after, log, begin, int(at_exit.argmax()))
        kept = _best(after, keys, width)
        routes = [_longer(routes, after, log, begin, int(place)) for place in kept]
        states = _States(*(array[kept] for array in after))


def _longer(routes: list[list[int]], states: _States, log: np.ndarray, begin: np.ndarray, place: int) -> list[int]:
    return routes[int(states.parents[place])] + log[begin[place] : begin[place + 1]].tolist()


def _start(task: CompiledTask) -> _States:
    start, zero = task.start, np.zeros(1, np.int64)
    seen = np.zeros((1, (len(task.flags) + 63) // 64), np.uint64)
    seen[0, start >> 6] = np.uint64(1) << np.uint64(start & 63)
    golds, keys = np.array([task.rules.memory[0]], np.uint64), np.zeros(1, np.uint64)
    return _States(zero + start, golds, zero, zero, zero * 0.0, zero * 0.0, zero, seen, keys)


def _exit_bonus(task: CompiledTask) -> np.ndarray:
    """float64[4]: most that a move into the exit earns, by ``lever_on + 2 * (no golds left)``."""
    into = task.flags[task.moves] & EXIT > 0
    most: np.ndarray = task.rewards[:, into].max(axis=1)
    return most


def _best(states: _States, cell_keys: np.ndarray, width: int) -> np.ndarray:
    """Indices of at most ``width`` states of highest score short of the exit, best first.

    One of every (cell, cells visited) and at most ``TWINS`` of every (cell, golds) are kept, lest variants of one
    route crowd out the others.
    """
    order = np.argsort(-states.scores, kind="stable")[: int((states.scores > -np.inf).sum())]
    _, first = np.unique(states.keys[order] ^ (cell_keys[states.at[order]] << np.uint64(1)), return_index=True)
    order = order[np.sort(first)]
    groups = states.golds[order] * np.uint64(0x9E3779B97F4A7C15) + states.at[order].astype(np.uint64)
    together = np.argsort(groups, kind="stable")
    _, begins, sizes = np.unique(groups[together], return_index=True, return_counts=True)
    place = np.empty(len(order), np.int64)
    place[together] = np.arange(len(order)) - np.repeat(begins, sizes)
    return order[place < TWINS][:width]


def _all_ways(task: CompiledTask, support: np.ndarray) -> Iterator[list[int]]:
    """The shortest way to every cell that can be reached."""
    start = task.start
    depth, via = flood(task.moves, task.flags, support, np.zeros(len(task.flags), np.bool_), start)
    for cell in np.flatnonzero(depth >= 0):
        yield walk(via, start, int(cell))


def _cells(task: CompiledTask, actions: list[int]) -> list[int]:
    cells = [task.start]
    for action in actions:
        cells.append(int(task.moves[cells[-1], action]))
    return cells


def _closings(task: CompiledTask, support: np.ndarray, actions: list[int]) -> Iterator[tuple[float, np.ndarray, str]]:
    """``(return, policy int16[S], end)`` of every way in which a policy along a route can end its episode there."""
    cells = _cells(task, actions)
    last, policy = cells[-1], np.full(len(task.flags), -1, np.int16)
    policy[cells[:-1]] = actions
    if task.flags[last] & EXIT or support[last, 0] == 0:
        yield _total(task, policy, len(actions)), policy, "exit" if task.flags[last] & EXIT else "stuck"
        return
    for action in range(ACTIONS):
        target = int(task.moves[last, action])
        hazard = bool(task.flags[target] & HAZARD)
        if (support[last, 0] >> action) & 1 and (hazard or target in cells):
            closed = policy.copy()
            closed[last] = action
            end = "hazard" if hazard else "bump" if target == last else "cycle"
            yield _total(task, closed, task.rules.horizon), closed, end


def _total(task: CompiledTask, policy: np.ndarray, limit: int) -> float:
    """Return of following a policy for at most ``limit`` moves."""
    task = task._replace(rules=task.rules._replace(horizon=limit))
    return float(play(task, task.start, policy, True, np.empty(limit + 1, np.int32), np.empty(limit))[1])


def _read(layout: Layout, task: CompiledTask, total: float, policy: np.ndarray, end: str) -> SelfAvoidingRoute:
    cells: list[int] = [task.start]
    actions: list[int] = []
    while len(actions) < task.rules.horizon and policy[cells[-1]] >= 0:
        actions.append(int(policy[cells[-1]]))
        cells.append(int(task.moves[cells[-1], actions[-1]]))
    path = tuple(layout.cell(cell) for cell in dict.fromkeys(cells))
    return SelfAvoidingRoute(total, end, path, np.array(actions, np.int16), policy)
