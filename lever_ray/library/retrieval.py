"""Which policies are members of a group: by the objective they were trained for, or by what their description says."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lever_ray.errors import InvalidValue, check_known

RULES: tuple[str, ...] = ("objective", "description")
THRESHOLD = 0.8
"""Least similarity of a member's description, unless told otherwise.

Descriptions of two different terms have at most 0.12; those of a term and of a coarser objective with it 0.40 to 0.79;
those of two coarser objectives up to 0.89; other wordings of one term 0.07 to 0.97.
"""
LEAST_THRESHOLD = 0.15
"""No lower one is ever advised: it would admit descriptions of other terms."""
_DECIMALS = 6
"""Similarities are rounded to so many, so that equal texts have 1."""


@dataclass(frozen=True)
class Retrieval:
    """How members of groups are found.

    Attributes:
        rule: ``objective``: policies whose own objective is the group's, and of those that carry a description
            alone the ones that are similar enough. ``description``: every policy of the environment, gamma and episodes
            whose description is similar enough, whatever it was trained for, as published.
        threshold: least cosine similarity, in [-1, 1], of a member's description to the group's.
        without: objective whose own policies are never members; empty for none.

    Raises:
        UnknownName: the rule is not known.
        InvalidValue: the threshold lies outside [-1, 1].
    """

    rule: str = "objective"
    threshold: float = THRESHOLD
    without: str = ""

    def __post_init__(self) -> None:
        check_known("retrieval rule", self.rule, RULES)
        if not -1.0 <= self.threshold <= 1.0:
            raise InvalidValue(
                f"threshold is {self.threshold:g}; it is a cosine similarity, from -1 to 1, e.g. {THRESHOLD}"
            )

    @property
    def label(self) -> str:
        """``objective``, or e.g. ``description>=0.8``."""
        return self.rule if self.rule == "objective" else f"{self.rule}>={self.threshold:g}"


class Wording(NamedTuple):
    """A group's members, as shards look for them by text.

    Attributes:
        text: the group's description.
        retrieval: rule and threshold.
        unwanted: description of policies that are never members; of those without an objective, what is nearer to it
            than to the group's is taken for one. Empty for none.
    """

    text: str
    retrieval: Retrieval
    unwanted: str = ""

    def admits(self, objective: str) -> bool:
        """Whether policies with that own objective (``""``: none is known) may be members by their description."""
        name, without = objective.partition("[")[0], self.retrieval.without
        return name == "" or (self.retrieval.rule == "description" and name != without)


USUAL_RETRIEVAL = Retrieval()


class Closest(NamedTuple):
    """The policy whose description comes nearest to a group's."""

    similarity: float
    description: str

    def told(self, retrieval: Retrieval) -> str:
        """In words, for an error: how near it comes, and what would help."""
        return (
            f"closest is {self.description!r} with similarity {self.similarity:.3f}, below the threshold "
            f"{retrieval.threshold:g}; {self._remedy(retrieval)}"
        )

    def _remedy(self, retrieval: Retrieval) -> str:
        enough = admitting(self.similarity)
        lower = "" if enough is None else f"lower the threshold (--threshold {enough:g} admits the closest)"
        if retrieval.rule == "description":
            return f"{lower}, or retrieve by objective" if lower else "retrieve by objective"
        named = "import them with an objective (a column objective, --objective NAME, or --understand)"
        return f"{named}, or {lower}" if lower else named


def admitting(similarity: float) -> float | None:
    """A round threshold that admits a similarity; None where it would admit other terms' descriptions as well."""
    enough = math.floor(similarity * 20 + 1e-9) / 20
    return enough if enough >= LEAST_THRESHOLD else None


def similarities(vectors: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """float64[t]: cosines of unit vectors float32[t, d] to one, float32[d]; -inf for vectors 0, of blank texts.

    Summed row by row, so that they do not depend on how policies are dealt to shards.
    """
    found = np.einsum("nd,d->n", vectors.astype(np.float64), wanted.astype(np.float64)).round(_DECIMALS)
    return np.where(vectors.any(axis=1), found, -np.inf)
