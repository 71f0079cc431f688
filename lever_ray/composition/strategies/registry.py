"""The strategies by name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lever_ray.composition.strategies.baselines import BestFirst, Random
from lever_ray.composition.strategies.budgeted import Budgeted
from lever_ray.composition.strategies.protocol import Strategy
from lever_ray.composition.strategies.shortlists import Exhaustive, Hybrid, Targeted
from lever_ray.errors import look_up

STRATEGIES: dict[str, Strategy] = {
    strategy.name: strategy for strategy in (Targeted(), Hybrid(), Exhaustive(), Budgeted(), Random(), BestFirst())
}
"""Each with its usual parameters, in the order of tables; ``random`` and ``best-first`` are baselines."""


def named_strategy(name: str, **parameters: Any) -> Strategy:
    """The strategy with a name such as ``hybrid``, or an id such as ``hybrid-5``.

    Args:
        name: see there; a number in it goes before parameters.
        parameters: of the strategy.

    Raises:
        UnknownName: the name is not known.
        InvalidValue: a parameter lies outside its domain.
        TypeError: the strategy has no such parameter.
    """
    plain, numbers = split_id(name)
    return replace(look_up("strategy", plain, STRATEGIES), **parameters | numbers)  # type: ignore[type-var]


def split_id(identity: str) -> tuple[str, dict[str, int]]:
    """Name and parameter of an id such as ``hybrid-5`` or ``best-first-100``; the text itself where it is none."""
    name, _, number = identity.rpartition("-")
    known = getattr(STRATEGIES.get(name), "parameters", ())
    if identity in STRATEGIES or not known or not number.isdecimal():
        return identity, {}
    return name, {known[0]: int(number)}
