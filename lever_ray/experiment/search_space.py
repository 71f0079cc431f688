"""What tuning chooses from: a typed, conditional space over the ways to answer a query."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from lever_ray.composition.operators import OPERATORS, SUPPORT_RULES, composition_operator
from lever_ray.composition.rankers import RANKERS
from lever_ray.composition.search import STRATEGIES, Strategy
from lever_ray.config import SpaceSettings
from lever_ray.embedding.outcome import BEHAVIOUR_KINDS
from lever_ray.embedding.regressor import MODELS, TARGETS, TERM_MODELS
from lever_ray.errors import InvalidValue, check_known
from lever_ray.experiment.trial import USUAL_REGRESSOR, Choice
from lever_ray.query.compose import RegressorSettings
from lever_ray.query.composer import PLAN_WIDTH

T = TypeVar("T", str, float)

BUDGETED: tuple[str, ...] = ("budgeted", "random", "best-first")
"""Strategies that evaluate at most B candidates."""


class Chooser(Protocol):
    """Decides parameters one after the other; what is asked depends on what was decided before."""

    def among(self, name: str, values: Sequence[T]) -> T:
        """One of several values."""
        ...

    def whole(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        """A whole number from ``low`` to ``high``, both included."""
        ...


@dataclass(frozen=True)
class Given:
    """A chooser that repeats decisions; what was not decided has one value only.

    Attributes:
        values: by parameter.
    """

    values: Mapping[str, Any]

    def among(self, name: str, values: Sequence[T]) -> T:
        """See :class:`Chooser`."""
        return self.values.get(name, values[0])

    def whole(self, name: str, low: int, high: int, *, log: bool = False) -> int:  # noqa: ARG002 - Chooser's signature
        """See :class:`Chooser`."""
        return int(self.values.get(name, low))


@dataclass(frozen=True)
class SearchSpace:
    """A checked search space.

    Attributes:
        settings: lists and ranges.
        gammas: discounts of the members.
        cost: what is minimised, ``candidates`` or ``seconds``.

    Raises:
        InvalidValue: a list is empty or names something twice, a range is empty or starts below 1, or a combination
            leaves nothing to choose; the message names the key.
        UnknownName: a strategy, operator, support rule, ranker, model, target or embedding is not known.
    """

    settings: SpaceSettings
    gammas: tuple[float, ...]
    cost: str = "candidates"

    def __post_init__(self) -> None:
        for name, kind, known in _LISTS:
            _check_list(name, kind, getattr(self.settings, name), known)
        for name in ("k", "budget", "restarts", "width"):
            _check_range(name, getattr(self.settings, name))
        if not self.gammas:
            raise InvalidValue("tuning.space.gammas is empty, and so is library.gammas; name at least one discount")
        self._check_combinations()

    def _check_combinations(self) -> None:
        operators = [composition_operator(name) for name in self.settings.operators]
        if self.cost == "candidates" and any(not operator.needs_candidates for operator in operators):
            raise InvalidValue(
                "operator 'plan' has no candidates, so their number is no measure of its cost; "
                "use tuning.cost=seconds, or leave it out of tuning.space.operators"
            )
        routes = [operator.name for operator in operators if operator.is_route]
        if routes and ("offline-return" not in self.settings.rankers or "mask" not in self.settings.supports):
            raise InvalidValue(
                f"operator {routes[0]!r} goes with ranker 'offline-return' and support 'mask' alone; add them to "
                "tuning.space.rankers and tuning.space.supports, or leave it out of tuning.space.operators"
            )
        learns = "regressor" in self.settings.rankers and len(routes) < len(operators)
        if learns and "own" not in self.settings.targets and not set(self.settings.models) - set(TERM_MODELS):
            raise InvalidValue(
                f"regressor model {self.settings.models[0]!r} learns from own returns; "
                "add 'own' to tuning.space.targets"
            )

    def draw(self, chooser: Chooser) -> Choice:
        """One choice; parameters without a meaning for it are not asked for."""
        settings = self.settings
        operator = chooser.among("operator", settings.operators)
        gamma = chooser.among("gamma", self.gammas)
        if not OPERATORS[operator].needs_candidates:
            width = chooser.whole("width", *_bounds(settings.width), log=True)
            return Choice(Strategy("targeted"), operator, "offline-return", gamma, width=width)
        strategy = self._strategy(chooser)
        if OPERATORS[operator].is_route:
            return Choice(strategy, operator, "offline-return", gamma, width=PLAN_WIDTH)
        support = chooser.among("support", settings.supports)
        ranker = chooser.among("ranker", settings.rankers)
        regressor = self._regressor(chooser) if ranker == "regressor" else USUAL_REGRESSOR
        return Choice(strategy, operator, ranker, gamma, support, regressor)

    def _strategy(self, chooser: Chooser) -> Strategy:
        settings = self.settings
        name = chooser.among("strategy", settings.strategies)
        if name == "hybrid":
            return Strategy(name, k=chooser.whole("k", *_bounds(settings.k)))
        if name not in BUDGETED:
            return Strategy(name)
        budget = chooser.whole("budget", *_bounds(settings.budget), log=True)
        if name != "budgeted":
            return Strategy(name, budget=budget)
        return Strategy(name, budget=budget, restarts=chooser.whole("restarts", *_bounds(settings.restarts)))

    def _regressor(self, chooser: Chooser) -> RegressorSettings:
        settings = self.settings
        usable = [name for name in settings.models if name not in TERM_MODELS or "own" in settings.targets]
        model = chooser.among("model", usable)
        target = "own" if model in TERM_MODELS else chooser.among("target", settings.targets)
        return RegressorSettings(model, target, chooser.among("embedding", settings.embeddings))

    def choices(self) -> Iterator[Choice]:
        """Every choice, in a fixed order; there may be very many where ranges are wide."""
        pending: list[dict[str, Any]] = [{}]
        while pending:
            decided = pending.pop()
            asking = _Enumerating(decided)
            try:
                choice = self.draw(asking)
            except _Undecided as open_question:
                pending += [decided | {open_question.name: value} for value in reversed(open_question.values)]
            else:
                yield choice


_LISTS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("strategies", "strategy", STRATEGIES),
    ("operators", "operator", tuple(OPERATORS)),
    ("supports", "support rule", SUPPORT_RULES),
    ("rankers", "ranker", RANKERS),
    ("models", "regressor model", (*MODELS, *TERM_MODELS)),
    ("targets", "regressor target", TARGETS),
    ("embeddings", "embedding", BEHAVIOUR_KINDS),
)


def _check_list(name: str, kind: str, values: Sequence[str], known: Sequence[str]) -> None:
    if not values:
        raise InvalidValue(f"tuning.space.{name} is empty; the search space needs at least one {kind}")
    if len(set(values)) < len(values):
        raise InvalidValue(f"tuning.space.{name} is {list(values)}, which names something twice")
    for value in values:
        check_known(kind, value, known)


def _check_range(name: str, values: Sequence[int]) -> None:
    if len(values) != 2 or values[0] > values[1] or values[0] < 1:
        raise InvalidValue(
            f"tuning.space.{name} is {list(values)}; give the least and the greatest, e.g. [1, 8], both at least 1"
        )


def _bounds(values: Sequence[int]) -> tuple[int, int]:
    return values[0], values[1]


class _Undecided(Exception):
    """A parameter that is still open: a question, not an error."""

    def __init__(self, name: str, values: Sequence[Any]) -> None:
        super().__init__(name)
        self.name, self.values = name, list(values)


@dataclass(frozen=True)
class _Enumerating:
    """A chooser that stops at the first parameter which is still open."""

    decided: Mapping[str, Any]

    def among(self, name: str, values: Sequence[T]) -> T:
        if name not in self.decided:
            raise _Undecided(name, values)
        return self.decided[name]

    def whole(self, name: str, low: int, high: int, *, log: bool = False) -> int:  # noqa: ARG002 - Chooser's signature
        if name not in self.decided:
            raise _Undecided(name, range(low, high + 1))
        return int(self.decided[name])
