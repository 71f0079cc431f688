"""How a query is answered: one record, which commands, experiments, tuning and files share.

What it does not hold, the library, the environment and the objective, is what is asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, TypedDict, get_args, get_type_hints

from lever_ray.composition.operators import Operator, check_support, composition_operator
from lever_ray.composition.option_operator import Options
from lever_ray.composition.rankers.protocol import Ranker
from lever_ray.composition.rankers.registry import RANKERS
from lever_ray.composition.rankers.regressor import Regressor
from lever_ray.composition.recipe_parts import (
    PARTS,
    check_own,
    check_parameters,
    check_shortlists,
    has_use,
    name_of,
    plain_number,
    refuse_useless,
    said_by,
    spelled_out,
    usual_with,
    with_parameters,
)
from lever_ray.composition.strategies.budgeted import Budgeted
from lever_ray.composition.strategies.protocol import Strategy
from lever_ray.composition.strategies.registry import STRATEGIES, split_id
from lever_ray.composition.strategies.shortlists import Hybrid
from lever_ray.composition.table_operators import Combine
from lever_ray.errors import InvalidValue, UnknownName, check_known, check_whole, look_up
from lever_ray.policies.retrieval import Retrieval

DEFAULT = "default"
"""Id of the recipe that differs from the default in nothing."""


class RecipeKeywords(TypedDict, total=False):
    """The fields of a :class:`Recipe` as keywords, all optional; see there."""

    strategy: str | Strategy
    k: int
    budget: int
    restarts: int
    seed: int
    operator: str | Operator | Combine
    width: int | None
    cut: int | None
    cycles: str
    merge: str
    segments: int | None
    estimate: str
    ranker: str | Ranker
    regressor_model: str
    regressor_target: str
    embedding: str
    canonical: int
    support: str
    retrieval: str
    threshold: float
    gamma: float | None
    episodes: int | None


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a query is answered; checked when it is made, and fixed before any reward is seen.

    Attributes:
        strategy: which candidates are evaluated, one of :data:`~lever_ray.composition.strategies.registry.STRATEGIES`,
            also with its parameter as in ``hybrid-5``; or an object with the methods of
            :class:`~lever_ray.composition.strategies.protocol.Strategy`.
        k: members per group that ``hybrid`` combines.
        budget: B, most candidates that ``budgeted``, ``random`` and ``best-first`` evaluate.
        restarts: populations of candidates that ``budgeted`` evolves apart.
        seed: of what ``budgeted`` and ``random`` draw.
        operator: how members combine, one of :data:`~lever_ray.composition.operators.OPERATORS`; a function of
            float64[m, S, A], the members' Q-tables, that gives float[S, A] (slower); or an
            :class:`~lever_ray.composition.operators.Operator`.
        width: states that the beam of ``plan`` keeps (100 by default), or choice points per level of ``options`` (30).
        cut, cycles, merge, segments, estimate: of ``options``, see
            :class:`~lever_ray.composition.option_operator.Options`.
        ranker: what predicts returns, or scores beginnings of routes for ``options``: one of
            :data:`~lever_ray.composition.rankers.registry.RANKERS`, or an object with the methods of
            :class:`~lever_ray.composition.rankers.protocol.Ranker`. By default ``regressor``, and ``offline-return``
            for ``gpi``, ``switch`` and ``plan``.
        regressor_model, regressor_target, embedding, canonical: of ``regressor``, see
            :class:`~lever_ray.composition.rankers.regressor.Regressor`.
        support: ``mask`` leaves out actions that no member of a candidate ever took, ``ignore`` does not.
        retrieval: who the members of a group are: policies trained for its ``objective``, or of a similar
            ``description``; see :class:`~lever_ray.policies.retrieval.Retrieval`.
        threshold: least similarity of a member's description, from -1 to 1.
        gamma: discount of the members; None where the library holds one only.
        episodes: training budget of the members; likewise.

    Raises:
        UnknownName: a strategy, operator, ranker, model, target, embedding, support or retrieval rule is not known.
        InvalidValue: a number outside its domain; a parameter that the strategy, operator or ranker has no use for; or
            a ranker or support rule that the operator gives no meaning to.
    """

    strategy: str | Strategy = Hybrid.name
    k: int = Hybrid.k
    budget: int = Budgeted.budget
    restarts: int = Budgeted.restarts
    seed: int = Budgeted.seed
    operator: str | Operator | Combine = "sum"
    width: int | None = None
    cut: int | None = Options.cut
    cycles: str = Options.cycles
    merge: str = Options.merge
    segments: int | None = Options.segments
    estimate: str = Options.estimate
    ranker: str | Ranker = ""
    regressor_model: str = Regressor.regressor_model
    regressor_target: str = Regressor.regressor_target
    embedding: str = Regressor.embedding
    canonical: int = Regressor.canonical
    support: str = "mask"
    retrieval: str = Retrieval.rule
    threshold: float = Retrieval.threshold
    gamma: float | None = None
    episodes: int | None = None

    def __post_init__(self) -> None:
        for name, value in spelled_out(asdict_shallow(self), _DEFAULTS).items():
            object.__setattr__(self, name, plain_number(value, _TYPES[name]))
        _check_types(self)
        operator = composition_operator(self.operator)
        for name, value in asdict_shallow(self).items():
            if value != _DEFAULTS[name] and not has_use(name, asdict_shallow(self), operator):
                refuse_useless(name, value, asdict_shallow(self))
        self.make_operator().check_ranker(self.make_ranker())
        check_support(operator, self.support)
        if operator.pools_members:
            check_shortlists(self.make_strategy(), operator)
        self.make_strategy()
        self.make_retrieval()

    @classmethod
    def parse(cls, identity: str) -> Recipe:
        """The recipe with an id, such as ``strategy=budgeted,budget=100,operator=max``; in any order.

        Raises:
            UnknownName: a recipe has no such field; see also the class.
            InvalidValue: a value cannot be read; see also the class.
        """
        if identity.strip() == DEFAULT:
            return cls()
        given: dict[str, Any] = {}
        for part in identity.split(","):
            name, separator, text = (word.strip() for word in part.partition("="))
            if not separator or name in given:
                raise InvalidValue(
                    f"recipe {identity!r} cannot be read at {part!r}; write each field once, e.g. strategy=hybrid,k=5"
                )
            check_known("field of a recipe", name, _DEFAULTS)
            given[name] = _read(name, text)
        return cls(**given)

    @property
    def id(self) -> str:
        """Every field that differs from its default, as :meth:`parse` reads it; ``default`` where none does.

        Raises:
            InvalidValue: a strategy, operator or ranker is a user's own object, which no text stands for.
        """
        for name in PARTS:
            if not isinstance(getattr(self, name), str):
                raise InvalidValue(
                    f"{name} {name_of(getattr(self, name))!r} is an object of your own and has no id, by which "
                    f"answers are stored and compared; use a named one there: {', '.join(PARTS[name])}"
                )
        odd = [f"{name}={_written(value)}" for name, value in self.to_dict().items()]
        return ",".join(odd) or DEFAULT

    @property
    def storable(self) -> bool:
        """Whether it has an id: strategy, operator and ranker are named ones."""
        return all(isinstance(getattr(self, name), str) for name in PARTS)

    def to_dict(self) -> dict[str, Any]:
        """Fields that differ from their defaults."""
        usual = _DEFAULTS | usual_with(self.make_operator())
        return {name: value for name, value in asdict_shallow(self).items() if value != usual[name]}

    def override(self, **changes: Any) -> Recipe:
        """The same but for some fields.

        Parameters that belong to a strategy, operator or ranker which is replaced go with it, as does its usual ranker.

        Raises:
            UnknownName, InvalidValue: see the class; also a field that a recipe does not have.
        """
        check_keywords(changes)
        mine = asdict_shallow(self)
        for name, value in usual_with(self.make_operator()).items():
            if name not in changes and mine[name] == value:
                del mine[name]
        for name in said_by(changes.get("strategy")):
            mine.pop(name, None)
        return Recipe(**with_use(mine | changes) | changes)

    def make_strategy(self) -> Strategy:
        """The strategy, with its parameters."""
        return self._strategy

    def make_operator(self) -> Operator:
        """The operator, with its parameters."""
        return self._operator

    def make_ranker(self) -> Ranker:
        """The ranker, with its parameters."""
        return self._ranker

    @cached_property
    def _strategy(self) -> Strategy:
        if isinstance(self.strategy, str):
            return with_parameters(look_up("strategy", self.strategy, STRATEGIES), self)
        check_own("strategy", self.strategy, Strategy)
        return self.strategy

    @cached_property
    def _operator(self) -> Operator:
        operator = composition_operator(self.operator)
        return with_parameters(operator, self) if isinstance(self.operator, str) else operator

    @cached_property
    def _ranker(self) -> Ranker:
        if isinstance(self.ranker, str):
            return with_parameters(look_up("ranker", self.ranker, RANKERS), self)
        check_own("ranker", self.ranker, Ranker)
        return self.ranker

    def make_retrieval(self, *, without: str = "") -> Retrieval:
        """How members are found.

        Args:
            without: objective whose own policies are never members.
        """
        return Retrieval(self.retrieval, self.threshold, without)

    @property
    def tier(self) -> str:
        """Least information used: ``I0`` Q-tables, ``I1`` successors, ``I2`` mean rewards, ``I3`` reward function."""
        return max(self.make_operator().tier, self.make_ranker().tier)

    @property
    def label(self) -> str:
        """In words, e.g. ``hybrid-3 sum regressor(own) unmasked g0.99``; what is usual is left out.

        ``budgeted-100x4``: 100 evaluations, 4 restarts; ``16 states``: canonical ones, of the embedding.
        """
        operator, strategy, ranker = self.make_operator(), self.make_strategy(), self.make_ranker()
        found = self.make_retrieval()
        told = [] if found.rule == Retrieval.rule else [found.label]
        told += [] if self.gamma is None else [f"g{self.gamma:g}"]
        if not operator.needs_candidates:
            return " ".join([operator.name if self.width is None else f"{operator.name}-{self.width}", *told])
        odd = [
            f"{value} states" if name == "canonical" else str(value)
            for name, value in self.to_dict().items()
            if name in Regressor.parameters
        ]
        ranked = ranker.name + (f"({', '.join(odd)})" if odd else "")
        unmasked = ["unmasked"] if self.support == "ignore" else []
        apart = f"x{self.restarts}" if strategy.name == "budgeted" else ""
        return " ".join([f"{strategy.id}{apart}", operator.name, ranked, *unmasked, *told])


_DEFAULTS: dict[str, Any] = {part.name: part.default for part in fields(Recipe)}


def asdict_shallow(recipe: Recipe) -> dict[str, Any]:
    """Fields by name, as they are."""
    return {name: getattr(recipe, name) for name in _DEFAULTS}


def check_keywords(given: Mapping[str, Any], *, besides: Sequence[str] = ()) -> None:
    """Refuse keywords that no recipe has.

    Args:
        given: fields by name.
        besides: other keywords that there are, to be named where one is misspelt.

    Raises:
        UnknownName: naming the keyword and the nearest.
    """
    for name in given:
        if name not in _DEFAULTS:
            hint = "Factors of groups are given as factors=, weights with the objective." if name == "weights" else ""
            raise UnknownName("keyword", name, (*besides, *_DEFAULTS), hint=hint)


def check_values(given: Mapping[str, Any]) -> None:
    """Refuse values that no strategy, operator or ranker takes, whether or not one of those chosen has a use for them.

    Args:
        given: fields of recipes by name.

    Raises:
        UnknownName, InvalidValue: naming the value.
    """
    check_parameters(given)
    shared = {name: given[name] for name in ("support", "retrieval", "threshold") if given.get(name) is not None}
    if shared:
        Recipe(**shared)


def with_use(given: Mapping[str, Any]) -> dict[str, Any]:
    """Of some fields of a recipe those that its strategy, operator and ranker have a use for.

    Args:
        given: fields by name; strategy, operator and ranker among them, where they are not the usual ones.

    Raises:
        UnknownName: the strategy, operator or ranker is not known.
    """
    whole = spelled_out(_DEFAULTS | dict(given), _DEFAULTS)
    operator = composition_operator(whole["operator"])
    kept = {name for name in given if has_use(name, whole, operator)}
    numbers = split_id(given["strategy"])[1] if isinstance(given.get("strategy"), str) else {}
    return {name: whole[name] for name in given if name in kept} | {name: whole[name] for name in numbers}


def _check_types(recipe: Recipe) -> None:
    """Refuse what has another type than its field, and discounts and budgets out of range; parts check the rest."""
    for name in _DEFAULTS.keys() - PARTS:
        value, kinds = getattr(recipe, name), _TYPES[name]
        if isinstance(value, bool) or not isinstance(value, kinds):
            raise InvalidValue(f"{name} is {value!r}; {_WORDS[kinds[0]]} is needed")
    if recipe.gamma is not None and not 0.0 <= recipe.gamma <= 1.0:
        raise InvalidValue(f"gamma is {recipe.gamma:g}; it must lie in [0, 1]")
    if recipe.episodes is not None:
        check_whole("episodes", recipe.episodes, 1, "of the members' training")


_HINTS = get_type_hints(Recipe)
_TYPES: dict[str, tuple[Any, ...]] = {name: get_args(_HINTS[name]) or (_HINTS[name],) for name in _DEFAULTS}
_WORDS = {int: "a whole number", float: "a number", str: "a name"}


def _read(name: str, text: str) -> Any:
    kind = _TYPES[name][0]
    try:
        return kind(text)
    except ValueError:
        raise InvalidValue(f"{name} is {text!r}; {_WORDS[kind]} is needed") from None


def _written(value: Any) -> str:
    return repr(float(value)) if isinstance(value, float) else str(value)
