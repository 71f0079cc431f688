"""Every way of answering from the same records: its return, milliseconds, and the memory that it takes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import process_time
from typing import Any

import numpy as np

from lever_ray.composition.option_operator import Options, events_of
from lever_ray.composition.options import OptionRoute, search_options
from lever_ray.composition.outcome_task import OutcomeWorth, outcome_task
from lever_ray.composition.routes import member_actions
from lever_ray.embedding.offline import SUM, Pool, make_pool, offline_returns
from lever_ray.policies.group import PolicyGroup
from lever_ray.studies.option_study import constant_actions, random_actions
from lever_ray.studies.peak_memory import peak_growth
from lever_ray.tasks.kernel import CompiledTask
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.protocol import Environment, Plan
from lever_ray.tasks.rollout import rollout

PLAN_WIDTH = 100
CUT = 16
"""Steps after which segments of ``cut_I3`` end: the longest cut of those that were tried, the farthest from a plan."""
WAYS: tuple[str, ...] = (
    "options_I1", "options_I3", "cut_I3", "random_I3", "moves_I1", "moves_I3", "plan_I3", "walks_I3",
)  # fmt: skip
"""Options by outcomes, by the reward, with a cut, and of random tables with that cut; a beam over single moves by
outcomes and by the reward; the family's planner on the records, and on those of as many uniformly random steps."""
MEGABYTE = 1e6


@dataclass(frozen=True)
class Way:
    """A way of answering.

    Attributes:
        answer: gives a route or a plan.
        held: arrays that must be at hand for it.
    """

    answer: Callable[[], OptionRoute | Plan]
    held: Sequence[np.ndarray | None]


def measured(
    task: Environment,
    wanted: Objective,
    groups: Sequence[PolicyGroup],
    *,
    walked: np.ndarray,
    worth: OutcomeWorth | None,
) -> dict[str, Any]:
    """What every way reaches and costs on the records of some groups.

    Args:
        task: the environment, of one start.
        wanted: what is rewarded, resolved.
        groups: whose members are followed, and whose records are planned on.
        walked: uint8[S, B], what random walks recorded, of as many steps as training the members took.
        worth: of outcomes; None leaves out the ways that are scored by it.

    Returns:
        ``return`` by way, and of the best single policy in the environment as ``single``; ``milliseconds`` of CPU time
        of one answer, and of what comes before: the members' action ``tables`` and the ``events``; ``megabytes`` of the
        arrays that are held for an answer; ``peak``, megabytes by which the process grows at most while it answers;
        ``pairs`` and ``segments``. What is not asked is NaN.
    """
    support = np.concatenate([group.support for group in groups])
    pool, union = make_pool(np.concatenate([group.q for group in groups]), support), np.bitwise_or.reduce(support)
    rewarded = task.compile(wanted)
    alone = np.arange(len(pool.q), dtype=np.int32)[:, None]
    singles, _ = offline_returns(rewarded, pool, alone, SUM, True, False)
    member_actions(pool)
    tables, actions = _timed(lambda: member_actions(pool))
    events_of(task, wanted, union)
    telling, events = _timed(lambda: events_of(task, wanted, union))
    ways = _ways(task, wanted, pool, union, actions, events, walked, worth)
    found: dict[str, Any] = {
        "return": dict.fromkeys(WAYS, math.nan) | {"single": float(singles.max())},
        "milliseconds": dict.fromkeys(WAYS, math.nan) | {"tables": tables, "events": telling},
        "megabytes": dict.fromkeys(WAYS, math.nan),
        "peak": dict.fromkeys(WAYS, math.nan),
        "pairs": int(np.unpackbits(union).sum()),
    }
    for name, way in ways.items():
        found["peak"][name] = peak_growth(way.answer) / MEGABYTE
        found["milliseconds"][name], answer = _timed(way.answer)
        found["return"][name] = _earned(task, wanted, answer)
        found["megabytes"][name] = sum(array.nbytes for array in way.held if array is not None) / MEGABYTE
        if name == "options_I3":
            assert isinstance(answer, OptionRoute)
            found["segments"] = answer.simulated
    return found


def _ways(
    task: Environment,
    wanted: Objective,
    pool: Pool,
    union: np.ndarray,
    actions: np.ndarray,
    events: np.ndarray | None,
    walked: np.ndarray,
    worth: OutcomeWorth | None,
) -> dict[str, Way]:
    """All ways that can be asked, in order."""
    plan = task.hooks.plan
    assert plan is not None
    rewarded = task.compile(wanted)
    scored = None if worth is None else outcome_task(task.dynamics, task.horizon, worth)
    moves, drawn = constant_actions(pool), random_actions(pool, task.seed or 0)

    def search(score: CompiledTask | None, table: np.ndarray, options: Options) -> Way | None:
        if score is None:
            return None
        held = (table, events, *_arrays(score))
        return Way(lambda: search_options(score, table, rules=options.rules, events=events), held)

    def planned(support: np.ndarray) -> Way:
        held = (support, *_arrays(rewarded))
        return Way(lambda: plan(task, wanted, width=PLAN_WIDTH, support=support), held)

    single_moves = Options(cut=1, width=PLAN_WIDTH)
    found = (
        search(scored, actions, Options()),
        search(rewarded, actions, Options()),
        search(rewarded, actions, Options(cut=CUT)),
        search(rewarded, drawn, Options(cut=CUT)),
        search(scored, moves, single_moves),
        search(rewarded, moves, single_moves),
        planned(union),
        planned(walked),
    )
    return {name: way for name, way in zip(WAYS, found, strict=True) if way is not None}


def _arrays(task: CompiledTask) -> tuple[np.ndarray, ...]:
    """The arrays of a task: what follows, what that pays, and where items are."""
    return task.moves, task.flags, task.rewards, task.near


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Milliseconds of CPU time that some work takes, which a busy machine leaves alone, and what it gives."""
    begun = process_time()
    given = work()
    return 1e3 * (process_time() - begun), given


def _earned(task: Environment, wanted: Objective, answer: OptionRoute | Plan) -> float:
    """Return in the environment; where a table cannot but leave the records, that of the prefix, as of routes."""
    if answer.actions is not None:
        return rollout(task, objective=wanted, actions=answer.actions).total
    assert isinstance(answer, Plan)
    return answer.total if answer.left_support else rollout(task, objective=wanted, q=answer.q).total
