"""The answer to a query."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from shutil import get_terminal_size
from textwrap import fill
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lever_ray.composition.coverage import Coverage
from lever_ray.composition.option_agent import OptionAgent, OptionPlayer
from lever_ray.composition.problem import Problem
from lever_ray.composition.recipe import Recipe
from lever_ray.composition.recipe_parts import has_strategy
from lever_ray.composition.search import SearchResult
from lever_ray.errors import InvalidValue
from lever_ray.tasks.objective import Objective

if TYPE_CHECKING:
    from lever_ray.query.rivals import Rivals

UNION = "union"
"""What stands for the strategy where an operator takes the transitions of every member."""

_WIDEST = 100
"""Columns of an answer that is printed, at most."""


class Option(NamedTuple):
    """A part of a route along which one policy is followed.

    Attributes:
        policy_id: of the policy.
        begins: step from which on.
        until: what ends it: ``event``, ``cut``, ``cycle``, ``end`` (of the episode), ``horizon``, ``loop`` (followed to
            the horizon) or ``off-support``.
    """

    policy_id: str
    begins: int
    until: str


@dataclass(frozen=True, eq=False)
class CompositionResult:
    """A composed policy and how it came about.

    Attributes:
        environment: name of the environment.
        objective: the composite objective.
        groups: the sub-objectives, one per member.
        policy_ids: the chosen members, one per group; every member whose transitions ``plan`` searched.
        q: float32[S, A], the composed action values (-inf for actions that ``support="mask"`` excludes); None for
            operators that are no Q-table.
        actions: int16[T], the route of such an operator; None for Q-tables.
        predicted_return: what the ranker expects, in reward units.
        coverage: how much of the task and of the composed route was seen in training.
        evaluated: candidates evaluated.
        timings: seconds by stage: ``parse``, ``retrieve``, ``rank``, ``compose``, and their ``total``; outside it
            ``coverage`` (measured afterwards) and ``fit`` (of the regressor, done once per library).
        warnings: what a careful reader should know.
        recipe: how it was answered.
        why: why that recipe, in words; empty where it was said.
        tier: information used, ``I0`` to ``I4``.
        search: every candidate evaluated, with its score.
        problem: what was asked, with the policies that might answer.
        routes: int16[T] for each start, of an operator that answers several with routes.
        segments: segments simulated, of ``options``; None for others.
        options: who is followed along the route from the likeliest start, from which step on, and until what.
        player: what :meth:`agent` plays with.
        support_source: what tells which actions the members took, of the least known of them: ``visits``,
            ``transitions`` (given, without counts) or ``unknown``.
    """

    environment: str
    objective: Objective
    groups: tuple[str, ...]
    policy_ids: tuple[str, ...]
    q: np.ndarray | None
    actions: np.ndarray | None
    predicted_return: float
    coverage: Coverage
    evaluated: int
    timings: dict[str, float]
    warnings: tuple[str, ...]
    recipe: Recipe
    tier: str
    search: SearchResult = field(repr=False)
    problem: Problem = field(repr=False)
    support_source: str = "visits"
    routes: tuple[np.ndarray, ...] = field(default=(), repr=False)
    segments: int | None = None
    why: str = ""
    options: tuple[Option, ...] = ()
    player: OptionPlayer | None = field(default=None, repr=False)

    def agent(self) -> OptionAgent:
        """What plays the answer step by step in an environment, and searches again where it is off its route.

        Raises:
            InvalidValue: the operator is another than ``options``.
        """
        if self.player is None:
            raise InvalidValue(
                f"operator {self.operator!r} has no agent: follow the greedy actions of result.q, or result.actions; "
                "operator='options' has one"
            )
        return OptionAgent(self.player)

    def __str__(self) -> str:
        """What it is, what it earns, and what it stands beside, in a few lines: as wide as the terminal, or 100."""
        width = min(get_terminal_size((_WIDEST, 24)).columns, _WIDEST)
        return "\n".join([_folded(self._headline, "", width), *(_folded(line, "  ", width) for line in self._lines())])

    def _repr_html_(self) -> str:
        """The same with a picture of the route, for notebooks."""
        from lever_ray.plot import as_html

        rows = "".join(f"<li>{escape(line)}</li>" for line in self._lines())
        return f"<p><b>{escape(self._headline)}</b></p><ul>{rows}</ul>{as_html(self.problem.task, self)}"

    @property
    def _headline(self) -> str:
        return f"{self.objective.id} in {self.environment} by {self.operator} ({self.tier}, {self.regime})"

    def _lines(self) -> list[str]:
        from lever_ray.query.route_words import told_on_the_way

        beside = self.rivals
        better = beside.told_better()
        return [
            f"returns {beside.route.total:.1f} ({self.predicted_return:.1f} predicted by {self.ranker}): "
            f"{told_on_the_way(self.problem.task, beside.route)}",
            f"beside it: {beside.told()}",
            *([f"better: {better}"] if better else []),
            *([f"chosen because {self.why}"] if self.why else []),
            *(f"warning: {warning}" for warning in self.warnings),
        ]

    @cached_property
    def rivals(self) -> Rivals:
        """What the answer stands beside, measured when it is asked for, in the environment that the library holds."""
        from lever_ray.query.rivals import rivals

        return rivals(self)

    def compare(self) -> Rivals:
        """The same with a policy trained from scratch and the best known return; takes up to some seconds."""
        from lever_ray.query.rivals import rivals

        return rivals(self, compare=True)

    @property
    def played(self) -> dict[str, Any]:
        """What :func:`lever_ray.tasks.rollout.rollout` plays: ``q``, ``actions`` or ``routes``, by name."""
        if self.q is not None:
            return {"q": self.q}
        return {"actions": self.actions} if self.actions is not None else {"routes": self.routes}

    @property
    def strategy(self) -> str:
        """Which candidates were evaluated, e.g. ``hybrid-3``; :data:`UNION` for operators that have none."""
        return self.recipe.make_strategy().id if has_strategy(self.recipe.make_operator()) else UNION

    @property
    def operator(self) -> str:
        """How the members combine."""
        return self.recipe.make_operator().name

    @property
    def ranker(self) -> str:
        """What predicted the return."""
        return self.recipe.make_ranker().name

    @property
    def support(self) -> str:
        """``mask`` or ``ignore``."""
        return self.recipe.support

    @property
    def retrieval(self) -> str:
        """Who the members were, ``objective`` or e.g. ``description>=0.8``."""
        return self.recipe.make_retrieval().label

    @property
    def regime(self) -> str:
        """What kind of claim the answer makes: ``support-limited`` where no value is propagated."""
        return self.recipe.make_operator().regime

    @property
    def coverage_known(self) -> bool:
        """Whether coverage says anything: with unknown support every action counts as taken."""
        return self.support_source != "unknown"

    @property
    def coverage_told(self) -> str:
        """Coverage in words."""
        if not self.coverage_known:
            return "unknown"
        shares = self.coverage
        return f"library {shares.library:.1%}, on the route {shares.on_policy:.1%}, value {shares.value:.1%}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; arrays and the list of candidates are left out."""
        plain = (
            "environment",
            "predicted_return",
            "evaluated",
            "strategy",
            "operator",
            "ranker",
            "support",
            "support_source",
            "retrieval",
            "coverage_known",
            "regime",
            "tier",
            "why",
        )
        return {name: getattr(self, name) for name in plain} | {
            "objective": self.objective.id,
            "recipe": self.recipe.id if self.recipe.storable else None,
            "groups": list(self.groups),
            "policy_ids": list(self.policy_ids),
            "coverage": self.coverage.to_dict(),
            "actions": None if self.actions is None else self.actions.tolist(),
            "segments": self.segments,
            "options": [option._asdict() for option in self.options],
            "timings": dict(self.timings),
            "warnings": list(self.warnings),
        }


def _folded(line: str, indent: str, width: int) -> str:
    """A line broken at blanks, with a deeper indent from the second on; words are left whole."""
    deeper = indent + "  "
    return fill(
        line,
        width,
        initial_indent=indent,
        subsequent_indent=deeper,
        break_long_words=False,
        break_on_hyphens=False,
    )
