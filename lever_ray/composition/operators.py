"""Composition operators: how the policies of a candidate become one policy.

Four kinds. *Tables* (``sum``, ``max``, ``normalized-sum``) combine Q-tables cell by cell; kernels compute their greedy
action where a rollout passes. A user's own *function* of arrays is a table that is composed in full for every
candidate: slower, and results say so. *Routes* (``gpi``, ``switch``) look ahead on recorded transitions with the known
reward function and answer with a sequence of actions. *Searches* (``options``, ``plan``) have no candidates: they
follow policies of a pool, or take the recorded transitions of every member.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np

from lever_ray.composition.composed import EVALUATES_ROLLOUTS, PROPAGATES_VALUE, SUPPORT_LIMITED, Composed
from lever_ray.composition.groups import CandidateSpace
from lever_ray.composition.option_operator import Options
from lever_ray.composition.problem import Problem
from lever_ray.composition.routes import ROUTE_CODES, member_actions, route_of, route_returns
from lever_ray.embedding.offline import MAX, SUM, Pool, make_pool, mixture_table, offline_returns
from lever_ray.errors import InvalidValue, check_known, check_whole, look_up
from lever_ray.tasks.kernel import CompiledTask
from lever_ray.tasks.protocol import Environment
from lever_ray.tasks.rollout import check_one_start

SUPPORT_RULES: tuple[str, ...] = ("mask", "ignore")
"""Whether actions that no member of a candidate ever took are excluded."""

ROUTE_RANKER = "offline-return"
"""What ranks candidates of operators that answer with a route."""

Combine = Callable[[np.ndarray], np.ndarray]
"""A user's operator: float64[m, S, A], the members' (weighted) Q-tables, to float[S, A]."""


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


class _OverTables:
    """What operators share that answer with a Q-table."""

    regime: ClassVar[str] = SUPPORT_LIMITED
    tier: ClassVar[str] = "I0"
    is_route: ClassVar[bool] = False
    needs_candidates: ClassVar[bool] = True
    pools_members: ClassVar[bool] = False
    usual_ranker: ClassVar[str] = "regressor"

    def kernel_form(self, space: CandidateSpace, mixtures: np.ndarray) -> tuple[Pool, np.ndarray, int]:
        """See :func:`kernel_form`."""
        raise NotImplementedError

    def compose(
        self, _problem: Problem, space: CandidateSpace, members: np.ndarray, *, masked: bool, scorer: object = None
    ) -> Composed:
        """See :class:`Operator` and :meth:`kernel_form`."""
        pool, mixtures, code = self.kernel_form(space, members[None])
        return Composed(q=mixture_table(pool.q, pool.support, pool.actions, mixtures[0], code, masked))

    def returns(
        self, task: CompiledTask, space: CandidateSpace, mixtures: np.ndarray, *, masked: bool, recorded: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """See :class:`Operator` and :meth:`kernel_form`."""
        pool, rows, code = self.kernel_form(space, mixtures)
        totals, ends = offline_returns(task, pool, rows, code, masked, recorded)
        return totals, ends

    def check_task(self, task: Environment) -> None:
        """Nothing to refuse: every task has tables."""

    def check_ranker(self, ranker: object) -> None:
        """Nothing to refuse: tables are embedded, recorded and simulated."""


@dataclass(frozen=True)
class TableOperator(_OverTables):
    """Combines Q-tables cell by cell.

    Attributes:
        name: as users write it.
        code: as kernels that follow composed tables take it.
        normalised: see :class:`Operator`.
    """

    name: str
    code: int
    normalised: bool = False

    def kernel_form(self, space: CandidateSpace, mixtures: np.ndarray) -> tuple[Pool, np.ndarray, int]:
        """See :func:`kernel_form`."""
        return space.pool, mixtures, self.code


@dataclass(frozen=True)
class FunctionOperator(_OverTables):
    """A user's function of arrays, applied to every candidate.

    Attributes:
        combine: the function.
    """

    combine: Combine
    normalised: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """The function's."""
        return str(getattr(self.combine, "__name__", type(self.combine).__name__))

    def kernel_form(self, space: CandidateSpace, mixtures: np.ndarray) -> tuple[Pool, np.ndarray, int]:
        """See :func:`kernel_form`: the pool holds one finished table for each candidate.

        Raises:
            InvalidValue: the function gives another shape, or NaN.
        """
        q = space.pool.q[:, :, : space.pool.actions]
        tables = np.stack([self._combined(q[members]) for members in mixtures])
        support = np.bitwise_or.reduce(space.pool.support[mixtures], axis=1)
        return make_pool(tables, support), np.arange(len(mixtures), dtype=np.int32)[:, None], SUM

    def _combined(self, q: np.ndarray) -> np.ndarray:
        table = np.asarray(self.combine(q.astype(np.float64)))
        if table.shape != q.shape[1:]:
            raise InvalidValue(
                f"operator {self.name!r} gave an array of shape {table.shape} for Q-tables {q.shape}; "
                f"it must give {q.shape[1:]}"
            )
        if np.isnan(table).any():
            raise InvalidValue(f"operator {self.name!r} gave NaN; its greedy action is undefined")
        return table.astype(np.float32)


@dataclass(frozen=True)
class RouteOperator:
    """Looks ahead with the members' exact rollouts; see :mod:`lever_ray.composition.routes`.

    Attributes:
        name: a key of :data:`~lever_ray.composition.routes.ROUTE_CODES`.
    """

    name: str
    normalised: ClassVar[bool] = False
    regime: ClassVar[str] = EVALUATES_ROLLOUTS
    tier: ClassVar[str] = "I3"
    is_route: ClassVar[bool] = True
    needs_candidates: ClassVar[bool] = True
    pools_members: ClassVar[bool] = False
    usual_ranker: ClassVar[str] = ROUTE_RANKER

    def compose(
        self, problem: Problem, space: CandidateSpace, members: np.ndarray, *, masked: bool, scorer: object = None
    ) -> Composed:
        """See :class:`Operator`."""
        return Composed(actions=route_of(problem.compiled, space.pool, members, operator=self.name))

    def returns(
        self,
        task: CompiledTask,
        space: CandidateSpace,
        mixtures: np.ndarray,
        *,
        masked: bool,
        recorded: bool = True,
    ) -> tuple[np.ndarray, np.ndarray]:
        """See :class:`Operator`."""
        actions, unwanted = member_actions(space.pool), np.empty((0, task.rules.horizon), np.int16)
        totals, ends, _ = route_returns(task, space.pool, actions, mixtures, ROUTE_CODES[self.name], unwanted)
        return totals, ends

    def check_task(self, task: Environment) -> None:
        """See :class:`Operator`: one route answers one start."""
        check_one_start(task, f"operator {self.name!r}")

    def check_ranker(self, ranker: object) -> None:
        """See :class:`Operator`."""
        _check_ranks_routes(self.name, ranker)


@dataclass(frozen=True)
class Plan:
    """A search over the union of recorded transitions, which the task's family brings.

    Attributes:
        width: states that its beam keeps.

    Raises:
        InvalidValue: ``width`` is below 1.
    """

    width: int = 100
    name: ClassVar[str] = "plan"
    normalised: ClassVar[bool] = False
    regime: ClassVar[str] = PROPAGATES_VALUE
    tier: ClassVar[str] = "I3"
    is_route: ClassVar[bool] = True
    needs_candidates: ClassVar[bool] = False
    pools_members: ClassVar[bool] = False
    usual_ranker: ClassVar[str] = ROUTE_RANKER
    parameters: ClassVar[tuple[str, ...]] = ("width",)

    def __post_init__(self) -> None:
        check_whole("width", self.width, 1, "states that a beam keeps")

    def compose(
        self, problem: Problem, space: CandidateSpace, members: np.ndarray, *, masked: bool, scorer: object = None
    ) -> Composed:
        """See :class:`Operator`."""
        search_plan = problem.task.hooks.plan
        assert search_plan is not None  # check_task has seen to that
        made = search_plan(problem.task, problem.objective, width=self.width, support=space.union)
        return Composed(made.q, made.actions, total=made.total, left_support=made.left_support)

    def returns(
        self, task: CompiledTask, space: CandidateSpace, mixtures: np.ndarray, *, masked: bool, recorded: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """Nothing: there are no candidates."""
        raise NotImplementedError("operator 'plan' has no candidates")

    def check_task(self, task: Environment) -> None:
        """See :class:`Operator`: a family may lack a planner."""
        if task.hooks.plan is None:
            raise InvalidValue(f"family {task.family!r} has no planner, which operator 'plan' asks for")

    def check_ranker(self, ranker: object) -> None:
        """See :class:`Operator`."""
        _check_ranks_routes(self.name, ranker)


def _check_ranks_routes(operator: str, ranker: object) -> None:
    if not getattr(ranker, "ranks_routes", False):
        raise InvalidValue(
            f"ranker {getattr(ranker, 'name', ranker)!r} embeds policies over positions, and operator {operator!r} "
            "answers with a route; use ranker='offline-return'"
        )


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


def kernel_form(operator: Operator, space: CandidateSpace, mixtures: np.ndarray) -> tuple[Pool, np.ndarray, int]:
    """``(pool, mixtures int32[K, m], code)`` of a table operator, as the compiled kernels take them.

    Raises:
        InvalidValue: see :meth:`FunctionOperator.kernel_form`.
    """
    form = getattr(operator, "kernel_form", None)
    if form is None:
        raise InvalidValue(
            f"operator {operator.name!r} has no tables that kernels can follow (kernel_form), which embedding its "
            "candidates needs; use ranker='offline-return'"
        )
    pool, rows, code = form(space, mixtures)
    return pool, rows, code
