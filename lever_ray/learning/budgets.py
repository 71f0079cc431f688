"""How long policies are trained; apart from what trains them, for settings name a budget."""

from __future__ import annotations

from dataclasses import dataclass

from lever_ray.errors import look_up


@dataclass(frozen=True)
class Budget:
    """How long a policy is trained: episodes, and the factor by which epsilon shrinks after each."""

    name: str
    episodes: int
    epsilon_decay: float


BUDGETS: dict[str, Budget] = {
    budget.name: budget
    for budget in (Budget("X1", 10_000, 0.99954), Budget("X5", 50_000, 0.99991), Budget("X10", 100_000, 0.99995))
}
"""The training budgets of the experiments, by name."""


def training_budget(name: str) -> Budget:
    """The budget called ``name``.

    Raises:
        UnknownName: naming the known budgets.
    """
    return look_up("training budget", name, BUDGETS)
