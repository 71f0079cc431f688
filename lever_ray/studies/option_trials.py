"""Trials on top of options: what else closes the gap to the optimum, and at how many segments."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from time import perf_counter

import numpy as np

from lever_ray.composition.option_agent import OptionPlayer
from lever_ray.composition.option_operator import Options
from lever_ray.composition.options import OptionRoute
from lever_ray.composition.routes import ROUTE_CODES, route_returns
from lever_ray.embedding.offline import Pool
from lever_ray.tasks.kernel import ITEM, SWITCH, TERMINAL, CompiledTask, Memory, nearest_item, step
from lever_ray.tasks.support import taken_actions


@dataclass(frozen=True)
class Walked:
    """A full state along a route.

    Attributes:
        observation: 0 to S - 1.
        memory: with which.
        total: score so far.
    """

    observation: int
    memory: Memory
    total: float


def walked(task: CompiledTask, actions: np.ndarray) -> list[Walked]:
    """Every full state of a route, the start first; undiscounted scores."""
    moves, flags, rewards, near, _, _, rules = task
    state, memory, total = task.start, rules.memory, 0.0
    found = [Walked(int(state), memory, total)]
    for action in actions.tolist():
        nearest = nearest_item(near, state, memory)
        state, memory, _, reward, flag = step(moves, flags, rewards, near, rules, state, memory, nearest, action)
        total += reward
        found.append(Walked(int(state), memory, total))
        if flag & TERMINAL:
            break
    return found


def replanned(player: OptionPlayer, route: OptionRoute) -> tuple[np.ndarray, int]:
    """Interrupts segments: from every state of a route it is searched again, and the rest replaced where that pays.

    Returns:
        The actions, and the segments simulated for it beside the route's own.
    """
    actions, simulated, time = route.actions, 0, 1
    while time < len(actions):
        states = walked(player.task, actions)
        here, whole = states[time], states[-1].total
        if player.task.flags[here.observation] & TERMINAL:
            break
        other = player.search(here.observation, here.memory, steps=player.task.rules.horizon - time)
        simulated += other.simulated
        if not other.left_support and here.total + other.total > whole + 1e-9:
            actions = np.concatenate([actions[:time], other.actions])
        time += 1
    return actions, simulated


def improved(player: OptionPlayer, route: OptionRoute, taken: np.ndarray) -> tuple[np.ndarray, int]:
    """One improvement step, as ``gpi`` makes: along a route any recorded move may be made, options follow it.

    Args:
        player: searches the rest.
        route: it.
        taken: bool[S, A], the union of recorded actions.

    Returns:
        The best of all routes with one such move, and the segments simulated for it.
    """
    task, best, simulated = player.task, route.actions, 0
    states = walked(task, route.actions)
    highest = states[-1].total
    for time, here in enumerate(states[:-1]):
        for action in np.flatnonzero(taken[here.observation]).tolist():
            tried = np.append(route.actions[:time], action).astype(np.int16)
            after = walked(task, tried)[-1]
            if task.flags[after.observation] & TERMINAL or action == route.actions[time]:
                continue
            rest = player.search(after.observation, after.memory, steps=task.rules.horizon - time - 1)
            simulated += rest.simulated
            if not rest.left_support and after.total + rest.total > highest + 1e-9:
                best, highest = np.concatenate([tried, rest.actions]), after.total + rest.total
    return best, simulated


def polished(task: CompiledTask, actions: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """Shortest recorded ways between the events of a route, where the score gains by them: then it is partly a plan."""
    states, stops = walked(task, actions), [0]
    stops += [place for place in range(1, len(states)) if states[place].memory != states[place - 1].memory]
    stops += [len(states) - 1] if stops[-1] != len(states) - 1 else []
    parts: list[list[int]] = []
    for begin, end in pairwise(stops):
        kept = actions[begin:end].tolist()
        way = _shortest(task, states[begin], states[end].observation, taken)
        parts.append(kept if way is None or len(way) >= len(kept) else way)
    joined = np.array([action for part in parts for action in part], np.int16)
    return joined if walked(task, joined)[-1].total > states[-1].total else actions


def _shortest(task: CompiledTask, begin: Walked, goal: int, taken: np.ndarray) -> list[int] | None:
    """Actions of the shortest recorded way that meets no event before its end; None where there is none."""
    came: dict[int, tuple[int, int]] = {begin.observation: (-1, -1)}
    queue = deque([begin.observation])
    while queue:
        here = queue.popleft()
        for action in np.flatnonzero(taken[here]).tolist():
            after = int(task.moves[here, action])
            if after in came:
                continue
            came[after] = (here, action)
            if after == goal:
                return _back(came, after)
            if not task.flags[after] & TERMINAL and not _is_event(task, after, begin.memory):
                queue.append(after)
    return None


def _back(came: dict[int, tuple[int, int]], place: int) -> list[int]:
    way: list[int] = []
    while came[place][0] >= 0:
        place, action = came[place]
        way.insert(0, action)
    return way


def _is_event(task: CompiledTask, observation: int, memory: Memory) -> bool:
    flag = int(task.flags[observation])
    left = bool(flag & ITEM) and bool(int(memory[0]) >> (flag >> 8) & 1)
    return left or (bool(flag & SWITCH) and not int(memory[1]))


@dataclass(frozen=True)
class Trial:
    """What was done on top of a route, or beside it.

    Attributes:
        actions: int16[L] of the route; None for an operator that has none to play again.
        total: J by the reward, of such an operator.
        segments: simulated, those of the route begun with included.
        seconds: with the search of that route; most trials are written in Python, the search is compiled.
    """

    actions: np.ndarray | None
    total: float
    segments: int
    seconds: float


def trials(
    task: CompiledTask, rewarded: CompiledTask, pool: Pool, actions: np.ndarray, options: Options
) -> dict[str, Trial]:
    """Every trial on one pool by its name.

    Args:
        task: the environment with the score in place of the reward.
        rewarded: with the reward, which ``gpi`` and ``switch`` look at.
        pool: the members.
        actions: int16[P, S] of them.
        options: how they are searched.
    """
    player = OptionPlayer(task, actions, options.rules)
    narrow = replace(player, rules=replace(options, width=1).rules)
    begun = perf_counter()
    route = player.search(task.start)
    searched = perf_counter() - begun
    taken = taken_actions(np.bitwise_or.reduce(pool.support), pool.actions)
    tries: dict[str, Callable[[], tuple[np.ndarray, int]]] = {
        "interrupted": lambda: replanned(narrow, route),
        "improved": lambda: improved(narrow, route, taken),
        "polished": lambda: (polished(task, route.actions, taken), 0),
    }
    found: dict[str, Trial] = {}
    for name, attempt in tries.items():
        begun = perf_counter()
        better, more = attempt()
        found[name] = Trial(better, 0.0, route.simulated + more, searched + perf_counter() - begun)
    everyone, unwanted = np.arange(len(actions), dtype=np.int32)[None], np.empty((0, task.rules.horizon), np.int16)
    for name, code in ROUTE_CODES.items():
        begun = perf_counter()
        totals, _, _ = route_returns(rewarded, pool, actions, everyone, code, unwanted)
        found[f"{name} of the pool"] = Trial(None, float(totals[0]), 0, perf_counter() - begun)
    return found
