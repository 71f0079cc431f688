"""Composition operators: how the policies of a candidate become one policy.

Three kinds. *Tables* (``sum``, ``max``, ``normalized-sum``) combine Q-tables cell by cell; kernels compute their greedy
action where a rollout passes. *Routes* (``gpi``, ``switch``, ``plan``) look ahead on recorded transitions with the
known reward function and answer with a sequence of actions. A user's own *function* of arrays is a table that is
composed in full for every candidate: slower, and results say so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lever_ray.composition.groups import CandidateSpace
from lever_ray.embedding.offline import MAX, SUM, Pool, make_pool, mixture_table
from lever_ray.errors import InvalidValue, check_known, look_up
from lever_ray.tasks.protocol import Environment
from lever_ray.tasks.rollout import check_one_start

SUPPORT_RULES: tuple[str, ...] = ("mask", "ignore")
"""Whether actions that no member of a candidate ever took are excluded."""

SUPPORT_LIMITED, EVALUATES_ROLLOUTS, PROPAGATES_VALUE = "support-limited", "evaluates rollouts", "propagates value"
"""Regimes: no value is propagated; members' rollouts are evaluated; a search propagates value over the union."""

Combine = Callable[[np.ndarray], np.ndarray]
"""A user's operator: float64[m, S, A], the members' (weighted) Q-tables, to float[S, A]."""


@dataclass(frozen=True)
class Operator:
    """A composition operator.

    Attributes:
        name: as users write it.
        regime: what kind of claim its results can make.
        tier: least information that composing needs, ``I0`` (Q-tables) to ``I4``.
        code: as kernels that follow composed tables take it; None for routes.
        normalised: members' Q-tables are divided by their scale first.
        combine: a user's function of arrays; None for the built-in operators.
    """

    name: str
    regime: str
    tier: str
    code: int | None
    normalised: bool = False
    combine: Combine | None = None

    @property
    def is_route(self) -> bool:
        """Whether it answers with a sequence of actions instead of a Q-table."""
        return self.code is None

    @property
    def needs_candidates(self) -> bool:
        """Whether it combines one member of each group; ``plan`` takes the transitions of all of them."""
        return self.name != "plan"


OPERATORS: dict[str, Operator] = {
    operator.name: operator
    for operator in (
        Operator("sum", SUPPORT_LIMITED, "I0", SUM),
        Operator("max", SUPPORT_LIMITED, "I0", MAX),
        Operator("normalized-sum", SUPPORT_LIMITED, "I0", SUM, normalised=True),
        Operator("gpi", EVALUATES_ROLLOUTS, "I3", None),
        Operator("switch", EVALUATES_ROLLOUTS, "I3", None),
        Operator("plan", PROPAGATES_VALUE, "I3", None),
    )
}
"""``sum``: argmax_a sum_i w_i Q_i(x, a), the published one. ``max``: argmax_a max_i w_i Q_i(x, a).
``normalized-sum``: Q_i divided by its standard deviation over visited entries, then summed. ``gpi``: generalised policy
improvement on exact rollouts. ``switch``: one policy until some step, then another. ``plan``: a search over the union
of recorded transitions."""


def composition_operator(operator: str | Operator | Combine) -> Operator:
    """The operator of that name, or one made of a function of arrays.

    Raises:
        UnknownName: naming the known operators and the nearest match.
    """
    if isinstance(operator, Operator):
        return operator
    if callable(operator):
        name = getattr(operator, "__name__", type(operator).__name__)
        return Operator(name, SUPPORT_LIMITED, "I0", SUM, combine=operator)
    return look_up("operator", operator, OPERATORS)


def is_masked(support: str) -> bool:
    """Whether a support rule leaves out actions that no member took.

    Raises:
        UnknownName: the rule is neither ``mask`` nor ``ignore``.
    """
    check_known("support rule", support, SUPPORT_RULES)
    return support == "mask"


def check_composable(operator: Operator, *, support: str, weighted: bool) -> None:
    """Refuse what an operator gives no meaning to.

    Raises:
        InvalidValue: a route operator with ``support="ignore"`` or with group weights.
        UnknownName: the support rule is not known.
    """
    if not operator.is_route:
        is_masked(support)
        return
    if not is_masked(support):
        raise InvalidValue(
            f"operator {operator.name!r} looks ahead on recorded transitions alone; support='ignore' has no meaning "
            "for it: use support='mask'"
        )
    if weighted:
        raise InvalidValue(
            f"group weights do not change operator {operator.name!r}, which compares returns; "
            "give weights to the objective's terms instead, e.g. Objective.of('path-gold', weights={'path': 2})"
        )


def check_answers(operator: Operator, task: Environment) -> None:
    """Refuse a task that an operator cannot answer.

    Raises:
        InvalidValue: its family has no planner, or the operator answers with one route and episodes begin in several
            observations.
    """
    if not operator.needs_candidates:
        if task.hooks.plan is None:
            raise InvalidValue(f"family {task.family!r} has no planner, which operator {operator.name!r} asks for")
    elif operator.is_route:
        check_one_start(task, f"operator {operator.name!r}")


def kernel_form(operator: Operator, space: CandidateSpace, mixtures: np.ndarray) -> tuple[Pool, np.ndarray, int]:
    """``(pool, mixtures int32[K, m], code)`` as the compiled kernels take them.

    A user's function is applied here, candidate by candidate: the pool holds one finished table for each.

    Raises:
        InvalidValue: a user's function gives another shape, or NaN.
    """
    assert operator.code is not None, "route operators have their own kernels"
    if operator.combine is None:
        return space.pool, mixtures, operator.code
    q = space.pool.q[:, :, : space.pool.actions]
    tables = np.stack([_combined(operator, q[members]) for members in mixtures])
    support = np.bitwise_or.reduce(space.pool.support[mixtures], axis=1)
    return make_pool(tables, support), np.arange(len(mixtures), dtype=np.int32)[:, None], SUM


def _combined(operator: Operator, q: np.ndarray) -> np.ndarray:
    assert operator.combine is not None
    table = np.asarray(operator.combine(q.astype(np.float64)))
    if table.shape != q.shape[1:]:
        raise InvalidValue(
            f"operator {operator.name!r} gave an array of shape {table.shape} for Q-tables {q.shape}; "
            f"it must give {q.shape[1:]}"
        )
    if np.isnan(table).any():
        raise InvalidValue(f"operator {operator.name!r} gave NaN; its greedy action is undefined")
    return table.astype(np.float32)


def composed_table(operator: Operator, space: CandidateSpace, mixture: np.ndarray, *, masked: bool) -> np.ndarray:
    """float32[S, A]: the composed Q-table of one mixture int32[m]; -inf for masked actions."""
    pool, mixtures, code = kernel_form(operator, space, mixture[None])
    table: np.ndarray = mixture_table(pool.q, pool.support, pool.actions, mixtures[0], code, masked)
    return table
