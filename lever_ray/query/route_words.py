"""What a route does, in words."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lever_ray.composition.problem import Problem
from lever_ray.tasks.kernel import ITEM, SWITCH, Rules
from lever_ray.tasks.protocol import Environment
from lever_ray.tasks.rollout import TRUNCATED, Rollout


def told_on_the_way(task: Environment, route: Rollout) -> str:
    """How episodes end and what they pick up, e.g. ``exit in 5 steps, 0 of 6 golds, lever not pulled``.

    Args:
        task: the environment.
        route: of a policy in it; of several starts, the shares of all ends are told.
    """
    if len(task.dynamics.starts) > 1:
        shares = ", ".join(f"{end} {share:.0%}" for end, share in route.ends.items() if share)
        return f"over {len(task.dynamics.starts)} starts: {shares}"
    caption = task.hooks.caption
    told = () if caption is None else caption(task, route.path)[1:]
    ended = "cut off after" if route.end == TRUNCATED else f"{route.end} in"
    return ", ".join([f"{ended} {route.steps} step{'' if route.steps == 1 else 's'}", *told])


def ignored(problem: Problem, observations: np.ndarray) -> Iterator[str]:
    """Terms that pay for items or for the switch, where there are such and a route takes none, as warnings.

    Args:
        problem: what was asked.
        observations: int[n], of the routes from every start.
    """
    flags = problem.task.dynamics.flags
    entered = int(np.bitwise_or.reduce(flags[observations]))
    for bit, field, what in ((ITEM, "item_reward", "takes none"), (SWITCH, "switch_reward", "does without it")):
        if (flags & bit).any() and not entered & bit and _reward(problem.compiled.rules, field) > 0:
            terms = [term for term in problem.objective.terms if _reward(problem.task.compile(term).rules, field) > 0]
            yield f"{' and '.join(terms)} was asked for, and the route {what}"


def _reward(rules: Rules, field: str) -> float:
    return float(getattr(rules, field))
