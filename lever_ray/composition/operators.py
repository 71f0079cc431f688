"""Composition operators: how the policies of a candidate become one policy.

Four kinds. *Tables* (``sum``, ``max``, ``normalized-sum``) combine Q-tables cell by cell; kernels compute their greedy
action where a rollout passes. A user's own *function* of arrays is a table that is composed in full for every
candidate: slower, and results say so. *Routes* (``gpi``, ``switch``) look ahead on recorded transitions with the known
reward function and answer with a sequence of actions. *Searches* (``options``, ``plan``) have no candidates: they
follow policies of a pool, or take the recorded transitions of every member.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np

from lever_ray.composition.composed import Composed
from lever_ray.composition.groups import CandidateSpace
from lever_ray.composition.option_operator import Options
from lever_ray.composition.problem import Problem
from lever_ray.composition.route_operators import Plan, RouteOperator
from lever_ray.composition.table_operators import Combine, FunctionOperator, TableOperator
from lever_ray.embedding.offline import MAX, SUM
from lever_ray.errors import InvalidValue, check_known, look_up
from lever_ray.tasks.kernel import CompiledTask
from lever_ray.tasks.protocol import Environment

SUPPORT_RULES: tuple[str, ...] = ("mask", "ignore")
"""Whether actions that no member of a candidate ever took are excluded."""


@runtime_checkable
class Operator(Protocol):
    """How members become one policy; a user's own is passed as an object."""

    @property
    def name(self) -> str:
        """As users write it."""
        ...

    @property
    def regime(self) -> str:
        """What kind of claim its results can make."""
        ...

    @property
    def tier(self) -> str:
        """Least information that composing needs, ``I0`` (Q-tables) to ``I4``."""
        ...

    @property
    def is_route(self) -> bool:
        """Whether it answers with a sequence of actions instead of a Q-table."""
        ...

    @property
    def needs_candidates(self) -> bool:
        """Whether it combines one member of each group, or takes all of them."""
        ...

    @property
    def pools_members(self) -> bool:
        """Whether every policy of the environment may be a member, whatever its discount and budget."""
        ...

    @property
    def normalised(self) -> bool:
        """Whether members' Q-tables are divided by their scale first."""
        ...

    @property
    def usual_ranker(self) -> str:
        """What ranks its candidates, or scores its members, unless told otherwise."""
        ...

    def compose(
        self, problem: Problem, space: CandidateSpace, members: np.ndarray, *, masked: bool, scorer: object = None
    ) -> Composed:
        """The composed policy of some members.

        Args:
            problem: the question.
            space: the groups.
            members: int32[m], rows of its pool.
            masked: whether actions that no member took are excluded.
            scorer: the ranker's, bound to the problem; of operators that search with it.
        """
        ...

    def returns(
        self, task: CompiledTask, space: CandidateSpace, mixtures: np.ndarray, *, masked: bool, recorded: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """``(totals float64[K], ends uint8[K])`` of mixtures int32[K, m] by exact simulation.

        Args:
            task: the environment under an objective.
            space: the groups.
            mixtures: rows of its pool.
            masked: whether actions that no member took are excluded.
            recorded: whether rollouts end where the recorded transitions do.
        """
        ...

    def check_task(self, task: Environment) -> None:
        """Refuse a task that it cannot answer.

        Raises:
            InvalidValue: saying why.
        """
        ...

    def check_ranker(self, ranker: object) -> None:
        """Refuse a ranker that it has no use for.

        Raises:
            InvalidValue: saying why.
        """
        ...


OPERATORS: dict[str, Operator] = {
    operator.name: operator
    for operator in (
        TableOperator("sum", SUM),
        TableOperator("max", MAX),
        TableOperator("normalized-sum", SUM, normalised=True),
        RouteOperator("gpi"),
        RouteOperator("switch"),
        Options(),
        Plan(),
    )
}
"""``sum``: argmax_a sum_i w_i Q_i(x, a), the published one. ``max``: argmax_a max_i w_i Q_i(x, a).
``normalized-sum``: Q_i divided by its standard deviation over visited entries, then summed. ``gpi``: generalised policy
improvement on exact rollouts. ``switch``: one policy until some step, then another. ``options``: one policy
until an event, then any. ``plan``: a search over the union
of recorded transitions."""


def composition_operator(operator: str | Operator | Combine) -> Operator:
    """The operator of that name with its usual parameters, or one made of a function of arrays.

    Raises:
        UnknownName: naming the known operators and the nearest match.
        InvalidValue: it is neither a name, an operator nor a function.
    """
    if isinstance(operator, str):
        return look_up("operator", operator, OPERATORS)
    if isinstance(operator, Operator):
        return operator
    if callable(operator):
        return FunctionOperator(operator)
    raise InvalidValue(
        f"operator is {operator!r}; give a name ({', '.join(OPERATORS)}), a function of arrays, or an object with the "
        "methods of lever_ray.composition.operators.Operator"
    )


def table_operator(name: str) -> Operator:
    """The operator over tables of that name.

    Raises:
        UnknownName: there is no such operator.
        InvalidValue: it answers with a route.
    """
    operator = look_up("operator", name, OPERATORS)
    if operator.is_route:
        tables = ", ".join(name for name, each in OPERATORS.items() if not each.is_route)
        raise InvalidValue(f"operator {name!r} answers with a route; here one over tables is needed: {tables}")
    return operator


def is_masked(support: str) -> bool:
    """Whether a support rule leaves out actions that no member took.

    Raises:
        UnknownName: the rule is neither ``mask`` nor ``ignore``.
    """
    check_known("support rule", support, SUPPORT_RULES)
    return support == "mask"


def check_support(operator: Operator, support: str) -> None:
    """Refuse a support rule that an operator gives no meaning to.

    Raises:
        InvalidValue: a route operator with ``support="ignore"``.
        UnknownName: the support rule is not known.
    """
    if not is_masked(support) and operator.is_route:
        raise InvalidValue(
            f"operator {operator.name!r} looks ahead on recorded transitions alone; support='ignore' has no meaning "
            "for it: use support='mask'"
        )


def check_factors(operator: Operator) -> None:
    """Refuse factors of groups for an operator that gives no meaning to them.

    Raises:
        InvalidValue: it compares returns, not action values.
    """
    if operator.is_route:
        raise InvalidValue(
            f"factors of groups do not change operator {operator.name!r}, which compares returns; give weights to the "
            "objective's terms instead, e.g. objective={'path': 2, 'gold': 1}"
        )
