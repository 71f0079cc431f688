"""Operators over tables: Q-tables combined cell by cell, or by a user's function of arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lever_ray.composition.composed import SUPPORT_LIMITED, Composed
from lever_ray.composition.groups import CandidateSpace
from lever_ray.composition.problem import Problem
from lever_ray.embedding.offline import SUM, Pool, make_pool, mixture_table, offline_returns
from lever_ray.errors import InvalidValue
from lever_ray.tasks.kernel import CompiledTask
from lever_ray.tasks.protocol import Environment

Combine = Callable[[np.ndarray], np.ndarray]
"""A user's operator: float64[m, S, A], the members' (weighted) Q-tables, to float[S, A]."""


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


def kernel_form(operator: object, space: CandidateSpace, mixtures: np.ndarray) -> tuple[Pool, np.ndarray, int]:
    """``(pool, mixtures int32[K, m], code)`` of a table operator, as the compiled kernels take them.

    Raises:
        InvalidValue: see :meth:`FunctionOperator.kernel_form`.
    """
    form = getattr(operator, "kernel_form", None)
    if form is None:
        raise InvalidValue(
            f"operator {getattr(operator, 'name', operator)!r} has no tables that kernels can follow "
            "(kernel_form), which embedding its candidates needs; use ranker='offline-return'"
        )
    pool, rows, code = form(space, mixtures)
    return pool, rows, code
