"""Other orders of the search over options, in plain Python over the compiled segments.

The beam of :mod:`lever_ray.composition.option_search` keeps so many choice points per number of segments. Here levels
go by steps or by memory events as well, or there are none (best first, from a priority queue), and choice points that
cannot beat the best route may be dropped. What a way costs is told in segments, not in seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from lever_ray.compiling import compiled
from lever_ray.composition.option_search import UNFINISHED
from lever_ray.composition.options import OptionRoute, OptionRules, OptionStart, Segment, option_start, search_options
from lever_ray.composition.segments import END, NO_EVENTS, SEGMENT_ENDS, route_of_segments, segment
from lever_ray.embedding.offline import LEFT_SUPPORT
from lever_ray.errors import InvalidValue, check_known
from lever_ray.studies.option_bound import GainBound
from lever_ray.studies.option_trials import Trial
from lever_ray.tasks.kernel import CompiledTask, nearest_item

LEVELS: tuple[str, ...] = ("segments", "steps", "events", "none")
PRUNES: tuple[str, ...] = ("none", "steps", "score")
TRIED_WIDTHS = (3, 10, 30, 100)
_WORD = (1 << 64) - 1
"""Words of a memory come back by their bits, as signed numbers."""
_NEAR_ENOUGH = 1e-9
"""Scores that differ by less count as equal where they are bounded: sums are not made in the same order."""


@dataclass(frozen=True)
class Order:
    """In which order choice points are tried.

    Attributes:
        levels: what a level is: ``segments``, as the compiled search has it; ``steps`` made so far, in buckets;
            ``events``: items taken, the switch and event terms paid so far; ``none``: one level. The lowest level comes
            first; so many choice points of it as the width says are followed, the best first, and those of the same
            level that they lead to compete with them.
        bucket: steps of a level.
        bounded: whether choice points are ranked by score so far and the bound on what is left together, see
            :class:`~lever_ray.studies.option_bound.GainBound`, instead of by the score alone.
        prune: which choice points are dropped: ``none``; ``score``: those that cannot have a higher score than the best
            route with an end; ``steps``: of those, the ones that cannot have an equal score in fewer steps.

    Raises:
        UnknownName: a rule is not known.
        InvalidValue: the bucket is below 1.
    """

    levels: str = "segments"
    bucket: int = 8
    bounded: bool = False
    prune: str = "none"

    def __post_init__(self) -> None:
        check_known("level of options", self.levels, LEVELS)
        check_known("prune of options", self.prune, PRUNES)
        if self.bucket < 1:
            raise InvalidValue(f"bucket of options is {self.bucket}; use at least 1 step")


class _Node:
    """A choice point, or the end of a route."""

    __slots__ = ("begun", "dropped", "level", "memory", "nearest", "paid", "parent", "rank", "state", "weight", "why")

    def __init__(
        self, rank: _Rank, state: int, memory: tuple[int, int], paid: int, nearest: int, weight: float
    ) -> None:
        self.rank, self.state, self.memory, self.paid, self.nearest = rank, state, memory, paid, nearest
        self.weight, self.level, self.dropped = weight, 0, False
        self.parent: _Node | None = None
        self.begun, self.why = 0, -1

    @property
    def total(self) -> float:
        return -self.rank.loss

    @property
    def time(self) -> int:
        return self.rank.time

    def key(self, timed: bool) -> tuple[int, ...]:
        """The full state."""
        return self.state, *self.memory, self.paid, self.rank.time if timed else 0


class _Rank(NamedTuple):
    """The order of nodes and routes: the score, then fewer steps, then fewer segments, then lower members."""

    loss: float
    time: int
    segments: int
    route: tuple[int, ...]


@compiled(nogil=True)
def _followed(
    task, events, actions, most, state, memory, nearest, paid, time, total, weight, horizon, cut, choose, through,
    laps, seen, stamp, sums, facts, sofar,
):  # fmt: skip
    """Follow every member that can act from one full state on, and at most so many; below 0, all.

    Gives how many were followed, how many could be, and the new stamp. ``facts`` int64[P, 9] are overwritten with
    member, why, end, observation, items, switch, paid terms, steps to the nearest item and time, ``sofar``
    float64[P, 2] with return and discount; all else is as :func:`lever_ray.composition.segments.segment` has it.
    """
    moves, flags, rewards, near, _, _, rules = task
    count, able = 0, 0
    for member in range(len(actions)):
        if actions[member, state] < 0:
            continue
        able += 1
        if count == most:
            continue
        why, end, after, (items, switch), close, met, when, earned, factor, stamp = segment(
            moves, flags, rewards, near, rules, events, actions, member, state, memory, nearest, paid, time, total,
            weight, horizon, cut, choose, through, laps, seen, stamp, sums,
        )  # fmt: skip
        facts[count, 0], facts[count, 1], facts[count, 2], facts[count, 3] = member, why, end, after
        facts[count, 4], facts[count, 5], facts[count, 6], facts[count, 7] = items, switch, met, close
        facts[count, 8] = when
        sofar[count, 0], sofar[count, 1] = earned, factor
        count += 1
    return count, able, stamp


@dataclass(eq=False)
class _Search:
    """One search; see :func:`search_in_order`."""

    task: CompiledTask
    actions: np.ndarray
    start: OptionStart
    rules: OptionRules
    order: Order
    events: np.ndarray
    laps: bool
    simulated: int = 0
    stamp: int = 0
    spent: bool = False
    kept: list[_Node] = field(default_factory=list)
    open: dict[int, list[Any]] = field(default_factory=dict)
    reached: dict[tuple[int, ...], _Node] = field(default_factory=dict)
    whole: tuple[_Node, int] | None = None
    begun: tuple[_Node, int] | None = None
    off: tuple[_Node, int] | None = None

    def __post_init__(self) -> None:
        states, members = self.task.observations, len(self.actions)
        self.timed = self.rules.merge == "pareto" or self.task.rules.discount < 1
        self.bound = GainBound(self.task, self.actions, int(self.start.memory[0]), self.start.steps)
        self.seen = np.full(states, -1, np.int64)
        self.sums = np.empty(min(self.start.steps, states) + 2)
        self.facts, self.sofar = np.empty((members, 9), np.int64), np.empty((members, 2))
        ways: dict[str, Callable[[_Node], int]] = {
            "segments": lambda node: node.rank.segments,
            "steps": lambda node: node.time // self.order.bucket,
            "events": lambda node: node.memory[1] + node.paid.bit_count() - node.memory[0].bit_count(),
            "none": lambda _node: 0,
        }
        self.level_of = ways[self.order.levels]

    def run(self) -> None:
        items, switch = self.start.memory
        close = nearest_item(self.task.near, np.int64(self.start.observation), (np.uint64(items), np.uint64(switch)))
        self.root = _Node(
            _Rank(-0.0, 0, 0, ()), self.start.observation, (int(items), int(switch)), self.start.paid, int(close), 1.0
        )
        self.root.level = self.level_of(self.root)
        self.reached[self.root.key(self.timed)] = self.root
        self.push(self.root)
        while self.open and not self.spent:
            level = min(self.open)
            self.follow_level(self.open[level])
            del self.open[level]
        if not self.whole and not self.spent:
            for node in sorted(self.kept, key=lambda node: node.rank.loss):
                if self.whole or self.spent:
                    break
                self.follow(node, through=True)

    def follow_level(self, queue: list[Any]) -> None:
        places = self.rules.width or -1
        while queue and places and not self.spent:
            node = heappop(queue)[-1]
            if node.dropped or (self.order.prune != "none" and self.is_hopeless(node)):
                continue
            places -= 1
            self.kept.append(node)
            self.follow(node, through=False)

    def push(self, node: _Node) -> None:
        first = round(node.rank.loss - node.weight * self.gain(node), 9) if self.order.bounded else 0.0
        heappush(self.open.setdefault(node.level, []), (first, *node.rank, node))

    def gain(self, node: _Node) -> float:
        return self.bound(node.state, *node.memory, node.nearest)

    def is_hopeless(self, node: _Node) -> bool:
        """Whether no route through a node comes before the best one."""
        if not self.whole:
            return False
        best = self.whole[0]
        most = node.total + node.weight * self.gain(node)
        if abs(most - best.total) > _NEAR_ENOUGH:
            return most < best.total
        return self.order.prune == "score" or node.time + 1 > best.time

    def follow(self, node: _Node, *, through: bool) -> None:
        """Follow every member from a node on."""
        budget = self.rules.segments - self.simulated if self.rules.segments else -1
        memory = np.uint64(node.memory[0]), np.uint64(node.memory[1])
        count, able, self.stamp = _followed(
            self.task, self.events, self.actions, budget, node.state, memory, node.nearest, np.uint64(node.paid),
            node.time, node.total, node.weight, self.start.steps, self.rules.cut, self.rules.cycles == "choose",
            through, self.laps, self.seen, self.stamp, self.sums, self.facts, self.sofar,
        )  # fmt: skip
        self.simulated += count
        self.spent = count < able
        if not able:
            self.off = _better(self.off, node, LEFT_SUPPORT)
        for fact, sofar in zip(self.facts[:count].tolist(), self.sofar[:count].tolist(), strict=True):
            self.offer(node, fact, sofar)

    def offer(self, node: _Node, fact: list[int], sofar: list[float]) -> None:
        member, why, end, state, items, switch, paid, nearest, time = fact
        memory, count = (items & _WORD, switch & _WORD), node.rank.segments + 1
        known = None
        if why < END:
            known = self.reached.get((state, *memory, paid & _WORD, time if self.timed else 0))
            if known and (-known.rank.loss, -known.rank.time, -known.rank.segments) > (sofar[0], -time, -count):
                return
        after = _Node(
            _Rank(-sofar[0], time, count, (*node.rank.route, member)), state, memory, paid & _WORD, nearest, sofar[1]
        )
        after.parent, after.begun, after.why = node, node.time, why
        if why >= END:
            if end == LEFT_SUPPORT:
                self.off = _better(self.off, after, end)
            else:
                self.whole = _better(self.whole, after, end)
            return
        if known and known.rank <= after.rank:
            return
        after.level = self.level_of(after)
        if known and known.level == after.level:
            known.dropped = True
        self.reached[after.key(self.timed)] = after
        self.push(after)
        self.begun = _better(self.begun, after, UNFINISHED)

    def route(self) -> OptionRoute:
        found = self.whole or (self.begun if self.spent else self.off)
        node, end = found or (self.root, UNFINISHED)
        last = node
        parts: list[Segment] = []
        while node.parent is not None:
            parts.insert(0, Segment(node.rank.route[-1], node.begun, SEGMENT_ENDS[node.why]))
            node = node.parent
        members = np.array([part.member for part in parts], np.int32)
        begins = np.array([part.begins for part in parts], np.int64)
        start = np.int64(self.start.observation)
        return OptionRoute(
            route_of_segments(self.task.moves, self.actions, start, members, begins, last.time),
            last.total if parts else 0.0,
            end,
            tuple(parts),
            self.simulated,
            self.stamp - self.simulated,
            cut_short=self.spent,
        )


def _better(known: tuple[_Node, int] | None, node: _Node, end: int) -> tuple[_Node, int]:
    return (node, end) if known is None or node.rank < known[0].rank else known


def search_in_order(
    task: CompiledTask,
    actions: np.ndarray,
    *,
    rules: OptionRules | None = None,
    order: Order | None = None,
    start: OptionStart | None = None,
    events: np.ndarray | None = None,
    laps: bool = True,
) -> OptionRoute:
    """The best route of segments that is found where choice points are tried in some order.

    By default it is :func:`lever_ray.composition.options.search_options`, segment by segment.

    Args:
        task: see there, as for all others but ``order``; the start is not terminal and has steps left.
        actions: see there.
        rules: see there; the width is that of each level.
        order: levels, ranks and what is dropped.
        start: see there.
        events: see there.
        laps: see there.

    Raises:
        InvalidValue: there are several starts and none is given.
    """
    table = np.require(actions, np.int16, ["C_CONTIGUOUS", "WRITEABLE"])
    pays = NO_EVENTS if events is None else np.require(events, np.uint64, ["C_CONTIGUOUS", "WRITEABLE"])
    search = _Search(task, table, start or option_start(task), rules or OptionRules(), order or Order(), pays, laps)
    search.run()
    return search.route()


def orders(rules: OptionRules, simulated: int) -> dict[str, tuple[OptionRules, Order]]:
    """Every other way to search by its name.

    Args:
        rules: of the search that they stand beside.
        simulated: segments that it took: the budget of best-first search.
    """
    budget = replace(rules, width=0, segments=simulated)
    found = {
        "pruned": (rules, Order(prune="steps")),
        "pruned, ties too": (rules, Order(prune="score")),
        "ranked by the bound": (rules, Order(bounded=True, prune="steps")),
        "best first": (budget, Order("none", bounded=True, prune="steps")),
        "best first, ties pruned": (budget, Order("none", bounded=True, prune="score")),
        "best score first": (budget, Order("none", prune="steps")),
        "levels of 8 steps, pruned": (rules, Order("steps", prune="steps")),
    }
    ways = {"segments": Order(), "8 steps": Order("steps")} | ({"memory events": Order("events")} if rules.cut else {})
    for name, order in ways.items():
        for width in TRIED_WIDTHS:
            found[f"levels of {name}, width {width}"] = replace(rules, width=width), order
    return found


def level_trials(task: CompiledTask, actions: np.ndarray, rules: OptionRules) -> dict[str, Trial]:
    """Other orders of a search on one pool by their names.

    Args:
        task: the environment with the score in place of the reward.
        actions: int16[P, S] of the members.
        rules: of the search that they stand beside.
    """
    usual, found = search_options(task, actions, rules=rules), {}
    for name, (kept, order) in orders(rules, usual.simulated).items():
        begun = perf_counter()
        route = search_in_order(task, actions, rules=kept, order=order)
        found[name] = Trial(route.actions, 0.0, route.simulated, perf_counter() - begun)
    return found
