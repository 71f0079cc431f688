"""Optimal values of finite deterministic tasks: value iteration and backward induction, compiled."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from lever_ray.errors import InvalidValue
from lever_ray.tasks.finite.kernels import expected, follow, induct, iterate
from lever_ray.tasks.kernel import TERMINAL, CompiledTask
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.protocol import Environment
from lever_ray.tasks.support import read_support, taken_actions

EPSILON = 1e-6
"""Error bound of values that value iteration stops at, in reward units."""
MOST_WORK = 200_000_000
"""Observations x actions x stages that backward induction may take: about .3 s, and 200 MB for a single action."""
MOST_SWEEPS = 1_000_000


class Choices(NamedTuple):
    """What may be done where, see :mod:`lever_ray.tasks.finite.kernels`."""

    targets: np.ndarray
    pays: np.ndarray


@dataclass(frozen=True, eq=False)
class Solution:
    """Optimal values of a task under an objective.

    Attributes:
        values: float64[S], optimal returns in reward units: for ever below discount 1, else within the horizon.
        q: float32[S, A], the same of every action, -inf for unsupported ones, 0 in terminal observations; its greedy
            policy is that of ``policy``: where float32 shows a tie or another order, one value is raised by a step.
        error: bound of the error of ``values``; that of ``q`` is larger by the rounding to float32.
        sweeps: over all observations.
        exact: whether ``error`` holds; False where backward induction is too much work: values are those of
            ``policy`` for ever at a discount just below 1 then, which estimates them.
        choices: uint8[K, S], the actions with 1 to K steps to go; with more than K, the last.
        policy: int16[S], actions with all steps to go, -1 where none is supported. Where values are for ever it earns
            them; within a horizon it need not, for the best action may depend on the steps to go.
    """

    values: np.ndarray
    q: np.ndarray
    error: float
    sweeps: int
    exact: bool
    choices: np.ndarray
    policy: np.ndarray
    _episodes: tuple[Choices, int, float]

    def route(self, start: int) -> np.ndarray:
        """int16[T]: an optimal sequence of actions from a start, within the horizon at discount 1."""
        (targets, pays), horizon, discount = self._episodes
        actions = np.empty(horizon, np.int16)
        _, steps = follow(targets, pays, self.choices, start, horizon, discount, actions)
        return actions[:steps]

    def expected(self, starts: np.ndarray, weights: np.ndarray) -> float:
        """Expected return within the horizon of following :meth:`route` from each start."""
        (targets, pays), horizon, discount = self._episodes
        return float(expected(targets, pays, self.choices, starts, weights, horizon, discount))


def solve(
    task: Environment, objective: Objective | str, *, support: np.ndarray | None = None, epsilon: float = EPSILON
) -> Solution:
    """Optimal values of a task.

    Below discount 1 they are those of an infinite horizon: value iteration stops at a residual of
    ``epsilon (1 - discount) / discount``, or where only rounding is left, so that no value is off by more than the
    bound that is returned; within the horizon H they differ by up to ``discount^H`` times the largest. At discount 1
    they are exact values within the horizon, by backward induction, where H S A (or less, if values stop changing
    earlier) is at most :data:`MOST_WORK`. Nothing is earned after a terminal observation. An observation without a
    supported action is stuck: the return so far counts, its value is 0.

    Args:
        task: a task without memory.
        objective: what is rewarded.
        support: uint8[S, B], see :mod:`lever_ray.tasks.support`; all actions by default.
        epsilon: error bound in reward units.

    Raises:
        UnknownName, InvalidTask: see :meth:`lever_ray.tasks.protocol.Environment.compile`.
        InvalidValue: ``epsilon`` is not above 0, or ``support`` is of another shape.
    """
    if not (np.isfinite(epsilon) and epsilon > 0):
        raise InvalidValue(f"epsilon is {epsilon}; it is an error bound in reward units, above 0")
    compiled = task.compile(objective)
    choices = choices_of(compiled, support)
    if compiled.rules.discount < 1:
        return for_ever(compiled, choices, epsilon=epsilon)
    return within_horizon(compiled, choices) or _estimate(compiled, choices, epsilon)


def choices_of(compiled: CompiledTask, support: np.ndarray | None) -> Choices:
    """What a support, uint8[S, B] or all actions, leaves to choose.

    Raises:
        InvalidValue: it is of another shape.
    """
    observations, actions = compiled.observations, compiled.actions
    ends = (compiled.flags & TERMINAL) > 0
    taken = taken_actions(read_support(support, observations, actions), actions) & ~ends[:, None]
    return Choices(compiled.moves, np.where(taken, compiled.rewards[0], -np.inf))


def avoiding(compiled: CompiledTask, choices: Choices) -> Choices:
    """The choices without those that lead, sooner or later, where nothing but the end of the support is left."""
    pays, ends = choices.pays.copy(), (compiled.flags & TERMINAL) > 0
    while True:
        stuck = ~ends & ~(pays > -np.inf).any(axis=1)
        leading = (pays > -np.inf) & stuck[choices.targets]
        if not leading.any():
            return Choices(choices.targets, pays)
        pays[leading] = -np.inf


def for_ever(
    compiled: CompiledTask, choices: Choices, *, epsilon: float = EPSILON, discount: float | None = None
) -> Solution:
    """Infinite-horizon values at the task's discount, or at another below 1; see :func:`solve`."""
    rate = compiled.rules.discount if discount is None else discount
    values, policy, error, sweeps = iterate(*choices, rate, epsilon * (1 - rate) / rate, MOST_SWEEPS)
    return _solution(compiled, choices, (values, values), policy[None], error, sweeps, rate)


def within_horizon(compiled: CompiledTask, choices: Choices) -> Solution | None:
    """Values within the horizon by backward induction, at any discount; None where that is too much work."""
    most = max(1, MOST_WORK // choices.pays.size)
    values, after, staged, done = induct(*choices, compiled.rules.discount, compiled.rules.horizon, most)
    if not done:
        return None
    error = 2.3e-16 * len(staged) * float(np.abs(values).max())
    return _solution(compiled, choices, (values, after), staged, error, len(staged), compiled.rules.discount)


def _estimate(compiled: CompiledTask, choices: Choices, epsilon: float) -> Solution:
    """What stands for backward induction that would take too long: values for ever, nearly undiscounted."""
    found = for_ever(compiled, choices, epsilon=epsilon, discount=nearly_undiscounted(compiled.rules.horizon))
    return replace(found, error=np.inf, exact=False)


def nearly_undiscounted(horizon: int) -> float:
    """A discount at which what is earned at the end of the horizon counts for 99.9% of what is earned at once."""
    return 1 - 1e-3 / horizon


def _solution(
    compiled: CompiledTask,
    choices: Choices,
    values: tuple[np.ndarray, np.ndarray],
    staged: np.ndarray,
    error: float,
    sweeps: int,
    discount: float,
) -> Solution:
    """Values now and after one step, float64[S] each, with actions uint8[K, S], as a :class:`Solution`."""
    supported = choices.pays > -np.inf
    policy = np.where(supported.any(axis=1), staged[-1].astype(np.int16), np.int16(-1))
    q = choices.pays + discount * values[1][choices.targets]
    q[(compiled.flags & TERMINAL) > 0] = 0.0
    episodes = (choices, compiled.rules.horizon, compiled.rules.discount)
    return Solution(values[0], as_table(q, policy), error, sweeps, True, staged, policy, episodes)


def as_table(q: np.ndarray, policy: np.ndarray) -> np.ndarray:
    """float32[S, A] whose greedy policy, ties to the lowest action, is int16[S] (-1 where that does not matter).

    Where rounding or a tie shows another action, the policy's value is raised to one float32 step above the highest.
    """
    table = q.astype(np.float32)
    other = np.flatnonzero((policy >= 0) & (table.argmax(axis=1) != policy))
    table[other, policy[other]] = np.nextafter(table[other].max(axis=1), np.float32(np.inf))
    return table
