"""The parts of a recipe, by name, and the parameters that belong to each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from numbers import Integral, Real
from typing import Any

from lever_ray.composition.operators import OPERATORS, Operator, composition_operator
from lever_ray.composition.rankers.registry import RANKERS
from lever_ray.composition.strategies.protocol import Shortlists, Strategy
from lever_ray.composition.strategies.registry import STRATEGIES, split_id
from lever_ray.embedding.successor import KINDS
from lever_ray.errors import InvalidValue

PARTS: dict[str, Mapping[str, Any]] = {"strategy": STRATEGIES, "operator": OPERATORS, "ranker": RANKERS}
"""Fields that choose one of several, with what their values are called; these have other fields as parameters."""


def parameters_of(part: Any) -> tuple[str, ...]:
    """Fields of a recipe that are parameters of a strategy, operator or ranker."""
    return tuple(getattr(part, "parameters", ()))


def owners_of(field: str) -> dict[str, list[str]]:
    """The strategies, operators and rankers that have a parameter; nothing for fields of every recipe."""
    found = {
        part: [name for name, each in known.items() if field in parameters_of(each)] for part, known in PARTS.items()
    }
    return {part: names for part, names in found.items() if names}


_OWNERS = {
    field: owners_of(field) for known in PARTS.values() for each in known.values() for field in parameters_of(each)
}


def check_parameters(given: Mapping[str, Any]) -> None:
    """Refuse values that no strategy, operator or ranker takes.

    Args:
        given: parameters by name; None says nothing of one.

    Raises:
        UnknownName, InvalidValue: naming the value.
    """
    for known in PARTS.values():
        for part in known.values():
            mine = {name: given[name] for name in parameters_of(part) if given.get(name) is not None}
            if mine:
                replace(part, **mine)


def spelled_out(given: dict[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Fields with ``hybrid-5`` as strategy and k, our own objects as names with parameters, and the ranker by name."""
    found = dict(given)
    if isinstance(found["strategy"], str):
        found["strategy"], numbers = split_id(found["strategy"])
        _check_said_once(given["strategy"], numbers, found, defaults)
        found |= numbers
    for part, known in PARTS.items():
        own = found[part]
        usual = None if isinstance(own, str) else known.get(name_of(own))
        if usual is not None and type(own) is type(usual):
            parameters = {name: getattr(own, name) for name in parameters_of(own)}
            if replaced(usual, parameters) == own:
                _check_said_once(own, parameters, found, defaults)
                found |= {part: name_of(own)} | parameters
    usual_values = usual_with(composition_operator(found["operator"]))
    return found | {name: value for name, value in usual_values.items() if found[name] in ("", None)}


def said_by(strategy: Any) -> tuple[str, ...]:
    """Parameters that a strategy says by its id or by being an object."""
    if isinstance(strategy, str):
        return tuple(split_id(strategy)[1])
    return () if strategy is None else parameters_of(STRATEGIES.get(name_of(strategy)))


def _check_said_once(
    part: Any, parameters: Mapping[str, Any], given: Mapping[str, Any], defaults: Mapping[str, Any]
) -> None:
    for name, value in parameters.items():
        if given[name] not in (defaults[name], value):
            raise InvalidValue(f"{part!r} says {name} {value}, and {name} is {given[name]!r}; say it once")


def usual_with(operator: Operator) -> dict[str, Any]:
    """Defaults that depend on the operator."""
    named = OPERATORS.get(operator.name, operator)
    return {"ranker": operator.usual_ranker, "width": getattr(named, "width", None)}


def name_of(part: Any) -> str:
    """Of a strategy, operator or ranker, or of a function."""
    return str(getattr(part, "name", None) or getattr(part, "__name__", type(part).__name__))


def has_use(field: str, given: Mapping[str, Any], operator: Operator) -> bool:
    """Whether a field is one of every recipe, or a parameter of the strategy, operator or ranker that means something.

    Args:
        field: its name.
        given: all fields, spelled out.
        operator: the one that they name.
    """
    owners = _OWNERS.get(field, {})
    chosen = {**given, "strategy": given["strategy"] if has_strategy(operator) else None, "operator": operator.name}
    owned = not owners or any(chosen[part] in names for part, names in owners.items())
    return owned and not (field == "canonical" and given["embedding"] not in KINDS)


def has_strategy(operator: Operator) -> bool:
    """Whether a strategy chooses anything for an operator: candidates, or members of a pool."""
    return operator.needs_candidates or operator.pools_members


def refuse_useless(field: str, value: Any, chosen: Mapping[str, Any]) -> None:
    """Refuse a parameter that the chosen parts do not have.

    Raises:
        InvalidValue: always, naming those that have it.
    """
    owners = _OWNERS[field]
    if field == "canonical" and chosen["ranker"] in owners["ranker"]:
        raise InvalidValue(
            f"canonical is {value!r}, which embedding {chosen['embedding']!r} has no use for: it is no mean over "
            f"canonical states; leave it out, or use embedding {' or '.join(KINDS)}"
        )
    if set(owners) == {"strategy"} and not has_strategy(composition_operator(chosen["operator"])):
        raise InvalidValue(
            f"{field} is {value!r}, which operator {_told(chosen['operator'])!r} has no use for: it takes every policy "
            "and has no strategy; leave it out"
        )
    having = " or ".join(f"{part} {', '.join(names)}" for part, names in owners.items())
    told = " and ".join(f"{part} {_told(chosen[part])!r}" for part in owners)
    raise InvalidValue(f"{field} is {value!r}, which {told} has no use for; leave it out, or use {having}")


def check_shortlists(strategy: Strategy, operator: Operator) -> None:
    """Refuse a strategy that says nothing of members, for an operator that pools them.

    Raises:
        InvalidValue: naming those that do.
    """
    if not isinstance(strategy, Shortlists):
        raise InvalidValue(
            f"strategy {strategy.name!r} chooses among candidates, and operator {operator.name!r} has none: its "
            "members are one pool; use targeted (the best of each group), hybrid (k of each) or exhaustive (all)"
        )


def _told(part: Any) -> str:
    return part if isinstance(part, str) else name_of(part)


def check_own(part: str, own: object, protocol: type) -> None:
    """Refuse what is neither a name nor a part of a user's own.

    Raises:
        InvalidValue: naming it.
    """
    if not isinstance(own, protocol) or isinstance(own, type):
        raise InvalidValue(
            f"{part} is {own!r}; give a name ({', '.join(PARTS[part])}), or an object with the attributes of "
            f"{protocol.__module__}.{protocol.__name__}"
        )


def with_parameters(part: Any, recipe: Any) -> Any:
    """One of the known strategies, operators or rankers, with the recipe's parameters."""
    return replaced(part, {name: getattr(recipe, name) for name in parameters_of(part)})


def replaced(part: Any, parameters: Mapping[str, Any]) -> Any:
    """A part with some parameters."""
    return replace(part, **parameters) if parameters else part


def plain_number(value: Any, kinds: tuple[Any, ...]) -> Any:
    """A number as Python has it, so that equal recipes have equal ids; anything else as it is."""
    if isinstance(value, bool):
        return value
    if int in kinds and isinstance(value, Integral):
        return int(value)
    if float in kinds and isinstance(value, Real):
        return float(value) + 0.0
    return value
