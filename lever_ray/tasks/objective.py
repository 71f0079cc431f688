"""Objectives: non-empty sets of a family's reward terms, with one weight each."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from lever_ray.errors import InvalidValue, UnknownName

TERM = re.compile(r"[a-z][a-z0-9_]*")
"""How a reward term may be called: objectives join them with hyphens."""


@dataclass(frozen=True)
class Objective:
    """A non-empty set of reward terms with one weight each.

    :meth:`of` reads one as it is written; which terms there are, and their order, is for a family to say. Compare and
    hash objectives that are :meth:`resolved` alone.

    Attributes:
        terms: the terms, without repetition.
        weights: one finite weight per term, in the same order; at least one is not 0.
    """

    terms: tuple[str, ...]
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.terms) != len(self.weights):
            raise InvalidValue(f"{len(self.weights)} weights for terms {', '.join(self.terms)}; give one for each")

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
    def of(
        cls,
        value: str | Objective | Mapping[str, float] | Iterable[str],
        *,
        weights: Mapping[str, float] | None = None,
    ) -> Objective:
        """Read an objective as it is written.

        Args:
            value: e.g. ``"gold-path"``, ``"path-gold[1,2.5]"``, ``{"gold": 2.5, "path": 1}``, ``["gold", "path"]`` or
                an :class:`Objective`.
            weights: weight by term, 1 where a term is missing. Overrides other weights.

        Raises:
            InvalidValue: no terms at all, one that is no name, a weight for a term that the objective lacks, not one
                number per term in the brackets, or weights that are not finite, or all zero.
        """
        if isinstance(value, Objective):
            return value if weights is None else cls.of(value.terms, weights=weights)
        if isinstance(value, str) and "[" in value:
            value, weights = _bracketed(value) if weights is None else (value.partition("[")[0], weights)
        if isinstance(value, Mapping):
            value = {str(term).strip().lower(): weight for term, weight in value.items()}
            weights = value if weights is None else weights
        terms = _terms(value)
        given = dict.fromkeys(terms, 1.0) | {term: _number(term, weight) for term, weight in (weights or {}).items()}
        for term in given:
            if term not in terms:
                raise InvalidValue(
                    f"weight for term {term!r}, which objective {'-'.join(terms)!r} lacks; drop it or add the term"
                )
        values = tuple(given[term] for term in terms)
        if not all(map(math.isfinite, values)) or not any(values):
            raise InvalidValue(
                f"weights of objective {'-'.join(terms)!r} are {list(values)}; they must be finite, and not all zero"
            )
        return cls(terms, values)

    def resolved(self, terms: Sequence[str]) -> Objective:
        """The same with its terms in the order of a family's.

        Raises:
            UnknownName: the family has no such term.
        """
        for term in sorted(self.terms):
            if term not in terms:
                hint = f"Asked for objective {self.name!r}; join terms with hyphens."
                raise UnknownName("objective term", term, terms, hint=hint)
        order = sorted(range(len(self.terms)), key=lambda place: terms.index(self.terms[place]))
        if order == list(range(len(order))):
            return self
        return Objective(tuple(self.terms[place] for place in order), tuple(self.weights[place] for place in order))

    def same(self, other: Objective) -> bool:
        """Whether both have the same terms and weights, in whatever order."""
        return dict(zip(self.terms, self.weights, strict=True)) == dict(zip(other.terms, other.weights, strict=True))

    def is_alike(self, other: Objective) -> bool:
        """Whether both want the same: the same terms, with weights that differ by a positive factor only."""
        mine, theirs = (dict(zip(each.terms, each.weights, strict=True)) for each in (self, other))
        if mine.keys() != theirs.keys():
            return False
        scales = [sum(map(abs, weights.values())) for weights in (mine, theirs)]
        return all(math.isclose(mine[term] / scales[0], theirs[term] / scales[1], abs_tol=1e-12) for term in mine)


def _number(term: str, weight: object) -> float:
    try:
        return float(weight)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise InvalidValue(f"weight of {term!r} is {weight!r}; a number is needed") from None


def _shortest(weight: float) -> str:
    """The weight as ``2.5`` or ``1``, or with as many digits as it takes to read it back exactly."""
    return short if float(short := f"{weight:g}") == weight else repr(weight)


def _bracketed(identity: str) -> tuple[str, dict[str, float]]:
    """Names and weights of an id such as ``path-gold[1,2.5]``."""
    names, _, weights = identity.strip().removesuffix("]").partition("[")
    try:
        if not identity.strip().endswith("]") or len(set(_parts(names))) < len(_parts(names)):
            raise ValueError
        return names, dict(zip(_parts(names), map(float, weights.split(",")), strict=True))
    except ValueError:
        raise InvalidValue(
            f"objective {identity!r} does not have one number per term in its brackets; write e.g. path-gold[1,2.5]"
        ) from None


def _parts(value: str | Iterable[str]) -> list[str]:
    return [part.strip().lower() for part in (value.split("-") if isinstance(value, str) else value)]


def _terms(value: str | Iterable[str]) -> tuple[str, ...]:
    if not isinstance(value, str) and (
        not isinstance(value, Iterable) or not all(isinstance(part, str) for part in value)
    ):
        raise InvalidValue(
            f"objective is {value!r}; write its terms, e.g. 'path-gold', 'path-gold[1,2.5]' or "
            "{'path': 1, 'gold': 2.5}"
        )
    terms = tuple(dict.fromkeys(_parts(value)))
    if not terms:
        raise InvalidValue("an objective needs at least one term; join their names with hyphens")
    for term in terms:
        if not TERM.fullmatch(term):
            raise InvalidValue(
                f"objective {value!r} has a term {term!r}; terms are letters, digits and _, joined with hyphens"
            )
    return terms


def check_weights(weights: Iterable[float], *, what: str) -> None:
    """Refuse weights that are negative, not finite or all zero.

    Raises:
        InvalidValue: naming ``what`` and the weights.
    """
    values = list(weights)
    if any(not math.isfinite(weight) or weight < 0 for weight in values) or not any(values):
        raise InvalidValue(f"{what} are {values}; they must be finite, not negative, and not all zero")
