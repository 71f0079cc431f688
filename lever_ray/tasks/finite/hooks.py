"""What finite tasks add to the seam: optima, plans as tables, and bounds, all from optimal values."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lever_ray.tasks.finite.kernels import expected
from lever_ray.tasks.finite.task import FiniteTask
from lever_ray.tasks.finite.values import (
    EPSILON,
    MOST_WORK,
    Choices,
    Solution,
    avoiding,
    choices_of,
    for_ever,
    nearly_undiscounted,
    within_horizon,
)
from lever_ray.tasks.kernel import CompiledTask
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.protocol import Hooks, Optimum, Plan
from lever_ray.tasks.rollout import expected_return, greedy_actions


def best_return(
    environment: FiniteTask, objective: Objective, *, support: np.ndarray | None = None, shaping: float = 1.0
) -> Optimum:
    """The highest expected return within the horizon, at the task's discount.

    Where ``discount^horizon`` times the largest value is at most 1e-6 (relative to values above 1) it is that of the
    optimal policy for ever, whose table loses no more than that and the error of value iteration. Else it is found by
    backward induction, with no error but rounding, where observations x actions x stages are at most
    :data:`~lever_ray.tasks.finite.values.MOST_WORK`; where they are more, it is the return of the best table that is
    known, and ``exact`` is False. There is a table where one earns the total.
    """
    compiled = environment.compile(objective, shaping=shaping)
    found = _search(compiled, choices_of(compiled, support))
    played, _ = expected_return(compiled, greedy_actions(found.table.q))
    scale = max(1.0, abs(found.total))
    as_good = found.earned >= found.total - 1e-9 * scale and abs(played - found.earned) <= EPSILON * scale
    actions = found.best.route(compiled.start)
    visited = [compiled.start]
    for action in actions.tolist():
        visited.append(int(compiled.moves[visited[-1], action]))
    path = tuple(environment.label(state) for state in visited)
    for array in (actions, found.table.q):
        array.setflags(write=False)  # optima are remembered, and shared
    return Optimum(found.total, found.exact, path, actions, found.table.q if as_good else None)


def plan(environment: FiniteTask, objective: Objective, *, width: int, support: np.ndarray | None = None) -> Plan:
    """A table of optimal values of the supported transitions, and what it earns from all starts within the horizon.

    Below discount 1 values are those for ever, or within the horizon where that table earns more; at discount 1 the
    latter, or those for ever at a discount just below 1. Observations without a supported action are avoided, since a
    table goes on there; where a start cannot avoid them, the plan says so, and its total is that of the prefix.

    Args:
        environment: the task.
        objective: what is rewarded.
        width: not heeded; nothing is left out.
        support: uint8[S, B]; all actions by default.
    """
    del width
    compiled = environment.compile(objective)
    choices = choices_of(compiled, support)
    safe = avoiding(compiled, choices)
    left = not (safe.pays[compiled.starts] > -np.inf).any(axis=1).all()
    found = _search(compiled, choices if left else safe)
    return Plan(found.earned, q=found.table.q, left_support=left)


def memoryless(environment: FiniteTask, objective: Objective, *, support: np.ndarray) -> float:
    """What the best table earns: a task without memory loses nothing by it, but for a horizon."""
    return plan(environment, objective, width=0, support=support).total


def bound(environment: FiniteTask, objective: Objective, *, shaping: float = 1.0) -> float:
    """No behaviour earns more within the horizon H.

    Below discount 1: the value for ever, its error, and ``discount^H`` times what being cut there may save. At discount
    1: the optimum within the horizon, or H times the largest reward where that is too much work.
    """
    compiled = environment.compile(objective, shaping=shaping)
    choices, rules = choices_of(compiled, None), compiled.rules
    found = for_ever(compiled, choices) if rules.discount < 1 else within_horizon(compiled, choices)
    if found is None:
        return rules.horizon * max(0.0, float(compiled.rewards.max()))
    total = float(compiled.weights @ found.values[compiled.starts]) + found.error
    saved = 0.0 if rules.discount == 1 else max(0.0, found.error - float(found.values.min()))
    return total + rules.discount**rules.horizon * saved


def is_exact(environment: FiniteTask) -> bool:
    """Whether optima are exact, and cheap, whatever the objective."""
    if environment.discount < 1 and environment.discount**environment.horizon <= 1e-3 * EPSILON:
        return True
    return environment.observations * environment.actions * environment.horizon <= MOST_WORK


HOOKS = Hooks(optimum=best_return, plan=plan, memoryless=memoryless, bound=bound, exact=is_exact)


class _Found(NamedTuple):
    """The best behaviour, what it earns and whether that is proven; the best table, and what that earns."""

    best: Solution
    total: float
    exact: bool
    table: Solution
    earned: float


def _search(compiled: CompiledTask, choices: Choices) -> _Found:
    rules = compiled.rules
    rate = rules.discount if rules.discount < 1 else nearly_undiscounted(rules.horizon)
    lasting = for_ever(compiled, choices, discount=rate)
    earned = _table_return(compiled, choices, lasting)
    proven = rules.discount < 1 and _tail(compiled, lasting) <= EPSILON
    staged = None if proven else within_horizon(compiled, choices)
    if staged is None:
        return _Found(lasting, earned, proven, lasting, earned)
    total = staged.expected(compiled.starts, compiled.weights)
    first = _table_return(compiled, choices, staged)
    table, earned = (staged, first) if first > earned else (lasting, earned)
    return _Found(staged, total, True, table, earned)


def _tail(compiled: CompiledTask, lasting: Solution) -> float:
    """How far returns within the horizon may be from those for ever, relative to values above 1."""
    largest = float(np.abs(lasting.values).max())
    return compiled.rules.discount**compiled.rules.horizon * largest / max(1.0, largest)


def _table_return(compiled: CompiledTask, choices: Choices, found: Solution) -> float:
    """Expected return within the horizon of the table, which plays its last choices throughout."""
    rules = compiled.rules
    last = found.choices[-1:]
    return float(expected(*choices, last, compiled.starts, compiled.weights, rules.horizon, rules.discount))
