"""Policies as options: follow one member until something happens, then choose again among all of them.

A beam over sequences of segments, offline, on recorded transitions. Members act greedily among the actions that they
took themselves, and may differ in discount and budget. What a score is, the task says: its reward (tier I3), or what
outcomes are worth, see :mod:`lever_ray.composition.outcome_task` (tier I1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lever_ray.composition.option_search import UNFINISHED, option_search, route_found, search_scratch
from lever_ray.composition.segments import NO_EVENTS, SEGMENT_ENDS, route_of_segments
from lever_ray.embedding.offline import ENDED_BADLY, ENDED_WELL, LEFT_SUPPORT, TRUNCATED
from lever_ray.errors import InvalidValue, check_known
from lever_ray.tasks.kernel import GOAL, TERMINAL, CompiledTask, Memory

CYCLES: tuple[str, ...] = ("end", "choose")
MERGES: tuple[str, ...] = ("dominance", "pareto")
ESTIMATES: tuple[str, ...] = ("none", "exit")
OPTION_WIDTH = 30


@dataclass(frozen=True)
class OptionRules:
    """How options are searched.

    Attributes:
        cut: steps after which a segment ends; 0 for none. From 4 on down, the search plans over single moves.
        cycles: what follows where a member comes back to a full state of its own segment: ``end`` follows it in its
            loop to the horizon, ``choose`` makes the state a choice point (the search then plans over single moves).
        merge: ``dominance`` drops a full state that was reached before, on any level, with at least its score (where
            the task is discounted, after as many steps); ``pareto`` only after as many steps, which loses nothing.
        width: choice points kept per level; 0 for all.
        segments: segments simulated at most; 0 for no limit. The best route so far is the answer.
        estimate: what choice points of a level are ranked by: ``none``, their score so far; ``exit``, what leaving by
            the shortest recorded way to a goal would score in the end.

    Raises:
        InvalidValue: a number is negative or none.
        UnknownName: a rule is not known.
    """

    cut: int = 0
    cycles: str = "end"
    merge: str = "dominance"
    width: int = OPTION_WIDTH
    segments: int = 0
    estimate: str = "none"

    def __post_init__(self) -> None:
        for name, meaning in (("cut", "no cut"), ("width", "every choice point"), ("segments", "no limit")):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise InvalidValue(f"{name} of options is {value!r}; use a whole number, and 0 for {meaning}")
        check_known("rule for cycles of options", self.cycles, CYCLES)
        check_known("way to merge options", self.merge, MERGES)
        check_known("estimate of options", self.estimate, ESTIMATES)


class OptionStart(NamedTuple):
    """A full state to search from: the start of an episode, or where an agent finds itself.

    Attributes:
        observation: 0 to S - 1.
        memory: see :mod:`lever_ray.tasks.kernel`.
        steps: that are left until the horizon.
        paid: the event terms that were paid so far, as bits.
    """

    observation: int
    memory: Memory
    steps: int
    paid: int = 0


class Segment(NamedTuple):
    """One part of a route.

    Attributes:
        member: row of the member that is followed.
        begins: step of the route at which it takes over.
        ends: why it ends, one of :data:`lever_ray.composition.segments.SEGMENT_ENDS`.
    """

    member: int
    begins: int
    ends: str


@dataclass(frozen=True, eq=False)
class OptionRoute:
    """What a search over options found.

    Attributes:
        actions: int16[T], the whole route; loops are written out to the horizon.
        total: its score, the return from the start of the search on; that of the prefix where the route has no end.
        end: ``ENDED_WELL``, ``ENDED_BADLY``, ``TRUNCATED`` or ``LEFT_SUPPORT`` of :mod:`lever_ray.embedding.offline`,
            or :data:`~lever_ray.composition.option_search.UNFINISHED`.
        segments: who is followed, from when on.
        simulated: segments simulated: what the search cost.
        followed: steps of them; a loop is followed once.
        cut_short: whether the budget left some undone.
    """

    actions: np.ndarray
    total: float
    end: int
    segments: tuple[Segment, ...]
    simulated: int
    followed: int
    cut_short: bool

    @property
    def left_support(self) -> bool:
        """Whether every route leaves the recorded transitions; this is the best prefix then, and its total its own."""
        return self.end == LEFT_SUPPORT

    @property
    def unfinished(self) -> bool:
        """Whether the budget was spent before any route had ended; this is a beginning then."""
        return self.end == UNFINISHED


def option_start(task: CompiledTask) -> OptionStart:
    """Where episodes of a task begin.

    Raises:
        InvalidValue: there are several starts.
    """
    if len(task.starts) > 1:
        raise InvalidValue(
            f"a route of options answers one start, and this task has {len(task.starts)}; search from each, start=..."
        )
    return OptionStart(task.start, task.rules.memory, task.rules.horizon)


def search_options(
    task: CompiledTask,
    actions: np.ndarray,
    *,
    rules: OptionRules | None = None,
    start: OptionStart | None = None,
    events: np.ndarray | None = None,
    toward: np.ndarray | None = None,
    laps: bool = True,
) -> OptionRoute:
    """The best route of segments that is found from one full state.

    A route counts where it ends: at a terminal observation, at the horizon, or in a loop that is followed there. Where
    no choice point is left and nothing has ended, members are followed for good from the best one that has an end; what
    leaves the support is the answer only where there is nothing else, and says so. Equal questions have equal answers:
    ties go to fewer steps, then to fewer segments, then to lexicographically lower members.

    Args:
        task: see :class:`lever_ray.tasks.kernel.CompiledTask`; its rewards are the score.
        actions: int16[P, S], what each member does in each observation, -1 where it has no recorded action, see
            :func:`lever_ray.composition.routes.member_actions`.
        rules: how to search; the default ones where they are not given.
        start: where to begin; by default the task's start, with all steps left.
        events: uint64[S, A], see :class:`lever_ray.composition.segments.EventTerms`, for a task whose memory never
            changes; by default the memory alone tells events.
        toward: int16[1, S], see :func:`exit_moves`; the estimate ``exit`` asks for it.
        laps: whether the score of a loop that is followed to the horizon counts lap by lap, or once.

    Raises:
        InvalidValue: there is no member, shapes differ from the task's, the start does not exist, or there are several
            and none is given.
    """
    searched = rules or OptionRules()
    begin = option_start(task) if start is None else start
    _check(task, actions, begin, events)
    flag = int(task.flags[begin.observation])
    if flag & TERMINAL or begin.steps == 0:
        end = TRUNCATED if not flag & TERMINAL else ENDED_WELL if flag & GOAL else ENDED_BADLY
        return OptionRoute(np.empty(0, np.int16), 0.0, end, (), 0, 0, cut_short=False)
    table = np.require(actions, np.int16, ["C_CONTIGUOUS", "WRITEABLE"])
    state, (items, switch) = np.int64(begin.observation), begin.memory
    total, facts, nodes, simulated, followed, spent = option_search(
        task,
        NO_EVENTS if events is None else np.require(events, np.uint64, ["C_CONTIGUOUS", "WRITEABLE"]),
        table,
        _way_out(toward, searched, table),
        (state, (np.uint64(items), np.uint64(switch)), np.uint64(begin.paid)),
        int(begin.steps),
        searched.width,
        searched.segments,
        searched.cut,
        searched.cycles == "choose",
        searched.merge == "pareto" or task.rules.discount < 1,
        laps,
        search_scratch(task.observations),
    )
    end, steps, parts = route_found(facts, nodes)
    members, begins = (np.array([part[place] for part in parts], np.int64) for place in (0, 1))
    return OptionRoute(
        actions=route_of_segments(task.moves, table, state, members, begins, steps),
        total=float(total) if parts else 0.0,
        end=end,
        segments=tuple(Segment(member, begun, SEGMENT_ENDS[why]) for member, begun, why in parts),
        simulated=int(simulated),
        followed=int(followed),
        cut_short=bool(spent),
    )


def exit_moves(task: CompiledTask, taken: np.ndarray) -> np.ndarray:
    """int16[1, S]: the first action of a shortest recorded way to a goal, the lowest on a tie; -1 where there is none.

    Args:
        task: whose goals are sought.
        taken: bool[S, A], the recorded pairs.
    """
    goal, over = (task.flags & GOAL) != 0, (task.flags & TERMINAL) != 0
    toward, near, open_ = np.full(len(goal), -1, np.int16), goal, ~over
    usable = taken & open_[:, None]
    while near.any():
        leads = usable & near[task.moves] & open_[:, None]
        near = leads.any(axis=1)
        toward[near] = leads[near].argmax(axis=1)
        open_ &= ~near
    return toward[None]


def _way_out(toward: np.ndarray | None, rules: OptionRules, actions: np.ndarray) -> np.ndarray:
    """What the search is told of ends."""
    if rules.estimate == "none":
        return actions[:0]
    if toward is None or toward.shape != (1, actions.shape[1]):
        told = None if toward is None else toward.shape
        raise InvalidValue(
            f"estimate 'exit' of options needs toward=int16[1, {actions.shape[1]}], and it is {told}; see exit_moves, "
            "or use estimate 'none'"
        )
    return np.require(toward, np.int16, ["C_CONTIGUOUS", "WRITEABLE"])


def _check(task: CompiledTask, actions: np.ndarray, start: OptionStart, events: np.ndarray | None) -> None:
    states, shape = task.observations, (task.observations, task.actions)
    if actions.ndim != 2 or len(actions) < 1 or actions.shape[1] != states:
        raise InvalidValue(f"actions of options have shape {actions.shape}; this task needs (members, {states})")
    if actions.max() >= task.actions:
        raise InvalidValue(f"actions of options hold {actions.max()}; this task has 0 to {task.actions - 1}")
    if events is not None and events.shape != shape:
        raise InvalidValue(f"events of options have shape {events.shape}; this task needs {shape}")
    if not 0 <= start.observation < states:
        raise InvalidValue(f"start of options is observation {start.observation}; this task has 0 to {states - 1}")
    if start.steps < 0:
        raise InvalidValue(f"steps left for options are {start.steps}; use 0 or more")
