"""How members of groups are found by text."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from lever_ray.policies.retrieval import Retrieval

LEAST_THRESHOLD = 0.15
"""No lower one is ever advised: it would admit descriptions of other terms."""
_DECIMALS = 6
"""Similarities are rounded to so many, so that equal texts have 1."""


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
        lower = "" if enough is None else f"lower the threshold (threshold={enough:g} admits the closest)"
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
