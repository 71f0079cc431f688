"""Operators that look ahead on recorded transitions with the known reward, and answer with a route."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lever_ray.composition.composed import EVALUATES_ROLLOUTS, PROPAGATES_VALUE, Composed
from lever_ray.composition.groups import CandidateSpace
from lever_ray.composition.problem import Problem
from lever_ray.composition.routes import ROUTE_CODES, member_actions, route_of, route_returns
from lever_ray.errors import InvalidValue, check_whole
from lever_ray.tasks.kernel import CompiledTask
from lever_ray.tasks.protocol import Environment
from lever_ray.tasks.rollout import check_one_start

ROUTE_RANKER = "offline-return"
"""What ranks candidates of operators that answer with a route."""


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
