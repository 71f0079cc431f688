"""What tuning chooses from: a typed, conditional space over the ways to answer a query."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from lever_ray.composition.operators import OPERATORS, SUPPORT_RULES, composition_operator
from lever_ray.composition.rankers.registry import RANKERS
from lever_ray.composition.rankers.regressor import Regressor
from lever_ray.composition.recipe import Recipe
from lever_ray.composition.strategies.protocol import Shortlists
from lever_ray.composition.strategies.registry import STRATEGIES
from lever_ray.config import SpaceSettings
from lever_ray.embedding.outcome import BEHAVIOUR_KINDS
from lever_ray.embedding.regressor import MODELS, TARGETS, TERM_MODELS
from lever_ray.embedding.successor import KINDS
from lever_ray.errors import InvalidValue, check_known
from lever_ray.policies.retrieval import RULES

T = TypeVar("T", str, float)

STEP = 0.05
"""Of thresholds: each one in use keeps groups of its own in memory."""


class Chooser(Protocol):
    """Decides parameters one after the other; what is asked depends on what was decided before."""

    def among(self, name: str, values: Sequence[T]) -> T:
        """One of several values."""
        ...

    def whole(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        """A whole number from ``low`` to ``high``, both included."""
        ...

    def stepped(self, name: str, low: float, high: float, step: float) -> float:
        """One of ``low``, ``low + step``, ... up to ``high``."""
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

    def stepped(self, name: str, low: float, high: float, step: float) -> float:  # noqa: ARG002 - Chooser's signature
        """See :class:`Chooser`."""
        return float(self.values.get(name, low))


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
        UnknownName: a strategy, operator, support or retrieval rule, ranker, model, target or embedding is not known.
    """

    settings: SpaceSettings
    gammas: tuple[float, ...]
    cost: str = "candidates"

    def __post_init__(self) -> None:
        for name, kind, known in _LISTS:
            _check_list(name, kind, getattr(self.settings, name), known)
        for name in ("k", "budget", "restarts", "width"):
            _check_range(name, getattr(self.settings, name))
        _check_canonical(self.settings.canonical)
        _check_thresholds(self.settings.threshold)
        if not self.gammas:
            raise InvalidValue("tuning.space.gammas is empty, and so is library.gammas; name at least one discount")
        self._check_combinations()

    def _check_combinations(self) -> None:
        operators = [composition_operator(name) for name in self.settings.operators]
        searching = [operator.name for operator in operators if not operator.needs_candidates]
        if self.cost == "candidates" and searching:
            raise InvalidValue(
                f"operator {searching[0]!r} has no candidates, so their number is no measure of its cost; "
                "use tuning.cost=seconds, or leave it out of tuning.space.operators"
            )
        self._check_pools([operator.name for operator in operators if operator.pools_members])
        routes = [operator.name for operator in operators if operator.is_route and not operator.pools_members]
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

    def _check_pools(self, pooling: Sequence[str]) -> None:
        if not pooling:
            return
        if not any(isinstance(STRATEGIES[name], Shortlists) for name in self.settings.strategies):
            raise InvalidValue(
                f"operator {pooling[0]!r} pools members by targeted, hybrid or exhaustive; add one of them to "
                "tuning.space.strategies, or leave it out of tuning.space.operators"
            )
        if not self.settings.cut or min(self.settings.cut) < 0:
            raise InvalidValue(
                f"tuning.space.cut is {list(self.settings.cut)}; list numbers of steps, 0 for events alone, e.g. [0, 8]"
            )

    def draw(self, chooser: Chooser) -> Recipe:
        """One choice; parameters without a meaning for it are not asked for."""
        settings = self.settings
        operator = chooser.among("operator", settings.operators)
        if OPERATORS[operator].pools_members:
            return Recipe(operator=operator, **self._retrieval(chooser), **self._pool(chooser))
        gamma = chooser.among("gamma", self.gammas)
        common = self._retrieval(chooser) | {"operator": operator, "gamma": gamma}
        if not OPERATORS[operator].needs_candidates:
            return Recipe(
                **common, strategy="targeted", width=chooser.whole("width", *_bounds(settings.width), log=True)
            )
        common |= self._strategy(chooser)
        if OPERATORS[operator].is_route:
            return Recipe(**common)
        common["support"] = chooser.among("support", settings.supports)
        common["ranker"] = chooser.among("ranker", settings.rankers)
        return Recipe(**common | (self._regressor(chooser) if common["ranker"] == Regressor.name else {}))

    def _pool(self, chooser: Chooser) -> dict[str, Any]:
        """What an operator that pools members, of all discounts, is told: which, how they are scored and searched."""
        settings = self.settings
        strategies = [name for name in settings.strategies if isinstance(STRATEGIES[name], Shortlists)]
        drawn = self._strategy(chooser, strategies)
        drawn["ranker"] = chooser.among("ranker", [name for name in settings.rankers if _scores_prefixes(name)])
        drawn["width"] = chooser.whole("width", *_bounds(settings.width), log=True)
        if getattr(RANKERS[drawn["ranker"]], "events_only", False):
            return drawn
        cut = int(chooser.among("cut", settings.cut))
        return drawn | ({"cut": cut} if cut else {})

    @property
    def strictest(self) -> list[Recipe]:
        """The retrieval rules that may be drawn, each with the greatest threshold that may be drawn."""
        return [
            Recipe(**self._retrieval(Given({"retrieval": rule, "threshold": _steps(self.settings.threshold)[-1]})))
            for rule in self.settings.retrievals
        ]

    def _retrieval(self, chooser: Chooser) -> dict[str, Any]:
        rule = chooser.among("retrieval", self.settings.retrievals)
        if rule != "description":
            return {"retrieval": rule}
        values = _steps(self.settings.threshold)
        threshold = chooser.stepped("threshold", values[0], values[-1], STEP)
        return {"retrieval": rule, "threshold": round(threshold, _DECIMALS)}

    def _strategy(self, chooser: Chooser, names: Sequence[str] | None = None) -> dict[str, Any]:
        """A strategy and the parameters that it has."""
        name = chooser.among("strategy", self.settings.strategies if names is None else names)
        having = getattr(STRATEGIES[name], "parameters", ())
        drawn = {
            field: chooser.whole(field, *_bounds(getattr(self.settings, field)), log=field == "budget")
            for field in ("k", "budget", "restarts")
            if field in having
        }
        return {"strategy": name, **drawn}

    def _regressor(self, chooser: Chooser) -> dict[str, Any]:
        settings = self.settings
        usable = [name for name in settings.models if name not in TERM_MODELS or "own" in settings.targets]
        model = chooser.among("model", usable)
        target = "own" if model in TERM_MODELS else chooser.among("target", settings.targets)
        embedding = chooser.among("embedding", settings.embeddings)
        drawn: dict[str, Any] = {"regressor_model": model, "regressor_target": target, "embedding": embedding}
        if embedding in KINDS:
            drawn["canonical"] = int(chooser.among("canonical", settings.canonical))
        return drawn

    def choices(self) -> Iterator[Recipe]:
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
    ("strategies", "strategy", tuple(STRATEGIES)),
    ("operators", "operator", tuple(OPERATORS)),
    ("supports", "support rule", SUPPORT_RULES),
    ("rankers", "ranker", tuple(RANKERS)),
    ("models", "regressor model", (*MODELS, *TERM_MODELS)),
    ("targets", "regressor target", TARGETS),
    ("embeddings", "embedding", BEHAVIOUR_KINDS),
    ("retrievals", "retrieval rule", RULES),
)


def _scores_prefixes(ranker: str) -> bool:
    """Whether a ranker can score what an operator that pools members searches."""
    return not getattr(RANKERS[ranker], "no_prefixes", "it scores candidates alone")


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


def _check_canonical(values: Sequence[int]) -> None:
    if not values or len(set(values)) < len(values) or min(values) < 1:
        raise InvalidValue(
            f"tuning.space.canonical is {list(values)}; list different numbers of canonical states, each at least 1, "
            "e.g. [1, 16, 64]"
        )


def _check_thresholds(values: Sequence[float]) -> None:
    if len(values) != 2 or not -1.0 <= values[0] <= values[1] <= 1.0:
        raise InvalidValue(
            f"tuning.space.threshold is {list(values)}; give the least and the greatest similarity, e.g. [0.5, 0.9], "
            "both from -1 to 1"
        )


_DECIMALS = 6
"""Thresholds are rounded to so many, so that equal ones are equal however they were added up."""


def _steps(values: Sequence[float]) -> list[float]:
    """Every threshold of a range."""
    low, high = values
    return [round(low + STEP * place, _DECIMALS) for place in range(int((high - low) / STEP + 1e-9) + 1)]


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

    def stepped(self, name: str, low: float, high: float, step: float) -> float:  # noqa: ARG002 - Chooser's signature
        if name not in self.decided:
            raise _Undecided(name, _steps((low, high)))
        return float(self.decided[name])
