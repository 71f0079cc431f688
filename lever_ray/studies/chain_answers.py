"""What every operator makes of a library whose policies share one union of records, whatever is rewarded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from lever_ray.composition.groups import CandidateSpace, objective_weights
from lever_ray.composition.operators import OPERATORS, table_operator
from lever_ray.composition.options import search_options
from lever_ray.composition.rankers.offline_return import OfflineReturnScorer
from lever_ray.composition.routes import GPI, NOWHERE, member_actions, route_returns
from lever_ray.composition.strategies.protocol import product_blocks
from lever_ray.composition.table_operators import kernel_form
from lever_ray.embedding.offline import SUM, make_pool, mixture_table, offline_returns
from lever_ray.errors import check_known
from lever_ray.experiment.recorded import PLAN_WIDTH
from lever_ray.policies.group import PolicyGroup
from lever_ray.studies.chain import with_records
from lever_ray.tasks.gridworld.planner import plan
from lever_ray.tasks.kernel import CompiledTask
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.rollout import greedy_actions, play
from lever_ray.tasks.support import support_bits

ROUTES: tuple[str, ...] = ("gpi", "options", "plan")
"""Operators that take all members of the library at once."""


class Question(NamedTuple):
    """A task that a library is asked.

    Attributes:
        task: the environment under the composite objective.
        objective: it, resolved.
        groups: the members; each has taken what it recorded itself.
        extra: bool[S, A], what else is recorded in the library: known to all of them, in no policy's values.
    """

    task: CompiledTask
    objective: Objective
    groups: Sequence[PolicyGroup]
    extra: np.ndarray


class Answer(NamedTuple):
    """What an operator answers.

    Attributes:
        total: return by the task's reward; that of the prefix where the route leaves the records.
        actions: int16[T], the route.
        mean: return of all candidates on average; that of the answer where there is one alone.
    """

    total: float
    actions: np.ndarray
    mean: float


def check_operator(operator: str) -> None:
    """Refuse an operator that the study does not ask.

    Raises:
        UnknownName: naming those that it does.
    """
    tables = [name for name, each in OPERATORS.items() if not each.is_route]
    check_known("operator", operator, (*tables, *ROUTES))


def answer(question: Question, operator: str) -> Answer:
    """Ask one operator.

    Tables are composed of one member of each group, among the actions that these and the extra records took; the
    candidate of the highest return by exact simulation on the records is the answer (ranker ``offline-return``). The
    others take every member: ``gpi`` looks at each recorded move and follows members from there, ``options`` follows
    members alone, ``plan`` searches the recorded moves.
    """
    known: dict[str, Callable[[Question], Answer]] = {"gpi": _gpi, "options": _options, "plan": _plan}
    return known[operator](question) if operator in known else _table(question, operator)


def best_single(question: Question) -> float:
    """The highest return of one member, by oracle; it acts within what it recorded itself."""
    pool = make_pool(*_stacked(question.groups))
    totals, _ = offline_returns(
        question.task, pool, np.arange(len(pool.q), dtype=np.int32)[:, None], SUM, True, recorded=True
    )
    return float(totals.max())


def _table(question: Question, name: str) -> Answer:
    task, operator = question.task, table_operator(name)
    weights = objective_weights(question.objective, [group.objective for group in question.groups])
    groups = with_records(question.groups, question.extra)
    space = CandidateSpace.of(groups, weights=weights, normalised=operator.normalised)
    every = space.mixtures(np.concatenate(list(product_blocks(space.sizes))))
    scores = OfflineReturnScorer(task).score(space, every, operator=operator, masked=True)
    best = scores.best()
    pool, rows, code = kernel_form(operator, space, every[best][None])
    table = mixture_table(pool.q, pool.support, pool.actions, rows[0], code, True)
    actions = _followed(task, table)
    return Answer(float(scores.values[best]), actions, float(scores.values.mean()))


def _gpi(question: Question) -> Answer:
    """One more member stands for the extra records: moves are looked at, and nobody follows it."""
    task, (q, support) = question.task, _stacked(question.groups)
    actions = member_actions(make_pool(q, support))
    bits = support_bits(question.extra)[None]
    pool = make_pool(np.concatenate([q, np.zeros_like(q[:1])]), np.concatenate([support, bits]))
    followed = np.concatenate([actions, np.full_like(actions[:1], NOWHERE)])
    route, everyone = np.empty((1, task.rules.horizon), np.int16), np.arange(len(followed), dtype=np.int32)[None]
    totals, _, steps = route_returns(task, pool, followed, everyone, GPI, route)
    return Answer(float(totals[0]), route[0, : steps[0]], float(totals[0]))


def _options(question: Question) -> Answer:
    found = search_options(question.task, member_actions(make_pool(*_stacked(question.groups))))
    return Answer(found.total, found.actions, found.total)


def _plan(question: Question) -> Answer:
    union = np.bitwise_or.reduce(_stacked(question.groups)[1]) | support_bits(question.extra)
    found = plan(question.task, width=PLAN_WIDTH, support=union)
    assert found.actions is not None
    return Answer(float(found.total), found.actions, float(found.total))


def _stacked(groups: Sequence[PolicyGroup]) -> tuple[np.ndarray, np.ndarray]:
    """Values and support of every member."""
    return np.concatenate([group.q for group in groups]), np.concatenate([group.support for group in groups])


def _followed(task: CompiledTask, table: np.ndarray) -> np.ndarray:
    """int16[T]: the actions that a table takes in the environment."""
    greedy, horizon = greedy_actions(table), task.rules.horizon
    states = np.empty(horizon + 1, np.int32)
    steps, *_ = play(task, task.start, greedy, True, states, np.empty(horizon))
    return np.asarray(greedy[states[:steps]])


def pairs_of(task: CompiledTask, actions: np.ndarray) -> np.ndarray:
    """bool[S, A]: the pairs that a route from the start takes."""
    taken, state = np.zeros(task.moves.shape, bool), task.start
    for action in actions.tolist():
        taken[state, action] = True
        state = int(task.moves[state, action])
    return taken
