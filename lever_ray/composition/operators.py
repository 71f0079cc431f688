"""Composition operators: how the Q-tables of a candidate's policies become one policy."""

from __future__ import annotations

from dataclasses import dataclass

from lever_ray.embedding.offline import MAX, SUM
from lever_ray.errors import check_known, look_up

SUPPORT_RULES: tuple[str, ...] = ("mask", "ignore")
"""Whether actions that no member of a candidate ever took are excluded."""


@dataclass(frozen=True)
class Operator:
    """A composition operator.

    Attributes:
        name: as users write it.
        code: as compiled kernels take it.
        regime: ``support-limited`` where no value is propagated.
        tier: least information that composing needs, ``I0`` (Q-tables) to ``I4``.
    """

    name: str
    code: int
    regime: str
    tier: str


OPERATORS: dict[str, Operator] = {
    operator.name: operator
    for operator in (
        Operator("sum", SUM, regime="support-limited", tier="I0"),
        Operator("max", MAX, regime="support-limited", tier="I0"),
    )
}
"""``sum``: argmax_a sum_i Q_i(x, a), the published one; ``max``: argmax_a max_i Q_i(x, a)."""


def composition_operator(name: str) -> Operator:
    """The operator called ``name``.

    Raises:
        UnknownName: naming the known operators and the nearest match.
    """
    return look_up("operator", name, OPERATORS)


def is_masked(support: str) -> bool:
    """Whether a support rule leaves out actions that no member took.

    Raises:
        UnknownName: the rule is neither ``mask`` nor ``ignore``.
    """
    check_known("support rule", support, SUPPORT_RULES)
    return support == "mask"
