"""Objectives: non-empty subsets of the four reward terms, with optional weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from lever_ray.errors import InvalidValue, UnknownName

TERMS: tuple[str, ...] = ("path", "gold", "hazard", "lever")
"""The reward terms, in the order in which an objective's name lists them."""


@dataclass(frozen=True)
class Objective:
    """A non-empty set of reward terms with one weight each.

    Attributes:
        terms: the terms in canonical order, without repetition.
        weights: one non-negative finite weight per term, in the same order; at least one is positive.
    """

    terms: tuple[str, ...]
    weights: tuple[float, ...]

    @property
    def name(self) -> str:
        """The terms joined by hyphens, e.g. ``path-gold-hazard``."""
        return "-".join(self.terms)

    @cached_property
    def id(self) -> str:
        """The name, followed by the weights where any differs from 1, e.g. ``path-gold[1,2.5]``."""
        if all(weight == 1.0 for weight in self.weights):
            return self.name
        return f"{self.name}[{','.join(map(_shortest, self.weights))}]"

    def weight(self, term: str) -> float:
        """Weight of ``term``, 0 where the objective does not have it."""
        return dict(zip(self.terms, self.weights, strict=True)).get(term, 0.0)

    def __contains__(self, term: object) -> bool:
        return term in self.terms

    def __str__(self) -> str:
        return self.id

    @classmethod
    def of(cls, value: str | Objective | Iterable[str], *, weights: Mapping[str, float] | None = None) -> Objective:
        """Read an objective from a name, a set of terms or an objective; order and repetition do not matter.

        Args:
            value: e.g. ``"gold-path"``, ``["gold", "path"]`` or an :class:`Objective`.
            weights: weight by term, 1 where a term is missing. Overrides the weights of an :class:`Objective`.

        Raises:
            UnknownName: a term is not one of :data:`TERMS`.
            InvalidValue: no terms at all, a weight for a term that the objective lacks, or weights that are
                negative, not finite, or all zero.
        """
        if isinstance(value, Objective) and weights is None:
            return value
        terms = _normalised_terms(value)
        given = dict.fromkeys(terms, 1.0) | {term: float(weight) for term, weight in (weights or {}).items()}
        for term in given:
            if term not in terms:
                raise InvalidValue(
                    f"weight for term {term!r}, which objective {'-'.join(terms)!r} lacks; drop it or add the term"
                )
        values = tuple(given[term] for term in terms)
        check_weights(values, what=f"weights of objective {'-'.join(terms)!r}")
        return cls(terms, values)


def _shortest(weight: float) -> str:
    """The weight as ``2.5`` or ``1``, or with as many digits as it takes to read it back exactly."""
    return short if float(short := f"{weight:g}") == weight else repr(weight)


def objective_of(identity: str | Objective) -> Objective:
    """The objective with a name, or with an id such as ``path-gold[1,2.5]``.

    Raises:
        UnknownName: a term is not known.
        InvalidValue: the weights are not one number per term, or are refused by :class:`Objective`.
    """
    if isinstance(identity, Objective) or "[" not in identity:
        return Objective.of(identity)
    names, _, weights = identity.strip().removesuffix("]").partition("[")
    terms = [term.strip().lower() for term in names.split("-")]
    Objective.of(names)
    try:
        given = dict(zip(terms, map(float, weights.split(",")), strict=True))
    except ValueError:
        raise InvalidValue(
            f"objective {identity!r} does not have one number per term in its brackets; write e.g. path-gold[1,2.5]"
        ) from None
    return Objective.of(names, weights=given)


def check_weights(weights: Iterable[float], *, what: str) -> None:
    """Refuse weights that are negative, not finite or all zero.

    Raises:
        InvalidValue: naming ``what`` and the weights.
    """
    values = list(weights)
    if any(not math.isfinite(weight) or weight < 0 for weight in values) or not any(values):
        raise InvalidValue(f"{what} are {values}; they must be finite, not negative, and not all zero")


def _normalised_terms(value: str | Objective | Iterable[str]) -> tuple[str, ...]:
    if isinstance(value, Objective):
        return value.terms
    parts = value.split("-") if isinstance(value, str) else list(value)
    names = {part.strip().lower() for part in parts}
    for name in sorted(names):
        if name not in TERMS:
            shown = value if isinstance(value, str) else "-".join(parts)
            raise UnknownName(
                "objective term", name, TERMS, hint=f"Asked for objective {shown!r}; join terms with hyphens."
            )
    if not names:
        raise InvalidValue("an objective needs at least one term; choose from " + ", ".join(TERMS))
    return tuple(term for term in TERMS if term in names)
