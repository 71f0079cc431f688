"""What outcomes are worth, as a task: searches score routes by it where the reward is not known (tier I1).

A task needs its event rules and what each outcome is worth: how a route ends, items taken, and the switch. Every kernel
that follows a reward then follows that worth, and what is not taken within the steps left counts as not taken.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lever_ray.embedding.outcome import OUTCOME_FEATURES
from lever_ray.errors import InvalidValue
from lever_ray.tasks.kernel import GOAL, ITEM, SWITCH, TRAP, CompiledTask, Dynamics, Rules, compiled_task


class OutcomeWorth(NamedTuple):
    """What each outcome adds to a return, in reward units; None where nothing tells it.

    Attributes:
        goal: ending at a goal.
        trap: ending in a trap.
        item: each item taken.
        switch: the switch being on.
        all_items: ending with no item left, on top.
        constant: whatever happens.
    """

    goal: float | None
    trap: float | None
    item: float | None
    switch: float | None
    all_items: float = 0.0
    constant: float = 0.0

    @classmethod
    def of(cls, coefficients: np.ndarray, constant: float = 0.0, *, known: np.ndarray | None = None) -> OutcomeWorth:
        """The worth that a linear regressor found.

        Args:
            coefficients: float64[5], of :data:`lever_ray.embedding.outcome.OUTCOME_FEATURES`.
            constant: its intercept.
            known: bool[5], which coefficients some training row identifies: features that differ between rows. All by
                default.

        Raises:
            InvalidValue: there are not 5 coefficients.
        """
        if len(coefficients) != len(OUTCOME_FEATURES):
            raise InvalidValue(
                f"{len(coefficients)} coefficients of outcomes; {len(OUTCOME_FEATURES)} are needed: "
                + ", ".join(OUTCOME_FEATURES)
            )
        found = {
            name: float(value) if known is None or known[place] else None
            for place, (name, value) in enumerate(zip(OUTCOME_FEATURES, coefficients, strict=True))
        }
        return cls(found["goal"], found["trap"], found["items_taken"], found["switch_on"], constant=float(constant))

    @property
    def unidentified(self) -> tuple[str, ...]:
        """Outcomes whose worth nothing tells."""
        return tuple(name for name in ("goal", "trap", "item", "switch") if getattr(self, name) is None)


def outcome_task(dynamics: Dynamics, horizon: int, worth: OutcomeWorth) -> CompiledTask:
    """An environment in which a route's undiscounted return is the worth of its outcome, less ``worth.constant``.

    A trap of unknown worth counts as just below every route that avoids it. ``all_items`` is paid at the end of an
    episode: a route that is cut at the horizon goes without.

    Args:
        dynamics: of the environment.
        horizon: steps after which episodes are cut.
        worth: of outcomes.

    Raises:
        InvalidValue: the environment has an outcome, other than a trap, of unknown worth.
        InvalidTask: a worth is not finite.
    """
    flags = dynamics.flags
    for name, bit in (("goal", GOAL), ("item", ITEM), ("switch", SWITCH)):
        if getattr(worth, name) is None and (flags & bit).any():
            raise InvalidValue(
                f"no policy tells what outcome {name!r} is worth, and this environment has it; add policies of "
                "environments where some reach it and others do not, or search with the reward itself"
            )
    goal, item, switch = (float(value or 0.0) for value in (worth.goal, worth.item, worth.switch))
    trap = _below(dynamics, goal, item, switch, worth.all_items) if worth.trap is None else worth.trap
    ends = np.where(flags & GOAL, goal, 0.0) + np.where(flags & TRAP, trap, 0.0)
    bonus = np.where(flags & (GOAL | TRAP), worth.all_items, 0.0)
    left = ends[dynamics.moves]
    rewards = np.stack([left, left + bonus[dynamics.moves]]) if worth.all_items else left[None]
    rules = Rules(
        horizon,
        1.0,
        dynamics.memory,
        item_reward=item,
        switch_reward=switch,
        item_rows=1 if worth.all_items else 0,
    )
    return compiled_task(dynamics, rewards, rules)


def _below(dynamics: Dynamics, goal: float, item: float, switch: float, all_items: float) -> float:
    """Less than any route without a trap is worth, whatever is taken before the trap."""
    items = int(dynamics.memory[0]).bit_count()
    return -(abs(goal) + items * abs(item) + abs(switch) + abs(all_items)) * 2.0 - 1.0
