"""Which policies are members of a group: by the objective they were trained for, or by what their description says."""

from __future__ import annotations

from dataclasses import dataclass

from lever_ray.errors import InvalidValue, check_known

RULES: tuple[str, ...] = ("objective", "description")
THRESHOLD = 0.8
"""Least similarity of a member's description, unless told otherwise.

Descriptions of two different terms have at most 0.12; those of a term and of a coarser objective with it 0.40 to 0.79;
those of two coarser objectives up to 0.89; other wordings of one term 0.07 to 0.97.
"""


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
