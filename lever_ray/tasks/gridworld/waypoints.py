"""Routes as orders of waypoints: a beam search that decides where to go next, not every step.

Distance shaping telescopes, so between two events the shortest way past no other waypoint is best, and what remains
to be decided is the order of the golds, the lever and the exit: at most 66 decisions instead of N^2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lever_ray.compiling import compiled
from lever_ray.tasks.gridworld.terrain import ACTIONS, BLOCK, EXIT, GOLD, HAZARD, LEVER
from lever_ray.tasks.kernel import TERMINAL, CompiledTask
from lever_ray.tasks.support import full_support

UNREACHABLE = 1 << 20
"""Steps to what cannot be reached; larger than any horizon."""
BRANCHING = 6
"""Golds that a state may go to next: the nearest ones."""


@compiled()
def flood(moves, events, support, closed, start):
    """Shortest supported ways from ``start``: ``(depth int64[S], via int64[S])``.

    Cells of ``closed``, bool[S], and the exit are entered and not left again; hazards are not entered. ``depth`` is -1
    where no way leads; ``via`` is ``4 * state + action`` of the last move.
    """
    states = len(events)
    depth, via, queue = np.full(states, -1, np.int64), np.full(states, -1, np.int64), np.empty(states, np.int64)
    depth[start], queue[0], head, tail = 0, start, 0, 1
    while head < tail:
        here = queue[head]
        head += 1
        for action in range(ACTIONS):
            target = np.int64(moves[here, action])
            if depth[target] >= 0 or not (support[here, 0] >> action) & 1 or events[target] & HAZARD:
                continue
            depth[target], via[target] = depth[here] + 1, ACTIONS * here + action
            if not (closed[target] or events[target] & EXIT):
                queue[tail] = target
                tail += 1
    return depth, via


def walk(via: np.ndarray, start: int, target: int) -> list[int]:
    """Actions from ``start`` to ``target`` along the ways that :func:`flood` found."""
    actions = []
    while target != start:
        target, action = divmod(int(via[target]), ACTIONS)
        actions.append(action)
    return actions[::-1]


@dataclass(frozen=True, eq=False)
class Chart:
    """The waypoints of a task on some support, and the ways between them.

    Waypoints are numbered: golds by their bit, then the lever (G), the exit (G + 1) and the start (G + 2). Golds and
    lever count where they matter to the task. Axes named ``on`` are the lever's state.

    Attributes:
        task: the task.
        support: uint8[S, 1], bit ``a`` allows action ``a``.
        cells: int64[G + 3], state indices, -1 for a waypoint that does not count.
        direct: int64[2 (on), G + 3, G + 3], steps of a shortest way past no other waypoint.
        through: int64[2, G + 3, G + 3], steps of a shortest way.
        between: uint64[2, G + 3, G + 3], mask of the golds that the latter passes.
        gains: float64[4, G + 3, G + 3], reward of a way without its step costs, pick-ups and nearest-gold shaping, by
            ``lever_on + 2 * (no golds left)``.
        step_cost: cost of a step, in reward units.
        gold_steps: int64[G + 3, G], breadth-first steps to each gold, as the nearest-gold shaping counts them.
    """

    task: CompiledTask
    support: np.ndarray
    cells: np.ndarray
    direct: np.ndarray
    through: np.ndarray
    between: np.ndarray
    gains: np.ndarray
    step_cost: float
    gold_steps: np.ndarray

    @property
    def golds(self) -> int:
        """G, the number of golds."""
        return len(self.cells) - 3

    @classmethod
    def of(cls, task: CompiledTask, support: np.ndarray) -> Chart:
        """Measure the ways between all waypoints of ``task`` on ``support``, uint8[S, 1]."""
        cells = waypoint_cells(task)
        direct = np.stack(
            [_direct(task, support, cells, lever_on) for lever_on in (False, True)[: 1 + (cells[-3] >= 0)]]
        )
        direct = np.broadcast_to(direct, (2, *direct.shape[1:])).copy()
        through, between = _through(direct, len(cells) - 3)
        step_cost = _step_cost(task)
        potential = _potentials(task, step_cost)[:, cells]
        gains = potential[:, :, None] - potential[:, None, :]
        return cls(task, support, cells, direct, through, between, gains, step_cost, _gold_steps(task, cells))


def waypoint_cells(task: CompiledTask) -> np.ndarray:
    """int64[G + 3]: cells of the golds, the lever, the exit and the start; -1 for what does not matter to the task."""
    events, rules = task.flags, task.rules
    by_case = task.rewards.reshape(2, 2, -1)
    golds_matter = rules.item_reward > 0 or (by_case[0] != by_case[1]).any()
    lever_matters = rules.switch_reward > 0 or (by_case[:, 0] != by_case[:, 1]).any()
    cells = np.full(int(rules.memory[0]).bit_count() + 3, -1, np.int64)
    if golds_matter:
        golds = np.flatnonzero(events & GOLD)
        cells[events[golds] >> 8] = golds
    if lever_matters and (events & LEVER).any():
        cells[-3] = np.flatnonzero(events & LEVER)[0]
    cells[-2:] = np.flatnonzero(events & EXIT)[0], task.start
    return cells


def _direct(task: CompiledTask, support: np.ndarray, cells: np.ndarray, lever_on: bool) -> np.ndarray:
    steps = np.full((len(cells), len(cells)), UNREACHABLE, np.int64)
    closed = np.zeros(len(task.flags), np.bool_)
    closed[cells[:-3][cells[:-3] >= 0]] = True
    closed[cells[-3:-2][cells[-3:-2] >= 0]] = not lever_on
    for source in np.flatnonzero(cells >= 0):
        if source != len(cells) - 2:
            depth, _ = flood(task.moves, task.flags, support, closed, cells[source])
            steps[source] = np.where((depth[cells] < 0) | (cells < 0), UNREACHABLE, depth[cells])
    return steps


def _through(direct: np.ndarray, golds: int) -> tuple[np.ndarray, np.ndarray]:
    """Shortest ways past other golds, and the masks of these (Floyd and Warshall)."""
    steps, between = direct.copy(), np.zeros(direct.shape, np.uint64)
    for gold in range(golds):
        longer = steps[:, :, gold, None] + steps[:, gold, None, :]
        shorter = longer < steps
        passed = between[:, :, gold, None] | between[:, gold, None, :] | (np.uint64(1) << np.uint64(gold))
        steps, between = np.where(shorter, longer, steps), np.where(shorter, passed, between)
    return steps, between


def _step_cost(task: CompiledTask) -> float:
    """Half of what going to a neighbour and back costs; shaping cancels out."""
    origin, target = np.repeat(np.arange(len(task.flags)), ACTIONS), task.moves.ravel()
    free = (task.flags[origin] | task.flags[target]) & (TERMINAL | BLOCK) == 0
    moved = np.flatnonzero(free & (origin != target))
    if not len(moved):
        return 0.0
    rewards = task.rewards[0].ravel()
    back = ACTIONS * target[moved[0]] + (moved[0] + 2) % ACTIONS
    return -float(rewards[moved[0]] + rewards[back]) / 2


def _potentials(task: CompiledTask, step_cost: float) -> np.ndarray:
    """float64[4, S]: a way from x to y earns potential(x) - potential(y) less its step costs; bonuses at the exit."""
    states = len(task.flags)
    everything, nothing = full_support(states, ACTIONS), np.zeros(states, np.bool_)
    depth, via = flood(task.moves, task.flags, everything, nothing, task.start)
    rewards = task.rewards.reshape(len(task.rewards), -1)
    potentials = np.zeros((4, states))
    for distance in range(1, int(depth.max()) + 1):
        cells = np.flatnonzero(depth == distance)
        potentials[:, cells] = potentials[:, via[cells] // ACTIONS] - rewards[:, via[cells]] - step_cost
    return potentials


def _gold_steps(task: CompiledTask, cells: np.ndarray) -> np.ndarray:
    steps = np.full((len(cells), len(cells) - 3), UNREACHABLE, np.int64)
    for waypoint, cell in enumerate(cells):
        entries = task.near[cell][task.near[cell] >= 0] if cell >= 0 else task.near[0, :0]
        steps[waypoint, entries & 255] = entries >> 8
    return steps


class _States(NamedTuple):
    """Beam states: waypoint reached, mask of the golds left, lever, steps and return so far, score, where from."""

    at: np.ndarray
    golds: np.ndarray
    on: np.ndarray
    steps: np.ndarray
    totals: np.ndarray
    scores: np.ndarray
    parents: np.ndarray


@compiled(nogil=True)
def _expand(direct, through, between, gains, gold_steps, rules, step_cost, branching, states):  # noqa: C901
    """One decision further from every state: ``(states, how many, best return by going to the exit, from which)``.

    Of states with equal waypoint, golds and lever the one of highest return is listed, once.
    """
    at, masks, on, ages, totals, _, _ = states
    golds, shaping = gold_steps.shape[1], rules.item_shaping
    room, grown, best, best_rank = len(at) * (branching + 1), 0, -np.inf, 0
    size = 2 * room + 1
    table = np.full(size, -1, np.int64)
    next_at, next_golds, next_on = np.empty(room, np.int64), np.empty(room, np.uint64), np.empty(room, np.int64)
    next_ages, next_totals, scores = np.empty(room, np.int64), np.empty(room), np.empty(room)
    parents, present = np.empty(room, np.int64), np.empty(golds, np.int64)
    ways, rise = np.empty(golds + 2, np.int64), np.empty(golds + 1, np.int64)
    for rank in range(len(at)):
        here, mask, lever, total = at[rank], masks[rank], on[rank], totals[rank]
        case = lever + (2 if mask == 0 else 0)
        for waypoint in range(golds + 2):
            steps = direct[lever, here, waypoint]
            if between[lever, here, waypoint] & mask == 0:
                steps = through[lever, here, waypoint]
            ways[waypoint] = steps if ages[rank] + steps <= rules.horizon else UNREACHABLE
            rise[min(waypoint, golds)] = 0
        near_here, near_lever, near_exit, left, to_come = UNREACHABLE, UNREACHABLE, UNREACHABLE, 0, 0
        for gold in range(golds):
            if (mask >> np.uint64(gold)) & np.uint64(1):
                present[left] = gold
                left += 1
        for index in range(left):
            gold = present[index]
            near_here = min(near_here, gold_steps[here, gold])
            near_lever = min(near_lever, gold_steps[golds, gold])
            near_exit = min(near_exit, gold_steps[golds + 1, gold])
            first, second, which = UNREACHABLE, UNREACHABLE, golds
            for other_index in range(left):
                other = present[other_index]
                steps = gold_steps[gold, other]
                if other == gold or steps >= second:
                    continue
                if steps < first:
                    first, second, which = steps, first, other
                else:
                    second = steps
            to_come += first % UNREACHABLE
            rise[which] += second % UNREACHABLE - first % UNREACHABLE
        near_here, near_lever, near_exit = near_here % UNREACHABLE, near_lever % UNREACHABLE, near_exit % UNREACHABLE
        if ways[golds + 1] < UNREACHABLE:
            end = total + gains[case, here, golds + 1] - step_cost * ways[golds + 1]
            end += shaping * (near_here - near_exit) + rules.item_left_cost * left
            if end > best:
                best, best_rank = end, rank
        for turn in range(branching + 1):
            waypoint = golds
            nearest = UNREACHABLE
            for index in range(left if turn < branching else 0):
                if ways[present[index]] < nearest:
                    waypoint = present[index]
                    nearest = ways[waypoint]
            if waypoint == golds and (turn < branching or lever or ways[golds] >= UNREACHABLE):
                continue
            after = total + gains[case, here, waypoint] - step_cost * ways[waypoint] + shaping * near_here
            if waypoint < golds:
                left_then, lever_then = mask ^ (np.uint64(1) << np.uint64(waypoint)), lever
                after, ahead = after + rules.item_reward, shaping * (to_come + rise[waypoint])
            else:
                left_then, lever_then = mask, lever + 1
                after, ahead = after + rules.switch_reward - shaping * near_lever, shaping * (to_come + near_lever)
            slot = (
                np.int64((left_then * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(33)) + 2 * waypoint + lever_then
            ) % size
            place = table[slot]
            while place >= 0 and not (
                next_at[place] == waypoint and next_golds[place] == left_then and next_on[place] == lever_then
            ):
                slot = (slot + 1) % size
                place = table[slot]
            if place < 0:
                place, table[slot] = grown, grown
                grown += 1
            elif next_totals[place] >= after:
                place = room
            if place < room:
                next_at[place], next_golds[place], next_on[place] = waypoint, left_then, lever_then
                next_totals[place], scores[place] = after, after + ahead
                parents[place], next_ages[place] = rank, ages[rank] + ways[waypoint]
            ways[waypoint] = UNREACHABLE
    return (next_at, next_golds, next_on, next_ages, next_totals, scores, parents), grown, best, best_rank


def best_order(chart: Chart, *, width: int, branching: int = BRANCHING) -> list[int]:
    """Order of waypoints, the exit last, of the best route found; empty where none was found.

    States are compared after equal numbers of waypoints, by the return so far plus the nearest-gold shaping to come:
    the distance from here to the nearest gold and from each gold left to its nearest other.

    Args:
        chart: the ways.
        width: states kept per decision, one of every (waypoint, golds, lever).
        branching: golds that a state may go to next, the nearest ones.
    """
    ways = (chart.direct, chart.through, chart.between, chart.gains, chart.gold_steps)
    states, levels = _start(chart), []
    best, best_level, rank = -np.inf, 0, 0
    while len(states.at):
        levels.append(states)
        arrays, grown, at_exit, exit_rank = _expand(*ways, chart.task.rules, chart.step_cost, branching, states)
        if at_exit > best:
            best, best_level, rank = at_exit, len(levels) - 1, exit_rank
        states = _best(_States(*(array[:grown] for array in arrays)), width)
    if best == -np.inf:
        return []
    order = [chart.golds + 1]
    for level in range(best_level, 0, -1):
        order.append(int(levels[level].at[rank]))
        rank = levels[level].parents[rank]
    return order[::-1]


def _start(chart: Chart) -> _States:
    mask = sum(1 << gold for gold in range(chart.golds) if chart.cells[gold] >= 0)
    zero = np.zeros(1, np.int64)
    return _States(zero + chart.golds + 2, np.array([mask], np.uint64), zero, zero, zero * 0.0, zero * 0.0, zero)


def _best(states: _States, width: int) -> _States:
    """At most ``width`` states of highest score, best first, the earlier on a tie."""
    kept = np.argsort(-states.scores, kind="stable")[:width]
    return _States(*(array[kept] for array in states))


def realise(chart: Chart, order: list[int]) -> np.ndarray:
    """Actions int8[T] of the shortest supported ways from waypoint to waypoint, each past no other one left."""
    task, here, actions = chart.task, int(chart.cells[-1]), []
    closed = np.zeros(len(task.flags), np.bool_)
    closed[chart.cells[:-2][chart.cells[:-2] >= 0]] = True
    for waypoint in order:
        target = int(chart.cells[waypoint])
        _, via = flood(task.moves, task.flags, chart.support, closed, here)
        actions += walk(via, here, target)
        closed[target], here = False, target
    return np.array(actions, np.int8)
